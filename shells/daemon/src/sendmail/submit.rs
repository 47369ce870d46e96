//! A small SMTP client for the server on this computer. It waits for each reply: nothing is far.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use waypost_mail::{Address, Domain};
use waypost_smtp::syntax::encode_xtext;

use super::message::Mail;
use super::{Exit, Trouble};

const CONNECT: Duration = Duration::from_secs(30);
/// For each reply (RFC 5321 4.5.3.2.6 has the longest).
const REPLY: Duration = Duration::from_secs(600);
/// Octets of a reply.
const LIMIT: u64 = 64 * 1024;

/// A server that has greeted.
#[derive(Debug)]
pub(super) struct Server {
    read: BufReader<TcpStream>,
    write: BufWriter<TcpStream>,
    /// Its own name: the domain of addresses that have none.
    pub(super) domain: Domain,
    /// What it offers, in upper case.
    offers: Vec<String>,
}

struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn text(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" "))
    }

    fn is(&self, class: u16) -> bool {
        self.code / 100 == class
    }

    /// What a refusal means for whoever called us.
    fn exit(&self) -> Exit {
        let status = self.lines.first().map_or("", String::as_str);
        match self.code {
            400..500 => Exit::Temporary,
            _ if status.starts_with("5.1.") => Exit::NoUser,
            _ if status.starts_with("5.7.") => Exit::NotAllowed,
            500..600 => Exit::Unavailable,
            _ => Exit::Protocol,
        }
    }
}

fn lost(error: &io::Error) -> Trouble {
    let text = format!("the mail server is gone: {error}; the mail may not be sent");
    Trouble::new(Exit::Temporary, text)
}

fn connect(servers: &[SocketAddr]) -> Result<TcpStream, Trouble> {
    let mut last = Trouble::new(Exit::Usage, "no address for the mail server");
    for server in servers {
        match TcpStream::connect_timeout(server, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let text = format!("mail server {server}: {error}; the mail is not sent");
                last = Trouble::new(Exit::Temporary, text);
            }
        }
    }
    Err(last)
}

impl Server {
    /// Connects, and says hello.
    pub(super) fn connect(servers: &[SocketAddr]) -> Result<Self, Trouble> {
        let stream = connect(servers)?;
        let prepare = || {
            stream.set_read_timeout(Some(REPLY))?;
            stream.set_write_timeout(Some(REPLY))?;
            stream.try_clone()
        };
        let write = BufWriter::with_capacity(64 * 1024, prepare().map_err(|error| lost(&error))?);
        let domain = Domain::parse("localhost").map_err(|_| Trouble::new(Exit::Software, ""))?;
        let mut server = Self { read: BufReader::new(stream), write, domain, offers: Vec::new() };
        let greeting = server.reply()?;
        if !greeting.is(2) {
            return Err(refused(&greeting, "the mail server says"));
        }
        let name = greeting.lines[0].split(' ').next().unwrap_or_default();
        if let Ok(domain) = Domain::parse(name) {
            server.domain = domain;
        }
        let hello = server.ask("EHLO localhost")?;
        if !hello.is(2) {
            return Err(refused(&hello, "the mail server says"));
        }
        server.offers =
            hello.lines.into_iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        Ok(server)
    }

    /// Sends a message to all who are taken. Trouble with some of them is told after the others
    /// have it.
    pub(super) fn send(&mut self, mail: &Mail) -> Result<(), Trouble> {
        let command = self.mail_command(mail);
        let reply = self.ask(&command)?;
        if !reply.is(2) {
            return Err(refused(&reply, "the sender is refused"));
        }
        let mut troubles = Vec::new();
        for address in &mail.recipients {
            let command = self.rcpt_command(mail, address);
            let reply = self.ask(&command)?;
            if !reply.is(2) {
                troubles.push(refused(&reply, &format!("<{address}>")));
            }
        }
        let taken = mail.recipients.len() - troubles.len();
        if taken > 0 {
            let reply = self.ask("DATA")?;
            if !reply.is(3) {
                return Err(refused(&reply, "the message is refused"));
            }
            stuffed(&mail.text, &mut self.write).map_err(|error| lost(&error))?;
            let reply = self.ask(".")?;
            if !reply.is(2) {
                return Err(refused(&reply, "the message is refused"));
            }
        }
        // It is sent: how the server says good-bye does not matter.
        let _ = self.ask("QUIT");
        let Some(first) = troubles.first() else { return Ok(()) };
        // Something that will do later counts least: what is wrong for good is to be seen.
        let worst = troubles.iter().find(|it| it.exit != Exit::Temporary).unwrap_or(first);
        let mut text = String::new();
        troubles.iter().for_each(|trouble| text += &format!("{}\n", trouble.text));
        let all = mail.recipients.len();
        text += &match taken {
            0 => "the mail is not sent".into(),
            _ => format!("the mail is sent to {taken} of {all} recipients"),
        };
        Err(Trouble::new(worst.exit, text))
    }

