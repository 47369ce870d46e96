//! The world's texts: the server's configuration, the directory, the names.

/// `waypost.toml`. It names two files beside it: `server.crt` and `server.key`.
pub const CONFIG: &str = include_str!("../data/waypost.toml");
/// The directory: users `mail000` to `mail005` in three domains, aliases, a list, forwards. The password
/// of `mail000` is `secret000`, and so on.
pub const LDIF: &str = include_str!("../data/mail.ldif");
/// Remote domains, and the addresses of their servers.
pub const ZONES: &str = include_str!("../data/zones.txt");
