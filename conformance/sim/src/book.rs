//! What the directory says, read once more and by other code than the server's: who has which
//! address, and where an address leads.

use std::collections::{BTreeMap, BTreeSet};

/// Where a message for an address ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A mailbox: this user's, under this address.
    Mailbox(String, String),
    /// This address at another host.
    Remote(String),
    /// Nowhere: this address leads to nobody, and the sender is told.
    Nowhere(String),
}

/// What an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// One of ours.
    Here(BTreeSet<End>),
    /// In a domain of ours, but nobody has it.
    Unknown,
    /// In a domain that is not ours.
    Foreign,
}

/// The directory.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Login names.
    pub users: BTreeSet<String>,
    /// Addresses in lower case, `@domain` for all others of a domain, and what they lead to.
    aliases: BTreeMap<String, BTreeSet<String>>,
    /// Addresses and the logins that may send as them.
    owners: BTreeMap<String, BTreeSet<String>>,
    /// Addresses that lead to one of theirs or another, as the directory changes.
    changing: BTreeSet<String>,
    /// The domain of the mailboxes themselves.
    mailboxes: String,
    domains: BTreeSet<String>,
}

impl Book {
    /// Reads LDIF; mailboxes are `user@` this domain.
    pub fn read(ldif: &str, mailboxes: &str) -> Self {
        let mut book = Self { mailboxes: mailboxes.to_owned(), ..Self::default() };
        book.domains.insert(mailboxes.to_owned());
        for entry in ldif.split("\n\n") {
            let values = |name: &str| -> Vec<String> {
                let lines = entry.lines().filter_map(|line| line.split_once(": "));
                let named = lines.filter(|(attribute, _)| attribute.eq_ignore_ascii_case(name));
                named.map(|(_, value)| value.trim().to_ascii_lowercase()).collect()
            };
            let is_user = !values("homeDirectory").is_empty();
            let (uids, targets) = (values("uid"), values("maildrop"));
            if is_user {
                book.users.extend(uids.iter().cloned());
            }
            for address in values("mailacceptinggeneralid") {
                if let Some((_, domain)) = address.split_once('@') {
                    book.domains.insert(domain.to_owned());
                }
                if is_user {
                    book.owners.entry(address.clone()).or_default().extend(uids.iter().cloned());
                }
                book.aliases.entry(address).or_default().extend(targets.iter().cloned());
            }
        }
        book
    }

    /// What is read here changes in a run: this address then leads to that one.
    pub fn change(&mut self, address: &str, target: &str) {
        self.aliases.entry(address.to_owned()).or_default().insert(target.to_owned());
        self.changing.insert(address.to_owned());
    }

    /// True when it leads to one of its ends, and which that is changes in a run.
    pub fn changes(&self, address: &str) -> bool {
        self.changing.contains(&address.to_ascii_lowercase())
    }

    /// The password of a user: `secret` and the digits of the name.
    pub fn password(user: &str) -> String {
        format!("secret{}", user.trim_start_matches(|c: char| !c.is_ascii_digit()))
    }

    /// What an address is, for somebody who names it as recipient.
    pub fn look(&self, address: &str) -> Known {
        let address = address.to_ascii_lowercase();
        let Some((_, domain)) = address.split_once('@') else { return Known::Unknown };
        if !self.domains.contains(domain) {
            return Known::Foreign;
        }
        let mut ends = BTreeSet::new();
        let found = self.follow(&address, 0, &mut ends);
        // What leads nowhere at all is refused at once.
        match found && ends.iter().any(|end| !matches!(end, End::Nowhere(_))) {
            true => Known::Here(ends),
            false => Known::Unknown,
        }
    }

    /// Where all other addresses of this one's domain lead, which is where it leads itself while its
    /// own entry is not there.
    pub fn look_catch_all(&self, address: &str) -> Option<Known> {
        let (_, domain) = address.split_once('@')?;
        let form = format!("@{}", domain.to_ascii_lowercase());
        self.aliases.contains_key(&form).then(|| self.look(&form))
    }

    /// False when nobody has it.
    fn follow(&self, address: &str, depth: usize, ends: &mut BTreeSet<End>) -> bool {
        let (local, domain) = address.split_once('@').unwrap_or((address, ""));
        let (plain, extension) = local.split_once('+').unwrap_or((local, ""));
        // What was not part of the alias goes on with the message.
        let forms = [
            (address.to_owned(), ""),
            (format!("{plain}@{domain}"), extension),
            (format!("@{domain}"), ""),
        ];
        let found = forms.iter().find_map(|(form, rest)| Some((self.aliases.get(form)?, rest)));
        if let Some((targets, rest)) = found.filter(|_| depth < 10) {
            for target in targets {
                let target = &match target.split_once('@') {
                    Some((local, domain)) if !rest.is_empty() => format!("{local}+{rest}@{domain}"),
                    _ => target.clone(),
                };
                // What leads to itself is the mailbox of that name.
                if *target != address && self.follow(target, depth + 1, ends) {
                    continue;
                }
                if !self.is_hosted(target) {
                    ends.insert(End::Remote(target.clone()));
                } else if !self.mailbox(target, ends) {
                    ends.insert(End::Nowhere(target.clone()));
                }
            }
            return true;
        }
        self.mailbox(address, ends)
    }

