//! Messages leave the spool: those that are over while the disk is busy with others share its next
//! sync.

use std::sync::{Arc, Mutex};

use waypost_queue::Removed;

use super::slot::{Due, Slot};
use crate::{Inner, lock};

/// The file pool's key of the removals. Those of messages have other bits set as well.
const KEY: u64 = 3 << 62;

/// Messages that are to be removed.
#[derive(Default)]
pub(crate) struct Removals(Mutex<Vec<(Arc<Slot>, Due<Removed>)>>);

/// Removes a message, durably.
pub(super) fn remove(world: &Arc<Inner>, slot: Arc<Slot>, due: Due<Removed>) {
    let worker = Arc::clone(world);
    // Behind what is still to be done with its entry.
    world.files.submit(Some(slot.key), move || {
        let world = Arc::clone(&worker);
        lock(&world.removals.0).push((slot, due));
        worker.files.submit(Some(KEY), move || remove_all(&world));
    });
}

/// Removes all that wait for it; for one of several jobs in a row that is most of them.
fn remove_all(world: &Inner) {
    let all = std::mem::take(&mut *lock(&world.removals.0));
    if all.is_empty() {
        return;
    }
    let ids: Vec<&str> = all.iter().map(|(slot, _)| &*slot.name).collect();
    let results = world.queue.spool.remove_all(&ids);
    for ((slot, due), result) in all.into_iter().zip(results) {
        due.keep(match result {
            Ok(()) => Removed::Done,
            Err(error) => {
                world.queue.complain(&slot, &error);
                Removed::Failed
            }
        });
    }
}
