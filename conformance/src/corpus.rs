//! The eight messages of `corpus/`, with the flags and dates they are appended with.

const FLAGS: [&str; 8] = [
    "",
    "\\Seen",
    "\\Seen \\Answered",
    "\\Flagged",
    "\\Seen $Forwarded",
    "\\Draft",
    "",
    "\\Deleted",
];

const DATES: [&str; 8] = [
    " 2-Mar-2026 09:15:01 +0100",
    " 2-Mar-2026 10:00:05 +0000",
    " 4-Mar-2026 06:00:00 +0100",
    " 4-Mar-2026 08:00:01 +0000",
    " 5-Mar-2026 12:00:02 +0000",
    " 5-Mar-2026 12:00:03 +0000",
    " 6-Mar-2026 00:00:05 +0000",
    " 6-Mar-2026 18:30:09 +0000",
];

const TEXTS: [&[u8]; 8] = [
    include_bytes!("../corpus/m01.eml"),
    include_bytes!("../corpus/m02.eml"),
    include_bytes!("../corpus/m03.eml"),
    include_bytes!("../corpus/m04.eml"),
    include_bytes!("../corpus/m05.eml"),
    include_bytes!("../corpus/m06.eml"),
    include_bytes!("../corpus/m07.eml"),
    include_bytes!("../corpus/m08.eml"),
];

/// Message `n`, 1 to 8: its bytes, flags and IMAP date-time.
///
/// # Panics
/// On any other number: only test files name them.
pub fn message(n: usize) -> (Vec<u8>, &'static str, &'static str) {
    (TEXTS[n - 1].to_vec(), FLAGS[n - 1], DATES[n - 1])
}
