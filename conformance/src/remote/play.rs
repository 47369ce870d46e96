//! Plays a case.

use super::Side;
use super::script::{Case, What};
use crate::notation::escape;
use crate::pattern::Names;

/// The message that all cases send.
pub const MESSAGE: &[u8] =
    b"From: <mail000@example.com>\r\nTo: <one@remote.test>\r\nSubject: a letter\r\n\
      Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <letter@example.com>\r\n\r\n\
      Hello.\r\n.dot\r\n..two dots\r\n";

/// Who sends it.
pub const SENDER: &str = "mail000@example.com";

/// Plays a case on a side; `domain` is that of the recipients. Gives the messages that the host was
/// sent as a whole.
///
/// # Errors
/// The first line that did not come as it should.
pub fn play(case: &Case, domain: &str, side: &mut dyn Side) -> Result<Vec<Vec<u8>>, String> {
    let mut names = Names::from([
        ("domain".to_owned(), domain.as_bytes().to_vec()),
        ("sender".to_owned(), SENDER.as_bytes().to_vec()),
    ]);
    let mut messages = Vec::new();
    let mut chunks: Vec<u8> = Vec::new();
    let mut said: Vec<u8> = Vec::new();
    for step in &case.steps {
        let wrong = |problem: String| format!("{}: {problem} ({})", step.place, case.subject);
        if let What::Say(text) = &step.what {
            // Lines that follow each other go out in one write.
            said.extend(text.fill(&names).map_err(|e| wrong(e.to_string()))?);
            continue;
        }
        if !said.is_empty() {
            side.say(&std::mem::take(&mut said));
        }
        match &step.what {
            What::Say(_) => {}
            What::Hear(text, shown) => {
                let line = side.line().map_err(wrong)?;
                let line =
                    line.ok_or_else(|| wrong(format!("the client closes before {shown}")))?;
                if !text.matches(&line, &mut names) {
                    return Err(wrong(format!("{} instead of {shown}", escape(&line))));
                }
            }
            What::Message => messages.push(message(side).map_err(wrong)?),
            What::Chunk => {
                let size = names.get("size").and_then(|s| std::str::from_utf8(s).ok());
                let size = size.and_then(|s| s.parse().ok()).ok_or_else(|| wrong("no size".into()));
                chunks.extend(side.octets(size?).map_err(wrong)?);
                // The next chunk may be of another size.
                names.remove("size");
            }
            What::Fate(recipient, text, shown) => {
                let fate = side.fate(recipient).map_err(wrong)?;
                if !text.matches(fate.as_bytes(), &mut names) {
                    return Err(wrong(format!("{recipient}: `{fate}` instead of `{shown}`")));
                }
            }
            What::Connection(host) => side.connection(host.as_deref()).map_err(wrong)?,
            What::Tls(how) => side.secure(*how).map_err(wrong)?,
            What::Close => side.close(),
            What::Reset => side.reset(),
            What::End => {
                if let Some(line) = side.line().map_err(wrong)? {
                    return Err(wrong(format!("{} instead of the end", escape(&line))));
                }
            }
            What::Over => over(side).map_err(wrong)?,
            What::Retry => side.retry().map_err(wrong)?,
        }
    }
    if !chunks.is_empty() {
        messages.push(chunks);
    }
    Ok(messages)
}

/// What comes after DATA, up to the dot, unstuffed.
fn message(side: &mut dyn Side) -> Result<Vec<u8>, String> {
    let mut message = Vec::new();
    loop {
        let line = side.line()?.ok_or("the client closes in the middle of the message")?;
        match line.strip_prefix(b".") {
            Some(b"\r\n") => return Ok(message),
            Some(stuffed) => message.extend_from_slice(stuffed),
            None => message.extend_from_slice(&line),
        }
    }
}

/// The rest of a dialogue in which nothing more is to be had.
fn over(side: &mut dyn Side) -> Result<(), String> {
    while let Some(line) = side.line()? {
        match &*line {
            b"RSET\r\n" => side.say(b"250 2.0.0 Ok\r\n"),
            b"QUIT\r\n" => side.say(b"221 2.0.0 Bye\r\n"),
            line => return Err(format!("{} instead of the end", escape(line))),
        }
    }
    Ok(())
}
