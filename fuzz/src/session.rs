//! Any bytes from a client to a machine whose calls are answered at once: it ends, waits for
//! something, and says the same however its input was cut.

use bytes::Bytes;
use waypost_machine::{Answer, Input, Limits, Machine, Now, Protocol, Session, Step, TlsInfo};

/// What a session said, in clear and after each handshake.
#[derive(Debug, Default, PartialEq, Eq)]
struct Transcript {
    said: Vec<u8>,
    handshakes: usize,
    closed: bool,
}

/// Runs a session twice, with whole input and with input cut by the first octet of `data`.
pub(crate) fn run<P: Protocol>(
    data: &[u8],
    start: impl Fn() -> P,
    answer: impl Fn(P::Call) -> Answer<P::Reply>,
) {
    let Some((whole, cut)) = twice(data, start, answer) else { return };
    // What is cut at STARTTLS decides whether clear text was waiting behind it.
    if whole.handshakes == 0 && cut.handshakes == 0 {
        assert_eq!(
            String::from_utf8_lossy(&whole.said),
            String::from_utf8_lossy(&cut.said),
            "cutting the input changes the output"
        );
        assert_eq!(whole, cut);
    }
}

/// The same for a protocol that works on several requests at once: an answer comes before or after the
/// next line, as the input was cut, and what is said may differ. It still ends, and waits for something.
pub(crate) fn run_unordered<P: Protocol>(
    data: &[u8],
    start: impl Fn() -> P,
    answer: impl Fn(P::Call) -> Answer<P::Reply>,
) {
    twice(data, start, answer);
}

fn twice<P: Protocol>(
    data: &[u8],
    start: impl Fn() -> P,
    answer: impl Fn(P::Call) -> Answer<P::Reply>,
) -> Option<(Transcript, Transcript)> {
    let (cut, input) = data.split_first()?;
    let whole = play(start(), input, usize::MAX, &answer);
    let cut = play(start(), input, 1 + usize::from(*cut) % 61, &answer);
    Some((whole, cut))
}

fn play<P: Protocol>(
    protocol: P,
    input: &[u8],
    size: usize,
    answer: &impl Fn(P::Call) -> Answer<P::Reply>,
) -> Transcript {
    let mut now = Now::default();
    let mut session = Session::new(now, protocol, Limits::default());
    let mut transcript = Transcript::default();
    let mut rest = Bytes::copy_from_slice(input);
    let mut ended = false;
    // Far more steps than any input of this size needs.
    for _ in 0..100_000 + input.len() * 100 {
        match session.poll(4_096) {
            Step::Send(bytes) => {
                assert!(bytes.len() <= 4_096, "more than there was room for");
                transcript.said.extend_from_slice(&bytes);
            }
            Step::Call(call) => session.handle(now, Input::Answer(answer(call))),
            Step::Cancel(_) | Step::Fact(_) => {}
            Step::Secure(_) => {
                transcript.handshakes += 1;
                session.handle(now, Input::Secured(TlsInfo::default()));
            }
            Step::Close(_) => {
                transcript.closed = true;
                return transcript;
            }
            Step::Wait(wait) => {
                if wait.read > 0 && !rest.is_empty() {
                    let piece = rest.split_to(rest.len().min(wait.read).min(size));
                    session.handle(now, Input::Bytes(piece));
                } else if let Some(until) = wait.until.filter(|_| !ended || !rest.is_empty()) {
                    if rest.is_empty() {
                        ended = true;
                        session.handle(now, Input::Eof);
                    } else {
                        assert!(until > now.mono, "it waits for a time that has passed");
                        now.mono = until;
                        session.handle(now, Input::Tick);
                    }
                } else if !ended {
                    assert!(rest.is_empty(), "it waits for nothing");
                    ended = true;
                    session.handle(now, Input::Eof);
                } else {
                    let until = wait.until.expect("after the end it still waits for something");
                    now.mono = until;
                    session.handle(now, Input::Tick);
                }
            }
        }
    }
    panic!("the session does not end");
}
