//! resolv.conf(5): the part that matters to who always asks for whole names.

use std::fs::{self, Metadata};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use waypost_dns::Servers;

use crate::Settings;

/// The port of name servers.
const PORT: u16 = 53;
/// More are not asked (MAXNS).
const SERVERS: usize = 3;
/// Longer waits and more attempts are cut, as resolv.conf(5) says.
const TIMEOUT: u64 = 30;
const ATTEMPTS: u32 = 5;
/// A file that is longer has something else in it.
const LONGEST: usize = 64 * 1024;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) attempts: Option<u32>,
    pub(crate) rotate: bool,
    pub(crate) trust_ad: bool,
}

impl ResolvConf {
    /// Reads it as the C library does: what is not understood is passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match (line.starts_with(|c: char| c.is_ascii_whitespace()), words.next()) {
                (false, Some("nameserver")) => {
                    if read.servers.len() < SERVERS
                        && let Some(server) = words.next().and_then(address)
                    {
                        read.servers.push(server);
                    }
                }
                (false, Some("options")) => words.for_each(|word| read.option(word)),
                _ => {}
            }
        }
        read
    }

    fn option(&mut self, word: &str) {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        match (name, value.parse::<u32>()) {
            ("timeout", Ok(seconds)) => {
                self.timeout = Some(Duration::from_secs(u64::from(seconds).clamp(1, TIMEOUT)));
            }
            ("attempts", Ok(attempts)) => self.attempts = Some(attempts.clamp(1, ATTEMPTS)),
            ("rotate", _) => self.rotate = true,
            ("trust-ad", _) => self.trust_ad = true,
            _ => {}
        }
    }
}

/// `192.0.2.53`, `2001:db8::53`, `fe80::1%eth0`
fn address(word: &str) -> Option<SocketAddr> {
    if let Some((ip, interface)) = word.split_once('%') {
        let scope = interface.parse().ok().or_else(|| index(interface))?;
        return Some(SocketAddrV6::new(ip.parse().ok()?, PORT, 0, scope).into());
    }
    Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, PORT))
}

/// The number of a network interface, by any socket.
fn index(interface: &str) -> Option<u32> {
    let close = SocketFlags::CLOEXEC;
    let any = socket_with(AddressFamily::INET, SocketType::DGRAM, close, None).ok()?;
    name_to_index(any, interface).ok()
}

/// The servers to ask: those of the settings, or those of a file that may change.
pub(crate) struct Followed {
    settings: Settings,
    seen: Option<Seen>,
    servers: Arc<Servers>,
    trust_ad: bool,
}

/// What tells that a file has changed: device, inode, size, time of the last change.
type Seen = (u64, u64, u64, i64, i64);

impl Followed {
    pub(crate) fn new(settings: Settings) -> io::Result<Self> {
        let none = Arc::new(Servers::new(Vec::new()));
        let mut followed = Self { settings, seen: None, servers: none, trust_ad: false };
        let file = followed.file()?;
        followed.take(file);
        Ok(followed)
    }

    fn file(&mut self) -> io::Result<ResolvConf> {
        if !self.settings.servers.is_empty() {
            return Ok(ResolvConf { servers: self.settings.servers.clone(), ..Default::default() });
        }
        let path: &PathBuf = &self.settings.resolv_conf;
        match fs::metadata(path).and_then(|meta| Ok((seen(&meta), fs::read(path)?))) {
            Ok((seen, mut bytes)) => {
                self.seen = Some(seen);
                bytes.truncate(LONGEST);
                Ok(ResolvConf::parse(&String::from_utf8_lossy(&bytes)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ResolvConf::default()),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, mut file: ResolvConf) {
        if file.servers.is_empty() {
            file.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        let here = file.servers.iter().all(|server| server.ip().to_canonical().is_loopback());
        self.trust_ad = here || file.trust_ad || self.settings.trust_ad;
        let plain = Servers::new(file.servers);
        self.servers = Arc::new(Servers {
            timeout: self.settings.timeout.or(file.timeout).unwrap_or(plain.timeout),
            attempts: self.settings.attempts.or(file.attempts).unwrap_or(plain.attempts),
            rotate: file.rotate,
            ..plain
        });
    }

    /// The servers to ask now, and whether to believe that they have validated what they say. A file
    /// that cannot be read for now changes nothing.
    pub(crate) fn now(&mut self) -> (Arc<Servers>, bool) {
        if self.settings.servers.is_empty()
            && let Ok(meta) = fs::metadata(&self.settings.resolv_conf)
            && self.seen != Some(seen(&meta))
            && let Ok(file) = self.file()
        {
            tracing::info!(servers = ?file.servers, "the list of name servers has changed");
            self.take(file);
        }
        (Arc::clone(&self.servers), self.trust_ad)
    }
}

fn seen(meta: &Metadata) -> Seen {
    (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_c_library_reads() {
        let read = ResolvConf::parse(
            "# nameserver 192.0.2.9\n; comment\nsearch example.com\nnameserver 192.0.2.1\n \
             nameserver 192.0.2.8\nnameserver\t2001:db8::53 \nnameserver nonsense\n\
             nameserver fe80::1%7\nnameserver 192.0.2.2\noptions ndots:2 timeout:3 rotate\n\
             options attempts:9 trust-ad edns0 timeout:x\n",
        );
        let servers: Vec<String> = read.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::53]:53", "[fe80::1%7]:53"]);
        assert_eq!(read.timeout, Some(Duration::from_secs(3)));
        assert_eq!(read.attempts, Some(5));
        assert!(read.rotate && read.trust_ad);
        assert_eq!(ResolvConf::parse(""), ResolvConf::default());
        assert_eq!(address("fe80::1%lo").map(|a| a.is_ipv6()), Some(true));
        assert_eq!(address("fe80::1%../lo"), None);
    }

    #[test]
    fn a_change_of_the_file_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let settings = Settings { resolv_conf: path.clone(), ..Settings::default() };
        let mut followed = Followed::new(settings).unwrap();
        let (servers, trust) = followed.now();
        assert_eq!(servers.addresses, ["127.0.0.1:53".parse().unwrap()]);
        assert!(trust, "a name server on this host");

        fs::write(&path, "nameserver 192.0.2.1\noptions timeout:1\n").unwrap();
        let (servers, trust) = followed.now();
        assert_eq!(servers.addresses, ["192.0.2.1:53".parse().unwrap()]);
        assert_eq!(servers.timeout, Duration::from_secs(1));
        assert!(!trust, "across a network");
        assert!(Arc::ptr_eq(&servers, &followed.now().0), "nothing has changed");

        fs::write(&path, "nameserver 192.0.2.22\noptions trust-ad\n").unwrap();
        assert!(followed.now().1);
        fs::remove_file(&path).unwrap();
        assert_eq!(followed.now().0.addresses, ["192.0.2.22:53".parse().unwrap()]);
    }

    #[test]
    fn the_settings_come_before_the_file() {
        let settings = Settings {
            servers: vec!["192.0.2.1:5353".parse().unwrap()],
            resolv_conf: "/nonexistent/resolv.conf".into(),
            timeout: Some(Duration::from_millis(200)),
            attempts: Some(1),
            ..Settings::default()
        };
        let (servers, trust) = Followed::new(settings).unwrap().now();
        assert_eq!(servers.addresses, ["192.0.2.1:5353".parse().unwrap()]);
        assert_eq!((servers.timeout, servers.attempts), (Duration::from_millis(200), 1));
        assert!(!trust);
        let unreadable = Settings { resolv_conf: "/proc/self".into(), ..Settings::default() };
        assert!(Followed::new(unreadable).is_err());
    }
}
