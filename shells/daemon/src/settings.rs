//! The configuration, in the terms of those who act on it.

use std::sync::Arc;

use waypost_config::{BareNewline, Config};
use waypost_imap as imap;
use waypost_sasl::Mechanism;
use waypost_smtp::server as smtp;
use waypost_world::{Clock, Settings, World};

use crate::files::ConfigFile;
use crate::log;
use crate::server::StartError;

/// The settings of the three services that receive mail.
pub(crate) struct SmtpServices {
    pub(crate) smtp: Arc<smtp::Config>,
    pub(crate) submission: Arc<smtp::Config>,
    pub(crate) submissions: Arc<smtp::Config>,
}

/// What the configuration's parts must have of each other.
pub(crate) fn check(config: &Config) -> Result<(), StartError> {
    let listen = &config.listen;
    if config.certificates.is_empty() {
        for (name, addresses) in [
            ("submission", &listen.submission),
            ("submissions", &listen.submissions),
            ("imaps", &listen.imaps),
            ("imap", &listen.imap),
        ] {
            if !addresses.is_empty() {
                let text = format!(
                    "[listen] {name} needs tls.certificates; give a pair, or write {name} = []"
                );
                return Err(text.into());
            }
        }
    }
    Ok(())
}

pub(crate) fn smtp(config: &Config, tls: bool) -> SmtpServices {
    let service = |name: &str, tls: smtp::Tls| {
        let s = &config.smtp;
        Arc::new(smtp::Config {
            banner: s.banner.clone(),
            service: name.into(),
            tls,
            mechanisms: s
                .sasl_mechanisms
                .iter()
                .filter_map(|name| Mechanism::parse(name))
                .collect(),
            broken_sasl_auth_clients: s.broken_sasl_auth_clients,
            message_size_limit: config.mail.message_size_limit,
            recipient_limit: s.recipient_limit,
            soft_error_limit: s.soft_error_limit,
            hard_error_limit: s.hard_error_limit,
            junk_command_limit: s.junk_command_limit,
            auth_failure_delay: config.auth.failure_delay,
            command_timeout: s.timeout,
            body_timeout: s.timeout,
            bare_newline: match s.forbid_bare_newline {
                BareNewline::Normalize => smtp::BareNewline::Normalise,
                BareNewline::Reject => smtp::BareNewline::Reject,
            },
            ..smtp::Config::new(config.hostname.clone())
        })
    };
    SmtpServices {
        smtp: service("smtpd", if tls { smtp::Tls::Offered } else { smtp::Tls::Off }),
        submission: service("submission/smtpd", smtp::Tls::Required),
        submissions: service("submissions/smtpd", smtp::Tls::Implicit),
    }
}

/// The settings of IMAP, with TLS from the start or by STARTTLS.
pub(crate) fn imap(config: &Config, implicit_tls: bool) -> Arc<imap::Config> {
    let mechanisms = config.smtp.sasl_mechanisms.iter();
    Arc::new(imap::Config {
        implicit_tls,
        starttls: !implicit_tls,
        mechanisms: mechanisms.filter_map(|name| Mechanism::parse(name)).collect(),
        append_limit: config.mail.message_size_limit,
        login_timeout: config.imap.login_timeout,
        idle_timeout: config.imap.idle_timeout,
        failure_delay: config.auth.failure_delay,
        ..imap::Config::default()
    })
}

/// Starts the world.
pub(crate) fn world(file: &ConfigFile, clock: Arc<dyn Clock>) -> Result<World, StartError> {
    let config = &file.config;
    let mut settings = Settings::new(
        config.hostname.as_str(),
        file.at(&config.spool.directory),
        Arc::new(log::message::event),
    );
    settings.clock = clock;
    settings.file_threads = config.limits.file_threads;
    settings.spool.minimal_backoff = config.spool.minimal_backoff_time;
    settings.spool.maximal_backoff = config.spool.maximal_backoff_time;
    settings.spool.run_delay = config.spool.queue_run_delay;
    Ok(World::start(settings)?)
}
