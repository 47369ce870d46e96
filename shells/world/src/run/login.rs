//! Passwords and accounts: who is it, is it right, where is the mail?

use std::sync::Arc;

use waypost_ldap::Outcome;
use waypost_ldap::attrs::{self, BindAs};
use waypost_machine::Secret;
use waypost_mail::{Account, MailHome};
use waypost_route::{Looked, Map};
use waypost_sasl::{Credentials, Verified};

use crate::Inner;
use crate::directory::{Bound, password};
use crate::promise::Sure;
use crate::settings::Logins;

/// Owners of one address that are told apart; more make it too common to log in with.
const MAX_OWNERS: usize = 10;

/// How a password check went, for the admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthTest {
    /// The name bound as; `None` when none was found, or where no bind is made.
    pub dn: Option<String>,
    /// The LDAP result code, where the directory gave one.
    pub code: Option<u32>,
    /// What a client would be told.
    pub outcome: Verified,
    /// Why, in words.
    pub text: String,
}

/// A check under way.
struct Check {
    world: Arc<Inner>,
    logins: Logins,
    /// As it is looked up: lower case, as Dovecot's `auth_username_format = %Lu` has it.
    user: String,
    password: Secret<Box<str>>,
    done: Sure<AuthTest>,
}

/// Checks a password.
pub(crate) fn verify(
    world: &Arc<Inner>,
    credentials: Credentials,
    done: Box<dyn FnOnce(Verified) + Send>,
) {
    // Nobody may act for somebody else.
    let other = !credentials.authzid.is_empty() && credentials.authzid != credentials.authcid;
    if other || credentials.password.expose().is_empty() {
        done(Verified::Denied);
        return;
    }
    let tell = move |test: AuthTest| {
        if test.outcome == Verified::Unavailable {
            tracing::warn!("warning: login of '{}': {}", test.dn.unwrap_or_default(), test.text);
        }
        done(test.outcome);
    };
    check(world, &credentials.authcid, credentials.password, Box::new(tell));
}

/// Checks a password and says how.
pub(crate) fn check(
    world: &Arc<Inner>,
    user: &str,
    password: Secret<Box<str>>,
    done: Box<dyn FnOnce(AuthTest) + Send>,
) {
    let done = Sure::new(done, || unavailable(None, None, "the check failed".into()));
    let Some(logins) = world.settings.logins.clone() else {
        done.keep(denied(None, None, "nobody may log in: no accounts are configured"));
        return;
    };
    // To the directory `joe ` is `joe`, and there are more such pairs beyond ASCII: what is counted
    // by name needs one name for one account. Dovecot's `auth_username_chars` has fewer still.
    if !user.bytes().all(|octet| octet.is_ascii_graphic()) {
        done.keep(denied(None, None, "the name has blanks or letters that no login has"));
        return;
    }
    let (world, user) = (Arc::clone(world), user.to_lowercase());
    let by_address = logins.by_address && user.contains('@');
    let check = Check { world: Arc::clone(&world), logins, user, password, done };
    if !by_address {
        check.bind();
        return;
    }
    let address = check.user.clone();
    world.lookups.look(Map::SenderLogins, &address, Box::new(move |looked| check.named(looked)));
}

impl Check {
    /// The address was looked up: whose is it?
    fn named(mut self, looked: Looked) {
        match looked {
            Looked::Found(mut logins) => match logins.len() {
                1 => {
                    self.user = logins.remove(0).to_lowercase();
                    self.bind();
                }
                2..=MAX_OWNERS => self.narrow(logins, None),
                many => {
                    let text = format!("the address belongs to {many} logins");
                    self.done.keep(denied(None, None, &text));
                }
            },
            // It may be a login that looks like an address.
            Looked::Absent => self.bind(),
            Looked::Unavailable(why) => self.done.keep(unavailable(None, None, why)),
        }
    }

    /// Aliases and lists that lead to the address are named with its owner. The owner is the one
    /// that has an account.
    fn narrow(mut self, mut logins: Vec<String>, owner: Option<String>) {
        let Some(login) = logins.pop() else {
            let Some(owner) = owner else {
                return self.done.keep(denied(
                    None,
                    None,
                    "nobody with an account has this address",
                ));
            };
            self.user = owner.to_lowercase();
            return self.bind();
        };
        let world = Arc::clone(&self.world);
        let asked = login.clone();
        let tell = move |found| match (found, owner) {
            (Found::Absent, owner) => self.narrow(logins, owner),
            (Found::Unavailable(why), _) => self.done.keep(unavailable(None, None, why)),
            (_, None) => self.narrow(logins, Some(login)),
            (_, Some(_)) => {
                self.done.keep(denied(None, None, "two accounts have this address"));
            }
        };
        account(&world, &asked, Box::new(tell));
    }