    fn mail_command(&self, mail: &Mail) -> String {
        let sender = mail.sender.as_ref().map(Address::to_string).unwrap_or_default();
        let mut line = format!("MAIL FROM:<{sender}>");
        if self.offers("SIZE") {
            line += &format!(" SIZE={}", mail.text.len());
        }
        if self.offers("8BITMIME") && !mail.text.is_ascii() {
            line += " BODY=8BITMIME";
        }
        if self.offers("DSN") {
            if let Some(ret) = &mail.ret {
                line += &format!(" RET={ret}");
            }
            if let Some(envid) = &mail.envid {
                line += &format!(" ENVID={}", encode_xtext(envid));
            }
        }
        let utf8 = mail.sender.iter().chain(&mail.recipients).any(Address::is_utf8);
        if utf8 && self.offers("SMTPUTF8") {
            line += " SMTPUTF8";
        }
        line
    }

    fn rcpt_command(&self, mail: &Mail, address: &Address) -> String {
        match &mail.notify {
            Some(notify) if self.offers("DSN") => format!("RCPT TO:<{address}> NOTIFY={notify}"),
            _ => format!("RCPT TO:<{address}>"),
        }
    }

    fn offers(&self, keyword: &str) -> bool {
        self.offers.iter().any(|line| line.split(' ').next() == Some(keyword))
    }

    fn ask(&mut self, command: &str) -> Result<Reply, Trouble> {
        let mut write = || {
            self.write.write_all(command.as_bytes())?;
            self.write.write_all(b"\r\n")?;
            self.write.flush()
        };
        write().map_err(|error| lost(&error))?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply, Trouble> {
        let mut lines = Vec::new();
        let mut limited = (&mut self.read).take(LIMIT);
        loop {
            let mut line = Vec::new();
            limited.read_until(b'\n', &mut line).map_err(|error| lost(&error))?;
            // A line that was cut off is no answer.
            if !line.ends_with(b"\n") {
                return Err(lost(&io::ErrorKind::UnexpectedEof.into()));
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let Some(code) = code else {
                return Err(Trouble::new(Exit::Protocol, format!("the mail server says: {line}")));
            };
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }
}

fn refused(reply: &Reply, what: &str) -> Trouble {
    Trouble::new(reply.exit(), format!("{what}: {}", reply.text()))
}

/// The message with a second dot before each at the start of a line (RFC 5321 4.5.2).
fn stuffed(text: &[u8], out: &mut dyn Write) -> io::Result<()> {
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            out.write_all(b".")?;
        }
        out.write_all(line)?;
    }
    Ok(())
}

/// `-bs`: whoever started us speaks SMTP with the server.
pub(super) fn relay(
    servers: &[SocketAddr],
    mut input: impl Read + Send + 'static,
    output: &mut dyn Write,
) -> Result<(), Trouble> {
    let stream = connect(servers)?;
    let mut from = stream.try_clone().map_err(|error| lost(&error))?;
    thread::spawn(move || {
        // Whatever ends it, the server learns that nothing more comes.
        let _ = io::copy(&mut input, &mut &stream);
        let _ = stream.shutdown(Shutdown::Write);
    });
    let mut block = vec![0; 16 * 1024];
    let mut copy = || loop {
        let count = from.read(&mut block)?;
        if count == 0 {
            return Ok(());
        }
        output.write_all(&block[..count])?;
        output.flush()?;
    };
    copy().map_err(|error: io::Error| lost(&error))
}
