//! One connection: socket, session and clock, polled together.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};
use waypost_daemon::{Server, Session};
use waypost_driver::ReadBuffer;
use waypost_machine::Time;

/// How long what a peer still sends is read off after our last words.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    /// A session borrows it for one read: idle connections hold no buffer.
    static BUFFER: RefCell<ReadBuffer> = RefCell::default();
}

/// Drives a session to its end.
pub(crate) async fn run<S>(server: Arc<Server>, mut session: Box<dyn Session>, mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    {
        let mut timer = Timer { sleep: pin!(sleep(Duration::MAX)), set: None };
        poll_fn(|cx| poll(cx, &server, &mut *session, &mut stream, &mut timer)).await;
    }
    // A failure at this point is the peer's loss only.
    let _ = stream.shutdown().await;
    if session.linger() {
        let mut rest = [0; 4096];
        let _ = timeout(LINGER, async {
            while !matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {}
        })
        .await;
    }
}

/// Goes on until everything waits; each thing waited for has the task's waker.
fn poll<S>(
    cx: &mut Context<'_>,
    server: &Server,
    session: &mut dyn Session,
    stream: &mut S,
    timer: &mut Timer<'_>,
) -> Poll<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        session.pump(cx.waker());
        if session.wants_write() && session.write_to(&mut Writer { cx, stream: &mut *stream }) {
            continue;
        }
        if session.finished() {
            return Poll::Ready(());
        }
        if session.wants_read() && read(cx, session, stream).is_ready() {
            continue;
        }
        if timer.poll(cx, server, session.deadline()).is_ready() {
            session.tick();
            continue;
        }
        return Poll::Pending;
    }
}

fn read<S: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    session: &mut dyn Session,
    stream: &mut S,
) -> Poll<()> {
    let read = BUFFER.with_borrow_mut(|buffer| {
        buffer.read(|space| {
            let mut space = ReadBuf::new(space);
            now(Pin::new(stream).poll_read(cx, &mut space))?;
            Ok(space.filled().len())
        })
    });
    match read {
        Ok(bytes) if bytes.is_empty() => session.eof(),
        Ok(bytes) => session.received(bytes),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
        Err(error) => session.broken(&error),
    }
    Poll::Ready(())
}

/// The socket as a session writes to it: what would wait would block.
struct Writer<'a, 'c, S> {
    cx: &'a mut Context<'c>,
    stream: &'a mut S,
}

impl<S: AsyncWrite + Unpin> io::Write for Writer<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.stream).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        now(Pin::new(&mut *self.stream).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// A timer that is only set anew when the deadline has moved.
struct Timer<'s> {
    sleep: Pin<&'s mut Sleep>,
    set: Option<Time>,
}

impl Timer<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, server: &Server, deadline: Option<Time>) -> Poll<()> {
        if self.set != deadline {
            self.set = deadline;
            if let Some(deadline) = deadline {
                self.sleep.as_mut().reset(Instant::now() + server.until(deadline));
            }
        }
        if self.set.is_none() || self.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.set = None;
        Poll::Ready(())
    }
}
