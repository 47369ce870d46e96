//! Random cuts, random writers, random damage: the dialogue is the same, or the session ends.

use std::io;

use crate::toy::{Pki, Server, Toy, Turn, Turned, say};
use bytes::Bytes;
use proptest::prelude::*;
use rustls::ClientConnection;
use waypost_driver::TlsConfigs;

/// Takes so many bytes per write and then would block, by turns.
struct Stingy<'b> {
    into: &'b mut Vec<u8>,
    sizes: &'b [usize],
    turn: &'b mut usize,
}

impl io::Write for Stingy<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.turn += 1;
        let size = self.sizes[*self.turn % self.sizes.len()].min(bytes.len());
        if size == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.into.extend_from_slice(&bytes[..size]);
        Ok(size)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives the bytes in pieces of these sizes, and takes what is written in pieces of others.
fn exchange(server: &mut Server, bytes: &[u8], reads: &[usize], writes: &[usize]) -> Vec<u8> {
    let (mut back, mut turn, mut given, mut read) = (Vec::new(), 0, 0, 0);
    // Enough rounds for one byte at a time, both ways.
    for _ in 0..400_000 {
        server.pump();
        while let Some(Turn(text, ticket)) = server.calls.pop_front() {
            let turned = text.iter().rev().copied().collect();
            server.conn.answer(server.now, ticket.answer(Turned(turned)));
            server.pump();
        }
        if given < bytes.len() && server.conn.wants_read() {
            read += 1;
            let end = (given + reads[read % reads.len()].max(1)).min(bytes.len());
            server.conn.received(Bytes::copy_from_slice(&bytes[given..end]));
            given = end;
        }
        let mut to = Stingy { into: &mut back, sizes: writes, turn: &mut turn };
        let wrote = server.conn.write_to(server.now, &mut to);
        let stuck = given == bytes.len() || !server.conn.wants_read();
        if !wrote && stuck && !server.conn.wants_write() {
            server.pump();
            let idle = !server.conn.wants_write() && server.calls.is_empty();
            if idle && (given == bytes.len() || server.conn.finished()) {
                return back;
            }
        }
    }
    panic!("goes on for ever");
}

fn raw(client: &mut ClientConnection) -> Vec<u8> {
    let mut raw = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut raw).unwrap();
    }
    raw
}

fn hear(client: &mut ClientConnection, mut raw: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !raw.is_empty() {
        client.read_tls(&mut raw).unwrap();
        client.process_new_packets().unwrap();
        // "Nothing yet" is an error that is no news here.
        let _ = io::Read::read_to_end(&mut client.reader(), &mut plain);
    }
    plain
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_and_writers_change_nothing(
        reads in proptest::collection::vec(1usize..3000, 1..6),
        writes in proptest::collection::vec(0usize..5000, 1..6),
    ) {
        let mut writes = writes;
        writes.push(100);
        let dialogue = b"TURN abc\nGET 40000\nPUT 7\npppppppTURN x\nQUIT\n";
        let expected = [b"cba\n", &[b'g'; 40_000][..], b"put 7\nx\nbye\n"].concat();

        let mut clear = Server::new(Toy::default(), TlsConfigs::default());
        let back = exchange(&mut clear, dialogue, &reads, &writes);
        prop_assert!(back == [&b"hello\n"[..], &expected].concat());

        let pki = Pki::ecdsa();
        let mut server = Server::new(Toy::tls_first(), pki.configs());
        let mut client = pki.connect();
        let mut plain = Vec::new();
        for _ in 0..2 {
            let hello = raw(&mut client);
            plain.extend(hear(&mut client, &exchange(&mut server, &hello, &reads, &writes)));
        }
        say(&mut client, dialogue);
        let said = raw(&mut client);
        plain.extend(hear(&mut client, &exchange(&mut server, &said, &reads, &writes)));
        let expected = [&b"hello\n"[..], &expected].concat();
        prop_assert_eq!(plain.len(), expected.len());
        prop_assert!(plain == expected);
        prop_assert!(server.conn.finished());
    }

    #[test]
    fn damage_ends_the_session_or_does_nothing(
        flips in proptest::collection::vec((0usize..2000, 1u8..=255), 1..4),
        reads in proptest::collection::vec(1usize..500, 1..4),
    ) {
        let pki = Pki::ecdsa();
        let mut server = Server::new(Toy::tls_first(), pki.configs());
        let mut client = pki.connect();
        let mut hello = raw(&mut client);
        for (at, flip) in flips {
            let at = at % hello.len();
            hello[at] ^= flip;
        }
        exchange(&mut server, &hello, &reads, &[1000]);
        server.wait_is_sound();
        server.conn.eof();
        server.take();
        prop_assert!(server.conn.finished());
    }

    #[test]
    fn noise_ends_the_session_or_waits(noise in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut server = Server::new(Toy::tls_first(), Pki::ecdsa().configs());
        exchange(&mut server, &noise, &[7, 100], &[1000]);
        server.wait_is_sound();
        server.conn.eof();
        server.take();
        prop_assert!(server.conn.finished());
    }
}
