use waypost_tls::{
    Answered, Dane, Entry, Level, Peer, PolicyTable, Record, StsPolicy, decide, parse_names, sts_id,
};

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

/// Any TLSA records: what cannot be used is never used, no record at all never means less than was asked
/// for, and a certificate that fits is one of the records.
pub fn dane(data: &[u8]) {
    let [settings, certificate, data @ ..] = data else { return };
    let mut records = Vec::new();
    let mut rest = data;
    while let [usage, selector, matching, len, more @ ..] = rest {
        let (data, after) = more.split_at(more.len().min(usize::from(*len)));
        records.push(Record { usage: *usage, selector: *selector, matching: *matching, data });
        rest = after;
    }
    let level = if settings & 1 == 0 { Level::Dane } else { Level::DaneOnly };
    let answered = match settings >> 1 & 3 {
        0 => Answered::Failed,
        1 => Answered::Absent,
        _ => Answered::Records(&records),
    };
    let secure = settings & 8 == 0;
    match decide(level, secure, answered) {
        Dane::Use(fitting) => {
            assert!(secure && !fitting.is_empty() && matches!(answered, Answered::Records(_)));
            let certificate = &data[..data.len().min(usize::from(*certificate))];
            for tlsa in &fitting {
                if tlsa.matches(certificate, certificate) && tlsa.certificate().is_some() {
                    assert_eq!(tlsa.certificate(), Some(certificate));
                }
            }
        }
        Dane::Instead(instead) => {
            assert!(level != Level::DaneOnly, "{instead:?} instead of DANE alone");
            assert!(!secure || answered != Answered::Failed, "{instead:?} without an answer");
            assert!(matches!(instead, Level::May | Level::Encrypt));
        }
        Dane::Defer(why) => assert!(!why.is_empty()),
    }
}
