//! Human and classic lines.

use std::fmt::{self, Write};
use std::process;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use waypost_world::Clock;

use crate::log::time::rfc3339;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `07:50:22 smtpd E7370142EAE: client=unknown[192.0.2.1]`
    Human,
    /// `2026-11-22T07:50:22.123456+00:00 mail postfix/smtpd[42]: E7370142EAE: client=..`
    Classic,
}

/// Writes one line for each event.
pub(crate) struct Lines {
    pub(crate) style: Style,
    pub(crate) hostname: Box<str>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) colour: bool,
}

/// The fields of an event that have their place; all others follow the text.
#[derive(Default)]
struct Fields {
    program: String,
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "program" => self.program.push_str(value),
            // The text begins with it.
            "queue_id" => {}
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = rfc3339(self.clock.wall());
        let level = *event.metadata().level();
        match self.style {
            Style::Human => self.human(&mut to, &time, level, &fields),
            Style::Classic => self.classic(&mut to, &time, level, &fields),
        }
    }
}

impl Lines {
    fn human(&self, to: &mut Writer<'_>, time: &str, level: Level, f: &Fields) -> fmt::Result {
        let (on, off) = if self.colour { (colour(level), "\x1b[0m") } else { ("", "") };
        let time = time.get(11..19).unwrap_or(time);
        write!(to, "{on}{time}")?;
        if level != Level::INFO {
            write!(to, " {level}")?;
        }
        write!(to, "{off}")?;
        // `postfix/submission/smtpd` is submission/smtpd to a person; Dovecot's lines name theirs.
        let program = f.program.strip_prefix("postfix/").unwrap_or("");
        if !program.is_empty() {
            write!(to, " {program}:")?;
        }
        self.text(to, f)
    }

    fn classic(&self, to: &mut Writer<'_>, time: &str, level: Level, f: &Fields) -> fmt::Result {
        let host = self.hostname.split('.').next().unwrap_or("localhost");
        let program = if f.program.is_empty() { "waypost" } else { &f.program };
        write!(to, "{time} {host} {program}")?;
        // Dovecot's lines have no process id; those of a session have its number.
        if program != "dovecot" && !program.ends_with(']') {
            write!(to, "[{}]", process::id())?;
        }
        to.write_char(':')?;
        match level {
            Level::ERROR => to.write_str(" error:")?,
            Level::WARN => to.write_str(" warning:")?,
            _ => {}
        }
        self.text(to, f)
    }

    fn text(&self, to: &mut Writer<'_>, f: &Fields) -> fmt::Result {
        // What a peer sent must not look like a line of its own, or move a terminal's cursor.
        to.write_char(' ')?;
        // Some say in their text what the level says already.
        let message = f.message.strip_prefix("warning: ").unwrap_or(&f.message);
        for c in message.chars().chain(f.others.chars()) {
            to.write_char(if c.is_control() { '?' } else { c })?;
        }
        to.write_char('\n')
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        _ => "\x1b[2m",
    }
}
