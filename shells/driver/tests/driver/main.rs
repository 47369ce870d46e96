//! The driver against rustls and against itself, all in memory.

mod chance;
mod conn;
mod toy;
