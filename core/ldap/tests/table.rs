//! ldap_table(5): settings, limits, groups, errors.

mod common;

use common::{query, run, table, tree};
use waypost_ldap::server::Bind;
use waypost_ldap::table::LookupError;
use waypost_ldap::{Entry, Outcome, Scope, Table};

fn entry(dn: &str, values: &[(&str, &str)]) -> Entry {
    let mut entry = Entry::new(dn).unwrap();
    for (name, value) in values {
        entry.push(name, *value);
    }
    entry
}

#[test]
fn reads_the_connection() {
    let table = common::map("virtual_alias_maps");
    assert!(table.notes.is_empty());
    assert_eq!(table.server.places[0].to_string(), "ldap://127.0.0.1:3389");
    assert!(table.server.start_tls && table.server.tls.verify);
    assert_eq!(table.server.tls.ca_file.as_deref(), Some("/srv/mail/tls/CA.pem"));
    let Bind::Simple { dn, password } = &table.server.bind else { panic!("bind") };
    assert_eq!(dn, "cn=mailAccountReader,ou=Manager,dc=example,dc=com");
    assert_eq!(password.expose(), "reader-secret");
    assert!(!format!("{table:?}").contains("reader-secret"));
    assert_eq!(table.server.timeout.as_secs(), 10);
}

#[test]
fn reads_everything_else() {
    let text = "server_host = ldap1 ldap2:1444,\n  ldaps://ldap3 ldapi://%2Frun%2Fldapi\n\
        server_port = 778\ntimeout = 5\nsearch_base = ou=%2, dc=%1\nscope = ONE\n\
        query_filter = (&(mail=%s)(paid=true))\nresult_attribute = mailbox, maildrop\n\
        special_result_attribute = member\nleaf_result_attribute = mail\n\
        terminal_result_attribute = relay\nexpansion_limit = 3\nsize_limit = 7\n\
        recursion_limit = 2\ndereference = 3\nchase_referrals = 1\nversion = 2\ndebuglevel = -1\n\
        tls_ca_cert_dir = /ca\ntls_cert = /c\ntls_key = /k\ntls_require_cert = no\n\
        tls_cipher_suite = HIGH\nbind = sasl\nsasl_mechs = EXTERNAL\ncache = yes\n";
    let table = Table::parse("t", text).unwrap();
    let places: Vec<String> = table.server.places.iter().map(ToString::to_string).collect();
    let expected =
        ["ldap://ldap1:778", "ldap://ldap2:1444", "ldaps://ldap3:636", "ldapi://%2Frun%2Fldapi"];
    assert_eq!(places, expected);
    assert_eq!(table.server.bind, Bind::External { authorize: String::new() });
    assert!(table.server.chase_referrals && !table.server.tls.verify);
    let search = table.search("a@mail.example.com").unwrap();
    assert_eq!(search.base.to_string(), "ou=example,dc=com");
    assert_eq!((search.scope, search.size_limit), (Scope::One, 7));
    assert_eq!(search.filter.to_string(), "(&(mail=a@mail.example.com)(paid=true))");
    assert_eq!(search.attributes, ["relay", "mail", "mailbox", "maildrop", "member"]);
    let noted: Vec<&str> = table.notes.iter().map(|n| n.setting.as_str()).collect();
    let expected = ["tls_require_cert", "version", "cache", "tls_cipher_suite", "debuglevel"];
    assert_eq!(noted, expected);
}

#[test]
fn wrong_settings_are_named() {
    let bad = |text: &str| Table::parse("maps/x", text).unwrap_err().to_string();
    let base = "search_base = dc=x\nbind = no\n";
    let one = |line: &str| bad(&format!("{base}{line}\n"));
    assert_eq!(
        one("query_fliter = (uid=%s)"),
        "maps/x:3: query_fliter: unknown setting; did you mean 'query_filter'?"
    );
    assert_eq!(
        one("query_filter = (uid=%s"),
        "maps/x:3: query_filter: ')' is missing at character 8"
    );
    assert!(one("query_filter = (uid=%x)").contains("'%x' is not known"));
    assert!(one("query_filter = (%s)").starts_with("maps/x:3: query_filter:"));
    assert!(one("query_filter = (%s=a)").contains("'%s' is not an attribute name"));
    assert!(one("result_format = %").contains("write '%%'"));
    assert!(one("server_host = http://x").contains("must begin with ldap://"));
    assert!(one("scope = subtree").contains("must be one of: base, one, sub"));
    assert!(one("domain = hash:/etc/x").contains("only domain names"));
    assert!(one("result_attribute = a(b").contains("not an attribute name"));
    assert!(one("result_attribute =").contains("nothing could be found"));
    assert!(bad("bind = no\n").contains("maps/x:0: search_base: must be set"));
    let no_password = bad("search_base = dc=x\nbind_dn = cn=a\n");
    assert!(no_password.contains("maps/x:2: bind_dn: is set without a password"));
    let no_name = bad("search_base = dc=x\nbind_pw = hunter2\n");
    assert!(no_name.contains("bind_pw") && !no_name.contains("hunter2"));
    assert!(bad("search_base = dc=x\nbind = sasl\n").contains("only EXTERNAL"));
}

