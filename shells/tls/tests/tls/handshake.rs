//! Every level against every kind of certificate, by real handshakes.

use std::sync::Arc;

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};
use rustls::HandshakeKind;
use waypost_dns::{Answer, Failure, Found, Kind, Record};
use waypost_machine::TlsInfo;
use waypost_mail::Enhanced;
use waypost_smtp::client::Tls;
use waypost_tls::{Fingerprint, Level};
use waypost_tls_client::{Handshake, Refusal, Security, Settings, Trust};

use crate::common::{
    Authority, Identity, Names, Time, expired, host, policy, records, security, self_signed,
    self_signed_with, settings, with_entry,
};

const MX: &str = "mx.remote.test";

fn ready(settings: Settings) -> Arc<Security> {
    security(settings, &Names::default(), &Time::new())
}

fn greet(security: &Security) -> Handshake {
    let policy = policy(security, "remote.test");
    security.handshake(&policy, &host(MX, false), 25, None).expect("no refusal")
}

/// What a handshake comes to: trust, or the reason why not.
fn shake(security: &Security, server: &Identity) -> Result<Trust, String> {
    let handshake = greet(security);
    match server.shake(&handshake) {
        Ok(_) => {
            assert_eq!(handshake.seen.refusal(), None);
            Ok(handshake.seen.trust())
        }
        Err(_) => {
            let why = handshake.seen.refusal().expect("a reason");
            let why =
                why.strip_prefix("Server certificate not verified: ").expect("Postfix's words");
            assert_eq!(handshake.seen.complaint().as_deref(), Some(why));
            Err(why.into())
        }
    }
}

