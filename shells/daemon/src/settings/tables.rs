//! Lookup tables and logins: from the files that `[maps]` names, else from `[directory]` with the
//! article's filters.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use waypost_config::{Config, Scope};
use waypost_ldap::Table;
use waypost_ldap::attrs::Accounts;
use waypost_ldap::server::{Bind, Server};
use waypost_ldap3::Client;
use waypost_machine::Secret;
use waypost_route::Map;
use waypost_world::directory::{Directory, Ldif};
use waypost_world::{Logins, Source};

use crate::files::{self, ConfigFile};
use crate::ground::Ground;
use crate::server::StartError;

/// Everything that asks a directory.
pub(crate) struct Tables {
    pub(crate) maps: BTreeMap<Map, Source>,
    pub(crate) logins: Option<Logins>,
    /// Its thread runs as long as this lives.
    pub(crate) client: Option<Client>,
}

/// Reads them.
pub(crate) fn read(file: &ConfigFile, ground: &Ground) -> Result<Tables, StartError> {
    let mut sources = Sources::new(file, ground)?;
    let mut maps = BTreeMap::new();
    let named = &file.config.maps;
    for (map, path) in [
        (Map::AliasDomains, &named.virtual_alias_domains),
        (Map::Aliases, &named.virtual_alias_maps),
        (Map::Mailboxes, &named.virtual_mailbox_maps),
        (Map::Uids, &named.virtual_uid_maps),
        (Map::Gids, &named.virtual_gid_maps),
        (Map::SenderLogins, &named.smtpd_sender_login_maps),
    ] {
        if let Some(source) = sources.source(map, path.as_deref())? {
            maps.insert(map, source);
        }
    }
    let logins = sources.logins()?;
    Ok(Tables { maps, logins, client: sources.client })
}

struct Sources<'f> {
    file: &'f ConfigFile,
    /// Answers for every table.
    one: Option<Arc<dyn Directory>>,
    client: Option<Client>,
    /// Of `directory.bind_dn`.
    password: Option<Secret<String>>,
}

impl<'f> Sources<'f> {
    fn new(file: &'f ConfigFile, ground: &Ground) -> Result<Self, StartError> {
        let directory = &file.config.directory;
        let one = match &directory.ldif {
            _ if ground.directory.is_some() => ground.directory.clone(),
            Some(path) => {
                let clock = Arc::clone(&ground.clock);
                let path = file.at(path);
                // Passwords may stand in it as they are when nobody else can read it.
                let closed = !files::exposed(&path);
                Some(Arc::new(Ldif::open(path, closed, clock)?) as Arc<dyn Directory>)
            }
            None => None,
        };
        let password = directory.ldap.as_ref().and_then(|ldap| ldap.bind_pw_file.as_deref());
        let password = password.map(|path| files::secret(&file.at(path))).transpose()?;
        Ok(Self { file, one, client: None, password })
    }