#[test]
fn keys_that_cannot_be_there_are_not_asked() {
    let asked = |settings: &str, key: &str| {
        table(settings).search(key).map(|search| search.filter.to_string())
    };
    assert_eq!(asked("query_filter = (a=%u)", "@x.org"), None);
    assert_eq!(asked("query_filter = (a=%u)", "joe").unwrap(), "(a=joe)");
    assert_eq!(asked("query_filter = (a=%d)", "joe"), None);
    assert_eq!(asked("query_filter = (a=%d)", "joe@"), None);
    assert_eq!(asked("query_filter = (a=%s)", ""), None);
}

#[test]
fn parts_of_the_key() {
    let asked = |settings: &str, key: &str| {
        table(settings).search(key).map(|search| search.filter.to_string())
    };
    let all = "query_filter = (|(a=%s)(b=%u)(c=%d)(d=%S)(e=%U)(f=%D)(g=%1%2)(h=100%%))";
    let expected =
        "(|(a=u@v@m.x.org)(b=u@v)(c=m.x.org)(d=u@v@m.x.org)(e=u@v)(f=m.x.org)(g=orgx)(h=100%))";
    assert_eq!(asked(all, "u@v@m.x.org").unwrap(), expected);
    assert_eq!(asked("query_filter = (a=%3)", "u@x.org"), None);
    assert_eq!(asked("query_filter = (a=%2)", "u@.org"), None);
    // What the result needs of the key decides, too.
    assert_eq!(asked("query_filter = (a=%s)\nresult_format = %D", "joe"), None);
    assert_eq!(asked("query_filter = (a=%s)\nresult_format = %d", "joe").unwrap(), "(a=joe)");
    let listed = "query_filter = (a=%s)\ndomain = x.org, Y.org";
    assert_eq!(asked(listed, "joe@y.org").unwrap(), "(a=joe@y.org)");
    for key in ["joe", "x.org", "@x.org", "joe@z.org", "joe@sub.x.org"] {
        assert_eq!(asked(listed, key), None, "{key}");
    }
}

#[test]
fn results_are_formatted_and_skipped() {
    let tree =
        tree("dn: uid=a,dc=example,dc=com\nuid: a\nmail: a@x.org\nmail: plain\nmail: @y.org\n");
    let ask = |format: &str| {
        let settings =
            format!("query_filter = uid=%u\nresult_attribute = mail\nresult_format = {format}");
        query(&table(&settings), &tree, "a@k.net").unwrap()
    };
    assert_eq!(ask("%s"), ["a@x.org", "plain", "@y.org"]);
    assert_eq!(ask("%d"), ["x.org", "y.org"]);
    assert_eq!(ask("%u"), ["a", "plain"]);
    assert_eq!(ask("smtp:[%s]%%"), ["smtp:[a@x.org]%", "smtp:[plain]%", "smtp:[@y.org]%"]);
    assert_eq!(ask("%U=%D=%1:%d"), ["a=k.net=net:x.org", "a=k.net=net:y.org"]);
    let old = table("query_filter = uid=%s\nresult_attribute = uid\nresult_filter = <%s>");
    assert_eq!(query(&old, &tree, "a").unwrap(), ["<a>"]);
}

const GROUPS: &str = "\
dn: cn=all,dc=example,dc=com
cn: all
objectClass: groupOfNames
mail: all@x.org
member: cn=some,dc=example,dc=com
member: uid=c,dc=example,dc=com
member: uid=gone,dc=example,dc=com
member: ldap:///dc=example,dc=com?mail?sub?(uid=d)

dn: cn=some,dc=example,dc=com
cn: some
objectClass: groupOfNames
member: uid=a,dc=example,dc=com
member: uid=b,dc=example,dc=com

dn: uid=a,dc=example,dc=com
uid: a
objectClass: account
mail: a@x.org

dn: uid=b,dc=example,dc=com
uid: b
objectClass: account
mail: b@x.org

dn: uid=c,dc=example,dc=com
uid: c
objectClass: account
mail: c@x.org
maildrop: c@y.org

dn: uid=d,dc=example,dc=com
uid: d
objectClass: account
mail: d@x.org

dn: cn=loop,dc=example,dc=com
cn: loop
objectClass: groupOfNames
member: cn=loop,dc=example,dc=com
member: cn=loop,dc=example,dc=com

dn: cn=remote,dc=example,dc=com
cn: remote
objectClass: groupOfNames
maildrop: remote@lists.org
member: uid=a,dc=example,dc=com
";

#[test]
fn groups_are_followed_in_order() {
    let tree = tree(GROUPS);
    let base = "query_filter = cn=%s\nspecial_result_attribute = member\n";
    let ask = |more: &str, key: &str| query(&table(&format!("{base}{more}")), &tree, key);
    let members = ["a@x.org", "b@x.org", "c@x.org", "d@x.org"];
    assert_eq!(ask("result_attribute =\nleaf_result_attribute = mail", "all").unwrap(), members);
    let with_own = ["all@x.org", "a@x.org", "b@x.org", "c@x.org", "d@x.org"];
    assert_eq!(ask("result_attribute = mail", "all").unwrap(), with_own);
    let terminal = "result_attribute = mail\nterminal_result_attribute = maildrop";
    assert_eq!(ask(terminal, "remote").unwrap(), ["remote@lists.org"]);
    assert_eq!(ask(terminal, "all").unwrap()[3], "c@y.org");
}

