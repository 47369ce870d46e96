//! Dialogues, TLS, limits, ends.

use std::io;

use crate::toy::{Pki, Server, Toy, at, say, shuttle};
use bytes::Bytes;
use rustls::version::{TLS12, TLS13};
use waypost_driver::{Conn, Fault, Settings, TlsConfigs};
use waypost_machine::{Cx, Event, Limits, Progress, Protocol, Session, TlsRole, Why};

const DIALOGUE: &[u8] = b"TURN abc\nPUT 5\npppppTURN def\nQUIT\n";
const REPLIES: &str = "cba\nput 5\nfed\nbye\n";

#[test]
fn clear_dialogue_in_any_pieces() {
    for piece in [1, 2, 7, 100] {
        let mut server = Server::new(Toy::default(), TlsConfigs::default());
        let back = server.give(DIALOGUE, piece);
        assert_eq!(String::from_utf8(back).unwrap(), format!("hello\n{REPLIES}"));
        assert!(server.conn.finished() && !server.conn.lingers());
        assert_eq!(server.conn.closed(), Some(Why::Done));
    }
}

#[test]
fn tls_from_the_start_in_any_pieces() {
    let pki = Pki::ecdsa();
    for piece in [1, 5, 1000, 100_000] {
        let mut server = Server::new(Toy::tls_first(), pki.configs());
        let mut client = pki.connect();
        assert_eq!(shuttle(&mut client, &mut server, piece), b"hello\n");
        say(&mut client, DIALOGUE);
        let back = shuttle(&mut client, &mut server, piece);
        assert_eq!(String::from_utf8(back).unwrap(), REPLIES);
        assert!(server.conn.finished());
        assert!(client.process_new_packets().unwrap().peer_has_closed(), "no close_notify");
        assert_eq!(server.faults, []);
    }
}

#[test]
fn starttls_and_what_was_agreed_on() {
    let pki = Pki::ecdsa();
    let mut server = Server::new(Toy::default(), pki.configs());
    assert_eq!(server.give(b"STARTTLS\n", 3), b"hello\ngo\n");
    assert!(server.conn.wants_read());
    let mut client = pki.connect();
    say(&mut client, b"TURN xyz\n");
    assert_eq!(shuttle(&mut client, &mut server, 50), b"zyx\n");
    assert_eq!(server.secured, server.facts);
    let info = &server.facts[0];
    assert_eq!((info.protocol, info.cipher), ("TLSv1.3", "TLS_AES_256_GCM_SHA384"));
    assert_eq!((info.bits, info.key_exchange), (256, "X25519"));
    let signature = (info.signature, &*info.signature_key, info.digest);
    assert_eq!(signature, ("ECDSA", "P-256", "SHA256"));
    assert_eq!(info.server_name.as_deref(), Some("ec.test"));
}

#[test]
fn rsa_in_both_versions() {
    for (versions, protocol, cipher, signature, key) in [
        (&TLS13, "TLSv1.3", "TLS_AES_256_GCM_SHA384", "RSA-PSS", "2048 bits"),
        (&TLS12, "TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384", "", ""),
    ] {
        let pki = Pki::rsa(&[versions]);
        let mut server = Server::new(Toy::tls_first(), pki.configs());
        shuttle(&mut pki.connect(), &mut server, 1000);
        let info = &server.facts[0];
        assert_eq!((info.protocol, info.cipher), (protocol, cipher));
        assert_eq!((info.signature, &*info.signature_key), (signature, key));
    }
}

#[test]
fn clear_bytes_behind_starttls_end_the_session() {
    // In the same read, whatever its pieces.
    let pki = Pki::ecdsa();
    let mut server = Server::new(Toy::default(), pki.configs());
    assert_eq!(server.give(b"STARTTLS\nTURN evil\n", 100), b"hello\ngo\n");
    assert_eq!(server.conn.closed(), Some(Why::Injected));
    assert!(server.conn.finished() && server.conn.lingers());
    // After the reply: they are no ClientHello.
    let mut server = Server::new(Toy::default(), pki.configs());
    let back = server.give(b"STARTTLS\nTURN evil\n", 9);
    assert!(back.starts_with(b"hello\ngo\n"));
    assert!(matches!(server.faults[..], [Fault::Tls(_)]));
    assert!(server.conn.finished());
}

