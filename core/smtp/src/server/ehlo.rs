//! EHLO and HELO (RFC 5321 4.1.1.1), and what the server offers.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_machine::Cx;

use super::{Config, Phase, Server, Tls, printable};
use crate::error::CommandError;
use crate::reply;

/// Octets of a name that are kept (RFC 5321 4.5.3.1.2).
const NAME: usize = 255;

impl Server {
    pub(super) fn ehlo(&mut self, cx: &mut Cx<'_, Self>, name: &str) -> Result<(), CommandError> {
        self.hello(cx, name, CommandError::EhloSyntax)?;
        let keywords = self.keywords();
        let mut text = format!("250-{}\r\n", self.config.hostname);
        for (n, keyword) in keywords.iter().enumerate() {
            let mark = if n + 1 == keywords.len() { ' ' } else { '-' };
            text.push_str(&format!("250{mark}{keyword}\r\n"));
        }
        Arc::make_mut(&mut self.client).esmtp = true;
        cx.send_slice(text.as_bytes());
        self.tally.count(self.verb, true);
        self.listen(cx, Phase::Command);
        Ok(())
    }

    pub(super) fn helo(&mut self, cx: &mut Cx<'_, Self>, name: &str) -> Result<(), CommandError> {
        self.hello(cx, name, CommandError::HeloSyntax)?;
        Arc::make_mut(&mut self.client).esmtp = false;
        self.finish(cx, &reply::hello(&self.config));
        Ok(())
    }

    /// Either way a transaction ends (RFC 5321 4.1.4). The name is taken as it is: no mail may be
    /// refused for it alone.
    fn hello(
        &mut self,
        cx: &mut Cx<'_, Self>,
        name: &str,
        error: CommandError,
    ) -> Result<(), CommandError> {
        if name.is_empty() {
            return Err(error);
        }
        self.reset(cx);
        let end = (0..=NAME.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
        let name = printable(&name[..end.unwrap_or(0)]);
        Arc::make_mut(&mut self.client).helo = name.into();
        Ok(())
    }

    fn keywords(&self) -> Vec<String> {
        let config = &self.config;
        let mut keywords = Vec::from(["PIPELINING".into(), size(config)]);
        if matches!(config.tls, Tls::Offered | Tls::Required) && self.client.tls.is_none() {
            keywords.push("STARTTLS".into());
        }
        if self.offers_auth() {
            let names: Vec<&str> = config.mechanisms.iter().map(|m| m.name()).collect();
            let names = names.join(" ");
            keywords.push(format!("AUTH {names}"));
            if config.broken_sasl_auth_clients {
                keywords.push(format!("AUTH={names}"));
            }
        }
        keywords.extend(["ENHANCEDSTATUSCODES", "8BITMIME", "DSN"].map(String::from));
        if config.smtputf8 {
            keywords.push("SMTPUTF8".into());
        }
        keywords.push("CHUNKING".into());
        keywords
    }
}

fn size(config: &Config) -> String {
    match config.message_size_limit {
        0 => "SIZE".into(),
        limit => format!("SIZE {limit}"),
    }
}