    fn config(&self) -> &'f Config {
        &self.file.config
    }

    /// A table, out of its file or made; `None` where there is neither.
    fn source(&mut self, map: Map, path: Option<&str>) -> Result<Option<Source>, StartError> {
        let table = match path {
            Some(path) => {
                let path = self.file.at(path);
                let table = Table::parse(&path.display().to_string(), &files::text(&path)?)?;
                note(&path, table.notes.iter().map(ToString::to_string));
                table
            }
            None if self.has_directory() => self.made_table(map)?,
            // Group ids are then those of the user map; senders are free.
            None if matches!(map, Map::Gids | Map::SenderLogins) => return Ok(None),
            None => {
                let name = map.name();
                return Err(
                    format!("{name}: name its file in [maps], or set up [directory]").into()
                );
            }
        };
        let directory = self.directory(&table.server)?;
        Ok(Some(Source { table: Arc::new(table), directory }))
    }

    fn logins(&mut self) -> Result<Option<Logins>, StartError> {
        let accounts = match &self.config().maps.dovecot_ldap {
            Some(path) => {
                let path = self.file.at(path);
                let accounts = Accounts::parse(&path.display().to_string(), &files::text(&path)?)?;
                note(&path, accounts.notes.iter().map(ToString::to_string));
                accounts
            }
            None if self.has_directory() => self.made_accounts()?,
            None => return Ok(None),
        };
        let directory = self.directory(&accounts.server)?;
        let by_address = self.config().auth.login_by_address;
        Ok(Some(Logins { accounts: Arc::new(accounts), directory, by_address }))
    }

    fn has_directory(&self) -> bool {
        self.one.is_some() || self.config().directory.ldap.is_some()
    }

    /// The LDIF file, when there is one, answers for every table.
    fn directory(&mut self, server: &Server) -> Result<Arc<dyn Directory>, StartError> {
        if let Some(one) = &self.one {
            return Ok(Arc::clone(one));
        }
        if self.client.is_none() {
            self.client = Some(Client::start()?);
        }
        let client = self.client.as_ref().expect("invariant: made just now");
        Ok(client.directory(server)?)
    }

    fn made_table(&self, map: Map) -> Result<Table, StartError> {
        let (filter, attribute, format) = match map {
            Map::AliasDomains => {
                ("mailacceptinggeneralid=*@%s", "mailacceptinggeneralid", "%d".into())
            }
            Map::Aliases => ("mailacceptinggeneralid=%s", "maildrop", "%s".into()),
            Map::Mailboxes => ("maildrop=%s", "homeDirectory", self.mailbox_format()?),
            Map::Uids => ("maildrop=%s", "uidNumber", "%s".into()),
            Map::Gids => ("maildrop=%s", "gidNumber", "%s".into()),
            Map::SenderLogins => {
                ("(|(mailacceptinggeneralid=%s)(maildrop=%s))", "uid", "%s".into())
            }
            Map::MailboxDomains => return Err("virtual_mailbox_domains is a list".into()),
        };
        let directory = &self.config().directory;
        let timeout = directory.timeout.as_secs().max(1).to_string();
        let mut text = settings(&[
            ("version", "3"),
            ("search_base", &directory.search_base),
            ("scope", directory.scope.word()),
            ("timeout", &timeout),
            ("query_filter", filter),
            ("result_attribute", attribute),
            ("result_format", &format),
        ])?;
        if let Some(ldap) = &directory.ldap {
            text += &settings(&[
                ("server_host", &ldap.server_host.join(" ")),
                ("start_tls", yes(ldap.start_tls)),
                ("tls_ca_cert_file", &self.path(ldap.tls_ca_cert_file.as_deref())),
            ])?;
        }
        let mut table = Table::parse(&format!("[directory] for {}", map.name()), &text)?;
        table.name = map.name().into();
        table.server.bind = self.bind();
        Ok(table)
    }

    fn made_accounts(&self) -> Result<Accounts, StartError> {
        let directory = &self.config().directory;
        let scope = match directory.scope {
            Scope::Sub => "subtree",
            Scope::One => "onelevel",
            Scope::Base => "base",
        };
        let mut text = settings(&[
            ("ldap_version", "3"),
            ("base", &directory.search_base),
            ("scope", scope),
            ("auth_bind", "yes"),
            ("user_filter", &directory.user_filter),
            ("pass_filter", &directory.user_filter),
        ])?;
        if let Some(dn) = &directory.auth_bind_userdn {
            text += &settings(&[("auth_bind_userdn", dn)])?;
        }
        match &directory.ldap {
            Some(ldap) => {
                text += &settings(&[
                    ("uris", &ldap.server_host.join(" ")),
                    ("tls", yes(ldap.start_tls)),
                    ("tls_ca_cert_file", &self.path(ldap.tls_ca_cert_file.as_deref())),
                ])?;
            }
            None => text += &settings(&[("uris", "ldap://localhost")])?,
        }
        let mut accounts = Accounts::parse("[directory] for logins", &text)?;
        accounts.server.timeout = directory.timeout;
        accounts.server.bind = self.bind();
        Ok(accounts)
    }

    /// Delivery puts mail where IMAP reads it.
    fn mailbox_format(&self) -> Result<String, StartError> {
        let location = &self.config().mail.mail_location;
        match location.strip_prefix("~/").map(|rest| rest.trim_end_matches('/')) {
            Some(rest) if !rest.contains('%') => Ok(format!("%s/{rest}/")),
            _ => Err(
                "mail.mail_location: write \"maildir:~/...\", or name maps.virtual_mailbox_maps"
                    .into(),
            ),
        }
    }

    fn bind(&self) -> Bind {
        let dn = self.config().directory.ldap.as_ref().and_then(|ldap| ldap.bind_dn.as_deref());
        match (dn, &self.password) {
            (Some(dn), Some(password)) => {
                Bind::Simple { dn: dn.into(), password: password.clone() }
            }
            _ => Bind::Anonymous,
        }
    }

    fn path(&self, path: Option<&str>) -> String {
        path.map_or_else(PathBuf::new, |path| self.file.at(path)).display().to_string()
    }
}

