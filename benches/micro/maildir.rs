//! The uid list.

use std::fmt::Write as _;
use waypost_maildir::UidList;
use waypost_maildir::sync::{Dir, Listing, plan};

const COUNT: usize = 10_000;

fn name(n: usize) -> String {
    format!("{}.V902I1b8{n:05x}M{n:06}.mail,S=1024,W=1048", 1_795_334_160 + n)
}

fn text() -> Vec<u8> {
    let mut text = format!("3 V1795334160 N{} G5a1f3a0c5067016af2a00001d2a6d3b4\n", COUNT + 1);
    for n in 1..=COUNT {
        let _ = writeln!(text, "{n} :{}", name(n));
    }
    text.into_bytes()
}

/// Reading the file.
pub(crate) fn uidlist() -> Box<dyn FnMut() -> usize> {
    let text = text();
    Box::new(move || UidList::parse(text.clone()).expect("it is well formed").len())
}

/// Matching it with the files of `cur`.
pub(crate) fn sync() -> Box<dyn FnMut() -> usize> {
    let mut list = UidList::parse(text()).expect("it is well formed");
    let names: Vec<String> = (1..=COUNT).map(|n| format!("{}:2,S", name(n))).collect();
    Box::new(move || {
        let mut listing = Listing::with_capacity(COUNT);
        for name in &names {
            listing.push(Dir::Cur, name.as_bytes());
        }
        plan(&listing, &mut list, |_| false).present.len()
    })
}
