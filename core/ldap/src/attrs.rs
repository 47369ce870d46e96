//! Dovecot's LDAP settings (`dovecot-ldap.conf.ext`): who may log in, and where their mail is.
//!
//! Dovecot 2.3 reads one such file for its passdb and its userdb. The differences to it:
//!
//! - An unset `tls_require_cert` means `hard`.
//! - `%{ldap:attribute}` of an attribute that the entry lacks leaves the field out, unless a default
//!   is written (`%{ldap:attribute:default}`). Dovecot puts nothing in its place, so that
//!   `=home=/srv%{ldap:homeDirectory}` becomes the home `/srv` of everybody without one.
//! - Placeholders may only stand in values of filters and names.
//! - Of the variables, `%u %n %d` and their long names are there, `L` and `U` before them for case.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::attr;
use crate::dn::Scope;
use crate::entry::Entry;
use crate::filter::Filter;
use crate::search::{Deref, Outcome, Search};
use crate::server::{self, Bind, Server};
use crate::settings::{Format, Problem, Problems, Reader};
use crate::table::LookupError;
use crate::template::{DnTemplate, FilterTemplate, Language, Subject, Template, Values};

/// The settings of a passdb and userdb.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Where the directory is.
    pub server: Server,
    /// Remarks about the settings.
    pub notes: Vec<Problem>,
    /// Whether passwords are checked by binding as the user (`auth_bind`).
    pub auth_bind: bool,
    /// The scheme of passwords that name none (`default_pass_scheme`), in upper case.
    pub default_pass_scheme: String,
    bind_name: Option<BindName>,
    base: DnTemplate,
    scope: Scope,
    deref: Deref,
    user_filter: FilterTemplate,
    user_attrs: Vec<Field>,
    pass_filter: FilterTemplate,
    pass_attrs: Vec<Field>,
    iterate_filter: Filter,
    iterate_attrs: Vec<Field>,
}

/// Fields by Dovecot's names: `home`, `uid`, `gid`, `mail`, `user`, `password`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All fields, in the order of the settings.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// How to bind as a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindAs {
    /// With this name.
    Name(String),
    /// With the name of the one entry that this search finds, see [`one`].
    Find(Search),
    /// Not at all: no user has such a name.
    Nobody,
}

/// One item of `user_attrs` or `pass_attrs`.
#[derive(Clone, Debug)]
struct Field {
    /// Empty for an attribute that is only asked for.
    name: String,
    /// The attribute; empty for one made of the template alone.
    attribute: String,
    template: Option<Template>,
}

/// `auth_bind_userdn`: a name, or what Active Directory takes in place of one.
#[derive(Clone, Debug)]
enum BindName {
    Name(DnTemplate),
    /// `%u@corp.example` or `CORP\%u`
    Text(Template),
}

const KNOWN: &[&str] = &[
    "hosts",
    "uris",
    "dn",
    "dnpass",
    "sasl_bind",
    "sasl_mech",
    "sasl_realm",
    "sasl_authz_id",
    "tls",
    "tls_ca_cert_file",
    "tls_ca_cert_dir",
    "tls_cert_file",
    "tls_key_file",
    "tls_cipher_suite",
    "tls_require_cert",
    "ldaprc_path",
    "debug_level",
    "auth_bind",
    "auth_bind_userdn",
    "ldap_version",
    "base",
    "deref",
    "scope",
    "user_attrs",
    "user_filter",
    "pass_attrs",
    "pass_filter",
    "iterate_attrs",
    "iterate_filter",
    "default_pass_scheme",
    "blocking",
];

const USER_ATTRS: &str = "homeDirectory=home,uidNumber=uid,gidNumber=gid";
const USER_FILTER: &str = "(&(objectClass=posixAccount)(uid=%u))";