#[test]
fn more_clear_bytes_than_the_session_takes_are_injected_too() {
    let pki = Pki::ecdsa();
    let mut server = Server::new(Toy::default(), pki.configs());
    // The session holds 64 KiB while it waits for the answer; the rest waits in the wire.
    server.conn.received(Bytes::from_static(b"TURN a\nSTARTTLS\n"));
    server.conn.received(Bytes::from(vec![b'\n'; 100_000]));
    server.take();
    assert_eq!(server.conn.closed(), Some(Why::Injected));
}

#[test]
fn garbage_instead_of_tls_gets_an_alert() {
    let mut server = Server::new(Toy::tls_first(), Pki::ecdsa().configs());
    let back = server.give(b"EHLO client.example.net\r\n", 100);
    // An alert record (RFC 8446 5.1): type 21, fatal.
    assert_eq!((back[0], back[5]), (21, 2), "{back:?}");
    assert!(matches!(&server.faults[..], [Fault::Tls(_)]));
    assert_eq!(server.conn.closed(), Some(Why::Gone));
    assert!(server.conn.finished());
}

#[test]
fn a_broken_record_in_mid_session_ends_it() {
    let pki = Pki::ecdsa();
    let mut server = Server::new(Toy::tls_first(), pki.configs());
    let mut client = pki.connect();
    shuttle(&mut client, &mut server, 1000);
    let back = server.give(b"\x17\x03\x03\x00\x20 not what the other side encrypts", 100);
    assert_eq!(back[0], 23, "an alert, encrypted");
    assert!(matches!(&server.faults[..], [Fault::Tls(_)]));
    assert!(server.conn.finished());
}

#[test]
fn tls_that_is_not_configured_is_a_fault() {
    let mut server = Server::new(Toy::default(), TlsConfigs::default());
    server.give(b"STARTTLS\n", 100);
    assert_eq!(server.faults.len(), 1);
    assert!(server.conn.finished());
}

#[test]
fn fifty_megabytes_in_and_out() {
    const SIZE: usize = 50 << 20;
    let pki = Pki::ecdsa();
    let mut server = Server::new(Toy::tls_first(), pki.configs());
    let mut client = pki.connect();
    client.set_buffer_limit(None);
    shuttle(&mut client, &mut server, 1000);
    say(&mut client, format!("PUT {SIZE}\n").as_bytes());
    let mut back = Vec::new();
    for _ in 0..50 {
        say(&mut client, &[b'p'; 1 << 20]);
        back.extend(shuttle(&mut client, &mut server, 65_536));
    }
    assert_eq!(back, format!("put {SIZE}\n").as_bytes());
    say(&mut client, format!("GET {SIZE}\n").as_bytes());
    let back = shuttle(&mut client, &mut server, 65_536);
    assert_eq!(back.len(), SIZE);
}

/// Takes nothing.
struct Full;

impl io::Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_peer_that_does_not_read_is_held_back_and_then_dropped() {
    let mut server = Server::new(Toy::default(), TlsConfigs::default());
    server.take();
    server.conn.received(Bytes::from_static(b"GET 100000000\nTURN x\n"));
    server.pump();
    let mut reads = 0;
    while server.conn.wants_read() {
        server.conn.received(Bytes::from(vec![b'\n'; 10_000]));
        assert!(!server.conn.write_to(server.now, &mut Full));
        server.pump();
        reads += 1;
        assert!(reads < 20, "reads on and on");
    }
    // The toy's own timer comes first; it changes nothing for a peer that takes no bytes.
    server.now = at(60);
    server.conn.tick(server.now);
    server.pump();
    assert!(!server.conn.finished());
    let deadline = server.conn.deadline().unwrap();
    assert_eq!(deadline, at(300).mono);
    server.now = at(300);
    server.conn.tick(server.now);
    server.pump();
    assert_eq!(server.faults, [Fault::WriteTimeout]);
    assert!(server.conn.finished());
}

/// Takes so many octets, then no more.
struct Sips(usize);

