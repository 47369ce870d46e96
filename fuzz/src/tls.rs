use waypost_tls::{Entry, Peer, PolicyTable, StsPolicy, parse_names, sts_id};

/// An entry that parses is printed in a form that parses to the same; a table takes any file, and
/// finds something for every next hop.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(entry) = Entry::parse(text) {
        assert_eq!(Entry::parse(&entry.to_string()).as_ref(), Ok(&entry));
    }
    let mut table = PolicyTable::default();
    let _ = table.add_file(text);
    for hop in text.split_ascii_whitespace().take(9) {
        let found = table.find(hop, 0);
        let peer = Peer { host: hop, nexthop: hop };
        found.names.iter().chain(&parse_names(hop)).for_each(|rule| _ = rule.fits(hop, peer));
    }
}

/// A policy that parses is printed in a form that parses to the same, and names hosts; an id is
/// letters and digits.
pub fn sts(data: &[u8]) {
    if let Ok(policy) = StsPolicy::parse(data) {
        assert_eq!(StsPolicy::parse(policy.to_string().as_bytes()).as_ref(), Ok(&policy));
        for mx in &policy.mx {
            assert!(policy.names(&mx.replacen('*', "a", 1)), "{mx}");
        }
    }
    if let Some(id) = sts_id(data.split(|byte| *byte == b'\n')) {
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !id.is_empty());
    }
}