    fn bind(self) {
        let accounts = Arc::clone(&self.logins.accounts);
        if !accounts.auth_bind {
            self.compare();
            return;
        }
        match accounts.bind_as(&self.user) {
            BindAs::Name(name) => self.bind_as(name),
            BindAs::Nobody => {
                self.done.keep(denied(None, None, "nobody can have such a name"));
            }
            BindAs::Find(search) => {
                let directory = Arc::clone(&self.logins.directory);
                directory.search(search, Box::new(move |outcome| self.found(outcome)));
            }
        }
    }

    /// The entry was searched for.
    fn found(mut self, outcome: Outcome) {
        match attrs::one(outcome) {
            Err(error) => self.done.keep(unavailable(None, None, error.to_string())),
            Ok(None) => self.done.keep(denied(None, None, "no such user")),
            Ok(Some(entry)) => {
                let fields = self.logins.accounts.password_fields(&self.user, &entry);
                if let Some(user) = fields.get("user") {
                    self.user = user.to_owned();
                }
                self.bind_as(entry.dn.to_string());
            }
        }
    }

    fn bind_as(self, name: String) {
        let directory = Arc::clone(&self.logins.directory);
        let Self { user, password, done, .. } = self;
        let dn = name.clone();
        let tell = move |bound| {
            done.keep(match bound {
                Bound::Accepted => AuthTest {
                    dn: Some(dn),
                    code: Some(0),
                    outcome: Verified::Accepted(user.into()),
                    text: "the password is right".into(),
                },
                Bound::Denied => denied(Some(dn), Some(49), "wrong password, or no such entry"),
                Bound::Unavailable { code, text } => unavailable(Some(dn), code, text),
            });
        };
        directory.bind(&name, password, Box::new(tell));
    }

    /// Without binds: the hash is read and compared here.
    fn compare(self) {
        let Some(search) = self.logins.accounts.password_search(&self.user) else {
            self.done.keep(denied(None, None, "nobody can have such a name"));
            return;
        };
        let directory = Arc::clone(&self.logins.directory);
        directory.search(search, Box::new(move |outcome| self.compare_with(outcome)));
    }

    fn compare_with(self, outcome: Outcome) {
        let entry = match attrs::one(outcome) {
            Err(error) => return self.done.keep(unavailable(None, None, error.to_string())),
            Ok(None) => return self.done.keep(denied(None, None, "no such user")),
            Ok(Some(entry)) => entry,
        };
        let world = Arc::clone(&self.world);
        world.passwords.submit(None, move || {
            let accounts = &self.logins.accounts;
            let fields = accounts.password_fields(&self.user, &entry);
            let user = fields.get("user").unwrap_or(&self.user).into();
            let Some(stored) = fields.get("password") else {
                return self.done.keep(denied(None, None, "the entry has no password"));
            };
            let plain = accounts.default_pass_scheme == "PLAIN";
            let stored = if stored.starts_with('{') || plain {
                stored.to_owned()
            } else {
                format!("{{{}}}{stored}", accounts.default_pass_scheme)
            };
            let given = self.password.expose().as_bytes();
            self.done.keep(match password::check(stored.as_bytes(), given, plain) {
                Ok(true) => AuthTest {
                    dn: None,
                    code: None,
                    outcome: Verified::Accepted(user),
                    text: "the password is right".into(),
                },
                Ok(false) => denied(None, None, "wrong password"),
                Err(why) => unavailable(None, None, why.to_string()),
            });
        });
    }
}

fn denied(dn: Option<String>, code: Option<u32>, text: &str) -> AuthTest {
    AuthTest { dn, code, outcome: Verified::Denied, text: text.into() }
}

fn unavailable(dn: Option<String>, code: Option<u32>, text: String) -> AuthTest {
    AuthTest { dn, code, outcome: Verified::Unavailable, text }
}

/// Whose mail it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There.
    Account(Account),
    /// No such user.
    Absent,
    /// It cannot be told, or what the directory says cannot be used. Says why.
    Unavailable(String),
}

/// Looks up where a user's mail is.
pub(crate) fn account(world: &Arc<Inner>, user: &str, done: Box<dyn FnOnce(Found) + Send>) {
    let Some(logins) = &world.settings.logins else {
        done(Found::Absent);
        return;
    };
    let Some(search) = logins.accounts.user_search(user) else {
        done(Found::Absent);
        return;
    };
    let done = Sure::new(done, || Found::Unavailable("the lookup failed".into()));
    let (accounts, user) = (Arc::clone(&logins.accounts), user.to_owned());
    let location = world.settings.mail_location.clone();
    let tell = move |outcome| {
        done.keep(match attrs::one(outcome) {
            Err(error) => Found::Unavailable(error.to_string()),
            Ok(None) => Found::Absent,
            Ok(Some(entry)) => {
                let fields = accounts.user_fields(&user, &entry);
                match home(&user, &location, |name| fields.get(name)) {
                    Ok(home) => {
                        let user = fields.get("user").unwrap_or(&user).into();
                        Found::Account(Account { user, home })
                    }
                    Err(why) => Found::Unavailable(format!("{}: {why}", entry.dn)),
                }
            }
        });
    };
    logins.directory.search(search, Box::new(tell));
}

