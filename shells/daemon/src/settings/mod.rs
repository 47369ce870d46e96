//! The configuration, in the terms of those who act on it.

pub(crate) mod outgoing;
pub(crate) mod security;
mod tables;

use std::process;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;

use waypost_config::{BareNewline, Config};
use waypost_imap as imap;
use waypost_ldap3::Client;
use waypost_route::rate::Rates;
use waypost_route::{Domains, Gid, Map, Policy};
use waypost_sasl::Mechanism;
use waypost_smtp::server as smtp;
use waypost_world::carrier::Carrier;
use waypost_world::{Cache, Settings, World};

use crate::dkim;
use crate::files::ConfigFile;
use crate::ground::Ground;
use crate::log;
use crate::server::StartError;
use tables::Tables;

/// The settings of the three services that receive mail.
pub(crate) struct SmtpServices {
    pub(crate) smtp: Arc<smtp::Config>,
    pub(crate) submission: Arc<smtp::Config>,
    pub(crate) submissions: Arc<smtp::Config>,
}

/// What the configuration's parts must have of each other.
pub(crate) fn check(file: &ConfigFile) -> Result<(), StartError> {
    let named = |error| format!("{}: {error}", file.path.display()).into();
    check_parts(&file.config).map_err(named)
}

fn check_parts(config: &Config) -> Result<(), StartError> {
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
    outgoing::check(config)
}

