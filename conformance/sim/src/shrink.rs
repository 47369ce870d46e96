//! Makes a script shorter, as long as it still fails.

use std::time::Duration;

use crate::script::{Act, Mail, Script, What};

/// So many runs are made for it at most.
const RUNS: usize = 1500;

/// The shortest script that was found, beginning with this one, for which `fails` is true.
pub fn shrink(script: &Script, fails: impl FnMut(&Script) -> bool) -> Script {
    let mut search = Search { best: script.clone(), left: RUNS, fails };
    while search.left > 0 && (search.fewer() | search.simpler()) {}
    search.best
}

struct Search<F> {
    best: Script,
    left: usize,
    fails: F,
}

impl<F: FnMut(&Script) -> bool> Search<F> {
    fn try_this(&mut self, script: Script) -> bool {
        if self.left == 0 || script == self.best {
            return false;
        }
        self.left -= 1;
        let fails = (self.fails)(&script);
        if fails {
            self.best = script;
        }
        fails
    }

    /// Leaves lines out: first many at a time, then one by one (Zeller, Hildebrandt 2002, without
    /// the subsets).
    fn fewer(&mut self) -> bool {
        let mut shorter = false;
        let mut size = self.best.acts.len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < self.best.acts.len() {
                let mut script = self.best.clone();
                let to = (from + size).min(script.acts.len());
                script.acts.drain(from..to);
                match self.try_this(script) {
                    true => shorter = true,
                    false => from += size,
                }
            }
            size /= 2;
        }
        shorter
    }

    /// Makes single lines simpler.
    fn simpler(&mut self) -> bool {
        let mut any = false;
        let mut n = 0;
        while n < self.best.acts.len() {
            let tried = simpler(&self.best.acts[n]).into_iter().any(|act| {
                let mut script = self.best.clone();
                script.acts[n] = act;
                self.try_this(script)
            });
            match tried {
                true => any = true,
                false => n += 1,
            }
        }
        any
    }
}

/// What could take a line's place.
fn simpler(act: &Act) -> Vec<Act> {
    let of = |what| Act { at: act.at, what };
    let mut all: Vec<Act> = shorter(act.at).map(|at| Act { at, what: act.what.clone() }).collect();
    match &act.what {
        What::Mx(mail) => all.extend(mails(mail).map(What::Mx).map(of)),
        What::Submit(login, mail) => {
            all.extend(mails(mail).map(|mail| of(What::Submit(login.clone(), mail))));
        }
        What::Imap(login, steps) => {
            let all_but = |n: usize| {
                let mut steps = steps.clone();
                steps.remove(n);
                of(What::Imap(login.clone(), steps))
            };
            if steps.len() > 1 {
                all.extend((0..steps.len()).map(all_but));
            }
        }
        What::Fault(fault, lasts) => {
            all.extend(shorter(*lasts).map(|lasts| of(What::Fault(*fault, lasts))));
        }
        What::Crash(crash) => {
            all.extend(shorter(crash.down).map(|down| {
                let mut crash = *crash;
                crash.down = down;
                of(What::Crash(crash))
            }));
        }
        What::Restart(down) => all.extend(shorter(*down).map(|down| of(What::Restart(down)))),
        What::File(user, size) if *size > 300 => all.push(of(What::File(user.clone(), 300))),
        _ => {}
    }
    all
}

/// Less time: whole seconds, half of it.
fn shorter(time: Duration) -> impl Iterator<Item = Duration> {
    let half = Duration::from_millis(u64::try_from(time.as_millis() / 2).unwrap_or(u64::MAX));
    let seconds = Duration::from_secs(time.as_secs());
    [Duration::ZERO, half, seconds].into_iter().filter(move |less| *less < time)
}

fn mails(mail: &Mail) -> impl Iterator<Item = Mail> {
    let fewer = (0..mail.to.len()).filter(|_| mail.to.len() > 1).map(|n| {
        let mut mail = mail.clone();
        mail.to.remove(n);
        mail
    });
    let plain = [
        Mail { size: mail.size.min(300), ..mail.clone() },
        Mail { pipelined: false, ..mail.clone() },
        Mail { chunks: 0, ..mail.clone() },
        Mail { leaves: None, ..mail.clone() },
        Mail { retries: 0, ..mail.clone() },
        Mail { notify: None, ..mail.clone() },
        Mail { ret: None, envid: false, ..mail.clone() },
        Mail { utf8: false, ..mail.clone() },
        Mail { starttls: false, ..mail.clone() },
        Mail { trusted: false, ..mail.clone() },
    ];
    let mail = mail.clone();
    fewer.collect::<Vec<_>>().into_iter().chain(plain).filter(move |it| *it != mail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_goes() {
        let text = "seed 5\n\
            0ms mx a@far.test -> x@example.com, y@example.com size 5000 pipelined retries 2\n\
            1200ms directory gone 5s\n\
            2s crash after 17 calls keep names down 4s\n\
            3s restart 2s\n\
            4500ms file x size 4000\n";
        let script: Script = text.parse().unwrap();
        let mut runs = 0;
        let short = shrink(&script, |script| {
            runs += 1;
            let y = |act: &Act| matches!(&act.what, What::Mx(mail) if mail.to.contains(&"y@example.com".into()));
            let crash = |act: &Act| matches!(act.what, What::Crash(_));
            script.acts.iter().any(y) && script.acts.iter().any(crash)
        });
        let expected = "seed 5\n\
            0ms mx a@far.test -> y@example.com size 300\n\
            0ms crash after 17 calls keep names down 0ms\n";
        assert_eq!(short.to_string(), expected);
        assert!(runs < 100, "{runs}");
    }
}
