//! The whole server, crashing after each call of its disk, by each rule of survival.
//!
//! A script runs once to count its calls; then again and again with a crash after each of them. The
//! server starts anew, clients and hosts go on as they would, and all laws are judged.
//!
//! Each call is followed by a crash of each kind where the compiler has optimised (`--profile sim`, or
//! `--release`); otherwise by one crash, of the kinds in turn: that takes long enough.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use waypost_sim::run::{Options, run};
use waypost_sim::script::Script;

const RULES: [&str; 5] = ["nothing", "all", "names", "data", "half"];

fn script(text: &str) -> Script {
    text.parse().unwrap_or_else(|error| panic!("{error:?}"))
}

/// Whether this program is of the profile `dev`: its place tells.
fn is_slow() -> bool {
    let place = std::env::current_exe().unwrap();
    place.components().any(|part| part.as_os_str() == "debug")
}

/// Crashes after each call, as many at a time as there are processors.
fn crash_everywhere(text: &str, least: u64) {
    let plain = run(&script(text), &Options::default());
    assert!(plain.broken.is_empty(), "without a crash: {plain}");
    assert!(plain.calls >= least, "only {} calls", plain.calls);
    let kinds = if is_slow() { 1 } else { RULES.len() as u64 };
    let (next, crashed) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        let mut broken = String::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (call, rule) = (number / kinds + 1, number % RULES.len() as u64);
            if call > plain.calls {
                return broken;
            }
            let rule = RULES[usize::try_from(rule).unwrap()];
            // The other half of the time what follows a crash is cut short, too.
            let again = match number % 2 {
                0 => String::new(),
                _ => format!("1s crash after {} calls keep {rule} down 2s\n", 1 + call % 11),
            };
            let text =
                format!("{text}0ms crash after {call} calls keep {rule} down 500ms\n{again}");
            let report = run(&script(&text), &Options::default());
            crashed.fetch_add(report.crashes.into(), Ordering::Relaxed);
            if !report.broken.is_empty() {
                write!(broken, "{text}{report}").unwrap();
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let broken: Vec<String> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        started.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let broken = broken.concat();
    assert!(broken.is_empty(), "{}", &broken[..broken.len().min(6000)]);
    assert!(crashed.into_inner() >= plain.calls * kinds);
}

#[test]
fn while_mail_comes_in() {
    crash_everywhere(
        "seed 1\n\
         0ms mx alice@far.test -> mail000@example.com, info@example.org size 3000 retries 3\n\
         0ms mx bob@plain.test -> mail000@example.com size 200 pipelined chunks 2 retries 3\n",
        30,
    );
}

#[test]
fn while_mail_goes_to_many() {
    crash_everywhere(
        "seed 2\n0ms mx alice@far.test -> all@example.com, twice@example.org size 500 retries 3\n",
        60,
    );
}

#[test]
fn while_mail_goes_out_and_some_comes_back() {
    crash_everywhere(
        "seed 3\n\
         0ms remote plain.test refuses rcpt\n\
         0ms remote mx1.remote.test defers data\n\
         0ms submit mail000 tls mail000@example.com -> bob@remote.test, dave@plain.test size 900 \
         retries 3\n",
        25,
    );
}

#[test]
fn while_mail_is_read_and_put_in_order() {
    crash_everywhere(
        "seed 4\n\
         0ms mx alice@far.test -> mail000@example.com size 300 retries 3\n\
         800ms imap mail000 tls: create Archive; append INBOX 200; select INBOX; fetch; \
         store 0 +\\Flagged; store 1 +work; copy 0 Archive; move 1 Archive; delete 0; expunge; \
         append Archive 100; select Archive; fetch; store 0 +\\Seen; delete 1; uidexpunge 1; close\n",
        100,
    );
}

#[test]
fn while_folders_come_and_go() {
    crash_everywhere(
        "seed 5\n\
         0ms imap mail000 tls: create Work; subscribe Work; append Work 200; create Work.a; \
         append Work.a 200; rename Work Old; list; append Old.a 100; status Old; create Work; \
         append Work 300; remove Old; lsub; create Old; append Old 150; remove Work; \
         unsubscribe Work; rename Old.a Work; select Work; fetch; move 0 Old; rename Old Old.b; list\n",
        200,
    );
}