pub(crate) fn smtp(config: &Config, tls: bool) -> SmtpServices {
    let service = |name: &str, tls: smtp::Tls| {
        let s = &config.smtp;
        Arc::new(smtp::Config {
            banner: s.banner.clone(),
            service: name.into(),
            tls,
            mechanisms: mechanisms(config),
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
        // The name that Postfix's own configuration has, and that log tools know.
        submissions: service("smtps/smtpd", smtp::Tls::Implicit),
    }
}

/// The settings of IMAP, with TLS from the start or by STARTTLS.
pub(crate) fn imap(config: &Config, implicit_tls: bool) -> Arc<imap::Config> {
    Arc::new(imap::Config {
        implicit_tls,
        starttls: !implicit_tls,
        mechanisms: mechanisms(config),
        append_limit: config.mail.message_size_limit,
        login_timeout: config.imap.login_timeout,
        idle_timeout: config.imap.idle_timeout,
        failure_delay: config.auth.failure_delay,
        ..imap::Config::default()
    })
}

/// The settings of one connection to the auth socket; `None` without random numbers.
pub(crate) fn auth(
    config: &Config,
    connection: u32,
    seed: Option<u64>,
) -> Option<waypost_auth::Config> {
    let mut random = [0; 16];
    match seed {
        Some(seed) => random[..8].copy_from_slice(&seed.to_le_bytes()),
        None => default_provider().secure_random.fill(&mut random).ok()?,
    }
    let cookie: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = seed.map_or_else(process::id, |_| 1);
    Some(waypost_auth::Config {
        mechanisms: mechanisms(config),
        failure_delay: config.auth.failure_delay,
        ..waypost_auth::Config::new(id, connection, &cookie)
    })
}

fn mechanisms(config: &Config) -> Vec<Mechanism> {
    config.smtp.sasl_mechanisms.iter().filter_map(|name| Mechanism::parse(name)).collect()
}

/// A world, and what it stands on.
pub(crate) struct Running {
    pub(crate) world: World,
    /// Threads of the LDAP client.
    _client: Option<Client>,
}

/// Starts the world.
pub(crate) fn world(
    file: &ConfigFile,
    ground: &Ground,
    carrier: Arc<dyn Carrier>,
) -> Result<Running, StartError> {
    start(file, ground, Some(carrier), World::start)
}

/// A world for the questions of the admin, beside the one that is at work.
pub(crate) fn for_questions(file: &ConfigFile, ground: &Ground) -> Result<Running, StartError> {
    start(file, ground, None, World::for_questions)
}

fn start(
    file: &ConfigFile,
    ground: &Ground,
    carrier: Option<Arc<dyn Carrier>>,
    world: fn(Settings) -> Result<World, waypost_world::StartError>,
) -> Result<Running, StartError> {
    let config = &file.config;
    let tables = tables::read(file, ground)?;
    let spool = file.at(&config.spool.directory);
    let log = ground.log.clone().unwrap_or_else(|| Arc::new(log::message::event));
    let mut settings = Settings::new(config.hostname.as_str(), spool, log);
    settings.policy = policy(config, &tables)?;
    settings.maps = tables.maps;
    settings.logins = tables.logins;
    settings.cache = Cache {
        positive: config.cache.positive,
        negative: config.cache.negative,
        entries: config.cache.entries,
    };
    settings.check_authors = config.smtp.reject_from_login_mismatch;
    settings.srs_domain = config.srs_domain.clone();
    let keys = dkim::keys(file)?;
    if !keys.is_empty() {
        settings.signer = Some(Arc::new(keys));
    }
    let limits = &config.limits;
    settings.rates = Rates {
        login: [limits.user_messages_per_hour, limits.user_recipients_per_hour],
        client: [limits.client_messages_per_hour, limits.client_recipients_per_hour],
        ..Rates::default()
    };
    settings.mail_location = format!("maildir:{}", config.mail.mail_location).into();
    settings.allowed_bases = config.mail.allowed_bases.iter().map(|base| file.at(base)).collect();
    settings.minimum_uid = config.mail.minimum_uid;
    settings.carrier = carrier;
    settings.clock = Arc::clone(&ground.clock);
    settings.fs = ground.fs.clone();
    settings.workers = ground.workers.clone();
    settings.process = ground.process.clone();
    settings.file_threads = config.limits.file_threads;
    settings.spool.queue = queue(config);
    settings.spool.bounce_size_limit = config.spool.bounce_size_limit;
    settings.spool.double_bounce = config.spool.double_bounce_recipient.clone();
    Ok(Running { world: world(settings)?, _client: tables.client })
}

/// When and where messages are tried.
fn queue(config: &Config) -> waypost_queue::Settings {
    let spool = &config.spool;
    let defaults = waypost_queue::Settings::default();
    let files = u32::try_from(config.limits.file_threads).unwrap_or(u32::MAX);
    waypost_queue::Settings {
        backoff: waypost_queue::Backoff {
            minimal: spool.minimal_backoff_time,
            maximal: spool.maximal_backoff_time,
        },
        queue_run_delay: spool.queue_run_delay,
        maximal_queue_lifetime: spool.maximal_queue_lifetime,
        bounce_queue_lifetime: spool.bounce_queue_lifetime,
        delay_warning_time: spool.delay_warning_time,
        message_active_limit: spool.message_active_limit,
        // Sessions need the disk as well.
        virtual_mailboxes: waypost_queue::Concurrency {
            process_limit: (files / 2).max(1),
            ..defaults.virtual_mailboxes
        },
        smtp: waypost_queue::Concurrency {
            initial: spool.initial_destination_concurrency,
            limit: spool.destination_concurrency_limit,
            recipient_limit: spool.destination_recipient_limit,
            failed_cohort_limit: spool.failed_cohort_limit,
            process_limit: spool.process_limit,
            ..defaults.smtp
        },
        relayhost: outgoing::queue_relayhost(config),
        ..defaults
    }
}

fn policy(config: &Config, tables: &Tables) -> Result<Policy, StartError> {
    let own = config.listen.smtp.iter().map(|at| at.ip()).filter(|ip| !ip.is_unspecified());
    let policy = Policy {
        own_addresses: own.collect(),
        virtual_mailbox_domains: Domains {
            listed: config.mail.mailbox_domains.iter().map(|d| d.as_str().into()).collect(),
            table: false,
        },
        mynetworks: config.smtp.mynetworks.clone(),
        relay_restrictions: config.smtp.relay_restrictions.clone(),
        recipient_restrictions: config.smtp.recipient_restrictions.clone(),
        sender_login_maps: tables.maps.contains_key(&Map::SenderLogins),
        recipient_delimiter: config.smtp.recipient_delimiter.clone().into(),
        virtual_mailbox_base: config.mail.virtual_mailbox_base.clone().into(),
        minimum_uid: config.mail.minimum_uid,
        gid: match tables.maps.contains_key(&Map::Gids) {
            true => Gid::Table,
            false => Gid::SameAsUid,
        },
        postmaster: config.mail.postmaster.clone(),
        ..Policy::new(config.hostname.as_str())
    };
    policy.check()?;
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("waypost.toml");
        for (text, expected) in [
            (
                "[relay]\nrelayhost = '[a.test'",
                "[relay] relayhost: '[a.test' is no destination; write",
            ),
            ("[relay]\ntransport_maps = [['a.test', '[b']]", "[relay] transport_maps: '[b' is no"),
            ("[listen]\nimap = ['127.0.0.1:1']", "[listen] submission needs tls.certificates"),
        ] {
            let listen = match text.starts_with("[listen]") {
                true => "",
                false => "[listen]\nsubmission = []\nsubmissions = []\nimaps = []\n",
            };
            std::fs::write(&path, format!("hostname = 'a.test'\n{listen}{text}\n")).unwrap();
            let error = check(&ConfigFile::read(&path).unwrap()).unwrap_err().to_string();
            let expected = format!("{}: {expected}", path.display());
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
