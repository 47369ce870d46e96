//! A name server of a test: what it answers is a function.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{RData, Record};

/// A packet that came.
pub(crate) struct Asked {
    pub(crate) query: Message,
    pub(crate) tcp: bool,
}

type Mood = dyn Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync;

/// Ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    clients: Arc<Mutex<Vec<SocketAddr>>>,
    end: Arc<Mutex<bool>>,
}

impl Server {
    /// Answers each packet with those that `mood` says; by TCP with the first of them.
    pub(crate) fn start(mood: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().unwrap();
        let clients = Arc::new(Mutex::new(Vec::new()));
        let end = Arc::new(Mutex::new(false));
        let mood: Arc<Mood> = Arc::new(mood);
        let (seen, also) = (Arc::clone(&clients), Arc::clone(&clients));
        let (over, over_too) = (Arc::clone(&end), Arc::clone(&end));
        let mood_too = Arc::clone(&mood);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((len, from)) = udp.recv_from(&mut buffer)
                && !*over.lock().unwrap()
            {
                let Ok(query) = Message::from_vec(&buffer[..len]) else { continue };
                seen.lock().unwrap().push(from);
                for datagram in mood(&Asked { query, tcp: false }) {
                    udp.send_to(&datagram, from).unwrap();
                }
            }
        });
        thread::spawn(move || {
            while let Ok((stream, from)) = tcp.accept()
                && !*over_too.lock().unwrap()
            {
                also.lock().unwrap().push(from);
                let _ = connection(stream, &*mood_too);
            }
        });
        Self { address, clients, end }
    }

    /// Packets that came.
    pub(crate) fn count(&self) -> usize {
        self.clients.lock().unwrap().len()
    }

    /// Where they came from.
    pub(crate) fn clients(&self) -> Vec<SocketAddr> {
        self.clients.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *self.end.lock().unwrap() = true;
        let _ = TcpStream::connect(self.address);
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.send_to(b"end", self.address));
    }
}

/// Both on one port.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        match UdpSocket::bind(tcp.local_addr().unwrap()) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            udp => return (udp.unwrap(), tcp),
        }
    }
}

fn connection(mut stream: TcpStream, mood: &Mood) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut packet = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut packet)?;
    let query = Message::from_vec(&packet).expect("a packet");
    if let Some(answer) = mood(&Asked { query, tcp: true }).first() {
        let length = u16::try_from(answer.len()).expect("fits").to_be_bytes();
        stream.set_nodelay(true)?;
        // In pieces, as the network may.
        for piece in [&length[..1], &length[1..]].into_iter().chain(answer.chunks(9000)) {
            stream.write_all(piece)?;
        }
    }
    Ok(())
}

/// An answer with these records of the name that was asked for.
pub(crate) fn answer(query: &Message, records: &[RData]) -> Message {
    let mut message = query.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.authentic_data = false;
    let name = query.queries[0].name();
    for data in records {
        message.add_answer(Record::from_rdata(name.clone(), 300, data.clone()));
    }
    message
}

/// As it goes over the wire.
pub(crate) fn datagram(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}
