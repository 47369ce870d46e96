//! TLS towards other servers, as the relay asks for it.

use std::sync::Arc;

use waypost_dns::Question;
use waypost_relay::Resolve;
use waypost_tls_client::{self as tls, Authorities};
use waypost_world::Clock;

use crate::files::{self, ConfigFile};
use crate::server::StartError;

/// TLS towards other servers, as the configuration has it.
pub(crate) fn start(
    settings: tls::Settings,
    names: Arc<dyn Resolve>,
    clock: Arc<dyn Clock>,
) -> Arc<tls::Security> {
    if settings.authorities.count() == 0 {
        tracing::warn!("warning: {NO_AUTHORITY}");
    }
    let ask = move |question: Question, done: tls::Done| names.ask(question, done);
    let clock = move || u64::try_from(clock.wall().secs).unwrap_or(0);
    let security = tls::Security::new(settings, Arc::new(ask), Arc::new(clock));
    security.probe();
    security
}

/// Nobody can prove who they are.
const NO_AUTHORITY: &str = "no authority is known that could vouch for other servers: install \
                            ca-certificates, or set smtp_tls_CAfile";

/// Reads what the settings name.
pub(crate) fn settings(file: &ConfigFile) -> Result<tls::Settings, StartError> {
    let config = &file.config.relay.tls;
    let mut table = config.table.clone();
    if let Some(path) = config.smtp_tls_policy_file.as_ref().map(|path| file.at(path)) {
        let shown = path.display();
        let text = files::text(&path)?;
        let added = table.add_file(&text);
        added.map_err(|(line, error)| format!("{shown}:{line}: {error}"))?;
    }
    let at = |path: &Option<Box<str>>| path.as_ref().map(|path| file.at(path));
    let (ca_file, ca_path) = (at(&config.smtp_tls_ca_file), at(&config.smtp_tls_ca_path));
    let authorities = Authorities::load(ca_file.as_deref(), ca_path.as_deref())
        .map_err(|error| format!("[relay] smtp_tls_CAfile, smtp_tls_CApath: {error}"))?;
    Ok(tls::Settings {
        table,
        authorities,
        mta_sts: config.mta_sts,
        sts_directory: Some(file.at(&file.config.spool.directory).join("mta-sts")),
        ..tls::Settings::default()
    })
}

/// What there is to say of the settings, and whether it is good. `now`: seconds since 1970, in UTC.
pub(crate) fn findings(file: &ConfigFile, now: u64) -> Vec<(bool, String)> {
    let settings = match settings(file) {
        Ok(settings) => settings,
        Err(error) => return vec![(false, error.to_string())],
    };
    let authorities = match settings.authorities.count() {
        0 => (false, NO_AUTHORITY.to_owned()),
        count => (true, format!("other servers: {count} authorities can vouch for them")),
    };
    let over = settings.table.over(now).map(|(key, entry)| {
        (false, format!("smtp_tls_policy_maps: {key}: '{entry}' is over and has no effect"))
    });
    [authorities].into_iter().chain(over).collect()
}