impl Accounts {
    /// Reads a settings file. `file` is how errors call it.
    ///
    /// # Errors
    /// All that is wrong in the file, with line and setting.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let mut r = Reader::new(file, text, Format::Dovecot, KNOWN);
        let server = read_server(&mut r);
        if r.filled("base").is_none() {
            r.bad("base", "must be set");
        }
        let base = r.text("base").unwrap_or_default();
        let base = DnTemplate::parse(&base, Language::User).unwrap_or_else(|error| {
            r.bad("base", &error.to_string());
            DnTemplate::default()
        });
        let scopes = ["base", "onelevel", "one", "subtree", "sub"];
        let scope = [Scope::Base, Scope::One, Scope::One, Scope::Sub, Scope::Sub]
            [r.choice("scope", &scopes, 3)];
        let derefs = ["never", "searching", "finding", "always"];
        let deref = [Deref::Never, Deref::Searching, Deref::Finding, Deref::Always]
            [r.choice("deref", &derefs, 0)];
        let iterate = r.or("iterate_filter", "(objectClass=posixAccount)");
        let iterate_filter = Filter::parse(&iterate).unwrap_or_else(|error| {
            r.bad("iterate_filter", &error.to_string());
            Filter::Or(Vec::new())
        });
        let scheme = r.or("default_pass_scheme", "CRYPT");
        let accounts = Self {
            server,
            notes: Vec::new(),
            auth_bind: r.flag("auth_bind", false),
            default_pass_scheme: scheme.to_ascii_uppercase(),
            bind_name: bind_name(&mut r),
            base,
            scope,
            deref,
            user_filter: filter(&mut r, "user_filter"),
            user_attrs: fields(&mut r, "user_attrs", USER_ATTRS),
            pass_filter: filter(&mut r, "pass_filter"),
            pass_attrs: fields(&mut r, "pass_attrs", "uid=user,userPassword=password"),
            iterate_filter,
            iterate_attrs: fields(&mut r, "iterate_attrs", "uid=user"),
        };
        Ok(Self { notes: r.finish()?, ..accounts })
    }

    /// How to bind as this user, to check a password.
    pub fn bind_as(&self, user: &str) -> BindAs {
        let found = match &self.bind_name {
            None => self.password_search(user).map(BindAs::Find),
            Some(name) => name.fill(user).map(BindAs::Name),
        };
        found.unwrap_or(BindAs::Nobody)
    }

    /// The search for a user's home, ids and mail; `None` when no user has such a name.
    pub fn user_search(&self, user: &str) -> Option<Search> {
        self.search(user, &self.user_filter, &self.user_attrs)
    }

    /// The search for a user's name and password; `None` when no user has such a name.
    pub fn password_search(&self, user: &str) -> Option<Search> {
        let mut search = self.search(user, &self.pass_filter, &self.pass_attrs)?;
        if self.auth_bind {
            // The password stays where it is.
            let secret = |field: &&Field| field.name == "password";
            let of_password: Vec<&str> =
                self.pass_attrs.iter().filter(secret).map(|f| f.attribute.as_str()).collect();
            search.attributes.retain(|name| !of_password.contains(&name.as_str()));
            if search.attributes.is_empty() {
                // RFC 4511 4.5.1.8: no attributes, where an empty list would mean all.
                search.attributes.push("1.1".into());
            }
        }
        Some(search)
    }

    /// The search for all users.
    pub fn iterate(&self) -> Search {
        let values = Values::of(Subject::user(""));
        Search {
            base: self.base.fill(&values).unwrap_or(crate::Dn { rdns: Vec::new() }),
            scope: self.scope,
            filter: self.iterate_filter.clone(),
            attributes: attributes(&self.iterate_attrs),
            size_limit: 0,
            deref: self.deref,
        }
    }

    /// What the entry of a user says: `home`, `uid`, `gid` and what else the settings name.
    pub fn user_fields(&self, user: &str, entry: &Entry) -> Fields {
        read(&self.user_attrs, user, entry)
    }

    /// What the entry says about the login: `user` (the name to go on with), `password`, and fields
    /// that begin with `userdb_`.
    pub fn password_fields(&self, user: &str, entry: &Entry) -> Fields {
        let mut fields = read(&self.pass_attrs, user, entry);
        if self.auth_bind {
            fields.0.retain(|(name, _)| name != "password");
        }
        fields
    }

    /// The user's name in an entry found by [`Accounts::iterate`].
    pub fn iterated_user(&self, entry: &Entry) -> Option<String> {
        read(&self.iterate_attrs, "", entry).get("user").map(ToString::to_string)
    }

    fn search(&self, user: &str, filter: &FilterTemplate, fields: &[Field]) -> Option<Search> {
        let values = Values::of(Subject::user(user));
        Some(Search {
            base: self.base.fill(&values)?,
            scope: self.scope,
            filter: filter.fill(&values)?,
            attributes: attributes(fields),
            // Two are enough to see that the name is not unique.
            size_limit: 2,
            deref: self.deref,
        })
    }
}

