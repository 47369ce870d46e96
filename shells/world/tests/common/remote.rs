//! Other servers: they take all mail, and it can be looked at.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use waypost_mail::Enhanced;
use waypost_queue::{Diagnosis, SiteState};
use waypost_smtp::client::Read;
use waypost_world::carrier::{Carried, Carrier, Consignment, Fate, Passed};

/// What another server got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) nexthop: String,
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) text: String,
}

/// Takes everything, but for recipients whose name begins with `reject`.
pub(crate) struct Everywhere {
    to: Mutex<mpsc::Sender<Got>>,
}

/// A carrier, and what it carries.
pub(crate) fn everywhere() -> (Arc<Everywhere>, Deliveries) {
    let (to, from) = mpsc::channel();
    (Arc::new(Everywhere { to: Mutex::new(to) }), Deliveries(from))
}

pub(crate) struct Deliveries(mpsc::Receiver<Got>);

impl Deliveries {
    pub(crate) fn next(&self) -> Got {
        self.0.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

impl Carrier for Everywhere {
    fn carry(&self, consignment: Consignment, done: Box<dyn FnOnce(Carried) + Send>) {
        let to = self.to.lock().unwrap().clone();
        let _ = std::thread::spawn(move || {
            let mail = &consignment.mail;
            let text = read(&consignment);
            assert_eq!(text.len() as u64, mail.size);
            let got = Got {
                nexthop: consignment.nexthop.to_string(),
                sender: mail.sender.to_string(),
                recipients: mail.recipients.iter().map(|it| it.address.to_string()).collect(),
                text,
            };
            let passed = Passed {
                fate: Fate::Sent { notifies: true },
                diagnosis: Arc::new(Diagnosis::own(Enhanced(2, 0, 0), "250 2.0.0 Ok")),
                relay: "mx.test[192.0.2.9]:25".into(),
                delays: [Duration::ZERO; 2],
            };
            let refused = Passed {
                fate: Fate::Failed,
                diagnosis: Arc::new(Diagnosis::own(Enhanced(5, 1, 1), "550 5.1.1 User unknown")),
                ..passed.clone()
            };
            let answer = |to: &String| match to.starts_with("reject") {
                true => refused.clone(),
                false => passed.clone(),
            };
            let recipients = got.recipients.iter().map(answer).collect();
            done(Carried { recipients, site: SiteState::Alive });
            // Nobody may want to look any more.
            let _ = to.send(got);
        });
    }
}

/// Reads a body in pieces of an odd length.
fn read(consignment: &Consignment) -> String {
    let mut text = Vec::new();
    loop {
        let (to, from) = mpsc::channel();
        let done = Box::new(move |read| to.send(read).unwrap());
        consignment.body.read(text.len() as u64, 37, done);
        let Read::Block { bytes, end } = from.recv().unwrap() else { panic!("unreadable") };
        text.extend_from_slice(&bytes);
        if end {
            return String::from_utf8(text).unwrap();
        }
    }
}
