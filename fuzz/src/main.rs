//! All targets in one libFuzzer program; `WAYPOST_TARGET` chooses.
#![no_main]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static BODY: OnceLock<fn(&[u8])> = OnceLock::new();
    let body = BODY.get_or_init(|| {
        let name = std::env::var("WAYPOST_TARGET").expect("WAYPOST_TARGET names a target");
        waypost_fuzz::target(&name).expect("WAYPOST_TARGET names a target")
    });
    body(data);
});