fn note(path: &std::path::Path, notes: impl Iterator<Item = String>) {
    for note in notes {
        tracing::debug!(target: "waypost", "{}: {note}", path.display());
    }
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

/// Lines of a settings file; empty values are left out.
fn settings(pairs: &[(&str, &str)]) -> Result<String, StartError> {
    let mut text = String::new();
    for (name, value) in pairs {
        if value.contains(['\n', '\r']) {
            return Err(format!("[directory] {name}: holds a line end").into());
        }
        if !value.is_empty() {
            let _ = writeln!(text, "{name} = {value}");
        }
    }
    Ok(text)
}
#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use waypost_world::ManualClock;

    /// Reads tables out of a configuration in a directory of its own.
    fn tables(dir: &Path, text: &str) -> Result<Tables, String> {
        let path = dir.join("waypost.toml");
        fs::write(&path, format!("hostname = 'mail.example.com'\n{text}")).unwrap();
        let file = ConfigFile::read(&path).map_err(|error| error.to_string())?;
        read(&file, &Ground::system(Arc::new(ManualClock::new(0))))
            .map_err(|error| error.to_string())
    }

    fn problem(dir: &Path, text: &str) -> String {
        tables(dir, text).err().expect("this configuration is wrong")
    }

    #[test]
    fn an_ldif_file_answers_for_every_table() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.ldif"), "dn: dc=example\nobjectClass: top\n").unwrap();
        let map =
            "server_host = ldap://elsewhere.test\nquery_filter = uid=%s\nsearch_base = dc=x\n";
        fs::write(dir.path().join("uids"), map).unwrap();
        let text = "[directory]\nldif = 'a.ldif'\nsearch_base = 'dc=example'\n\
                    [maps]\nvirtual_uid_maps = 'uids'\n[auth]\nlogin_by_address = true\n";
        let made = tables(dir.path(), text).unwrap();
        assert_eq!(made.maps.len(), 6);
        assert!(made.logins.is_some_and(|logins| logins.by_address));
        assert!(made.client.is_none(), "no LDAP client is needed");
        assert!(made.maps[&Map::Uids].table.name.ends_with("/uids"));
        assert_eq!(made.maps[&Map::Aliases].table.name, "virtual_alias_maps");
    }

    #[test]
    fn an_ldap_server_with_a_password() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        fs::write(&password, " se#cret \n").unwrap();
        let text = "[directory]\nserver_host = ['ldap://127.0.0.1:1', 'ldaps://127.0.0.1:2']\n\
                    start_tls = false\nbind_dn = 'cn=reader'\nbind_pw_file = 'password'\n\
                    search_base = 'dc=example'\ntimeout = '3s'\n";
        assert!(problem(dir.path(), text).contains("password: readable by others"));
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        let made = tables(dir.path(), text).unwrap();
        let server = &made.maps[&Map::Mailboxes].table.server;
        assert_eq!((server.places.len(), server.timeout.as_secs()), (2, 3));
        let bind =
            Bind::Simple { dn: "cn=reader".into(), password: Secret::new(" se#cret ".into()) };
        assert_eq!(server.bind, bind);
        assert_eq!(made.logins.unwrap().accounts.server.bind, bind);
        assert!(made.client.is_some());
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let nothing = problem(dir.path(), "");
        assert_eq!(
            nothing,
            "virtual_alias_domains: name its file in [maps], or set up [directory]"
        );
        let absent = problem(dir.path(), "[maps]\nvirtual_alias_domains = '/absent'\n");
        assert!(absent.starts_with("/absent: "), "{absent}");
        fs::write(dir.path().join("a.ldif"), "dn: dc=example\nobjectClass: top\n").unwrap();
        let location = "[directory]\nldif = 'a.ldif'\nsearch_base = 'dc=example'\n[mail]\nmail_location = 'maildir:/var/%u'\n";
        assert!(problem(dir.path(), location).starts_with("mail.mail_location: write"));
        fs::write(dir.path().join("map"), "server_hots = ldap://x\n").unwrap();
        let wrong = problem(dir.path(), "[maps]\nvirtual_alias_domains = 'map'\n");
        assert!(wrong.contains("map:1"), "{wrong}");
    }

    #[test]
    fn values_stay_on_their_lines() {
        assert!(settings(&[("search_base", "dc=x\nbind = no")]).is_err());
        assert_eq!(settings(&[("a", "b"), ("c", "")]).unwrap(), "a = b\n");
    }
}
