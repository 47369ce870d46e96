//! The whole server in a simulated world; the bytes are its choices.

use waypost_sim::choices::Choices;
use waypost_sim::plan::plan;
use waypost_sim::run::{self, Options};

pub(crate) fn run(data: &[u8]) {
    let script = plan(&Choices::from_bytes(data));
    let report = run::run(&script, &Options::default());
    assert!(report.broken.is_empty(), "{report}{script}");
}
