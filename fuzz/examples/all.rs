//! All targets in one libFuzzer program, so that it is built once; `WAYPOST_TARGET` chooses.
#![no_main]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<String> = OnceLock::new();
    let target = TARGET.get_or_init(|| std::env::var("WAYPOST_TARGET").unwrap_or_default());
    assert!(waypost_fuzz::run(target, data), "WAYPOST_TARGET names no target");
});
