//! `cargo run --release -p waypost-benches --bin spool [MESSAGES...]`: how long the start takes with
//! so many messages in the spool, and what memory each of them takes from then on.
//!
//! The spool is made anew in a temporary directory, below `TMPDIR`. With `--cold` (root) the system
//! forgets what it knows of the disk before each start; others on the machine feel that too.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use waypost_machine::{Input, Machine, Now, Time, UnixTime};
use waypost_mail::{Address, Body, Delivery, ReversePath, Target};
use waypost_queue::{Arrival, Entry, Notice, Origin, Queue, Settings, Waiting};
use waypost_world::{Event, World};

type Problem = Box<dyn std::error::Error>;

const WALL: UnixTime = UnixTime { secs: 1_800_000_000, nanos: 0 };
/// Nobody is tried while we look.
const LATER: UnixTime = UnixTime { secs: 4_000_000_000, nanos: 0 };
const TEXT: &str = "Received: by bench.test\r\nSubject: x\r\n\r\nhello\r\n";

fn main() -> Result<(), Problem> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let cold = arguments.iter().any(|a| a == "--cold");
    let counts = arguments.iter().filter(|a| !a.starts_with("--"));
    let mut counts = counts.map(|a| a.parse()).collect::<Result<Vec<usize>, _>>()?;
    if counts.is_empty() {
        counts = vec![1_000, 100_000];
    }
    println!("| messages | files made | start | each | memory at the peak | kept, each |");
    println!("|-----:|-----:|-----:|-----:|-----:|-----:|");
    for count in counts {
        start(count, cold)?;
    }
    let count = 1_000_000;
    println!("\nin the queue manager, {count} messages: {:.0} octets each", in_machine(count)?);
    Ok(())
}

fn entry(n: usize) -> Result<Entry, Problem> {
    let to = Address::parse(&format!("user{n}@d{}.remote.test", n % 5000))?;
    let sender = Address::parse(&format!("sender{n}@s{}.example.com", n % 1000))?;
    let delivery = Delivery { to: to.clone(), orig_to: to, target: Target::Remote };
    let origin = Origin {
        queue_id: format!("4b{n:08}").into(),
        arrived: WALL,
        sender: ReversePath::Address(sender),
        size: TEXT.len() as u64,
        checksum: None,
        message_id: format!("<{n}@example.com>").into(),
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
        login: None,
        head: Box::default(),
    };
    Ok(Entry::new(origin, vec![Waiting::new(delivery, None, None, LATER)]))
}

/// Starts a world on a spool with so many messages, and prints a line.
fn start(count: usize, cold: bool) -> Result<(), Problem> {
    let directory = tempfile::tempdir()?;
    let spool = directory.path().join("spool");
    fs::create_dir(&spool)?;
    let begun = Instant::now();
    for n in 0..count {
        let entry = entry(n)?;
        let path = |kind: &str| spool.join(format!("{}.{kind}", entry.origin.queue_id));
        fs::write(path("body"), TEXT)?;
        fs::write(path("entry"), entry.encode())?;
    }
    let made = begun.elapsed();
    if cold {
        rustix::fs::sync();
        fs::write("/proc/sys/vm/drop_caches", "3")?;
    }
    fs::write("/proc/self/clear_refs", "5")?;
    let (before, _) = memory()?;
    let begun = Instant::now();
    let log = Arc::new(|_: Event| ());
    let world = World::start(waypost_world::Settings::new("bench.test", &spool, log))?;
    let took = begun.elapsed();
    assert_eq!(world.queued(), count, "all are taken up");
    let (after, peak) = memory()?;
    world.stop();
    println!(
        "| {count} | {:.1} s | {:.2} s | {:.1} us | {:.1} MiB | {:.0} octets |",
        made.as_secs_f64(),
        took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / count as f64,
        peak.saturating_sub(before) as f64 / 1024.0,
        after.saturating_sub(before) as f64 * 1024.0 / count as f64,
    );
    Ok(())
}

/// What the queue manager alone keeps of each message.
fn in_machine(count: usize) -> Result<f64, Problem> {
    let now = Now { mono: Time::ZERO, wall: WALL };
    let (before, _) = memory()?;
    let mut queue = Queue::new(Settings::default());
    for n in 0..count {
        let arrival = Arrival::of(&entry(n)?, None)?;
        queue.handle(now, Input::Notice(Notice::Recovered(arrival)));
    }
    let (after, _) = memory()?;
    assert_eq!(queue.len(), count, "all are there");
    Ok(after.saturating_sub(before) as f64 * 1024.0 / count as f64)
}

/// Memory of this process, and the most it was since that was last forgotten, in KiB.
fn memory() -> Result<(usize, usize), Problem> {
    let status = fs::read_to_string(Path::new("/proc/self/status"))?;
    let field = |name: &str| -> Result<usize, Problem> {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such field")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}
