//! The reference directory as a few rules, for machines without a world: the accounts mail000 and
//! mail001, the domains and aliases of `rig/templates/ldap/data.ldif.in`.

use waypost_mail::{
    Address, Delivery, Enhanced, Login, MailHome, Reply, ReversePath, Target, Verdict,
};
use waypost_sasl::{Credentials, Verified};
use waypost_smtp::server::{
    Aborted, Appended, Begun, Call, Committed, MessageId, Reply as Answered,
};

const HOST: &str = "mail.example.com";

/// Alias, owner by login name, final addresses.
const ALIASES: [(&str, &str, &[&str]); 12] = [
    ("mail000@example.com", "mail000", &["mail000"]),
    ("postmaster@example.com", "mail000", &["mail000"]),
    ("postmaster@example.org", "mail000", &["mail000"]),
    ("sales@example.net", "mail000", &["mail000"]),
    ("mail001@example.com", "mail001", &["mail001"]),
    ("info@example.org", "mail001", &["mail001"]),
    ("forward@example.com", "forward", &["someone@remote.test"]),
    ("team@example.com", "team", &["mail000", "mail001"]),
    ("@example.net", "catchall", &["mail001"]),
    ("@only-catchall.test", "catchall2", &["mail000"]),
    ("dangling@example.com", "dangling", &["nobody"]),
    ("someone@remote.test", "forward", &["someone@remote.test"]),
];

const HOSTED: [&str; 4] = ["example.com", "example.org", "example.net", "only-catchall.test"];

/// Whether the password is right.
pub fn verify(credentials: &Credentials) -> Verified {
    let user = credentials.authcid.to_ascii_lowercase();
    match (&*user, &**credentials.password.expose()) {
        ("mail000", "secret000") | ("mail001", "secret001") => Verified::Accepted(user.into()),
        _ => Verified::Denied,
    }
}

/// Answers the calls of an SMTP server.
pub fn smtp() -> impl FnMut(Call) -> waypost_machine::Answer<Answered> + Send {
    let mut begun = 0;
    move |call| match call {
        Call::Authenticate { credentials, ticket, .. } => ticket.answer(verify(&credentials)),
        Call::Recipient { client, sender, recipient, ticket } => {
            ticket.answer(route(client.login.as_ref(), &sender, &recipient))
        }
        Call::Begin { ticket, .. } => {
            begun += 1;
            ticket.answer(Begun::Ready {
                message: MessageId(begun),
                queue_id: format!("4gXy{begun:06X}").into(),
            })
        }
        Call::Append { ticket, .. } => ticket.answer(Appended::Done),
        Call::Commit { ticket, .. } => ticket.answer(Committed::Done),
        Call::Abort { ticket, .. } => ticket.answer(Aborted),
    }
}

fn route(login: Option<&Login>, sender: &ReversePath, recipient: &Address) -> Verdict {
    let refuse = |code, enhanced, text| Verdict::Refuse(Reply::new(code, enhanced, text));
    let unknown = |table| {
        let text = format!("<{recipient}>: Recipient address rejected: User unknown in {table}");
        refuse(550, Enhanced(5, 1, 1), text)
    };
    let key = recipient.lookup_key().to_ascii_lowercase();
    let (local, domain) = key.rsplit_once('@').unwrap_or((&key, ""));
    let hosted = HOSTED.contains(&domain);
    if matches!(domain, "[127.0.0.1]" | "localhost") {
        return unknown("local recipient table");
    }
    let untrusted = local.contains(['%', '!', '@']);
    if login.is_none() && (untrusted || !(hosted || domain == HOST)) {
        let text = format!("<{recipient}>: Relay access denied");
        return refuse(454, Enhanced(4, 7, 1), text);
    }
    if let ReversePath::Address(sender) = sender {
        let owner = owner(&sender.lookup_key());
        let fault = match (login, owner) {
            (None, Some(_)) => Some("not logged in".to_owned()),
            (Some(login), owner) if owner.as_deref() != Some(&*login.user) => {
                Some(format!("not owned by user {}", login.user))
            }
            _ => None,
        };
        if let Some(fault) = fault {
            let text = format!("<{sender}>: Sender address rejected: {fault}");
            return refuse(553, Enhanced(5, 7, 1), text);
        }
    }
    let finals: Vec<&str> = if hosted {
        match alias(&key) {
            Some((_, finals)) => finals.to_vec(),
            None => return unknown("virtual alias table"),
        }
    } else if domain == HOST {
        match without_extension(local) {
            user @ ("mail000" | "mail001") => vec![user],
            // myorigin's postmaster is an alias of the host itself.
            "postmaster" => vec!["mail000"],
            _ => return unknown("virtual mailbox table"),
        }
    } else {
        vec![&key]
    };
    Verdict::Accept(finals.into_iter().map(|to| delivery(to, recipient)).collect())
}

fn delivery(to: &str, recipient: &Address) -> Delivery {
    let (text, target) = if to.contains('@') {
        (to.to_owned(), Target::Remote)
    } else {
        let home = MailHome { path: format!("/home/mail/{to}/mailbox").into(), uid: 1, gid: 1 };
        (format!("{to}@{HOST}"), Target::Maildir(home))
    };
    let to = Address::parse(&text).unwrap_or_else(|_| recipient.clone());
    Delivery { to, orig_to: recipient.clone(), target }
}

/// The login name that may send with this address.
fn owner(sender: &str) -> Option<String> {
    let sender = sender.to_ascii_lowercase();
    let (local, domain) = sender.rsplit_once('@')?;
    if domain == HOST {
        let user = without_extension(local);
        return ["mail000", "mail001"].contains(&user).then(|| user.to_owned());
    }
    alias(&sender).map(|(owner, _)| owner.to_owned())
}

/// The full address first, then without its extension, then the whole domain.
fn alias(key: &str) -> Option<(&'static str, &'static [&'static str])> {
    let (local, domain) = key.rsplit_once('@')?;
    let keys =
        [key.to_owned(), format!("{}@{domain}", without_extension(local)), format!("@{domain}")];
    let find = |key: &String| ALIASES.iter().find(|(alias, ..)| alias == key);
    keys.iter().find_map(find).map(|(_, owner, finals)| (*owner, *finals))
}

fn without_extension(local: &str) -> &str {
    local.split_once('+').map_or(local, |(user, _)| user)
}