    fn is_hosted(&self, address: &str) -> bool {
        address.split_once('@').is_some_and(|(_, domain)| self.domains.contains(domain))
    }

    fn mailbox(&self, address: &str, ends: &mut BTreeSet<End>) -> bool {
        let Some((local, domain)) = address.split_once('@') else { return false };
        let user = local.split('+').next().unwrap_or(local);
        let there = domain == self.mailboxes && self.users.contains(user);
        if there {
            ends.insert(End::Mailbox(user.to_owned(), address.to_owned()));
        }
        there
    }

    /// True when this user may send as this address. Everybody may as nobody.
    pub fn may_send(&self, user: &str, sender: &str) -> bool {
        let sender = sender.to_ascii_lowercase();
        let Some((local, domain)) = sender.split_once('@') else { return sender.is_empty() };
        let plain = local.split('+').next().unwrap_or(local);
        let own = domain == self.mailboxes && plain == user;
        let forms = [sender.clone(), format!("{plain}@{domain}")];
        own || forms
            .iter()
            .any(|it| self.owners.get(it).is_some_and(|owners| owners.contains(user)))
    }

    /// True when an address is somebody's here, so that no stranger may send as it.
    pub fn is_claimed(&self, sender: &str) -> bool {
        let sender = sender.to_ascii_lowercase();
        let Some((local, domain)) = sender.split_once('@') else { return false };
        let plain = local.split('+').next().unwrap_or(local);
        [&sender, &format!("{plain}@{domain}")].into_iter().any(|form| {
            self.aliases.contains_key(form) || self.aliases.values().any(|it| it.contains(form))
        })
    }

    /// The domain of the mailboxes themselves.
    pub fn mailbox_domain(&self) -> &str {
        &self.mailboxes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LDIF: &str = "\
dn: uid=mail000,dc=x
uid: mail000
homeDirectory: /home/mail/mail000
mailacceptinggeneralid: mail000@example.com
mailacceptinggeneralid: Sales@example.net
maildrop: mail000@mail.example.com

dn: uid=team,dc=x
uid: team
mailacceptinggeneralid: team@example.com
maildrop: mail000@example.com
maildrop: someone@remote.test
maildrop: gone@mail.example.com

dn: uid=lost,dc=x
uid: lost
mailacceptinggeneralid: lost@example.com
maildrop: gone@mail.example.com

dn: uid=all,dc=x
uid: all
mailacceptinggeneralid: @example.net
maildrop: team@example.com
";

    fn here(ends: &[End]) -> Known {
        Known::Here(ends.iter().cloned().collect())
    }

    #[test]
    fn addresses_lead_somewhere() {
        let book = Book::read(LDIF, "mail.example.com");
        let own = |address: &str| End::Mailbox("mail000".into(), address.into());
        let mailbox = own("mail000@mail.example.com");
        assert_eq!(book.look("MAIL000@example.com"), here(std::slice::from_ref(&mailbox)));
        let tagged = own("mail000+tag@mail.example.com");
        assert_eq!(book.look("mail000+tag@example.com"), here(&[tagged]));
        assert_eq!(book.look("mail000@mail.example.com"), here(std::slice::from_ref(&mailbox)));
        let nowhere = End::Nowhere("gone@mail.example.com".into());
        let all = [mailbox.clone(), End::Remote("someone@remote.test".into()), nowhere];
        assert_eq!(book.look("team@example.com"), here(&all));
        assert_eq!(book.look("whoever@example.net"), here(&all));
        assert_eq!(book.look("sales@example.net"), here(&[mailbox]));
        assert_eq!(book.look("whoever@example.com"), Known::Unknown);
        assert_eq!(book.look("gone@mail.example.com"), Known::Unknown);
        assert_eq!(book.look("lost@example.com"), Known::Unknown);
        assert_eq!(book.look("whoever@remote.test"), Known::Foreign);
    }

    #[test]
    fn users_send_as_themselves() {
        let book = Book::read(LDIF, "mail.example.com");
        for own in ["mail000@example.com", "sales@EXAMPLE.net", "", "mail000@mail.example.com"] {
            assert!(book.may_send("mail000", own), "{own}");
        }
        assert!(!book.may_send("mail000", "team@example.com"));
        assert!(book.is_claimed("someone@remote.test") && book.is_claimed("TEAM@example.com"));
        assert!(!book.is_claimed("other@remote.test") && !book.is_claimed(""));
        assert_eq!(Book::password("mail000"), "secret000");
    }
}
