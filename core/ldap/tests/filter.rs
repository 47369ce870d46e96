//! Filters by example: RFC 4515 4, faults, and what matches.

use waypost_ldap::filter::{FilterFault, MAX_DEPTH};
use waypost_ldap::{Entry, Filter};

fn entry() -> Entry {
    let mut entry = Entry::new("uid=mail000,ou=Mail,dc=example,dc=com").unwrap();
    for (name, value) in [
        ("objectClass", "posixAccount"),
        ("objectclass", "top"),
        ("uid", "mail000"),
        ("cn", "Babs  J. Jensen"),
        ("uidNumber", "20000"),
        ("homeDirectory", "/home/mail/mail000"),
        ("mailacceptinggeneralid", "Mail000@Example.com"),
        ("mailacceptinggeneralid", "@example.net"),
        ("cn;lang-de", "Bäbs"),
        ("userAccountControl", "514"),
    ] {
        entry.push(name, value);
    }
    entry
}

fn matches(filter: &str) -> bool {
    Filter::parse(filter).unwrap().matches(&entry())
}

#[test]
fn prints_what_the_rfc_shows() {
    for text in [
        "(cn=Babs Jensen)",
        "(!(cn=Tim Howes))",
        "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))",
        "(o=univ*of*mich*)",
        "(seeAlso=)",
        "(cn:caseExactMatch:=Fred Flintstone)",
        "(cn:=Betty Rubble)",
        "(sn:dn:2.4.6.8.10:=Barney Rubble)",
        "(o:dn:=Ace Industry)",
        "(:1.2.3:=Wilma Flintstone)",
        "(:dn:2.4.6.8.10:=Dino)",
        "(o=Parens R Us \\28for all your parenthetical needs\\29)",
        "(cn=*\\2A*)",
        "(filename=C:\\5CMyFile)",
        "(bin=\\00\\00\\00\\04)",
        "(sn=Lučić)",
        "(1.3.6.1.4.1.1466.0=\\04\\02Hi)",
        "(&)",
        "(|)",
        "(a>=1)",
        "(a<=1)",
        "(a~=1)",
        "(a=*)",
    ] {
        assert_eq!(Filter::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(Filter::parse(" ( & (a=b)\n (c= d ) ) ").unwrap().to_string(), "(&(a=b)(c= d ))");
    assert_eq!(Filter::parse("uid=x").unwrap().to_string(), "(uid=x)");
}

#[test]
fn faults_are_named() {
    let fault = |text: &str| Filter::parse(text).unwrap_err().kind;
    assert_eq!(fault(""), FilterFault::Open);
    assert_eq!(fault("(a=b"), FilterFault::Close);
    assert_eq!(fault("(&(a=b)"), FilterFault::Open);
    assert_eq!(fault("(a=b)x"), FilterFault::Trailing);
    assert_eq!(fault("(a=b))"), FilterFault::Trailing);
    assert_eq!(fault("a=b)"), FilterFault::Trailing);
    assert_eq!(fault("(ab)"), FilterFault::Operator);
    assert_eq!(fault("(!a=b)"), FilterFault::Open);
    assert_eq!(fault("(&a=b)"), FilterFault::Open);
    assert_eq!(fault("(a b=c)"), FilterFault::Attribute("a b".into()));
    assert_eq!(fault("(=c)"), FilterFault::Attribute(String::new()));
    assert_eq!(fault("(:=c)"), FilterFault::Attribute(String::new()));
    assert_eq!(fault("(a=\\2)"), FilterFault::Escape);
    assert_eq!(fault("(a=\\zz)"), FilterFault::Escape);
    assert_eq!(fault("(a=x**y)"), FilterFault::Stars);
    assert_eq!(fault("(a=**)"), FilterFault::Stars);
    assert_eq!(fault("(a>=x*)"), FilterFault::Star);
    assert_eq!(fault("(a=\0)"), FilterFault::Bare);
    assert_eq!(
        Filter::parse("(a=x)(b=y)").unwrap_err().to_string(),
        "text after the end of the filter at character 6"
    );
    let deep = |n: usize| "(!".repeat(n) + "(a=b)" + &")".repeat(n);
    assert!(Filter::parse(&deep(MAX_DEPTH - 1)).is_ok());
    assert_eq!(fault(&deep(MAX_DEPTH)), FilterFault::Depth);
    assert_eq!(fault(&deep(20_000)), FilterFault::Depth);
    assert_eq!(fault(&"a".repeat(100_000)), FilterFault::Length);
}

#[test]
fn matching() {
    for yes in [
        "(UID=MAIL000)",
        "(uid= mail000 )",
        "(cn=babs j. jensen)",
        "(cn=BÄBS)",
        "(objectClass=POSIXACCOUNT)",
        "(uidNumber=020000)",
        "(uidNumber>=9000)",
        "(uidNumber<=100000)",
        "(!(uidNumber>=100000))",
        "(mailacceptinggeneralid=*@example.net)",
        "(mailacceptinggeneralid=mail*@EXAMPLE.*)",
        "(mailacceptinggeneralid=m*0*0*com)",
        "(cn=babs*j. jensen)",
        "(uid~=Mail000)",
        "(homeDirectory=/home/mail/mail000)",
        "(&)",
        "(!(nothing=here))",
        "(ou:dn:=mail)",
        "(userAccountControl:1.2.840.113556.1.4.803:=2)",
        "(userAccountControl:1.2.840.113556.1.4.804:=3)",
        "(&(uid=mail000)(|(x=1)(uidNumber=20000)))",
    ] {
        assert!(matches(yes), "{yes}");
    }
    for no in [
        "(uid=mail00)",
        "(homeDirectory=/HOME/mail/mail000)",
        "(uidNumber=x)",
        "(!(uidNumber=x))",
        "(uidNumber=2*)",
        "(!(uidNumber=2*))",
        "(uidNumber>=100000)",
        "(mailacceptinggeneralid=*@ample.net)",
        "(mailacceptinggeneralid=m*0000*com)",
        "(mailacceptinggeneralid=mail000@example.com*mail000@example.com)",
        "(|)",
        "(ou=mail)",
        "(cn:1.2.3.4:=babs)",
        "(!(cn:1.2.3.4:=babs))",
        "(userAccountControl:1.2.840.113556.1.4.803:=3)",
        "(mail=*)",
    ] {
        assert!(!matches(no), "{no}");
    }
}
