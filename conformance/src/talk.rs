//! A scripted SMTP client for tests that are not dialogues.

use crate::net::{Client, Heard};
use crate::stage::Stage;

/// An SMTP session.
pub struct Smtp {
    /// The connection, for what is not a command.
    pub client: Client,
}

impl Smtp {
    /// Port 25 of a stage, greeted, EHLO said.
    ///
    /// # Errors
    /// What went wrong.
    pub fn greeted(stage: &Stage) -> Result<Self, String> {
        let mut smtp = Self { client: stage.dial(stage.smtp).map_err(|e| e.to_string())? };
        smtp.hear_code("220")?;
        smtp.say("EHLO client.example.net", "250")?;
        Ok(smtp)
    }

    /// The next reply, its lines joined by LF.
    ///
    /// # Errors
    /// The connection ends or is silent.
    pub fn hear(&mut self) -> Result<String, String> {
        let mut text = String::new();
        loop {
            let heard = self.client.line().map_err(|e| format!("after `{text}`: {e}"))?;
            let Heard::Line(line) = heard else {
                return Err(format!("the server closed the connection after `{text}`"));
            };
            text.push_str(String::from_utf8_lossy(&line).trim_end());
            if line.get(3) != Some(&b'-') {
                return Ok(text);
            }
            text.push('\n');
        }
    }

    /// The next reply, which must begin with `code`.
    ///
    /// # Errors
    /// Another reply, or none.
    pub fn hear_code(&mut self, code: &str) -> Result<String, String> {
        let reply = self.hear()?;
        if reply.starts_with(code) { Ok(reply) } else { Err(format!("`{reply}`, not {code}")) }
    }

    /// Sends a line, and wants a reply that begins with `code`.
    ///
    /// # Errors
    /// Another reply, or none.
    pub fn say(&mut self, line: &str, code: &str) -> Result<String, String> {
        self.send(line)?;
        self.hear_code(code).map_err(|e| format!("{line}: {e}"))
    }

    /// Sends a line without waiting.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn send(&mut self, line: &str) -> Result<(), String> {
        self.client.send(format!("{line}\r\n").as_bytes()).map_err(|e| e.to_string())
    }

    /// One message; returns the reply to its end.
    ///
    /// # Errors
    /// Any earlier reply but the usual.
    pub fn message(&mut self, recipient: &str, text: &str) -> Result<String, String> {
        self.say("MAIL FROM:<someone@elsewhere.test>", "250")?;
        self.say(&format!("RCPT TO:<{recipient}>"), "250")?;
        self.say("DATA", "354")?;
        self.send(&format!("{text}\r\n."))?;
        self.hear()
    }
}
