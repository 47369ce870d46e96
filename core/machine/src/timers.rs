//! Named timers: one slot each, so there is nothing to register or to forget.

use crate::time::Time;

/// The timers that protocols use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// TLS must be up by then. Armed and watched by the session itself.
    Handshake,
    /// The peer must have logged in, or begun to talk, by then.
    Greeting,
    /// The next command must be complete by then.
    Command,
    /// The next piece of a body must arrive by then.
    Body,
    /// The peer must show life by then (IDLE, or nothing at all).
    Idle,
    /// A reply that is held back is due then (after a failed login, say).
    Delay,
}

const ALL: [Timer; 6] =
    [Timer::Handshake, Timer::Greeting, Timer::Command, Timer::Body, Timer::Idle, Timer::Delay];

#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: [Option<Time>; ALL.len()],
}

impl Timers {
    pub(crate) fn arm(&mut self, timer: Timer, due: Time) {
        self.due[timer as usize] = Some(due);
    }

    pub(crate) fn disarm(&mut self, timer: Timer) {
        self.due[timer as usize] = None;
    }

    pub(crate) fn clear(&mut self) {
        self.due = Default::default();
    }

    /// The time of the first; `securing`: of that for the handshake.
    pub(crate) fn until(&self, securing: bool) -> Option<Time> {
        awake(securing).iter().filter_map(|timer| self.due[*timer as usize]).min()
    }

    /// Takes one timer that is due. While TLS is being set up nobody could be told of any but that
    /// of the handshake: they wait, and are due afterwards.
    pub(crate) fn expire(&mut self, now: Time, securing: bool) -> Option<Timer> {
        let due = |timer: &&Timer| self.due[**timer as usize].is_some_and(|due| due <= now);
        let timer = *awake(securing).iter().find(due)?;
        self.disarm(timer);
        Some(timer)
    }
}

fn awake(securing: bool) -> &'static [Timer] {
    if securing { &[Timer::Handshake] } else { &ALL }
}
