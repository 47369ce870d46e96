//! Dovecot's passdb and userdb settings.

mod common;

use waypost_ldap::attrs::{Accounts, BindAs, one};
use waypost_ldap::server::Bind;
use waypost_ldap::table::LookupError;
use waypost_ldap::{Entry, Outcome, Scope};

fn reference() -> Accounts {
    let text = include_str!("data/dovecot/dovecot-ldap.conf.ext");
    Accounts::parse("dovecot-ldap.conf.ext", text).unwrap()
}

fn with(settings: &str) -> Accounts {
    let text = format!("uris = ldap://\nbase = ou=Mail,dc=example,dc=com\n{settings}");
    Accounts::parse("f", &text).unwrap()
}

fn wrong(settings: &str) -> String {
    let text = format!("uris = ldap://\nbase = ou=Mail,dc=example,dc=com\n{settings}");
    Accounts::parse("f", &text).unwrap_err().to_string()
}

fn fields(accounts: &Accounts, user: &str, entry: &Entry) -> Vec<(String, String)> {
    let fields = accounts.user_fields(user, entry);
    fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn the_article_s_settings() {
    let accounts = reference();
    assert_eq!(accounts.server.places[0].to_string(), "ldap://127.0.0.1:3389");
    assert!(accounts.server.start_tls && accounts.server.tls.verify && accounts.auth_bind);
    assert!(matches!(accounts.server.bind, Bind::Simple { .. }));
    assert_eq!(
        accounts.bind_as("mail000"),
        BindAs::Name("uid=mail000,ou=Mail,dc=example,dc=com".into())
    );
    let search = accounts.user_search("mail000").unwrap();
    assert_eq!(search.filter.to_string(), "(&(objectClass=posixAccount)(uid=mail000))");
    assert_eq!(search.base.to_string(), "ou=Mail,dc=example,dc=com");
    assert_eq!((search.scope, search.size_limit), (Scope::Sub, 2));
    assert_eq!(search.attributes, ["homeDirectory", "uidNumber", "gidNumber"]);

    let tree = common::directory();
    let entry = one(tree.search(&search)).unwrap().unwrap();
    let found = accounts.user_fields("mail000", &entry);
    assert_eq!(found.get("home"), Some("/home/mail/mail000"));
    assert_eq!((found.get("uid"), found.get("gid")), (Some("20000"), Some("20000")));
    for user in ["nobody", "team", "mail000@example.com", "*", "mail*"] {
        let search = accounts.user_search(user).unwrap();
        assert_eq!(one(tree.search(&search)), Ok(None), "{user}");
    }
    let users: Vec<String> = match tree.search(&accounts.iterate()) {
        Outcome::Entries { entries, .. } => {
            entries.iter().filter_map(|e| accounts.iterated_user(e)).collect()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(users, ["mail000", "mail001"]);
}

#[test]
fn names_cannot_change_what_is_asked() {
    let accounts = reference();
    assert_eq!(
        accounts.bind_as("x,ou=Admins"),
        BindAs::Name("uid=x\\,ou\\=Admins,ou=Mail,dc=example,dc=com".into())
    );
    let filter = accounts.user_search("x)(uid=*").unwrap().filter.to_string();
    assert_eq!(filter, "(&(objectClass=posixAccount)(uid=x\\29\\28uid=\\2A))");
    assert_eq!((accounts.bind_as(""), accounts.user_search("")), (BindAs::Nobody, None));
    let principal = with("auth_bind = yes\nauth_bind_userdn = %u@corp.example\n");
    assert_eq!(principal.bind_as("joe"), BindAs::Name("joe@corp.example".into()));
    assert_eq!(principal.bind_as("cn=admin,dc=x"), BindAs::Nobody);
    let domain = with("auth_bind_userdn = CORP\\%n\n");
    assert_eq!(domain.bind_as("joe@x"), BindAs::Name("CORP\\joe".into()));
}

#[test]
fn a_bind_without_template_needs_a_search() {
    let accounts = with(
        "auth_bind = yes\npass_filter = (mail=%Lu)\npass_attrs = uid=user,userPassword=password\n",
    );
    let BindAs::Find(search) = accounts.bind_as("Joe@X.org") else { panic!("search") };
    assert_eq!(search.filter.to_string(), "(mail=joe@x.org)");
    assert_eq!(search.attributes, ["uid"]);
    let plain = with("pass_attrs = userPassword=password\nauth_bind = yes\n");
    assert_eq!(plain.password_search("joe").unwrap().attributes, ["1.1"]);
    let read = with("default_pass_scheme = ssha\n");
    assert_eq!(read.password_search("joe").unwrap().attributes, ["uid", "userPassword"]);
    assert_eq!(read.default_pass_scheme, "SSHA");
    let mut entry = Entry::new("uid=joe,dc=x").unwrap();
    entry.push("uid", "joe");
    entry.push("userPassword", "{SSHA}x");
    let found = read.password_fields("JOE", &entry);
    assert_eq!((found.get("user"), found.get("password")), (Some("joe"), Some("{SSHA}x")));
    assert_eq!(accounts.password_fields("JOE", &entry).get("password"), None);
}

#[test]
fn fields_and_templates() {
    let mut entry = Entry::new("uid=joe,dc=x").unwrap();
    entry.push("homeDirectory", "/home/joe");
    entry.push("uidNumber", "1000");
    entry.push("quota", "100");
    let all = with(
        "user_attrs = homeDirectory=home, =mail=maildir:/srv/%d/%n, quota=quota_rule=*:bytes=%$, \
         =x=%{ldap:homeDirectory}/%{ldap:none:dflt}, uidNumber, homeDirectory=prefixed=/base, \
         !employeeType, =flag=, sn=surname, =y=%{ldap_dn}\n",
    );
    let expected = [
        ("home", "/home/joe"),
        ("mail", "maildir:/srv/x.org/joe"),
        ("quota_rule", "*:bytes=100"),
        ("x", "/home/joe/dflt"),
        ("uidNumber", "1000"),
        ("prefixed", "/base/home/joe"),
        ("flag", ""),
        ("y", "uid=joe,dc=x"),
    ];
    let expected: Vec<_> = expected.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    assert_eq!(fields(&all, "joe@x.org", &entry), expected);
    let asked = all.user_search("joe@x.org").unwrap().attributes;
    let names = ["homeDirectory", "quota", "none", "uidNumber", "employeeType", "sn"];
    assert_eq!(asked, names);
    // A home made of nothing would be everybody's.
    let based = with("user_attrs = =home=/srv%{ldap:homeDirectory},uidNumber=uid\n");
    let bare = Entry::new("uid=x,dc=y").unwrap();
    assert_eq!(fields(&based, "x", &bare), []);
    assert_eq!(based.user_fields("joe", &entry).get("home"), Some("/srv/home/joe"));
}

#[test]
fn two_entries_are_no_answer() {
    let entry = Entry::new("uid=x,dc=y").unwrap();
    let two = Outcome::all(vec![entry.clone(), entry.clone()]);
    assert_eq!(one(two), Err(LookupError::Ambiguous(2)));
    let cut = Outcome::Entries { entries: vec![entry.clone()], more: true };
    assert_eq!(one(cut), Err(LookupError::Ambiguous(1)));
    assert_eq!(one(Outcome::all(vec![entry.clone()])), Ok(Some(entry)));
    assert!(one(Outcome::NoSuchBase).is_err());
    assert!(one(Outcome::Unavailable("x".into())).is_err());
}

#[test]
fn wrong_settings_are_named() {
    assert_eq!(
        wrong("user_atrs = x"),
        "f:3: user_atrs: unknown setting; did you mean 'user_attrs'?"
    );
    assert!(
        wrong("user_filter = (uid=%s)").starts_with("f:3: user_filter: '%s' is not known here")
    );
    assert!(wrong("user_attrs = a=b=%{foo}").contains("'%foo' is not known here"));
    assert!(wrong("user_attrs = @x=y").contains("are not read"));
    assert!(wrong("user_attrs = a=").contains("names no field"));
    assert!(wrong("auth_bind_userdn = cn=admin,dc=x").contains("everybody would log in as one"));
    assert!(wrong("auth_bind_userdn = %u").contains("no '='"));
    assert!(wrong("scope = tree").contains("must be one of"));
    assert!(wrong("tls_require_cert = yes").contains("must be one of: never, allow, try, hard"));
    assert!(wrong("dn = cn=x").contains("silently be anonymous"));
    let nothing = Accounts::parse("f", "").unwrap_err().to_string();
    assert!(nothing.contains("uris: must be set") && nothing.contains("base: must be set"));
}
