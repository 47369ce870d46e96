//! One trace line for each input and each step: kinds and sizes, never content.

use tracing::trace;
use waypost_machine::{Input, Machine, Step};

pub(crate) fn input<M: Machine>(conn: u64, input: &Input<M>) {
    match input {
        Input::Bytes(bytes) => trace!(conn, len = bytes.len(), "in: bytes"),
        Input::Eof => trace!(conn, "in: eof"),
        Input::Secured(info) => {
            trace!(conn, protocol = info.protocol, cipher = info.cipher, "in: secured");
        }
        Input::Answer(answer) => trace!(conn, call = ?answer.id(), "in: answer"),
        Input::Notice(_) => trace!(conn, "in: notice"),
        Input::Tick => trace!(conn, "in: tick"),
        Input::Stop => trace!(conn, "in: stop"),
        Input::Gone => trace!(conn, "in: gone"),
    }
}

pub(crate) fn step<M: Machine>(conn: u64, room: usize, step: &Step<M>) {
    match step {
        Step::Send(bytes) => trace!(conn, len = bytes.len(), room, "out: send"),
        Step::Call(_) => trace!(conn, "out: call"),
        Step::Cancel(id) => trace!(conn, call = ?id, "out: cancel"),
        Step::Secure(_) => trace!(conn, "out: secure"),
        Step::Fact(_) => trace!(conn, "out: fact"),
        Step::Close(why) => trace!(conn, ?why, "out: close"),
        Step::Wait(wait) => trace!(conn, until = ?wait.until, read = wait.read, "out: wait"),
    }
}