/// The one entry that a search for a user found; `None` when there is none.
///
/// # Errors
/// The directory's failure, or [`LookupError::Ambiguous`] when more than one entry fits: which of
/// them is meant cannot be known.
pub fn one(outcome: Outcome) -> Result<Option<Entry>, LookupError> {
    match outcome {
        Outcome::Unavailable(why) => Err(LookupError::Unavailable(why)),
        Outcome::NoSuchBase => Err(LookupError::NoSuchBase("of the users".into())),
        Outcome::Entries { entries, more } if more || entries.len() > 1 => {
            Err(LookupError::Ambiguous(entries.len()))
        }
        Outcome::Entries { mut entries, .. } => Ok(entries.pop()),
    }
}

fn read_server(r: &mut Reader) -> Server {
    let places = match (r.words("uris"), r.words("hosts")) {
        (Some(uris), None) => server::places(r, "uris", uris, 389),
        (None, Some(hosts)) => server::places(r, "hosts", hosts, 389),
        (Some(uris), Some(_)) => {
            r.note("hosts", "does not count beside uris");
            server::places(r, "uris", uris, 389)
        }
        (None, None) => {
            r.bad("uris", "must be set");
            Vec::new()
        }
    };
    let checks = ["never", "allow", "try", "hard", "demand"];
    let verify = r.choice("tls_require_cert", &checks, 3) >= 2;
    if !verify {
        r.note("tls_require_cert", "the directory's certificate is not checked");
    }
    if r.number("ldap_version", 3, 2..=3) == 2 {
        r.note("ldap_version", "3 is spoken");
    }
    r.ignored(&["tls_cipher_suite", "ldaprc_path", "debug_level", "blocking"], "is ignored");
    let bind = if r.flag("sasl_bind", false) {
        if !r.text("sasl_mech").is_some_and(|m| m.eq_ignore_ascii_case("EXTERNAL")) {
            r.bad("sasl_mech", "only EXTERNAL can be used");
        }
        r.ignored(&["sasl_realm"], "is ignored");
        Bind::External { authorize: r.filled("sasl_authz_id").unwrap_or_default() }
    } else {
        server::simple(r, "dn", "dnpass")
    };
    let names = server::Names {
        ca_file: "tls_ca_cert_file",
        ca_dir: "tls_ca_cert_dir",
        cert: "tls_cert_file",
        key: "tls_key_file",
    };
    Server {
        places,
        start_tls: r.flag("tls", false),
        tls: server::tls(r, &names, verify),
        bind,
        timeout: Duration::from_secs(10),
        chase_referrals: false,
    }
}

fn filter(r: &mut Reader, name: &str) -> FilterTemplate {
    let text = r.or(name, USER_FILTER);
    FilterTemplate::parse(&text, Language::User).unwrap_or_else(|error| {
        r.bad(name, &error.to_string());
        FilterTemplate::default()
    })
}

