//! The protocol over a real socket.

use std::sync::Mutex;
use std::sync::mpsc;

use bytes::Bytes;
use waypost_queue::{
    Command, Destination, Diagnosis, Listed, ListedDestination, Place, QueueId, Selection,
    Transport,
};
use waypost_world::Queued;

use super::*;
use crate::control::backend::{Each, Failed};
use crate::control::client::{AskError, Asked, ask};
use crate::control::protocol::{Ask, Which};
use crate::control::testing::entries;

/// Holds the three messages, and notes what it is told.
#[derive(Default)]
struct Fake {
    told: Mutex<Vec<Command>>,
    /// A listing waits for this.
    gate: Option<Mutex<mpsc::Receiver<()>>>,
}

impl Backend for Fake {
    fn relayhost(&self) -> Option<&str> {
        None
    }

    fn each(&self, selection: &Selection, each: Each<'_, Queued>) -> Result<(), Failed> {
        if let Some(gate) = &self.gate {
            gate.lock().unwrap().recv().map_err(|_| String::from("the gate is gone"))?;
        }
        for entry in entries() {
            let id = entry.origin.queue_id.parse().unwrap();
            if matches!(selection, Selection::Id(wanted) if *wanted != id) {
                continue;
            }
            let listed = Listed { id, place: Place::Active, next: None };
            each(Queued { listed, entry: entry.into() })?;
        }
        Ok(())
    }

    fn command(&self, command: Command) -> Result<usize, Failed> {
        self.told.lock().unwrap().push(command);
        Ok(7)
    }

    fn destinations(&self) -> Result<Vec<ListedDestination>, Failed> {
        let nexthop = "remote.test".into();
        let destination = Destination { transport: Transport::Smtp, nexthop };
        let why = Diagnosis::own(waypost_mail::Enhanced(4, 4, 1), "nobody there");
        let dead = Some(Arc::new(why));
        Ok(vec![ListedDestination { destination: destination.into(), window: 5, busy: 2, dead }])
    }