#[test]
fn certificates_by_level() {
    use Trust::{Trusted, Untrusted, Verified};
    let authority = Authority::new("Good CA");
    let stranger = Authority::new("Other CA");
    let good = authority.issue(&[MX]);
    let wildcard = authority.issue(&["*.remote.test"]);
    let domain = authority.issue(&["remote.test"]);
    let wrong_name = authority.issue(&["elsewhere.test", "b.test", "c.test", "d.test"]);
    let nameless = authority.issue(&[]);
    let late = authority.issue_with(&[MX], expired);
    let client_only = authority.issue_with(&[MX], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let wrong_authority = stranger.issue(&[MX]);
    let own = self_signed(&[MX]);
    // So does openssl req -x509.
    let own_authority = self_signed_with(&[MX], |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let no_host = "certificate is for elsewhere.test and 3 others, not for mx.remote.test";
    let no_domain =
        "certificate is for elsewhere.test and 3 others, not for remote.test or .remote.test";
    let unsuitable = "not designated for use as a server certificate";
    for (what, server, any, verify, secure) in [
        ("good", &good, Trusted, Ok(Verified), Ok(Verified)),
        ("wildcard", &wildcard, Trusted, Ok(Verified), Ok(Verified)),
        (
            "domain",
            &domain,
            Trusted,
            Err("certificate is for remote.test, not for mx.remote.test"),
            Ok(Verified),
        ),
        ("wrong name", &wrong_name, Trusted, Err(no_host), Err(no_domain)),
        (
            "no name",
            &nameless,
            Trusted,
            Err("certificate is for no name, not for mx.remote.test"),
            Err("certificate is for no name, not for remote.test or .remote.test"),
        ),
        (
            "expired",
            &late,
            Untrusted,
            Err("certificate has expired"),
            Err("certificate has expired"),
        ),
        ("client's", &client_only, Untrusted, Err(unsuitable), Err(unsuitable)),
        (
            "wrong CA",
            &wrong_authority,
            Untrusted,
            Err("untrusted issuer CN=Other CA"),
            Err("untrusted issuer CN=Other CA"),
        ),
        (
            "self-signed",
            &own,
            Untrusted,
            Err("self-signed certificate"),
            Err("self-signed certificate"),
        ),
        (
            "self-signed authority",
            &own_authority,
            Untrusted,
            Err("self-signed certificate"),
            Err("self-signed certificate"),
        ),
    ] {
        let got = |level| shake(&ready(settings(level, &authority)), server);
        assert_eq!(got(Level::May), Ok(any), "{what}, may");
        assert_eq!(got(Level::Encrypt), Ok(any), "{what}, encrypt");
        assert_eq!(got(Level::Verify), verify.map_err(str::to_owned), "{what}, verify");
        assert_eq!(got(Level::Secure), secure.map_err(str::to_owned), "{what}, secure");
    }
}

#[test]
fn an_authority_of_nobody_is_no_authority() {
    let own = Authority::new("mx.remote.test");
    let server = own.issue(&[MX]);
    let other = Authority::new("Good CA");
    let got = shake(&ready(settings(Level::Verify, &other)), &server);
    assert_eq!(got, Err("untrusted issuer CN=mx.remote.test".into()));
    let mut settings = settings(Level::Verify, &other);
    settings.authorities = waypost_tls_client::Authorities::default();
    let got = shake(&ready(settings), &other.issue(&[MX]));
    assert_eq!(got, Err("untrusted issuer CN=Good CA".into()));
}

#[test]
fn a_certificate_without_its_key_proves_nothing() {
    let authority = Authority::new("CA");
    let real = authority.issue(&[MX]);
    let entry = format!("fingerprint match={}", real.leaf());
    for thief in [Identity::thief(&real), Identity::thief(&real).old()] {
        let why = "the server's signature is not good";
        let strict = [Level::Verify, Level::Secure].map(|level| settings(level, &authority));
        for settings in strict.into_iter().chain([with_entry(&entry, &authority)]) {
            assert_eq!(shake(&ready(settings), &thief), Err(why.to_owned()));
        }
        let answer = records(vec![tlsa(3, 1, real.key(0))], true);
        let told = dane(&thief, "dane", &answer).unwrap_err();
        assert!(told.ends_with(why), "{told}");
        // Where nobody asks, it is not worse than any other.
        let got = shake(&ready(settings(Level::Encrypt, &authority)), &thief);
        assert_eq!(got, Ok(Trust::Untrusted));
    }
}

#[test]
fn old_servers() {
    let authority = Authority::new("CA");
    let ready = |level| ready(settings(level, &authority));
    let good = authority.issue(&[MX]).old();
    assert_eq!(shake(&ready(Level::Verify), &good), Ok(Trust::Verified));
    assert_eq!(shake(&ready(Level::May), &good), Ok(Trust::Trusted));
    for (protocol, signature) in [("TLSv1.2", ""), ("TLSv1.3", "ECDSA P-256 SHA256")] {
        let handshake = greet(&ready(Level::May));
        let server = if signature.is_empty() { &good } else { &authority.issue(&[MX]) };
        server.shake(&handshake).expect("a handshake");
        let mut info = TlsInfo { protocol, ..TlsInfo::default() };
        handshake.seen.complete(&mut info);
        let told = format!("{} {} {}", info.signature, info.signature_key, info.digest);
        assert_eq!(told.trim(), signature);
    }
    let own = self_signed(&[MX]).old();
    assert!(shake(&ready(Level::Verify), &own).is_err());
    assert_eq!(shake(&ready(Level::May), &own), Ok(Trust::Untrusted));
}

#[test]
fn when_there_is_tls() {
    let authority = Authority::new("CA");
    for (level, tls) in [
        (Level::None, Tls::Never),
        (Level::May, Tls::IfOffered),
        (Level::Encrypt, Tls::Required),
        (Level::Dane, Tls::IfOffered),
        (Level::Verify, Tls::Required),
        (Level::Secure, Tls::Required),
    ] {
        let handshake = greet(&ready(settings(level, &authority)));
        assert_eq!(handshake.tls, tls, "{level}");
        assert_eq!(handshake.config.is_none(), level == Level::None);
        assert_eq!(&*handshake.server_name, MX);
        assert_eq!(handshake.seen.trust(), Trust::Untrusted, "before the handshake");
        assert_eq!(handshake.seen.complaint(), None);
    }
}

#[test]
fn fingerprints() {
    let authority = Authority::new("CA");
    let (server, other) = (self_signed(&["whatever.test"]), self_signed(&[MX]));
    for known in [server.leaf(), server.key(0)] {
        let ready = ready(with_entry(&format!("fingerprint match={known}"), &authority));
        assert_eq!(shake(&ready, &server), Ok(Trust::Verified));
        let (leaf, key) = (other.leaf(), other.key(0));
        let why = format!("fingerprint {leaf}, of the key {key}, is not known");
        assert_eq!(shake(&ready, &other), Err(why));
    }
}

#[test]
fn names_of_an_entry() {
    let authority = Authority::new("CA");
    let server = authority.issue(&["relay.isp.test"]);
    for (entry, good) in [
        ("secure match=.isp.test", true),
        ("secure match=hostname:relay.isp.test", true),
        ("verify match=nexthop", false),
        ("verify", false),
    ] {
        let got = shake(&ready(with_entry(entry, &authority)), &server);
        assert_eq!(got.is_ok(), good, "{entry}: {got:?}");
    }
    let ready = ready(with_entry("verify servername=nexthop", &authority));
    let good = authority.issue(&[MX]);
    let (_, asked) = good.shake(&greet(&ready)).expect("a handshake");
    assert_eq!(asked.as_deref(), Some("remote.test"));
}

#[test]
fn a_host_without_a_name() {
    let authority = Authority::new("CA");
    let server = authority.issue(&["192.0.2.25"]);
    let ready = ready(settings(Level::Verify, &authority));
    let policy = policy(&ready, "[192.0.2.25]:587");
    let by_address = ready.handshake(&policy, &host("192.0.2.25", false), 587, None).unwrap();
    assert_eq!(server.shake(&by_address), Ok((HandshakeKind::Full, None)));
    assert_eq!(by_address.seen.trust(), Trust::Verified);
    // A name that is none in TLS: nothing is asked for, nobody panics.
    let odd = ready.handshake(&policy, &host("-mx..test", false), 25, None).unwrap();
    assert_eq!(&*odd.server_name, "192.0.2.25");
}

#[test]
fn sessions_stay_with_what_was_wanted() {
    let authority = Authority::new("CA");
    let server = authority.issue(&[MX]);
    let time = Time::new();
    let mut both = settings(Level::May, &authority);
    both.table.add("strict.test", waypost_tls::Entry::parse("verify").unwrap()).unwrap();
    let security = security(both, &Names::default(), &time);
    let kind = |nexthop: &str, name: &str| {
        let policy = policy(&security, nexthop);
        let handshake = security.handshake(&policy, &host(name, false), 25, None).unwrap();
        let (kind, _) = server.shake(&handshake).expect("a handshake");
        (kind, handshake.seen.trust())
    };
    let (full, resumed) = (HandshakeKind::Full, HandshakeKind::Resumed);
    assert_eq!(kind("remote.test", MX), (full, Trust::Trusted));
    assert_eq!(kind("remote.test", MX), (resumed, Trust::Trusted));
    assert_eq!(kind("strict.test", MX), (full, Trust::Verified), "another level");
    assert_eq!(kind("strict.test", MX), (resumed, Trust::Verified));
    assert_eq!(kind("remote.test", "MX2.remote.test"), (full, Trust::Trusted), "another host");
    assert_eq!(kind("third.test", MX), (full, Trust::Trusted), "another destination");
    time.pass(3600);
    assert_eq!(kind("strict.test", MX), (full, Trust::Verified), "an hour later");
}

#[test]
fn connections_at_once_do_not_share_what_they_saw() {
    let authority = Authority::new("CA");
    let ready = ready(settings(Level::May, &authority));
    let (first, second) = (greet(&ready), greet(&ready));
    authority.issue(&[MX]).shake(&first).expect("a handshake");
    self_signed(&[MX]).shake(&second).expect("a handshake");
    assert_eq!(first.seen.trust(), Trust::Trusted);
    assert_eq!(second.seen.trust(), Trust::Untrusted);
}

fn tlsa(usage: u8, selector: u8, hash: Fingerprint) -> Record {
    let text = hash.to_string();
    let pairs = text.split(':').map(|pair| u8::from_str_radix(pair, 16).expect("hex"));
    Record::Tlsa { usage, selector, matching: 1, data: pairs.collect() }
}

fn dane(server: &Identity, entry: &str, answer: &Answer) -> Result<(Trust, Level), String> {
    let ready = ready(with_entry(entry, &Authority::new("CA")));
    let policy = policy(&ready, "remote.test");
    let secure_host = host(MX, true);
    let question = Security::tlsa_question(&policy, &secure_host, 25).expect("a question");
    assert_eq!(question.to_string(), "name=_25._tcp.mx.remote.test type=TLSA");
    let handshake = ready
        .handshake(&policy, &secure_host, 25, Some(answer))
        .map_err(|Refusal { reason, .. }| reason.to_string())?;
    let shaken = server.shake(&handshake);
    shaken.map_err(|_| handshake.seen.refusal().expect("a reason"))?;
    Ok((handshake.seen.trust(), handshake.level))
}

#[test]
fn tlsa_records() {
    let (authority, stranger) = (Authority::new("CA 1"), Authority::new("CA 2"));
    let good = authority.issue(&[MX]);
    let late = authority.issue_with(&["elsewhere.test"], expired);
    let domain = authority.issue(&["remote.test"]);
    let wrong_name = authority.issue(&["elsewhere.test"]);
    let whole = Record::Tlsa {
        usage: 2,
        selector: 0,
        matching: 0,
        data: (*authority.certificate()).into(),
    };
    let anchor = Fingerprint::of(&authority.certificate());
    let foreign = Fingerprint::of(&stranger.certificate());
    let none = "certificate fits none of the TLSA records";
    let not_for = "certificate is for elsewhere.test, not for mx.remote.test or remote.test";
    for (what, server, record, want) in [
        ("3 1 1", &good, tlsa(3, 1, good.key(0)), Ok(())),
        ("3 0 1", &good, tlsa(3, 0, good.leaf()), Ok(())),
        ("3 1 1, name and date do not count", &late, tlsa(3, 1, late.key(0)), Ok(())),
        ("3 1 1 of another", &good, tlsa(3, 1, late.key(0)), Err(none)),
        ("3 0 1 of the authority", &good, tlsa(3, 0, anchor), Err(none)),
        ("2 0 1", &good, tlsa(2, 0, anchor), Ok(())),
        ("2 1 1", &good, tlsa(2, 1, good.key(1)), Ok(())),
        ("2 0 0", &good, whole, Ok(())),
        ("2 0 1, the domain's name", &domain, tlsa(2, 0, anchor), Ok(())),
        ("2 0 1 of another", &good, tlsa(2, 0, foreign), Err(none)),
        ("2 0 1, wrong name", &wrong_name, tlsa(2, 0, anchor), Err(not_for)),
        ("2 0 1, expired", &late, tlsa(2, 0, anchor), Err("certificate has expired")),
    ] {
        for level in ["dane", "dane-only"] {
            let got = dane(server, level, &records(vec![record.clone()], true));
            let want = want
                .map(|()| (Trust::Verified, level.parse().unwrap()))
                .map_err(|why| format!("Server certificate not verified: {why}"));
            assert_eq!(got, want, "{level} {what}");
        }
    }
    // One of several is enough.
    let several = vec![tlsa(3, 1, late.key(0)), tlsa(2, 0, foreign), tlsa(3, 1, good.key(0))];
    assert!(dane(&good, "dane", &records(several, true)).is_ok());
}

#[test]
fn without_usable_records() {
    let server = self_signed(&[MX]);
    let unusable = vec![tlsa(1, 1, server.key(0))];
    let wrong = vec![tlsa(3, 1, self_signed(&[MX]).key(0))];
    let nothing = |authentic| Answer { found: Found::NoData, authentic, ttl: 60 };
    let any = |level| Ok((Trust::Untrusted, level));
    let lookup = "TLSA lookup error for mx.remote.test:25";
    for (what, answer, opportunistic, only) in [
        (
            "unusable",
            records(unusable, true),
            any(Level::Encrypt),
            "no usable TLSA records for mx.remote.test:25",
        ),
        ("none", nothing(true), any(Level::May), "no TLSA records found for mx.remote.test:25"),
        (
            "insecure",
            records(wrong, false),
            any(Level::May),
            "non DNSSEC destination for mx.remote.test:25",
        ),
        ("bogus", Answer::unavailable(Failure::ServFail), Err(lookup.to_owned()), lookup),
        ("silence", Answer::unavailable(Failure::Silence), Err(lookup.to_owned()), lookup),
    ] {
        assert_eq!(dane(&server, "dane", &answer), opportunistic, "{what}");
        assert_eq!(dane(&server, "dane-only", &answer), Err(only.to_owned()), "{what}");
    }
}

#[test]
fn hosts_that_nobody_vouches_for() {
    let authority = Authority::new("CA");
    for (entry, want) in [("dane", Some(Level::May)), ("dane-only", None)] {
        let ready = ready(with_entry(entry, &authority));
        let policy = policy(&ready, "remote.test");
        let plain = host(MX, false);
        assert_eq!(Security::tlsa_question(&policy, &plain, 25), None);
        let got = ready.handshake(&policy, &plain, 25, None);
        assert_eq!(got.as_ref().map(|greeting| greeting.level).ok(), want);
        if let Err(refusal) = got {
            assert_eq!(refusal.status, Enhanced(4, 7, 5));
            assert_eq!(&*refusal.reason, "non DNSSEC destination for mx.remote.test:25");
        }
        // Whoever forgets to ask learns nothing: the host waits.
        assert!(ready.handshake(&policy, &host(MX, true), 25, None).is_err());
    }
}

#[test]
fn prepare_asks_by_itself() {
    let names = Names::default();
    let server = self_signed(&[]);
    let record = tlsa(3, 1, server.key(0));
    names.set("_465._tcp.mx.remote.test", Kind::Tlsa, records(vec![record], true));
    let security = security(with_entry("dane", &Authority::new("CA")), &names, &Time::new());
    let policy = Arc::new(policy(&security, "remote.test"));
    let (sender, receiver) = std::sync::mpsc::channel();
    security.prepare(policy, host(MX, true), 465, move |got| sender.send(got).unwrap());
    let handshake = receiver.recv().unwrap().unwrap();
    server.shake(&handshake).expect("a handshake");
    assert_eq!((handshake.seen.trust(), names.count(Kind::Tlsa)), (Trust::Verified, 1));
}
