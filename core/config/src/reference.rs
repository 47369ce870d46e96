//! All settings as a commented file.

use alloc::string::String;
use core::fmt::Write;

use crate::keys::{KEYS, SECTIONS};

/// A `waypost.toml` with every key, its documentation and its default, each as a comment.
pub fn reference() -> String {
    let mut text = String::from(
        "# waypost.toml: every setting of Waypost, with its default or, where it has none, an\n\
         # example. Paths are relative to this file's directory. Times are written as in Postfix:\n\
         # 30s, 5m, 4h, 2d.\n",
    );
    for (section, doc) in SECTIONS {
        if !section.is_empty() {
            let _ = writeln!(text, "\n# {doc}\n[{section}]");
        }
        for key in KEYS.iter().filter(|key| key.section() == *section) {
            text.push('\n');
            for line in key.doc.lines() {
                let _ = writeln!(text, "# {}", line.trim());
            }
            for line in key.value().lines() {
                let _ = writeln!(text, "#{}", key.assignment(line));
            }
        }
    }
    text
}
