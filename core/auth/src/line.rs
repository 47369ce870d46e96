//! Lines: fields between TABs, and the escapes in them.

use alloc::string::String;

/// Octets of a line, LF included: the longest response, and parameters.
pub(crate) const LIMIT: usize = waypost_sasl::RESPONSE_LIMIT + 1024;

const ESCAPES: [(char, char); 5] =
    [('\u{1}', '1'), ('\t', 't'), ('\n', 'n'), ('\r', 'r'), ('\0', '0')];

/// Appends a value, so that neither TAB nor line end is in it.
pub(crate) fn push_escaped(line: &mut String, value: &str) {
    for c in value.chars() {
        match ESCAPES.iter().find(|(raw, _)| *raw == c) {
            Some((_, escape)) => line.extend(['\u{1}', *escape]),
            None => line.push(c),
        }
    }
}

/// The value that was escaped. An escape that is none stands for its second character.
pub(crate) fn unescape(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = if c == '\u{1}' { chars.next().map(raw) } else { Some(c) };
        value.extend(c);
    }
    value
}

fn raw(escape: char) -> char {
    ESCAPES.iter().find(|(_, e)| *e == escape).map_or(escape, |(raw, _)| *raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escaped_and_back(value in any::<String>()) {
            let mut line = String::new();
            push_escaped(&mut line, &value);
            prop_assert!(!line.contains(['\t', '\n', '\r', '\0']));
            prop_assert_eq!(unescape(&line), value);
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = unescape(&text);
        }
    }
}
