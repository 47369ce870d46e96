//! The tokio shell.
fn main() {}
