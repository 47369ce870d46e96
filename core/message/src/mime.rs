//! The incremental MIME scanner: octets of a message in, its [`Structure`] out.
//!
//! Feed it pieces of any size; the result does not depend on where they were cut. Decisions are
//! those of Dovecot's message parser, so that a mailbox shows the same parts under both:
//! a line that *begins* with a boundary is one, the longest matching boundary wins, then the
//! innermost; the line end before a boundary belongs to the boundary, unless that line end closes
//! a header or another boundary line; a boundary also ends a header; Content-Type counts without
//! MIME-Version.
//!
//! Bodies are searched for line feeds only. Memory is bounded by [`Limits`] and a line of header.

use alloc::vec::Vec;

use memchr::memchr;

mod header;

use header::Header;
pub(crate) use header::kept_value;

use crate::crlf::Position;
use crate::structure::{Part, PartId, Structure};

/// Octets of a line that decide whether it is a boundary.
const PREFIX: usize = 96;
/// Octets of a boundary that count; RFC 2046 5.1.1 allows 70.
const BOUNDARY: usize = 80;
/// Longest field name.
const NAME: usize = 1000;
/// What a kept field costs beside its octets.
const FIELD_COST: usize = 64;

/// How much of a message is looked at. What lies beyond stays one opaque part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Parts within parts; at most 200.
    pub depth: usize,
    /// Parts in all.
    pub parts: usize,
    /// Octets kept of one field; the rest of its value is dropped.
    pub field: usize,
    /// Octets kept of all fields of all parts together; later fields are dropped.
    pub kept: usize,
}

impl Default for Limits {
    /// Dovecot's 100 levels and 10,000 parts; 256 KiB a field, 1 MiB in all.
    fn default() -> Self {
        Self { depth: 100, parts: 10_000, field: 256 << 10, kept: 1 << 20 }
    }
}

/// Scans one message.
///
/// ```
/// use waypost_message::mime::Scanner;
/// let mut scanner = Scanner::new();
/// scanner.push(b"Subject: x\n\nHel");
/// scanner.push(b"lo\n");
/// let structure = scanner.finish();
/// assert_eq!(structure.size(), 21);
/// assert_eq!(structure.root().body_lines(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Scanner {
    limits: Limits,
    parts: Vec<Part>,
    boundaries: Vec<Boundary>,
    /// The part being read, and how deep it lies.
    part: PartId,
    depth: usize,
    state: State,
    top: Top,
    /// Behind the last octet taken.
    seen: Position,
    last_cr: bool,
    /// Start of the current line, and octets of the line end before it.
    line: Position,
    line_end: u64,
    /// Start of the current line, when it came in several pieces and matters.
    held: Vec<u8>,
    header: Header,
    kept: usize,
    #[cfg(test)]
    work: u64,
}

#[derive(Clone, Debug)]
struct Boundary {
    part: PartId,
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    /// In the empty line of a header.
    HeaderEnd,
    /// In a body, on a line that may still be a boundary.
    Body,
    /// In a body, on a line that is none.
    Text,
    /// In a boundary line; behind it a part begins, or an epilogue.
    Boundary {
        closing: bool,
    },
}

/// What stands before the current line of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Top {
    /// Another line of the body.
    Line,
    /// The empty line of the part's header.
    Header,
    /// A boundary line.
    Boundary,
}

/// A boundary that a line begins with.
#[derive(Clone, Copy, Debug)]
struct Found {
    at: usize,
    closing: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

/// The structure of a whole message.
pub fn scan(message: &[u8]) -> Structure {
    let mut scanner = Scanner::new();
    scanner.push(message);
    scanner.finish()
}

impl Scanner {
    /// A scanner with the default limits.
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// A scanner with limits of its own.
    pub fn with_limits(limits: Limits) -> Self {
        let start = Position::default();
        Self {
            limits: Limits { depth: limits.depth.min(200), ..limits },
            parts: alloc::vec![Part::new(None, start)],
            boundaries: Vec::new(),
            part: PartId::ROOT,
            depth: 0,
            state: State::Header,
            top: Top::Header,
            seen: start,
            last_cr: false,
            line: start,
            line_end: 0,
            held: Vec::new(),
            header: Header::default(),
            kept: 0,
            #[cfg(test)]
            work: 0,
        }
    }