fn bind_name(r: &mut Reader) -> Option<BindName> {
    let text = r.filled("auth_bind_userdn")?;
    let principal = !text.contains('=') && text.contains(['@', '\\']);
    let parsed = if principal {
        Template::parse(&text, Language::User).map(BindName::Text)
    } else {
        DnTemplate::parse(&text, Language::User).map(BindName::Name).map_err(|e| e.to_string())
    };
    match parsed {
        Ok(name) if name.is_dynamic() => Some(name),
        Ok(_) => {
            r.bad("auth_bind_userdn", "has no placeholder: everybody would log in as one");
            None
        }
        Err(error) => {
            r.bad("auth_bind_userdn", &error);
            None
        }
    }
}

impl BindName {
    fn is_dynamic(&self) -> bool {
        match self {
            Self::Name(name) => name.is_dynamic(),
            Self::Text(text) => text.is_dynamic(),
        }
    }

    fn fill(&self, user: &str) -> Option<String> {
        let values = Values::of(Subject::user(user));
        match self {
            Self::Name(name) => name.fill(&values).map(|dn| dn.to_string()),
            // What could make a distinguished name of it is no part of such a user's name.
            Self::Text(_) if user.is_empty() => None,
            Self::Text(_)
                if user.contains(|c: char| "=,;+\"<>\\#".contains(c) || c.is_control()) =>
            {
                None
            }
            Self::Text(text) => Some(text.fill_text(&values)),
        }
    }
}

/// Parses `ldap=field`, `=field=text`, `ldap=field=template`, `ldap`, `!ldap`.
fn fields(r: &mut Reader, name: &str, default: &str) -> Vec<Field> {
    let text = r.text(name).unwrap_or_else(|| default.into());
    let mut fields = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match field(item) {
            Ok(field) => fields.push(field),
            Err(error) => r.bad(name, &format!("'{item}': {error}")),
        }
    }
    fields
}

fn field(item: &str) -> Result<Field, String> {
    if item.starts_with('@') || item.contains("ldap_ptr") {
        return Err("entries that entries point to are not read".into());
    }
    let (attribute, rest) = match item.split_once('=') {
        Some((attribute, rest)) => (attribute.trim(), rest),
        None => match item.strip_prefix('!') {
            Some(attribute) => (attribute, ""),
            None => (item, item),
        },
    };
    let (field, template) = match rest.split_once('=') {
        Some((field, template)) => (field.trim(), Some(template)),
        None if attribute.is_empty() => (rest.trim(), Some("")),
        None => (rest.trim(), None),
    };
    if !attribute.is_empty() && !attr::valid(attribute) {
        return Err(format!("'{attribute}' is not an attribute name"));
    }
    if field.is_empty() && !item.starts_with('!') {
        return Err("names no field".into());
    }
    if field.contains('%') {
        return Err("a field's name cannot have placeholders".into());
    }
    let template = match template {
        None => None,
        // A text without placeholders stands before the value.
        Some(text) if !text.contains('%') && !attribute.is_empty() => {
            Some(Template::parse(&format!("{text}%$"), Language::Field)?)
        }
        Some(text) => Some(Template::parse(text, Language::Field)?),
    };
    Ok(Field { name: field.to_string(), attribute: attribute.to_string(), template })
}

/// All attributes that the fields read.
fn attributes(fields: &[Field]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for field in fields {
        let inner = field.template.iter().flat_map(Template::attributes);
        for name in inner.chain([field.attribute.as_str()]).filter(|name| !name.is_empty()) {
            if !names.iter().any(|known| attr::same(known, name)) {
                names.push(name.to_string());
            }
        }
    }
    names
}

fn read(fields: &[Field], user: &str, entry: &Entry) -> Fields {
    let mut found = Vec::new();
    for field in fields.iter().filter(|field| !field.name.is_empty()) {
        let value = entry.text(&field.attribute);
        if value.is_none() && !field.attribute.is_empty() {
            continue;
        }
        let text = match &field.template {
            None => value.map(ToString::to_string),
            Some(template) => {
                let value = value.map(Subject::user);
                let values = Values { key: Subject::user(user), value, entry: Some(entry) };
                template.is_complete(&values).then(|| template.fill_text(&values))
            }
        };
        if let Some(text) = text {
            found.push((field.name.clone(), text));
        }
    }
    Fields(found)
}
