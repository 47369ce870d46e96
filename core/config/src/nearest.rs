//! The right word nearest to a wrong one.

use alloc::vec::Vec;

/// The candidate that the word is the beginning of (`bind_pw`, `bind_pw_file`); else the one with the
/// fewest changes, if they are few enough that it was meant; else one that holds the word, or that the
/// word holds (`size_limit`, `message_size_limit`).
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl Iterator<Item = &'c str> + Clone,
) -> Option<&'c str> {
    let few = |candidate: &str| 1 + candidate.len().min(word.len()) / 4;
    let meant = candidates
        .clone()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(changes, candidate)| *changes <= few(candidate))
        .min();
    let within = |candidate: &&str| {
        word.len().min(candidate.len()) > 3
            && (word.contains(candidate) || candidate.contains(word))
    };
    let begun = |candidate: &&str| word.len() > 3 && candidate.starts_with(word);
    candidates
        .clone()
        .filter(begun)
        .min_by_key(|candidate| candidate.len())
        .or_else(|| meant.map(|(_, candidate)| candidate))
        .or_else(|| candidates.filter(within).max_by_key(|c| c.len()))
}

/// Letters to add, drop, change, or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = Vec::with_capacity(a.len() + 1);
    rows.push((0..=b.len()).collect());
    for i in 1..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i);
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let right =
            ["hostname", "mynetworks", "message_size_limit", "listen", "bind_dn", "bind_pw_file"];
        for (wrong, meant) in [
            ("hostnam", Some("hostname")),
            ("myhostname", Some("hostname")),
            ("mynetwroks", Some("mynetworks")),
            ("size_limit", Some("message_size_limit")),
            ("lsiten", Some("listen")),
            ("bind_pw", Some("bind_pw_file")),
            ("bind_n", Some("bind_dn")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, right.into_iter()), meant, "{wrong}");
        }
    }
}
