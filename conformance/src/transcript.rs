//! What was said in a dialogue, for a comparison of two of them.

use crate::pattern::Names;

/// What stands before an id: the word behind it is left out.
const IDS: &[&str] = &[
    "SPID\\t",
    "CUID\\t",
    "COOKIE\\t",
    "UIDVALIDITY ",
    "APPENDUID ",
    "COPYUID ",
    "queued as ",
    "ESMTP id ",
    "ESMTPS id ",
    "ESMTPA id ",
    "ESMTPSA id ",
];

/// The lines of a dialogue, without what differs from run to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript(Vec<String>);

impl Transcript {
    /// Of these lines; `names` are those that the dialogue has given.
    pub fn new(said: &[String], names: &Names) -> Self {
        let own = ["address", "user"].iter().filter_map(|name| {
            let value = String::from_utf8(names.get(*name)?.clone()).ok()?;
            Some((value, format!("{{{name}}}")))
        });
        let own: Vec<(String, String)> = own.collect();
        let without = |line: &String| {
            let line =
                own.iter().fold(line.clone(), |line, (value, name)| line.replace(value, name));
            let line = IDS.iter().fold(line, |line, before| without_word(&line, before));
            without_dates(&without_size(&without_address(&without_message_id(&line))))
        };
        // What may be said or not is a matter of time.
        Self(said.iter().filter(|line| !line.starts_with("S?")).map(without).collect())
    }

    /// Its lines in an order of their own.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort_unstable();
        self
    }

    /// The first line that is not the same, as both have it.
    pub fn differs(&self, other: &Self) -> Option<(String, String)> {
        let line = |of: &Self, n: usize| of.0.get(n).cloned().unwrap_or_else(|| "the end".into());
        let longest = self.0.len().max(other.0.len());
        (0..longest).map(|n| (line(self, n), line(other, n))).find(|(one, two)| one != two)
    }
}

/// Without the words of letters and digits that follow `before`.
fn without_word(line: &str, before: &str) -> String {
    without_after(line, before, |c| c.is_ascii_alphanumeric())
}

/// Without the size of a literal: its lines follow, and the ids in them are of various lengths.
fn without_size(line: &str) -> String {
    without_after(line, "] {", |c| c.is_ascii_digit())
}

/// Without the client's address.
fn without_address(line: &str) -> String {
    without_after(line, "[127.", |c| c.is_ascii_digit() || c == '.')
}

/// Without a Message-ID of the server's own making: time and queue id.
fn without_message_id(line: &str) -> String {
    without_after(line, "Message-ID: <", |c| c.is_ascii_alphanumeric() || c == '.')
}

fn without_after(line: &str, before: &str, gone: fn(char) -> bool) -> String {
    let mut parts = line.split(before);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(before);
        out.push('#');
        out.push_str(part.trim_start_matches(gone));
    }
    out
}

/// Without dates and times as mail and IMAP write them: `22 Nov 2026 16:17:41`, `22-Nov-2026 16:17:41`.
/// Scripts say themselves which date they want where it matters.
fn without_dates(line: &str) -> String {
    const SHAPE: &[u8] = b"00-Aaa-0000 00:00:00";
    let (mut out, mut rest) = (String::new(), line);
    while let Some(first) = rest.chars().next() {
        let length = match has_shape(rest.as_bytes(), SHAPE) {
            true => {
                // The day of the week goes with it.
                if out.ends_with(", ") {
                    out.truncate(out.len() - 5);
                }
                out.push('#');
                SHAPE.len()
            }
            false => {
                out.push(first);
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

/// Whether a text begins like this: `0` is a digit or a blank before one, `A` and `a` are letters,
/// `-` is that or a blank.
fn has_shape(text: &[u8], shape: &[u8]) -> bool {
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit() || *byte == b' ',
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        b'-' => matches!(byte, b'-' | b' '),
        other => byte == other,
    };
    text.len() >= shape.len() && text.iter().zip(shape).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Transcript {
        let names = [("user", "u00007"), ("address", "u00007@example.com")];
        let names = names.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        Transcript::new(&[line.to_owned()], &Names::from(names))
    }

    #[test]
    fn only_what_varies_is_left_out() {
        for (line, wanted) in [
            ("S| Delivered-To: u00007@example.com", "S| Delivered-To: {address}"),
            ("S| * OK [UIDVALIDITY 1795364192] UIDs", "S| * OK [UIDVALIDITY #] UIDs"),
            ("S| Date: Sun, 22 Nov 2026 16:17:41 +0000", "S| Date: # +0000"),
            ("S| INTERNALDATE \"22-Nov-2026 16:17:41 +0000\" x", "S| INTERNALDATE \"# +0000\" x"),
            ("S| from c (unknown [127.0.0.17])", "S| from c (unknown [127.#])"),
            ("S| 250 2.0.0 Ok: queued as 4AbC9z\\r\\n", "S| 250 2.0.0 Ok: queued as #\\r\\n"),
            ("S| * 1 FETCH (BODY[] {504}", "S| * 1 FETCH (BODY[] {#}"),
            ("S| * 8 EXISTS", "S| * 8 EXISTS"),
        ] {
            assert_eq!(of(line).0, [wanted]);
        }
    }

    #[test]
    fn the_first_difference_is_told() {
        let [one, two] = [of("S| a"), of("S| b")];
        assert_eq!(one.differs(&two), Some(("S| a".into(), "S| b".into())));
        assert_eq!(one.differs(&one.clone()), None);
        let longer = Transcript(vec!["S| a".into(), "S| c".into()]);
        assert_eq!(one.differs(&longer), Some(("the end".into(), "S| c".into())));
    }
}
