//! Waypost on smol: one task for each connection, on as many threads as there are cores.
//!
//! All that is particular to this runtime stands in this crate: accepting ([`accept`]), connecting
//! ([`connect`]), driving a session ([`session`]).

mod accept;
mod connect;
mod session;

use std::future::poll_fn;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use smol::{Executor, Timer, channel, future};
use waypost_daemon::Server;

/// All tasks, as tasks see it: they end with [`run`], whatever they wait for.
#[derive(Clone)]
struct Tasks(Weak<Executor<'static>>);

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = self.0.upgrade() {
            tasks.spawn(task).detach();
        }
    }
}

fn main() -> ExitCode {
    waypost_daemon::main(run)
}

fn run(server: Arc<Server>) -> io::Result<()> {
    let tasks = Arc::new(Executor::new());
    // Never sent to: that it closes tells the threads to end.
    let (running, ended) = channel::bounded::<()>(1);
    thread::scope(|scope| {
        for _ in 1..thread::available_parallelism()?.get() {
            scope.spawn(|| smol::block_on(tasks.run(ended.recv())));
        }
        let outcome = smol::block_on(tasks.run(serve(server, Tasks(Arc::downgrade(&tasks)))));
        drop(running);
        outcome
    })
}

async fn serve(server: Arc<Server>, tasks: Tasks) -> io::Result<()> {
    for (service, socket) in server.take_sockets() {
        accept::spawn(&tasks, Arc::clone(&server), service, socket)?;
    }
    tasks.spawn(connect::run(tasks.clone(), Arc::clone(&server)));
    poll_fn(|cx| server.poll_stopping(cx.waker())).await;
    let empty = poll_fn(|cx| server.poll_empty(cx.waker()));
    if within(server.stop_timeout(), empty).await.is_none() {
        server.give_up();
    }
    Ok(())
}

/// The future's outcome; `None` when it takes longer.
async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let late = async {
        Timer::after(time).await;
        None
    };
    future::or(async { Some(future.await) }, late).await
}
