//! `replay TARGET FILE...` - runs a target over files, without libFuzzer: to see again what broke it, in
//! a debugger too, and to measure what its corpus reaches.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(target) = args.next() else {
        eprintln!("usage: replay TARGET FILE...");
        return ExitCode::from(2);
    };
    for file in args {
        let data = match std::fs::read(&file) {
            Ok(data) => data,
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::FAILURE;
            }
        };
        if !waypost_fuzz::run(&target, &data) {
            eprintln!("{target}: no such target");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
