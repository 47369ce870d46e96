//! What the disk alone allows: the file operations of a delivery, without a server.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Files per second: 1 KB written in `tmp`, fsync, rename into `new`, fsync of `new`, by `threads`
/// threads into 50 Maildirs.
pub(crate) fn messages_per_second(threads: usize, messages: usize) -> Result<f64, String> {
    let base = format!("/var/tmp/waypost-floor-{}", std::process::id());
    let base = Path::new(&base);
    let result = measure(base, threads, messages).map_err(|e| e.to_string());
    let _ = fs::remove_dir_all(base);
    result
}

fn measure(base: &Path, threads: usize, messages: usize) -> io::Result<f64> {
    for n in 0..50 {
        fs::create_dir_all(base.join(format!("{n}/tmp")))?;
        fs::create_dir_all(base.join(format!("{n}/new")))?;
    }
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let outcome = std::thread::scope(|scope| {
        let work = || -> io::Result<()> {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= messages {
                    return Ok(());
                }
                deliver(&base.join(format!("{}", n % 50)), n)?;
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| t.join().expect("no panic"))
    });
    outcome.map(|()| messages as f64 / started.elapsed().as_secs_f64())
}

fn deliver(maildir: &Path, n: usize) -> io::Result<()> {
    let (tmp, new) = (maildir.join(format!("tmp/{n}")), maildir.join(format!("new/{n}")));
    let mut file = File::create(&tmp)?;
    file.write_all(&[b'x'; 1_000])?;
    file.sync_all()?;
    fs::rename(&tmp, &new)?;
    File::open(maildir.join("new"))?.sync_all()
}
