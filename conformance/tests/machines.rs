//! The sessions against the bare machines: the same files, without socket, thread, or directory.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use waypost_conformance::bare::Bare;
use waypost_conformance::net::Link;
use waypost_conformance::notation::Script;
use waypost_conformance::pattern::Names;
use waypost_conformance::replay::{Target, play};
use waypost_conformance::report::{self, Case};
use waypost_conformance::rules;
use waypost_mail::{Domain, Peer};
use waypost_sasl::Mechanism;
use waypost_smtp::server::{BareNewline, Config, Server, Tls};

/// Scripts about more than the machine: the directory's own faults, other protocols.
fn for_machines(script: &Script) -> bool {
    script.name.starts_with("smtp/")
        && script.mail.is_none()
        && !script.name.ends_with("24-unknown-recipients")
        && !script.stops_directory()
        && script.targets.iter().any(|target| target == "waypost")
}

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let scripts: Vec<_> =
        waypost_conformance::scripts()?.into_iter().filter(for_machines).collect();
    let targets: Vec<_> = scripts.iter().map(|script| target(script.setting.as_deref())).collect();
    let case = |(script, target)| {
        let check = move || play(script, target);
        Case { name: script_name(script), check: Box::new(check) }
    };
    let cases: Vec<_> = scripts.iter().zip(&targets).map(case).collect();
    report::run("sessions against bare machines", &cases, 2)
}

fn script_name(script: &Script) -> String {
    format!("machine {}", script.name)
}

fn target(setting: Option<&str>) -> Target {
    let setting = setting.map(str::to_owned);
    let dial = move |service: &str, _| connect(service, setting.as_deref());
    Target {
        name: "waypost",
        host: "mail.example.com".into(),
        dial: Box::new(dial),
        tls: no_tls(),
        users: Mutex::default(),
        directory: None,
        names: Names::new(),
    }
}

fn connect(service: &str, setting: Option<&str>) -> io::Result<Box<dyn Link>> {
    let peer = Peer { ip: IpAddr::V4(Ipv4Addr::new(127, 0, 1, 3)), port: 40000, name: None };
    let config = smtp_config(service, setting)?;
    Ok(Box::new(Bare::new(Server::new(Arc::new(config), peer), Box::new(rules::smtp()))))
}

fn smtp_config(service: &str, setting: Option<&str>) -> io::Result<Config> {
    let tls = match service {
        "smtp" => Tls::Offered,
        "submission" => Tls::Required,
        "submissions" => Tls::Implicit,
        _ => return Err(io::Error::other(format!("no machine for {service}"))),
    };
    let host = Domain::parse("mail.example.com").map_err(io::Error::other)?;
    let mut config = Config {
        tls,
        mechanisms: vec![Mechanism::Plain],
        broken_sasl_auth_clients: true,
        ..Config::new(host)
    };
    match setting {
        None | Some("bare-newline-normalize") => {}
        Some("auth-login") => config.mechanisms.push(Mechanism::Login),
        Some("bare-newline-reject") => config.bare_newline = BareNewline::Reject,
        Some(other) => return Err(io::Error::other(format!("unknown setting {other}"))),
    }
    Ok(config)
}

/// Nothing is encrypted: what a machine sees is what lies inside TLS.
fn no_tls() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("invariant: the provider has the default versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}