impl io::Write for Sips {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes.len().min(self.0) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => {
                self.0 -= count;
                Ok(count)
            }
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server with more to say than its peer takes at once.
fn talkative() -> Server {
    let mut server = Server::new(Toy::tireless(), TlsConfigs::default());
    server.take();
    server.conn.received(Bytes::from_static(b"GET 100000000\n"));
    server.pump();
    server
}

#[test]
fn a_peer_that_takes_an_octet_now_and_then_is_dropped() {
    let mut server = talkative();
    for second in (0..300).step_by(10) {
        server.now = at(second);
        assert!(server.conn.write_to(server.now, &mut Sips(1)), "{second}");
        server.pump();
        assert_eq!(server.conn.deadline(), Some(at(300).mono));
    }
    server.now = at(300);
    server.conn.tick(server.now);
    server.pump();
    assert_eq!(server.faults, [Fault::WriteTimeout]);
    // Who takes enough may take longer.
    let mut server = talkative();
    for round in 0..20 {
        server.now = at(round * 250);
        server.conn.write_to(server.now, &mut Sips(Settings::PROGRESS));
        server.conn.tick(server.now);
        server.pump();
    }
    assert_eq!(server.faults, []);
}

#[test]
fn a_peer_that_sends_all_the_time_and_reads_nothing_is_dropped() {
    let mut server = Server::new(Toy::tireless(), TlsConfigs::default());
    server.conn.received(Bytes::from_static(b"PUT 100000\n"));
    for second in 0..300 {
        server.now = at(second);
        assert!(!server.conn.write_to(server.now, &mut Full), "{second}");
        server.conn.received(Bytes::from_static(b"p"));
        server.pump();
        assert!(server.conn.wants_read());
    }
    server.now = at(300);
    assert!(server.conn.write_to(server.now, &mut Full), "pump again");
    server.pump();
    assert_eq!(server.faults, [Fault::WriteTimeout]);
    assert!(server.conn.finished());
}

#[test]
fn a_machine_that_wants_nothing_leaves_bytes_in_rustls() {
    let pki = Pki::ecdsa();
    let mut server = Server::new(Toy::tls_first(), pki.configs());
    let mut client = pki.connect();
    client.set_buffer_limit(None);
    shuttle(&mut client, &mut server, 1000);
    say(&mut client, b"TURN a\n");
    say(&mut client, &[b'\n'; 300_000]);
    let mut raw = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut raw).unwrap();
    }
    let mut given = 0;
    while server.conn.wants_read() {
        let end = (given + 16_384).min(raw.len());
        server.conn.received(Bytes::copy_from_slice(&raw[given..end]));
        given = end;
        server.pump();
    }
    assert!(given < 120_000, "{given} bytes were taken while the call is open");
    assert_eq!(server.calls.len(), 1);
}

#[test]
fn the_end_of_the_input_comes_after_what_was_sent_before_it() {
    let mut server = Server::new(Toy::default(), TlsConfigs::default());
    server.conn.received(Bytes::from_static(b"TURN abc\nTURN def\n"));
    server.conn.eof();
    assert!(!server.conn.wants_read());
    assert_eq!(server.take(), b"hello\ncba\nfed\n");
    assert_eq!(server.conn.closed(), Some(Why::Gone));
    assert!(server.conn.finished());
}

#[test]
fn close_notify_is_an_end_of_input() {
    let pki = Pki::ecdsa();
    let mut server = Server::new(Toy::tls_first(), pki.configs());
    let mut client = pki.connect();
    shuttle(&mut client, &mut server, 1000);
    say(&mut client, b"TURN abc\n");
    client.send_close_notify();
    assert_eq!(shuttle(&mut client, &mut server, 1000), b"cba\n");
    assert!(server.conn.finished());
}

#[test]
fn a_socket_that_fails_ends_the_session() {
    let mut server = Server::new(Toy::default(), TlsConfigs::default());
    // Nobody waits for the answer any more, nor for what would come next.
    server.conn.received(Bytes::from_static(b"TURN abc\nTURN def\n"));
    server.pump();
    server.conn.broken(server.now, &io::ErrorKind::ConnectionReset.into());
    server.pump();
    assert_eq!(server.faults, [Fault::Socket(io::ErrorKind::ConnectionReset)]);
    assert_eq!((server.conn.closed(), server.calls.len()), (Some(Why::Gone), 1));
    // The reason comes before what the machine makes of it.
    assert_eq!(server.known, [1]);
    assert!(server.conn.finished());
}

