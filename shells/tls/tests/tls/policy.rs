//! From next hops to policies.

use waypost_dns::Kind;
use waypost_tls::{Level, Origin};
use waypost_tls_client::Authorities;

use crate::common::{Authority, Names, Time, policy, security, self_signed, settings, with_entry};

#[test]
fn origin_is_told() {
    let authority = Authority::new("CA");
    let time = Time::new();
    let mut settings = with_entry("encrypt until=2026-11-22", &authority);
    settings.table.add("[relay.test]:587", waypost_tls::Entry::parse("secure").unwrap()).unwrap();
    let security = security(settings, &Names::default(), &time);
    let told = |nexthop| policy(&security, nexthop).to_string();
    assert_eq!(told("remote.test"), "encrypt (smtp_tls_policy_maps, remote.test)");
    assert_eq!(told("[relay.test]:587"), "secure (smtp_tls_policy_maps, [relay.test]:587)");
    assert_eq!(told("[relay.test]"), "may (smtp_tls_security_level)");
    assert_eq!(told("no next:hop:"), "may (smtp_tls_security_level)");
    // The relaxation is over at midnight.
    time.pass(12 * 3600);
    let after = policy(&security, "remote.test");
    assert_eq!((after.level(), after.origin()), (Level::May, &Origin::Default));
}

#[test]
fn only_dane_is_probed() {
    let authority = Authority::new("CA");
    for (level, asked) in [(Level::Verify, 0), (Level::Dane, 1), (Level::DaneOnly, 1)] {
        let names = Names::default();
        security(settings(level, &authority), &names, &Time::new()).probe();
        assert_eq!(names.count(Kind::Txt), asked, "{level}");
    }
}

#[test]
fn authorities_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let pem = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let made = rcgen::generate_simple_self_signed(vec!["ca.test".into()]).unwrap();
    let good = pem("ca.pem", &made.cert.pem());
    assert_eq!(Authorities::load(Some(&good), None).unwrap().count(), 1);
    assert_eq!(Authorities::load(None, Some(folder.path())).unwrap().count(), 1);
    let empty = pem("empty.pem", "");
    let error = Authorities::load(Some(&empty), None).unwrap_err().to_string();
    assert!(error.contains("empty.pem: holds no usable certificate"), "{error}");
    let missing = folder.path().join("missing.pem");
    let error = Authorities::load(Some(&missing), None).unwrap_err().to_string();
    assert!(error.contains("missing.pem"), "{error}");
    let one = self_signed(&["a.test"]).chain;
    assert_eq!(Authorities::of([one[0].clone(), b"junk".to_vec().into()]).count(), 1);
}