/// The mailbox that the userdb fields tell.
fn home<'f>(
    user: &str,
    location: &'f str,
    field: impl Fn(&str) -> Option<&'f str>,
) -> Result<MailHome, String> {
    let id = |name: &str| {
        let text = field(name).ok_or_else(|| format!("no {name}"))?;
        text.trim().parse::<u32>().map_err(|_| format!("{name} '{text}' is not a number"))
    };
    let (uid, gid) = (id("uid")?, id("gid")?);
    let location = field("mail").unwrap_or(location);
    let template = location
        .strip_prefix("maildir:")
        .ok_or_else(|| format!("mail location '{location}' is not a maildir"))?;
    let template = template.split(':').next().unwrap_or_default();
    let home = field("home").filter(|home| !home.is_empty());
    let path = expand(template, user, home)?;
    if !path.starts_with('/') {
        return Err(format!("mail location '{path}' is not an absolute path"));
    }
    let path = match path.trim_end_matches('/') {
        "" => return Err("mail location is the root directory".into()),
        path => path.into(),
    };
    Ok(MailHome { path, uid, gid })
}

/// `~`, `%h`, `%u`, `%n`, `%d` and their long names.
fn expand(template: &str, user: &str, home: Option<&str>) -> Result<String, String> {
    let (name, domain) = user.split_once('@').unwrap_or((user, ""));
    let at_home = || home.ok_or_else(|| "no home".to_owned());
    // A name that leads elsewhere never gets into a path.
    if [name, domain].iter().any(|part| part.contains('/') || *part == "." || *part == "..") {
        return Err(format!("'{user}' cannot stand in a path"));
    }
    let mut out = String::new();
    let mut rest = template;
    if let Some(below) = template.strip_prefix('~') {
        out.push_str(at_home()?);
        rest = below;
    }
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let (variable, after) = match after.strip_prefix('{') {
            Some(long) => {
                let (variable, after) = long.split_once('}').ok_or("'}' is missing")?;
                (variable, after)
            }
            None => {
                let len = after.chars().next().map_or(0, char::len_utf8);
                after.split_at(len)
            }
        };
        match variable {
            "h" | "home" => out.push_str(at_home()?),
            "u" | "user" => out.push_str(user),
            "n" | "username" => out.push_str(name),
            "d" | "domain" => out.push_str(domain),
            "%" => out.push('%'),
            other => return Err(format!("unknown variable '%{other}' in the mail location")),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(location: &str, fields: &[(&str, &str)]) -> Result<String, String> {
        let find = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        home("mail000@example.com", location, find).map(|home| home.path.into())
    }

    #[test]
    fn mail_locations() {
        let fields = [("home", "/home/mail/mail000"), ("uid", "20000"), ("gid", "20000")];
        for (location, expected) in [
            ("maildir:~/mailbox", "/home/mail/mail000/mailbox"),
            ("maildir:~/mailbox/:INDEX=/x", "/home/mail/mail000/mailbox"),
            ("maildir:/srv/%d/%n", "/srv/example.com/mail000"),
            ("maildir:/srv/%{user}/100%%", "/srv/mail000@example.com/100%"),
            ("maildir:%h", "/home/mail/mail000"),
        ] {
            assert_eq!(path(location, &fields).as_deref(), Ok(expected));
        }
        for location in ["mbox:~/mail", "maildir:mail", "maildir:/", "maildir:/%x", "maildir:/%{u"]
        {
            assert!(path(location, &fields).is_err(), "{location}");
        }
        assert_eq!(path("maildir:~/m", &fields[1..]), Err("no home".into()));
        assert_eq!(path("maildir:~/m", &fields[..2]), Err("no gid".into()));
        let bad = [("home", "/h"), ("uid", "twenty"), ("gid", "1")];
        assert_eq!(path("maildir:~/m", &bad), Err("uid 'twenty' is not a number".into()));
    }

    #[test]
    fn names_that_lead_elsewhere() {
        for user in ["../../etc", "a/b", "..", "x@.."] {
            assert!(expand("/srv/%d/%n", user, None).is_err(), "{user}");
        }
    }
}