/// Fails.
struct Gone;

impl io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_write_that_fails_ends_the_session() {
    let mut server = Server::new(Toy::default(), TlsConfigs::default());
    assert!(server.conn.write_to(server.now, &mut Gone), "pump again");
    // What the peer said before it went is heard.
    server.conn.received(Bytes::from_static(b"TURN abc\n"));
    server.pump();
    assert_eq!((server.calls.len(), &server.faults[..]), (1, &[][..]));
    assert!(server.conn.wants_read() && !server.conn.wants_write());
    server.conn.eof();
    server.pump();
    assert_eq!(server.faults, [Fault::Socket(io::ErrorKind::BrokenPipe)]);
    assert_eq!(server.conn.closed(), Some(Why::Gone));
    assert!(server.conn.finished());
}

#[test]
fn nobody_is_written_to_and_nothing_is_read() {
    // The machine has heard enough: it waits for the peer to take what it said.
    let mut server = talkative();
    server.conn.received(Bytes::from(vec![b'\n'; 100_000]));
    server.pump();
    assert!(!server.conn.wants_read());
    assert!(server.conn.write_to(server.now, &mut Gone), "pump again");
    server.pump();
    assert_eq!(server.faults, [Fault::Socket(io::ErrorKind::BrokenPipe)]);
    assert!(server.conn.finished());
    // No end comes.
    let mut server = Server::new(Toy::tireless(), TlsConfigs::default());
    assert!(server.conn.write_to(server.now, &mut Gone), "pump again");
    server.pump();
    assert!(!server.conn.finished());
    assert_eq!(server.conn.deadline(), Some(at(300).mono));
    server.now = at(300);
    server.conn.tick(server.now);
    server.pump();
    assert!(server.conn.finished());
    // Last words that do not arrive.
    let mut server = Server::new(Toy::default(), TlsConfigs::default());
    server.conn.stop(server.now);
    server.pump();
    assert!(server.conn.write_to(server.now, &mut Gone), "pump again");
    server.pump();
    assert!(server.conn.finished() && !server.conn.lingers());
}

#[test]
fn stop_is_told_to_the_peer() {
    let mut server = Server::new(Toy::default(), TlsConfigs::default());
    server.conn.stop(server.now);
    assert_eq!(server.take(), b"hello\nstopping\n");
    assert_eq!(server.conn.closed(), Some(Why::Stopped));
}

/// Secures as a client, says `TURN abc` and `QUIT`, and keeps what it hears.
#[derive(Default)]
struct Caller(Vec<u8>);

impl Protocol for Caller {
    type Call = ();
    type Reply = ();
    type Notice = ();
    type Fact = ();

    fn start(&mut self, cx: &mut Cx<'_, Self>) {
        cx.secure(TlsRole::Client { name: "ec.test".into() });
    }

    fn advance(&mut self, cx: &mut Cx<'_, Self>) -> Progress {
        let Some(bytes) = cx.input.take(usize::MAX) else { return Progress::Blocked };
        self.0.extend_from_slice(&bytes);
        Progress::More
    }

    fn event(&mut self, cx: &mut Cx<'_, Self>, event: Event<Self>) {
        if let Event::Secured(_) = event {
            cx.send_slice(b"TURN abc\nQUIT\n");
        }
    }
}

#[test]
fn both_ends_are_ours() {
    let pki = Pki::ecdsa();
    for (tls, heard) in [(pki.configs(), &b"hello\ncba\nbye\n"[..]), (Pki::ecdsa().configs(), b"")]
    {
        let mut server = Server::new(Toy::tls_first(), pki.configs());
        let session = Session::new(at(0), Caller::default(), Limits::default());
        let mut client = Conn::new(2, session, tls, Settings::default());
        for _ in 0..20 {
            client.pump(at(0), |_| {});
            let mut raw = Vec::new();
            client.write_to(at(0), &mut raw);
            client.received(server.give(&raw, 100).into());
        }
        // The second client does not trust this server's certificate.
        assert_eq!(client.machine().protocol().0, heard);
        assert!(server.conn.finished() && client.finished());
    }
}
