//! Good files, bad files, and the reference text.

use waypost_config::{BareNewline, KEYS, LogFormat, Restriction, parse, reference};
use waypost_tls::{Level, NameRule, PolicyTable};

fn problems(text: &str) -> Vec<String> {
    parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_smallest_file() {
    let config = parse("hostname = 'mail.example.com'").unwrap();
    assert_eq!(config.mail.mailbox_domains[0].to_string(), "mail.example.com");
    assert_eq!(&*config.smtp.banner, "ESMTP Waypost");
    assert_eq!(config.listen.smtp[1], "[::]:25".parse().unwrap());
    assert_eq!(config.smtp.forbid_bare_newline, BareNewline::Normalize);
    assert!(config.listen.imap.is_empty() && config.auth.socket.is_none());
}

#[test]
fn a_larger_file() {
    let config = parse(
        r#"
hostname = "mx.example.org"

[listen]
smtp = ["127.0.0.1:2525"]

[tls]
certificates = [["ec.crt", "ec.key"], ["rsa.crt", "rsa.key"]]

[directory]
server_host = ["ldaps://a.example", "ldap://b.example"]
bind_dn = "cn=reader"
bind_pw_file = "password"
search_base = "ou=Mail"
timeout = "1m"

[maps]
virtual_alias_maps = "/etc/postfix/ldap/virtual_alias_maps"

[smtp]
mynetworks = ["192.0.2.0/24", "[2001:db8::]/32"]
recipient_delimiter = "+"
relay_restrictions = ["permit_sasl_authenticated", "reject_unauth_destination"]

[auth]
socket = "/run/auth"
socket_mode = "0600"

[dns]
servers = ["192.0.2.53", "[::1]:5353"]

[log]
format = "classic"
"#,
    )
    .unwrap();
    assert_eq!(&*config.certificates[1].key, "rsa.key");
    let ldap = config.directory.ldap.unwrap();
    assert_eq!((ldap.server_host.len(), ldap.start_tls), (2, true));
    assert_eq!(config.directory.timeout.as_secs(), 60);
    assert!(config.smtp.mynetworks[0].contains("192.0.2.7".parse().unwrap()));
    let servers = ["192.0.2.53:53", "[::1]:5353"].map(|server| server.parse().unwrap());
    assert_eq!((config.dns.servers, config.dns.trust_ad), (servers.into(), false));
    let relay = config.smtp.relay_restrictions;
    assert_eq!(relay[1], Restriction::RejectUnauthDestination);
    assert_eq!(config.auth.socket.unwrap().mode, 0o600);
    assert_eq!(config.log.format, LogFormat::Classic);
}

#[test]
fn mail_to_other_servers() {
    let head = "hostname = 'mail.example.com'\n[relay]\n";
    let config = parse(&format!(
        "{head}relayhost = '[mail.isp.example]:587'\n\
         transport_maps = [['remote.test', '[127.0.0.1]:2526']]\n\
         smtp_sasl_user = 'me'\nsmtp_sasl_password_file = 'password'\n\
         smtp_bind_address = '192.0.2.25'\ninet_protocols = ['ipv4']\n\
         smtp_connection_cache_time_limit = '0s'"
    ));
    let relay = config.unwrap().relay;
    assert_eq!(relay.transport_maps, [("remote.test".into(), "[127.0.0.1]:2526".into())]);
    assert_eq!((relay.ipv4, relay.ipv6), (true, false));
    assert_eq!(relay.smtp_bind_address, Some("192.0.2.25".parse().unwrap()));
    assert!(relay.smtp_connection_cache_time_limit.is_zero());
    let relay = parse(head).unwrap().relay;
    assert_eq!((relay.smtp_connect_timeout.as_secs(), relay.smtp_mx_session_limit), (30, 2));
    assert!(relay.ipv4 && relay.ipv6 && relay.relayhost.is_none());
    for (text, expected) in [
        ("inet_protocols = []", "write at least one of"),
        ("smtp_bind_address = '::1'", "write an address in quotes"),
        ("transport_maps = [['a.test']]", "write a list of pairs"),
        ("relayhost = 'x'\nsmtp_sasl_user = 'me'", "4: relay.smtp_sasl_user: goes together"),
        ("smtp_sasl_password_file = 'p'", "3: relay.smtp_sasl_password_file: goes together with"),
        ("smtp_helo_name = 'a b'", "3: relay.smtp_helo_name: 'a b': "),
        (
            "smtp_helo_name = \"a\\r\\nRSET\"",
            "write a domain name, for example \"mail.example.com\"",
        ),
        ("proxy_interfaces = ['x']", "write a list of texts, for example [\"192.0.2.1\"]"),
        ("[dns]\nservers = ['127.0.0.1:0']", "'127.0.0.1:0' is no address"),
        ("smtp_sasl_user = 'me'\nsmtp_sasl_password_file = 'p'", "is for relayhost"),
    ] {
        let problems = problems(&format!("{head}{text}"));
        assert!(problems[0].contains(expected), "{problems:?}");
    }
}

#[test]
fn wrong_names() {
    let head = "hostname = 'mail.example.com'\n";
    for (text, expected) in [
        (
            "[smtp]\nmynetwork = []",
            "3: 'smtp.mynetwork' is no setting; the nearest one is 'smtp.mynetworks'",
        ),
        ("mynetworks = []", "2: 'mynetworks' is no setting; write 'mynetworks' under [smtp]"),
        ("[stmp]\ntimeout = 1", "2: 'stmp' is no setting; the nearest one is '[smtp]'"),
        ("[imap]\nbanana = 1", "3: 'imap.banana' is no setting"),
        ("smtp = 1", "2: 'smtp' is a section; write [smtp] on a line of its own"),
        (
            "[mail]\nhostname = 'x'",
            "3: 'mail.hostname' is no setting; write 'hostname' above the first [section]",
        ),
    ] {
        assert_eq!(problems(&format!("{head}{text}\n")), [expected], "{text}");
    }
}

#[test]
fn wrong_values() {
    let head = "hostname = 'mail.example.com'\n";
    for (text, expected) in [
        (
            "[mail]\nminimum_uid = 'x'",
            "3: mail.minimum_uid: write a number from 1 to 4294967294, for example 100",
        ),
        (
            "[mail]\nminimum_uid = 0",
            "3: mail.minimum_uid: write a number from 1 to 4294967294, for example 100",
        ),
        (
            "[dns]\nservers = ['ns.example.com']",
            "3: dns.servers: 'ns.example.com' is no address; write a list of addresses, for example \
             [\"192.0.2.53\"]",
        ),
        (
            "[spool]\nqueue_run_delay = 300",
            "3: spool.queue_run_delay: write a time, for example \"300s\"",
        ),
        (
            "[spool]\nqueue_run_delay = '3 weeks'",
            "3: spool.queue_run_delay: write a time, for example \"300s\"",
        ),
        (
            "[auth]\nlogin_by_address = 'yes'",
            "3: auth.login_by_address: write true or false, for example false",
        ),
        (
            "[directory]\nscope = 'subtree'",
            "3: directory.scope: 'subtree' is not known; write one of \"sub\", \"one\", \"base\", for example \"sub\"",
        ),
        (
            "[auth]\nsocket_mode = '999'",
            "3: auth.socket_mode: write a mode as chmod takes it, for example \"0660\"",
        ),
        ("[smtp]\nbanner = \"a\\r\\nb\"", "3: smtp.banner: write one line of printable ASCII"),
        (
            "[mail]\nmail_location = 'mbox:~/mail'",
            "3: mail.mail_location: write \"maildir:\" and a path, as in \"maildir:~/mailbox\"",
        ),
        (
            "[tls]\ncertificates = [['a']]",
            "3: tls.certificates: write a list of pairs of files, for example [[\"tls/server.crt\", \"tls/server.key\"]]",
        ),
        (
            "[directory]\nsearch_base = 'b'\nldif = 'x'\nserver_host = ['ldap://y']",
            "5: directory.server_host: write either ldif or server_host, not both",
        ),
        (
            "[directory]\nldif = 'x'",
            "3: directory.ldif: needs search_base = \"ou=Mail,dc=example,dc=com\" or the like",
        ),
        (
            "[smtp]\nmynetworks = ['10.0.0.0/99']",
            "3: smtp.mynetworks: '10.0.0.0/99' is no network; write 192.0.2.0/24, [2001:db8::]/32, or one address; write a list of texts, for example [\"127.0.0.0/8\", \"[::1]/128\"]",
        ),
    ] {
        assert_eq!(problems(&format!("{head}{text}\n")), [expected], "{text}");
    }
    let restriction =
        &problems(&format!("{head}[smtp]\nrelay_restrictions = ['permit_mynetwork']"))[0];
    assert!(
        restriction
            .contains("'permit_mynetwork' is not known, the nearest word is 'permit_mynetworks'")
    );
}

#[test]
fn tls_towards_other_servers() {
    let relay = |text: &str| format!("hostname = 'mail.example.com'\n[relay]\n{text}\n");
    let plain = parse("hostname = 'mail.example.com'").unwrap().relay.tls;
    assert_eq!(plain.table, PolicyTable::default());
    assert!(plain.mta_sts && plain.smtp_tls_loglevel == 1);
    let text = "smtp_tls_security_level = 'verify'\nsmtp_tls_secure_cert_match = ['hostname:.isp.test']\n\
                smtp_tls_policy_maps = [['bank.test', 'secure'], ['.old.test', 'may until=2027-01-31']]";
    let table = parse(&relay(text)).unwrap().relay.tls.table;
    let found = |hop, now| table.find(hop, now);
    assert_eq!(found("x.test", 0).level, Level::Verify);
    assert_eq!(found("x.test", 0).names, [NameRule::Hostname]);
    let bank = [NameRule::Hostname, NameRule::Below("isp.test".into())];
    assert_eq!(
        (found("bank.test", 0).level, &*found("bank.test", 0).names),
        (Level::Secure, &bank[..])
    );
    assert_eq!(found("very.old.test", 1_801_439_999).level, Level::May);
    assert_eq!(found("very.old.test", 1_801_440_000).level, Level::Verify);
    for (text, expected) in [
        (
            "smtp_tls_security_level = 'strict'",
            "3: relay.smtp_tls_security_level: 'strict' is not known",
        ),
        (
            "smtp_tls_security_level = 'fingerprint'",
            "3: relay.smtp_tls_security_level: the level fingerprint needs",
        ),
        (
            "smtp_tls_policy_maps = [['a.test', 'may until=soon']]",
            "3: relay.smtp_tls_policy_maps: 'soon' is no day; write it as 2027-01-31",
        ),
        (
            "smtp_tls_policy_maps = [['a.test', 'may'], ['A.test', 'may']]",
            "3: relay.smtp_tls_policy_maps: a.test is listed twice",
        ),
        (
            "smtp_tls_policy_maps = ['a.test']",
            "3: relay.smtp_tls_policy_maps: write a list of pairs",
        ),
        (
            "smtp_tls_verify_cert_match = []",
            "3: relay.smtp_tls_verify_cert_match: write at least one name",
        ),
    ] {
        let found = problems(&relay(text));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn all_problems_at_once_in_the_order_of_their_lines() {
    let lines: Vec<_> = parse("[log]\nlevel = 'loud'\n[smtp]\nx = 1\n[mail]\nminimum_uid = -1\n")
        .unwrap_err()
        .iter()
        .map(|problem| problem.line)
        .collect();
    assert_eq!(lines, [1, 2, 4, 6]);
}

#[test]
fn text_that_is_no_toml() {
    let problems = parse("hostname = 'x'\n[smtp\n").unwrap_err();
    assert_eq!(problems.first().line, 2, "{problems}");
}

/// The reference text with its comment signs before settings taken away.
fn uncommented(keep: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for line in reference().lines() {
        let setting = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        match setting {
            Some(setting) if keep(setting.split(' ').next().unwrap()) => text.push_str(setting),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_reference_text_has_every_key_and_its_true_default() {
    let unset: Vec<_> =
        KEYS.iter().filter(|key| key.default.is_none()).map(|key| key.name()).collect();
    let plain = parse("hostname = 'mail.example.com'").unwrap();
    let defaults = uncommented(|name| name == "hostname" || !unset.contains(&name));
    assert_eq!(parse(&defaults).unwrap(), plain);
    // With the examples it is a file that reads well too; only the two directories exclude each other.
    let all = uncommented(|name| name != "ldif");
    let config = parse(&all).unwrap();
    assert_eq!(config.maps.dovecot_ldap.as_deref(), Some("/etc/dovecot/dovecot-ldap.conf.ext"));
    for key in KEYS {
        assert!(key.doc.ends_with('.') && key.doc.len() > 8, "{}", key.path);
        assert!(reference().contains(&format!("#{} = ", key.name())), "{}", key.path);
    }
}