#[test]
fn groups_that_contain_themselves_end() {
    let tree = tree(GROUPS);
    let base = "query_filter = cn=%s\nspecial_result_attribute = member\nresult_attribute = mail\n";
    let ask = |more: &str| query(&table(&format!("{base}{more}")), &tree, "loop");
    assert_eq!(ask(""), Err(LookupError::RecursionLimit("member".into(), 1000)));
    let shallow = ask("recursion_limit = 2");
    assert_eq!(shallow, Err(LookupError::RecursionLimit("member".into(), 2)));
    // Wide rather than deep.
    let mut wide = entry("cn=all,dc=example,dc=com", &[]);
    for n in 0..2000 {
        wide.push("member", format!("cn=m{n},dc=example,dc=com"));
    }
    let all = table(base);
    let (result, searches) = run(all.lookup("all"), |search| {
        let top = search.base.rdns.len() == 2;
        Outcome::all(if top { vec![wide.clone()] } else { vec![] })
    });
    assert_eq!((result, searches.len()), (Err(LookupError::TooManySearches), 1000));
}

#[test]
fn limits_are_temporary_errors() {
    let tree = common::directory();
    let base = "query_filter = mailacceptinggeneralid=*@%s\nresult_attribute = uid\n";
    let ask = |more: &str| query(&table(&format!("{base}{more}")), &tree, "example.net");
    assert_eq!(ask("").unwrap(), ["mail000", "catchall"]);
    assert_eq!(ask("expansion_limit = 1\nsize_limit = 0"), Err(LookupError::ExpansionLimit(1)));
    assert_eq!(ask("size_limit = 1"), Err(LookupError::SizeLimit));
    assert_eq!(ask("expansion_limit = 1"), Err(LookupError::SizeLimit));
    assert_eq!(ask("expansion_limit = 2").unwrap().len(), 2);
}

#[test]
fn failures_are_never_absence() {
    let alias = common::map("virtual_alias_maps");
    let ask = |outcome: Outcome| run(alias.lookup("a@b"), move |_| outcome.clone()).0;
    let down = ask(Outcome::Unavailable("connection refused".into()));
    assert_eq!(down, Err(LookupError::Unavailable("connection refused".into())));
    let hidden = ask(Outcome::NoSuchBase);
    assert_eq!(hidden, Err(LookupError::NoSuchBase("ou=Mail,dc=example,dc=com".into())));
    assert_eq!(ask(Outcome::all(vec![])), Ok(vec![]));
    let text = ask(Outcome::all(vec![{
        let mut e = entry("uid=a,dc=x", &[]);
        e.push("maildrop", vec![0xff]);
        e
    }]));
    assert_eq!(text, Err(LookupError::NotText("maildrop".into(), "uid=a,dc=x".into())));
    let by_key = table("query_filter = a=%s\nsearch_base = dc=%1");
    let absent = run(by_key.lookup("a@b"), |_| Outcome::NoSuchBase).0;
    assert_eq!(absent, Ok(vec![]));
    let nested = table("query_filter = a=%s\nspecial_result_attribute = member");
    let bad = entry("cn=x,dc=y", &[("member", "nobody")]);
    let result = run(nested.lookup("k"), |_| Outcome::all(vec![bad.clone()])).0;
    assert!(matches!(result, Err(LookupError::BadReference(_))), "{result:?}");
}

#[test]
fn one_entry_tells_that_a_domain_is_hosted() {
    let tree = common::directory();
    let domains = common::map("virtual_alias_domains");
    let (found, searches) = run(domains.exists("example.com"), |search| tree.search(search));
    assert!(!found.unwrap().is_empty());
    assert_eq!(searches.iter().map(|s| s.size_limit).collect::<Vec<_>>(), [1]);
    // The one entry has no value of use: only then all are read.
    let odd = entry("uid=x,dc=y", &[("mailacceptinggeneralid", "x")]);
    let good = entry("uid=z,dc=y", &[("mailacceptinggeneralid", "z@example.com")]);
    let (found, searches) = run(domains.exists("example.com"), |search| match search.size_limit {
        1 => Outcome::Entries { entries: vec![odd.clone()], more: true },
        _ => Outcome::all(vec![odd.clone(), good.clone()]),
    });
    assert_eq!((found.unwrap(), searches.len()), (vec!["example.com".to_string()], 2));
    // The server's own limit matters only where one entry is not enough.
    let (found, _) = run(domains.exists("example.com"), |_| Outcome::Entries {
        entries: vec![good.clone()],
        more: true,
    });
    assert_eq!(found.unwrap(), ["example.com"]);
    let (none, _) = run(domains.lookup("example.com"), |_| Outcome::Entries {
        entries: vec![good.clone()],
        more: true,
    });
    assert_eq!(none, Err(LookupError::SizeLimit));
}
