//! The three messages of a golden listing, and a spool that holds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use waypost_machine::UnixTime;
use waypost_mail::{Address, Body, Delivery, Enhanced, Reply, ReversePath, Target};
use waypost_queue::{Diagnosis, Entry, Origin, Waiting};

const UNKNOWN_CODE: &str =
    "451 4.3.0 <defer@remote.test>: Temporary lookup failure (in reply to RCPT TO command)";

pub(super) fn at(secs: i64) -> UnixTime {
    UnixTime { secs, nanos: 0 }
}

fn waiting(to: &str, orig_to: &str, last: Option<Diagnosis>) -> Waiting {
    let address = |text| Address::parse(text).unwrap();
    let target = Target::Remote;
    let delivery = Delivery { to: address(to), orig_to: address(orig_to), target };
    let mut waiting = Waiting::new(delivery, None, None, at(1_795_334_190));
    waiting.attempts = u32::from(last.is_some());
    waiting.last = last.map(Arc::new);
    waiting
}

fn entry(id: &str, arrived: i64, size: u64, recipients: Vec<Waiting>) -> Entry {
    let origin = Origin {
        queue_id: id.into(),
        arrived: at(arrived),
        sender: ReversePath::Address(Address::parse("mail001@example.com").unwrap()),
        size,
        message_id: "<stuck@client.example.net>".into(),
        checksum: None,
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
        login: Some("mail001".into()),
        head: Box::default(),
    };
    Entry::new(origin, recipients)
}

/// As in the listing of Postfix that these were taken from; the last one waits for a second
/// recipient that was not tried yet.
pub(super) fn entries() -> Vec<Entry> {
    let tls = "TLS is required, but was not offered by host localhost[127.0.0.1]";
    let reply = Reply::new(
        451,
        Enhanced(4, 3, 0),
        UNKNOWN_CODE.strip_prefix("451 4.3.0 ").unwrap().split(" (in").next().unwrap(),
    );
    let said = Diagnosis::said("localhost", "127.0.0.1", &reply, "(in reply to RCPT TO command)");
    let own = |status, text: &str| Some(Diagnosis::own(status, text));
    let notls = waiting("someone@notls.test", "stuck@example.com", own(Enhanced(4, 7, 4), tls));
    let selfsigned = waiting(
        "someone@selfsigned.test",
        "someone@selfsigned.test",
        own(Enhanced(4, 7, 5), "Server certificate not verified"),
    );
    let defer = waiting("defer@remote.test", "defer@remote.test", Some(said));
    let other = waiting("other@remote.test", "other@remote.test", None);
    let mut held = entry("0C1D6142003", 1_795_333_899, 549, vec![selfsigned]);
    held.held = true;
    vec![
        entry("00DC1142012", 1_795_333_907, 533, vec![defer, other]),
        held,
        entry("77AF0142071", 1_795_333_890, 527, vec![notls]),
    ]
}

/// A message of so many octets.
pub(super) fn body(size: u64) -> Vec<u8> {
    let mut body = b"Subject: \xFF\r\n\r\n".to_vec();
    body.resize(usize::try_from(size).unwrap(), b'x');
    body
}

/// A configuration, and the spool that it names with the three messages in it.
pub(super) fn spool(dir: &Path) -> PathBuf {
    let config = dir.join("waypost.toml");
    let text = "hostname = 'mail.example.com'\n[spool]\ndirectory = 'spool'\n[log]\nfile = 'log'\n";
    fs::write(&config, text).unwrap();
    fs::create_dir(dir.join("spool")).unwrap();
    fs::write(dir.join("log"), "postfix/qmgr[1]: 77AF0142071: from=<mail001@example.com>\n")
        .unwrap();
    for entry in entries() {
        let path = dir.join("spool").join(&*entry.origin.queue_id);
        fs::write(path.with_extension("entry"), entry.encode()).unwrap();
        fs::write(path.with_extension("body"), body(entry.origin.size)).unwrap();
    }
    config
}
