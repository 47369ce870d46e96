#![deny(missing_docs)]
//! Memory that is free goes back to the system.
//!
//! glibc does that by itself only at the end of its heap, where one small block that lives on holds
//! all below it: after ten thousand sessions have come and gone, what they had would stay. This is
//! the only crate with foreign code: no safe interface to `malloc_trim` exists.

/// Gives back what is free. Takes some milliseconds; does nothing where the allocator is another.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::give_back();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "declares a function of the C library")]
mod glibc {
    use std::ffi::c_int;

    // SAFETY: that is its declaration (malloc_trim(3)); it may be called at any time in any thread,
    // and touches nothing that is in use.
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> c_int;
    }

    pub(super) fn give_back() {
        // What it says, whether there was anything to give back, is of no use here.
        let _ = malloc_trim(0);
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::fs;

    fn resident_kib() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_is_free_below_a_block_in_use_goes_back() {
        let many: Vec<Vec<u8>> = (0..20_000).map(|_| vec![1; 1000]).collect();
        let last = vec![2_u8; 1000];
        let before = resident_kib();
        drop(many);
        super::give_back();
        let after = resident_kib();
        assert!(after + 15_000 < before, "{before} KiB before, {after} KiB after");
        drop(last);
    }
}