    fn body(&self, id: QueueId, each: Each<'_, Bytes>) -> Result<bool, Failed> {
        match id.as_str() {
            "broken" => Err(Failed::Own("disk on fire".into())),
            "long" => {
                for _ in 0..100 {
                    each(Bytes::from(vec![0xFE; 64 * 1024]))?;
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

struct Served {
    dir: tempfile::TempDir,
    fake: Arc<Fake>,
    control: Control,
}

fn served(fake: Fake) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(fake);
    let backend: Arc<dyn Backend + Send + Sync> = fake.clone();
    let control = Control::start(&dir.path().join("control"), backend).unwrap();
    Served { dir, fake, control }
}

impl Served {
    fn ask(&self, question: &Ask) -> (Result<usize, AskError>, Vec<Line>) {
        let (socket, spool) = (self.dir.path().join("control"), self.dir.path().join("none"));
        let asked = Asked { socket: &socket, spool: &spool, relayhost: None };
        let mut lines = Vec::new();
        let done = ask(&asked, question, &mut |line| {
            lines.push(line);
            Ok(())
        });
        (done, lines)
    }

    /// What comes back for these octets, as it comes.
    fn raw(&self, text: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.dir.path().join("control")).unwrap();
        stream.write_all(text).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn questions_and_answers() {
    let served = served(Fake::default());
    let (done, lines) = served.ask(&Ask::List(Which::All));
    assert_eq!(done.unwrap(), 3);
    let names: Vec<_> = lines
        .iter()
        .map(|line| match line {
            Line::Message(it) => (it.queue_name.as_str(), it.queue_id.as_str()),
            line => panic!("{line:?}"),
        })
        .collect();
    assert_eq!(
        names,
        [("active", "00DC1142012"), ("active", "0C1D6142003"), ("active", "77AF0142071")]
    );
    let (done, lines) = served.ask(&Ask::Destinations);
    assert_eq!((done.unwrap(), lines.len()), (3, 3));
    let Line::Destination(remote) = &lines[1] else { panic!("{lines:?}") };
    assert_eq!((remote.messages, remote.recipients, remote.busy), (1, 2, Some(2)));
    assert_eq!(remote.dead.as_deref(), Some("nobody there"));

    let (done, lines) = served.ask(&Ask::Body("long".into()));
    assert_eq!((done.unwrap(), lines.len()), (1, 100));
    assert_eq!(served.ask(&Ask::Body("none".into())).0.unwrap(), 0);
    let refused = served.ask(&Ask::Body("broken".into())).0.unwrap_err();
    assert_eq!(refused.to_string(), "disk on fire");
}

#[test]
fn commands_arrive() {
    let served = served(Fake::default());
    let id = || Which::Id("4gXy".into());
    for question in [
        Ask::Hold(Which::All),
        Ask::Release(Which::Nexthop("a.test".into())),
        Ask::Retry(id()),
        Ask::Expire(id()),
        Ask::Drop(id()),
    ] {
        assert_eq!(served.ask(&question).0.unwrap(), 7);
    }
    let one = || Selection::Id("4gXy".parse().unwrap());
    let expected = [
        Command::Hold(Selection::All),
        Command::Release(Selection::Nexthop("a.test".into())),
        Command::Retry(one()),
        Command::Expire(one()),
        Command::Drop(one()),
    ];
    assert_eq!(*served.fake.told.lock().unwrap(), expected);
}

#[test]
fn the_lines_as_they_are() {
    let served = served(Fake::default());
    for (question, answer) in [
        (r#"{"version":1,"ask":{"hold":"all"}}"#, r#"{"done":7}"#),
        (r#"{"version":1,"ask":{"retry":{"nexthop":"a.test"}}}"#, r#"{"done":7}"#),
        (r#"{"version":1,"ask":{"drop":{"id":"4gXy"}}}"#, r#"{"done":7}"#),
        (r#"{"version":1,"ask":{"drop":{"id":"../x"}}}"#, r#"{"error":"../x: not a queue id"}"#),
        (
            r#"{"version":2,"ask":{"dance":true}}"#,
            r#"{"error":"this server speaks version 1, not 2"}"#,
        ),
    ] {
        assert_eq!(served.raw(format!("{question}\n").as_bytes()), format!("{answer}\n"));
    }
    let endless = vec![b'['; 4000];
    for wrong in [&b""[..], b"\n", b"GET / HTTP/1.1\r\n", b"{\"version\":1}\n", b"\xFF\n", &endless]
    {
        let answer = served.raw(wrong);
        assert!(answer.starts_with("{\"error\":\""), "{answer}");
    }
}

#[test]
fn the_socket_is_for_its_owner_and_goes_with_the_server() {
    let served = served(Fake::default());
    let path = served.dir.path().join("control");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // One that a crash left is replaced; anything else is not.
    let backend: Arc<dyn Backend + Send + Sync> = served.fake.clone();
    let second = Control::start(&path, Arc::clone(&backend)).unwrap();
    drop(served.control);
    drop(second);
    assert!(!path.exists());
    fs::write(&path, "mine").unwrap();
    let refused = Control::start(&path, Arc::clone(&backend)).err().unwrap().to_string();
    assert_eq!(refused, "there is something that is no socket; take it away");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    // Nor what a link leads to.
    let link = served.dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(Control::start(&link, backend).is_err());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    for (peer, owner, good) in
        [(0, 0, true), (0, 8, true), (8, 8, true), (8, 0, false), (9, 8, false)]
    {
        assert_eq!(may(peer, owner), good, "{peer} {owner}");
    }
}

/// The server tells why it has no socket, and who asks is told what to do.
#[test]
fn a_path_that_no_socket_can_have() {
    let dir = tempfile::tempdir().unwrap();
    let name = |length: usize| {
        let path = dir.path().join("x".repeat(length - dir.path().as_os_str().len() - 1));
        assert_eq!(path.as_os_str().len(), length);
        path
    };
    let backend: Arc<dyn Backend + Send + Sync> = Arc::new(Fake::default());
    drop(Control::start(&name(107), Arc::clone(&backend)).unwrap());
    let told = Control::start(&name(108), backend).err().unwrap().to_string();
    assert_eq!(
        told,
        "the path has 108 octets, and a socket's may have 107; write a shorter one as socket under \
         [control]"
    );
    // A server that is at work holds the spool.
    let spool = dir.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let held = fs::File::open(&spool).unwrap();
    held.lock().unwrap();
    let asked = Asked { socket: &name(108), spool: &spool, relayhost: None };
    let silent = ask(&asked, &Ask::Destinations, &mut |_| Ok(())).unwrap_err();
    assert!(silent.to_string().ends_with(&told), "{silent}");
    drop(held);
    // Without one, nobody needs the socket.
    assert_eq!(ask(&asked, &Ask::Destinations, &mut |_| Ok(())).unwrap(), 0);
}

#[test]
fn a_few_at_a_time() {
    let (open, gate) = mpsc::channel();
    let served = served(Fake { gate: Some(Mutex::new(gate)), ..Fake::default() });
    let question = b"{\"version\":1,\"ask\":{\"list\":\"all\"}}\n";
    let connect = || UnixStream::connect(served.dir.path().join("control")).unwrap();
    let mut waiting: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
    waiting.iter_mut().for_each(|stream| stream.write_all(question).unwrap());
    let answer = served.raw(question);
    assert_eq!(answer, "{\"error\":\"too many connections to the control socket; try again\"}\n");
    waiting.iter().for_each(|_| open.send(()).unwrap());
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("{\"done\":3}\n"), "{answer}");
    }
}

#[test]
fn an_answer_that_is_torn_is_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        stream.write_all(b"{\"body\":\"aGVsbG8=\"}\n").unwrap();
    });
    let asked = Asked { socket: &socket, spool: dir.path(), relayhost: None };
    let done = ask(&asked, &Ask::Body("x".into()), &mut |_| Ok(()));
    assert!(matches!(done, Err(AskError::Torn(_))), "{done:?}");
    server.join().unwrap();
}