    /// Takes the next octets of the message, as they lie on disk.
    pub fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            let lf = memchr(b'\n', rest);
            let text = &rest[..lf.unwrap_or(rest.len())];
            self.count_work(1);
            self.text(text, lf.is_some());
            self.seen.physical += text.len() as u64;
            self.seen.crlf += text.len() as u64;
            if let Some(&last) = text.last() {
                self.last_cr = last == b'\r';
            }
            let Some(lf) = lf else { return };
            self.end_line();
            rest = &rest[lf + 1..];
        }
    }

    /// Octets taken so far, as on disk and in CRLF form.
    pub const fn position(&self) -> Position {
        self.seen
    }

    /// The message ends here.
    pub fn finish(mut self) -> Structure {
        let held = core::mem::take(&mut self.held);
        match self.state {
            State::Header if !held.is_empty() => self.header_line(&held, false),
            State::Body => self.body_line(&held),
            _ => {}
        }
        while matches!(self.state, State::Header | State::HeaderEnd) {
            self.end_header(self.seen, false);
        }
        self.end_parts(None, self.seen);
        Structure { parts: self.parts }
    }

    /// Looks at the octets of a line that came with a piece; `ended`: its LF follows.
    fn text(&mut self, text: &[u8], ended: bool) {
        let most = match self.state {
            State::Header => self.limits.field.max(NAME + PREFIX),
            State::Body if self.held.is_empty() && !text.is_empty() && text[0] != b'-' => {
                self.state = State::Text;
                return;
            }
            State::Body => PREFIX,
            _ => return,
        };
        if self.held.is_empty() && (ended || text.len() >= most) {
            return self.line(&text[..text.len().min(most)], most, ended);
        }
        let more = text.len().min(most - self.held.len());
        self.count_work(more as u64);
        self.held.extend_from_slice(&text[..more]);
        if ended || (self.state == State::Body && self.held.len() == most) {
            let mut held = core::mem::take(&mut self.held);
            self.line(&held, most, ended);
            held.clear();
            self.held = held;
        }
    }

    /// A line whose octets, up to the `most` that matter, are known.
    fn line(&mut self, line: &[u8], most: usize, ended: bool) {
        let whole = ended && line.len() < most;
        let line = if whole { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        match self.state {
            State::Header if ended => self.header_line(line, true),
            // Wait for the end of an endless header line.
            State::Header => self.held.extend_from_slice(line),
            _ => self.body_line(line),
        }
    }

    /// The LF of the current line.
    fn end_line(&mut self) {
        let cr = core::mem::take(&mut self.last_cr);
        self.seen.physical += 1;
        self.seen.crlf += if cr { 1 } else { 2 };
        self.seen.lines += 1;
        self.line = self.seen;
        self.line_end = if cr { 2 } else { 1 };
        match self.state {
            State::Header => {}
            State::HeaderEnd => self.end_header(self.line, true),
            State::Body | State::Text => self.begin_body(Top::Line),
            State::Boundary { closing: true } => self.begin_body(Top::Boundary),
            State::Boundary { closing: false } => {
                self.append(self.line);
                self.header.is_mime = true;
            }
        }
    }

    fn begin_body(&mut self, top: Top) {
        self.top = top;
        self.state = if self.boundaries.is_empty() { State::Text } else { State::Body };
    }

    /// Before the line end that stands before the current line.
    const fn before_line_end(&self) -> Position {
        Position {
            physical: self.line.physical - self.line_end,
            crlf: self.line.crlf - 2,
            lines: self.line.lines - 1,
        }
    }

    /// A line of a body, or the start of a long one.
    fn body_line(&mut self, line: &[u8]) {
        self.state = State::Text;
        let Some(found) = self.find(line) else { return };
        let end = match self.top {
            Top::Line => self.before_line_end(),
            Top::Boundary => self.line,
            Top::Header if self.boundaries[found.at].part == self.part => self.line,
            Top::Header => {
                // An empty body: the line end before the boundary is the header's last one.
                let end = self.before_line_end();
                self.parts[self.part.index()].body = end;
                self.end_parts(self.parts[self.part.index()].parent, end);
                self.line
            }
        };
        self.cross(found, end);
    }

    /// Ends what the boundary ends, at `end`, and goes on in the boundary's line.
    fn cross(&mut self, found: Found, end: Position) {
        self.end_parts(Some(self.boundaries[found.at].part), end);
        self.boundaries.truncate(found.at + usize::from(!found.closing));
        self.state = State::Boundary { closing: found.closing };
    }

    /// Ends the open parts below `last`, or all.
    fn end_parts(&mut self, last: Option<PartId>, end: Position) {
        while Some(self.part) != last {
            let part = &mut self.parts[self.part.index()];
            part.end = end;
            let Some(parent) = part.parent else { return };
            self.part = parent;
            self.depth -= 1;
        }
    }

    /// The boundary that a line begins with: the longest, then the innermost.
    fn find(&mut self, line: &[u8]) -> Option<Found> {
        let text = line.strip_prefix(b"--")?;
        if self.parts.len() >= self.limits.parts {
            return None;
        }
        self.count_work(self.boundaries.len() as u64);
        let dashed = text.len() > 2 && text.ends_with(b"--");
        let mut best: Option<(usize, usize)> = None;
        for (at, boundary) in self.boundaries.iter().enumerate().rev() {
            let len = boundary.text.len();
            if text.starts_with(&boundary.text) && best.is_none_or(|(_, longest)| longest < len) {
                best = Some((at, len));
                if len == text.len() || (dashed && len + 2 == text.len()) {
                    break;
                }
            }
        }
        best.map(|(at, len)| Found { at, closing: text[len..].starts_with(b"--") })
    }

    /// Begins a part inside the current one.
    fn append(&mut self, at: Position) {
        let id = PartId(u32::try_from(self.parts.len()).unwrap_or(u32::MAX));
        self.parts.push(Part::new(Some(self.part), at));
        let parent = &mut self.parts[self.part.index()];
        let previous = parent.last_child.replace(id);
        match previous {
            Some(previous) => self.parts[previous.index()].next = Some(id),
            None => parent.first_child = Some(id),
        }
        self.part = id;
        self.depth += 1;
        self.header = Header::default();
        self.state = State::Header;
    }

    #[cfg(test)]
    const fn count_work(&mut self, steps: u64) {
        self.work += steps;
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "counts in tests only")]
    const fn count_work(&mut self, _steps: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::FieldName;

    /// Steps and octets copied while scanning `count` times `line` in a multipart's body.
    fn work(line: &str, count: usize, piece: usize) -> u64 {
        let mut scanner = Scanner::new();
        scanner.push(b"Content-Type: multipart/mixed; boundary=a\n\n--a\n\n");
        let body = line.repeat(count);
        for piece in body.as_bytes().chunks(piece) {
            scanner.push(piece);
        }
        scanner.work
    }

    #[test]
    fn work_grows_with_the_lines() {
        let long = "x".repeat(76) + "\n";
        let endless = "-".repeat(10_000);
        for (line, most) in [(&*long, 1.2), ("\n", 1.2), ("--b\n", 2.2), (&*endless, 1.2)] {
            for piece in [1 << 16, 1000] {
                let (once, twice) = (work(line, 1000, piece), work(line, 2000, piece));
                assert!(twice <= 2 * once, "{line:.9} in {piece}: {once}, then {twice}");
                let pieces = (1000 * line.len() / piece) as f64;
                assert!(
                    once as f64 <= (1000.0 + 100.0 * pieces.max(1.0)) * most,
                    "{line:.9}: {once}"
                );
            }
        }
    }

    #[test]
    fn fifty_megabytes_take_a_step_a_line() {
        let line = "x".repeat(499) + "\n";
        assert!(work(&line, 100_000, 1 << 16) < 220_000);
    }

    #[test]
    fn header_lines_are_kept_once() {
        let mut scanner = Scanner::new();
        scanner.push(b"Subject: ");
        for _ in 0..100_000 {
            scanner.push(b"0123456789");
        }
        let steps = 100_000;
        assert!(scanner.work <= 2 * steps + Limits::default().field as u64, "{}", scanner.work);
        scanner.push(b"\n\n");
        let structure = scanner.finish();
        assert!(structure.root().raw(FieldName::Subject).unwrap().len() <= Limits::default().field);
    }
}
