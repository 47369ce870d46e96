//! LDIF by example: RFC 2849 and its faults.

use waypost_ldap::ldif::{LdifFault, parse, write};

fn fault(text: &str) -> (usize, LdifFault) {
    let error = parse(text.as_bytes()).unwrap_err();
    (error.line, error.kind)
}

#[test]
fn reads_the_forms_of_rfc_2849() {
    let text = "version: 1\r\n# a comment\r\n  that is folded\r\ndn: cn=Barbara Jensen, ou=Product\r\n  Development, dc=airius, dc=com\r\n\
        objectclass:top\r\ncn: Barbara Jensen\r\ndescription:: V2hhdCBhIGNhcmVmdWwgcmVhZGVyIHlvdSBhcmUh\r\nempty:\r\nCN: Babs\r\n\
        \r\n\r\n# between\r\ndn:: b3U95Za25qWt6YOoLG89QWlyaXVz\r\nou: x\r\nou: a\r\n b\r\n";
    let entries = parse(text.as_bytes()).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        entries[0].dn.to_string(),
        "cn=Barbara Jensen,ou=Product Development,dc=airius,dc=com"
    );
    assert_eq!(entries[0].text("description"), Some("What a careful reader you are!"));
    assert_eq!(entries[0].values("cn").count(), 2);
    assert_eq!(entries[0].text("empty"), Some(""));
    assert_eq!(entries[1].dn.to_string(), "ou=営業部,o=Airius");
    assert_eq!(entries[1].values("ou").collect::<Vec<_>>(), [b"x".as_slice(), b"ab"]);
    assert_eq!(parse(b"").unwrap(), []);
    assert_eq!(parse("\u{feff}dn: a=b\na: b".as_bytes()).unwrap().len(), 1);
}

#[test]
fn faults_name_the_line() {
    assert_eq!(fault("cn: x\n"), (1, LdifFault::NoDn));
    assert_eq!(fault("dn: a=b\na: b\n\n\ncn: x\n"), (5, LdifFault::NoDn));
    assert_eq!(fault("dn: a=b\na: b\ndn: c=d\n"), (3, LdifFault::SecondDn));
    assert_eq!(fault("dn: a=b\n\n"), (1, LdifFault::Empty));
    assert_eq!(fault("dn: a=b\na: b\nno colon\n"), (3, LdifFault::NoColon("no colon".into())));
    assert_eq!(fault("dn: a=b\na b: c\n"), (2, LdifFault::Attribute("a b".into())));
    assert_eq!(
        fault("dn: a=b\njpegPhoto:< file:///etc/passwd\n"),
        (2, LdifFault::Url("jpegPhoto".into()))
    );
    assert_eq!(fault("dn: a=b\na:: ???\n"), (2, LdifFault::Base64("a".into())));
    assert_eq!(fault("version: 2\ndn: a=b\na: b\n"), (1, LdifFault::Version("2".into())));
    assert_eq!(fault("\n x\n"), (2, LdifFault::Continuation));
    assert_eq!(
        fault("dn: a=b\nchangetype: add\na: b\n"),
        (2, LdifFault::Change("changetype".into()))
    );
    assert_eq!(fault("dn:: /w==\na: b\n"), (1, LdifFault::NotUtf8));
    assert!(matches!(fault("dn: nobody\na: b\n"), (1, LdifFault::Dn(_))));
    let url = parse(b"dn: a=b\nx:< file:///y\n").unwrap_err().to_string();
    assert_eq!(url, "line 2: 'x:<' names a URL; values must stand in this file");
}

#[test]
fn writes_what_rfc_2849_allows() {
    let entries = parse("dn: a=b\na: ok\na:: IHg=\na:: w6k=\n".as_bytes()).unwrap();
    assert_eq!(write(&entries), "version: 1\n\ndn: a=b\na: ok\na:: IHg=\na:: w6k=\n");
}
