//! A server seen by real mail programs: ports, CA, accounts, and helpers to run programs.

use crate::net::{Client, Endpoint, trusting};
use crate::replay::{User, command, wait_for_messages};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Where a server under test is found.
pub struct Stage {
    /// `peers`, or the program that runs Waypost.
    pub name: &'static str,
    /// Port 25.
    pub smtp: u16,
    /// Port 587.
    pub submission: u16,
    /// Port 465, where there is one.
    pub submissions: Option<u16>,
    /// Port 993.
    pub imaps: u16,
    /// Certificate of the CA that signed the server's.
    pub ca: PathBuf,
    /// The folder of the homes.
    pub homes: PathBuf,
    /// Accounts without mail.
    pub users: Mutex<VecDeque<User>>,
}

impl Stage {
    /// An account nobody has used.
    ///
    /// # Errors
    /// All are used.
    pub fn user(&self) -> Result<User, String> {
        let mut users = self.users.lock().map_err(|e| e.to_string())?;
        users.pop_front().ok_or_else(|| "no account is left".into())
    }

    /// A connection to a port of the server.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn dial(&self, port: u16) -> io::Result<Client> {
        let endpoint = Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Ok(Client::new(endpoint.dial(Some(crate::net::fresh_address()))?))
    }

    /// A TLS connection to port 993, greeting read.
    ///
    /// # Errors
    /// What went wrong.
    pub fn imaps(&self) -> Result<Client, String> {
        let mut client = self.dial(self.imaps).map_err(|e| e.to_string())?;
        let tls = trusting(&self.ca).map_err(|e| e.to_string())?;
        client.secure(&tls, "localhost").map_err(|e| e.to_string())?;
        client.line().map_err(|e| e.to_string())?;
        Ok(client)
    }

    /// An IMAP session that is logged in.
    ///
    /// # Errors
    /// What went wrong.
    pub fn logged_in(&self, user: &User) -> Result<Client, String> {
        let mut client = self.imaps()?;
        command(&mut client, format!("LOGIN {} {}", user.name, user.password).as_bytes())?;
        Ok(client)
    }

    /// Waits until INBOX of `user` holds `count` messages.
    ///
    /// # Errors
    /// It does not for a long time.
    pub fn wait_for(&self, user: &User, count: usize) -> Result<(), String> {
        wait_for_messages(&mut self.logged_in(user)?, count)
    }

    /// All messages of INBOX, as they lie on disk; their order is that of their names.
    pub fn messages(&self, user: &User) -> Vec<Vec<u8>> {
        let mut paths = Vec::new();
        for folder in ["new", "cur"] {
            let folder = self.homes.join(&user.name).join("mailbox").join(folder);
            paths.extend(std::fs::read_dir(folder).into_iter().flatten().flatten());
        }
        paths.sort_by_key(std::fs::DirEntry::file_name);
        paths.iter().filter_map(|entry| std::fs::read(entry.path()).ok()).collect()
    }
}

/// Runs a program and returns what it wrote.
///
/// # Errors
/// It is missing or fails; then with all that it wrote.
pub fn run(program: &str, arguments: &[&str], input: &[u8]) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{program}: {e}"))?;
    let mut stdin = child.stdin.take().expect("invariant: stdin is a pipe");
    let input = input.to_vec();
    // A program that does not read its input closes it early.
    let writer = std::thread::spawn(move || drop(io::Write::write_all(&mut stdin, &input)));
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    writer.join().expect("invariant: the writer does not panic");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let problem = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}\n{text}{problem}", arguments.join(" "), output.status))
}
