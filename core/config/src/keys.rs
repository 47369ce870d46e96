//! Every setting: name, default, documentation. The one place where they are listed.

use alloc::format;
use alloc::string::String;

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// `section.name`, or `name` above the sections.
    pub path: &'static str,
    /// The default as it would be written; `None`: nothing, or it must be given.
    pub default: Option<&'static str>,
    /// A value to show where there is no default.
    pub example: &'static str,
    /// What it does.
    pub doc: &'static str,
}

impl Key {
    /// The section; empty for those above all sections.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The name within its section.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The default, or the example.
    pub fn value(&self) -> &'static str {
        self.default.unwrap_or(self.example)
    }

    /// What a message shows: an empty list would show nothing.
    pub(crate) fn example(&self) -> &'static str {
        let written = EXAMPLES.iter().find(|(path, _)| *path == self.path);
        written.map_or_else(|| self.value(), |(_, example)| example).trim()
    }

    pub(crate) fn find(path: &str) -> &'static Self {
        KEYS.iter().find(|key| key.path == path).expect("invariant: only listed keys are read")
    }

    /// `name = value`, as a line of the file.
    pub(crate) fn assignment(&self, value: &str) -> String {
        format!("{} = {value}", self.name())
    }
}

/// Examples of lists that are empty by default.
const EXAMPLES: &[(&str, &str)] = &[
    ("listen.imap", "[\"127.0.0.1:143\"]"),
    ("directory.server_host", "[\"ldap://localhost\"]"),
    ("dns.servers", "[\"192.0.2.53\"]"),
    ("relay.transport_maps", "[[\"remote.test\", \"[127.0.0.1]:2526\"]]"),
    ("relay.smtp_tls_policy_maps", "[[\"bank.test\", \"secure\"]]"),
    ("relay.smtp_tls_fingerprint_cert_match", "[\"3D:95:..\"]"),
    ("relay.proxy_interfaces", "[\"192.0.2.1\"]"),
    ("relay.smtp_discard_ehlo_keywords", "[\"chunking\"]"),
];

const fn key(path: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { path, default: Some(default), example: default, doc }
}

const fn unset(path: &'static str, example: &'static str, doc: &'static str) -> Key {
    Key { path, default: None, example, doc }
}

/// The sections, in order, each with a line about it.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("", ""),
    ("listen", "Addresses and ports; an empty list closes a service."),
    ("tls", "Certificates."),
    ("directory", "Where accounts and aliases are: an LDIF file, or an LDAP server."),
    (
        "maps",
        "Lookup tables of an existing installation, read as they are. One that is not named\n# here is made from [directory] with the article's filters.",
    ),
    ("mail", "Mailboxes and messages."),
    ("forward", "Mail that an alias leads to other servers."),
    ("dkim", "Signatures on what users send to other servers (DKIM)."),
    ("smtp", "Receiving mail, under Postfix's names."),
    ("imap", "Reading mail."),
    ("auth", "Logging in."),
    ("dns", "Name servers."),
    ("relay", "Mail to other servers, under Postfix's names."),
    ("spool", "What cannot be delivered now waits here."),
    ("control", "How `waypost queue` reaches a running server."),
    ("cache", "What the directory said is believed for a while."),
    ("limits", "How much of the computer we may use."),
    ("log", "What is told, and how."),
];

/// All settings.
pub const KEYS: &[Key] = &[
    unset(
        "hostname",
        "\"mail.example.com\"",
        "The name of this server, as its MX record has it (Postfix: myhostname). Must be given.",
    ),
    key(
        "listen.smtp",
        "[\"0.0.0.0:25\", \"[::]:25\"]",
        "Mail from other servers; STARTTLS offered.",
    ),
    key(
        "listen.submission",
        "[\"0.0.0.0:587\", \"[::]:587\"]",
        "Mail from users; STARTTLS and a login required.",
    ),
    key(
        "listen.submissions",
        "[\"0.0.0.0:465\", \"[::]:465\"]",
        "Mail from users; TLS from the start (RFC 8314).",
    ),
    key("listen.imaps", "[\"0.0.0.0:993\", \"[::]:993\"]", "Reading mail; TLS from the start."),
    key(
        "listen.imap",
        "[]",
        "Reading mail; STARTTLS, no login without it. Closed unless you open it.",
    ),
    unset(
        "tls.certificates",
        "[[\"tls/server.crt\", \"tls/server.key\"]]",
        "Pairs of PEM files: the certificate with its chain, and its key. A client gets the first\npair whose certificate is good for the name it asks for and that it can use, else the first\npair; so an ECDSA pair may stand before an RSA one. Changed files are taken up without a restart.",
    ),
    unset(
        "directory.ldif",
        "\"accounts.ldif\"",
        "An LDIF file, served by Waypost itself and read again when it changes.\nEither this or server_host.",
    ),
    key(
        "directory.server_host",
        "[]",
        "LDAP servers, tried in order: ldap://host, ldaps://host, ldapi://%2Frun%2Fslapd%2Fldapi.",
    ),
    key("directory.start_tls", "true", "StartTLS before anything else on ldap:// connections."),
    unset(
        "directory.tls_ca_cert_file",
        "\"/etc/ldap/tls/CA.pem\"",
        "Who may sign the LDAP server's certificate; without it, the authorities of the system.\nChain and host name are always verified.",
    ),
    unset(
        "directory.bind_dn",
        "\"cn=mailAccountReader,ou=Manager,dc=example,dc=com\"",
        "Who we are when we search; without it, nobody.",
    ),
    unset(
        "directory.bind_pw_file",
        "\"/etc/waypost/ldap-password\"",
        "A file with the password of bind_dn in its first line. Refused when others may read it.",
    ),
    unset(
        "directory.search_base",
        "\"ou=Mail,dc=example,dc=com\"",
        "Where accounts and aliases are. Must be given with ldif or server_host.",
    ),
    key("directory.scope", "\"sub\"", "How far below the search base: \"sub\", \"one\", \"base\"."),
    key("directory.timeout", "\"10s\"", "How long an answer may take."),
    key(
        "directory.user_filter",
        "\"(&(objectClass=posixAccount)(uid=%u))\"",
        "How the entry of a login name is found; %u, %n, %d as Dovecot has them.",
    ),
    unset(
        "directory.auth_bind_userdn",
        "\"uid=%u,ou=Mail,dc=example,dc=com\"",
        "The name to bind with as a user; without it, the entry is searched for with user_filter first.",
    ),
    unset(
        "maps.virtual_alias_domains",
        "\"/etc/postfix/ldap/virtual_alias_domains\"",
        "ldap_table(5): which domains are hosted.",
    ),
    unset(
        "maps.virtual_alias_maps",
        "\"/etc/postfix/ldap/virtual_alias_maps\"",
        "ldap_table(5): address to addresses.",
    ),
    unset(
        "maps.virtual_mailbox_maps",
        "\"/etc/postfix/ldap/virtual_mailbox_maps\"",
        "ldap_table(5): final address to the path of its Maildir.",
    ),
    unset(
        "maps.virtual_uid_maps",
        "\"/etc/postfix/ldap/virtual_uid_maps\"",
        "ldap_table(5): final address to numeric user id.",
    ),
    unset(
        "maps.virtual_gid_maps",
        "\"/etc/postfix/ldap/virtual_uid_maps\"",
        "ldap_table(5): final address to numeric group id. The article uses the map of user ids.",
    ),
    unset(
        "maps.smtpd_sender_login_maps",
        "\"/etc/postfix/ldap/smtpd_sender_login_maps\"",
        "ldap_table(5): sender address to the logins that own it.",
    ),
    unset(
        "maps.dovecot_ldap",
        "\"/etc/dovecot/dovecot-ldap.conf.ext\"",
        "Dovecot's settings of passdb and userdb.",
    ),
    unset(
        "mail.mailbox_domains",
        "[\"mail.example.com\"]",
        "Domains of final addresses (Postfix: virtual_mailbox_domains); without it, the hostname.",
    ),
    key(
        "mail.virtual_mailbox_base",
        "\"/\"",
        "Stands before every path that virtual_mailbox_maps gives.",
    ),
    key(
        "mail.mail_location",
        "\"maildir:~/mailbox\"",
        "Where IMAP finds the mail of an account; ~ is its home directory.",
    ),
    key(
        "mail.allowed_bases",
        "[\"/home\"]",
        "Mailboxes lie under one of these directories, or mail for them waits.",
    ),
    key(
        "mail.minimum_uid",
        "100",
        "No mailbox belongs to a lower user id (Postfix: virtual_minimum_uid); 0 is never allowed.",
    ),
    unset(
        "mail.postmaster",
        "\"mail000@mail.example.com\"",
        "Who gets the mail for postmaster, abuse and root where the directory names nobody.",
    ),
    key("mail.message_size_limit", "10240000", "Octets of a message, at most."),
    key(
        "forward.srs",
        "true",
        "Forwarded mail of other domains leaves with a sender of ours (SRS), so that the next server\nfinds us entitled to send it (SPF); failure notices find their way back. The secret is made once,\nas srs-secret in the spool directory: a further line on top of that file signs from then on, the\nothers stay good. A secret of postsrsd goes below ours.",
    ),
    unset(
        "forward.srs_domain",
        "\"mail.example.com\"",
        "The domain of those senders; its MX record must lead here, and its SPF record must allow this\nserver. Without it, the hostname if it is in mail.mailbox_domains, else the first one there.",
    ),
    unset(
        "dkim.keys",
        "[[\"example.com\", \"s1\", \"dkim/example.com.s1.pem\"]]",
        "Domains of senders, each with a selector and the PEM file of a private key (RSA or Ed25519);\n\"waypost dkim-key DOMAIN SELECTOR\" makes one and prints its DNS record. A domain with a key of\neach kind gets both signatures. Signed is mail that comes by a login, or from mynetworks, when the\ndomain in From has a key here; by a login, MAIL FROM must be of that domain, too.",
    ),
    key(
        "smtp.banner",
        "\"ESMTP Waypost\"",
        "What follows the host name in the greeting (Postfix: smtpd_banner).",
    ),
    key(
        "smtp.mynetworks",
        "[\"127.0.0.0/8\", \"[::1]/128\"]",
        "Clients that may relay without a login.",
    ),
    key(
        "smtp.recipient_delimiter",
        "\"+\"",
        "Begins an address extension, as in name+extension; empty: there are none.",
    ),
    key(
        "smtp.relay_restrictions",
        "[\"permit_mynetworks\", \"permit_sasl_authenticated\", \"defer_unauth_destination\"]",
        "Who may send where (Postfix: smtpd_relay_restrictions).",
    ),
    key(
        "smtp.recipient_restrictions",
        "[\"reject_sender_login_mismatch\"]",
        "Checked after relay_restrictions (Postfix: smtpd_recipient_restrictions).",
    ),
    key(
        "smtp.reject_from_login_mismatch",
        "false",
        "Who has logged in may only write addresses of the login in the From header, too, not just in\nMAIL FROM.",
    ),
    key(
        "smtp.sasl_mechanisms",
        "[\"PLAIN\", \"LOGIN\"]",
        "Ways to log in, offered inside TLS only.",
    ),
    key(
        "smtp.broken_sasl_auth_clients",
        "false",
        "Also offer AUTH= for clients from the last century.",
    ),
    key(
        "smtp.forbid_bare_newline",
        "\"normalize\"",
        "A bare LF or CR in a message never ends it. \"normalize\" makes CRLF of it, \"reject\" refuses\nthe message.",
    ),
    key("smtp.recipient_limit", "1000", "Recipients of one message, at most."),
    key("smtp.soft_error_limit", "10", "From so many errors on, replies come a second late."),
    key("smtp.hard_error_limit", "20", "After so many errors the session ends."),
    key(
        "smtp.junk_command_limit",
        "100",
        "So many NOOP, RSET, VRFY without a message, then they count as errors.",
    ),
    key("smtp.timeout", "\"300s\"", "Silence after which a session ends (Postfix: smtpd_timeout)."),
    key(
        "imap.idle_timeout",
        "\"30m\"",
        "Silence after which a session ends, but not in IDLE (RFC 9051 5.4: at least 30 minutes).",
    ),
    key("imap.login_timeout", "\"3m\"", "Time to log in."),
    key(
        "auth.login_by_address",
        "false",
        "Log in also by any address of the account; it is the same account and mailbox.",
    ),
    key("auth.failure_delay", "\"2s\"", "How late the answer to a wrong password comes."),
    unset(
        "auth.socket",
        "\"/var/spool/postfix/private/auth\"",
        "A unix socket that speaks Dovecot's auth protocol, for a Postfix beside us.",
    ),
    key("auth.socket_mode", "\"0660\"", "Mode of that socket."),
    unset("auth.socket_user", "\"postfix\"", "Owner of that socket: a name or a number."),
    unset("auth.socket_group", "\"postfix\"", "Group of that socket: a name or a number."),
    key(
        "dns.servers",
        "[]",
        "Name servers, in order: \"192.0.2.53\", \"[2001:db8::53]:5353\". An empty list: those of\n/etc/resolv.conf, which is read again when it changes.",
    ),
    key(
        "dns.trust_ad",
        "false",
        "Believe a name server on another host when it says that it has validated an answer\n(DNSSEC), as \"options trust-ad\" of resolv.conf(5) does. One on this host is always believed.",
    ),
    unset(
        "relay.relayhost",
        "\"[mail.isp.example]:587\"",
        "Takes all mail for other servers. In brackets the host itself, without them the exchangers of\nthe domain.",
    ),
    key(
        "relay.transport_maps",
        "[]",
        "Other ways for some domains, before relayhost: [[\"remote.test\", \"[127.0.0.1]:2526\"]];\n\".remote.test\" stands for all domains below.",
    ),
    unset(
        "relay.smtp_sasl_user",
        "\"mail000\"",
        "Who we are for relayhost; with smtp_sasl_password_file.",
    ),
    unset(
        "relay.smtp_sasl_password_file",
        "\"/etc/waypost/relay-password\"",
        "A file with the password of smtp_sasl_user in its first line. Refused when others may read it.\nThe password is sent inside TLS only.",
    ),
    key(
        "relay.smtp_tls_wrappermode",
        "false",
        "TLS from the start with relayhost, as on port 465.",
    ),
    key(
        "relay.smtp_tls_security_level",
        "\"may\"",
        "How other servers have to prove themselves. \"may\": TLS where it is offered; \"encrypt\": TLS or\nnothing; \"verify\": and a certificate for the name of the server; \"secure\": for the domain of the\nrecipient; \"dane\": what its TLSA records say, else as may (needs a validating resolver);\n\"dane-only\"; \"fingerprint\"; \"none\". Who does not, gets no mail: it waits, and the queue says why.",
    ),
    key(
        "relay.smtp_tls_policy_maps",
        "[]",
        "The same for single next hops: [[\"bank.test\", \"secure match=.bank.test\"], [\"[relay.test]:587\",\n\"fingerprint match=3D:95:..\"], [\".old.test\", \"may until=2027-01-31\"]]. A leading dot stands for all\ndomains below; what has an \"until\" is over after that day (UTC). Goes before MTA-STS, too.",
    ),
    unset(
        "relay.smtp_tls_policy_file",
        "\"/etc/postfix/tls_policy\"",
        "A file with more of them, as postmap(1) reads it: a next hop, blanks, the rest.",
    ),
    unset(
        "relay.smtp_tls_CAfile",
        "\"/etc/ssl/certs/ca-certificates.crt\"",
        "Whose signature counts: PEM. Without it and smtp_tls_CApath, the authorities of the system.",
    ),
    unset("relay.smtp_tls_CApath", "\"/etc/ssl/certs\"", "The same: a directory of PEM files."),
    key(
        "relay.smtp_tls_verify_cert_match",
        "[\"hostname\"]",
        "The names that a certificate may be for at level verify: \"hostname\", \"nexthop\", \"dot-nexthop\"\n(all below it), a name, or \".name\".",
    ),
    key(
        "relay.smtp_tls_secure_cert_match",
        "[\"nexthop\", \"dot-nexthop\"]",
        "The same at level secure.",
    ),
    key(
        "relay.smtp_tls_fingerprint_cert_match",
        "[]",
        "Certificates and keys that count at level fingerprint, by their SHA-256 in hex with colons.",
    ),
    key(
        "relay.smtp_tls_loglevel",
        "1",
        "1: a line in the log for every TLS connection to another server; 0: none.",
    ),
    key(
        "relay.mta_sts",
        "true",
        "Domains that publish an MTA-STS policy (RFC 8461) are held to it, at the levels may, encrypt,\ndane, verify and secure.",
    ),
    unset(
        "relay.smtp_helo_name",
        "\"mail.example.com\"",
        "Our name in EHLO; without it, the hostname.",
    ),
    unset(
        "relay.smtp_bind_address",
        "\"192.0.2.25\"",
        "Where IPv4 connections come from; without it, the system chooses.",
    ),
    unset("relay.smtp_bind_address6", "\"2001:db8::25\"", "The same for IPv6."),
    key("relay.inet_protocols", "[\"ipv4\", \"ipv6\"]", "What other servers are reached by."),
    key(
        "relay.proxy_interfaces",
        "[]",
        "Addresses that lead to us besides those of listen.smtp: no mail goes there.",
    ),
    key("relay.smtp_connect_timeout", "\"30s\"", "How long a connection may take."),
    key("relay.smtp_mx_address_limit", "5", "Addresses that are tried for one message, at most."),
    key(
        "relay.smtp_mx_session_limit",
        "2",
        "Servers that are talked to for one message, at most; 0: all.",
    ),
    key(
        "relay.smtp_connection_cache_time_limit",
        "\"2s\"",
        "How long a connection waits for another message. \"0s\": each has its own.",
    ),
    key(
        "relay.smtp_connection_reuse_time_limit",
        "\"300s\"",
        "For how long a connection takes new messages.",
    ),
    key(
        "relay.smtp_discard_ehlo_keywords",
        "[]",
        "What other servers offer and we do not believe: [\"chunking\", \"pipelining\"].",
    ),
    key("spool.directory", "\"/var/spool/waypost\"", "The directory; made when it is missing."),
    key("spool.minimal_backoff_time", "\"300s\"", "Time to the second attempt."),
    key("spool.maximal_backoff_time", "\"4000s\"", "Time between attempts, at most."),
    key(
        "spool.queue_run_delay",
        "\"300s\"",
        "When what could not be read or written in the spool is tried again.",
    ),
    key(
        "spool.maximal_queue_lifetime",
        "\"5d\"",
        "For so long a message is tried; then it is returned to its sender.",
    ),
    key("spool.bounce_queue_lifetime", "\"5d\"", "The same for reports to senders."),
    key(
        "spool.delay_warning_time",
        "\"4h\"",
        "When the sender is told that a message still waits; \"0s\": never.",
    ),
    key(
        "spool.bounce_size_limit",
        "50000",
        "Of a larger message, in octets, a report to the sender returns only the header.",
    ),
    key(
        "spool.2bounce_notice_recipient",
        "\"postmaster\"",
        "Who is told of our reports that cannot be delivered; \"\": nobody.",
    ),
    key("spool.qmgr_message_active_limit", "20000", "Messages in delivery at once."),
    key(
        "spool.default_process_limit",
        "100",
        "Deliveries at once to other servers, to all of them.",
    ),
    key(
        "spool.initial_destination_concurrency",
        "5",
        "Deliveries at once to a destination of which nothing is known yet.",
    ),
    key(
        "spool.smtp_destination_concurrency_limit",
        "20",
        "Deliveries at once to one destination, at most.",
    ),
    key("spool.smtp_destination_recipient_limit", "50", "Recipients in one delivery."),
    key(
        "spool.smtp_destination_concurrency_failed_cohort_limit",
        "1",
        "A destination where so many rounds of deliveries found nobody is left alone for\nminimal_backoff_time; 0: never.",
    ),
    unset(
        "control.socket",
        "\"/run/waypost/control\"",
        "A unix socket for the server's own user and root; without it, control in spool.directory.",
    ),
    key(
        "cache.positive",
        "\"60s\"",
        "How long a found entry is believed. \"0s\" switches the cache off.",
    ),
    key("cache.negative", "\"10s\"", "How long \"no such entry\" is believed."),
    key("cache.entries", "100000", "Answers kept, at most."),
    key("limits.connections", "10000", "Connections at once."),
    key(
        "limits.connections_per_address",
        "50",
        "Connections at once of one client address (Postfix:\nsmtpd_client_connection_count_limit); an IPv6 client counts by its /64.",
    ),
    key(
        "limits.user_messages_per_hour",
        "500",
        "Messages that one login may send, so that a stolen password does little harm; 0: any\nnumber. What is too much is deferred (450), and the log names the login.",
    ),
    key(
        "limits.user_recipients_per_hour",
        "2000",
        "Recipients that one login may send to; 0: any number.",
    ),
    key(
        "limits.client_messages_per_hour",
        "0",
        "Messages that one client address may send without a login (Postfix:\nsmtpd_client_message_rate_limit); 0: any number. mynetworks always may; an IPv6 client counts by\nits /64.",
    ),
    key(
        "limits.client_recipients_per_hour",
        "0",
        "Recipients that one client address may send to without a login (Postfix:\nsmtpd_client_recipient_rate_limit); 0: any number.",
    ),
    key("limits.handshake_timeout", "\"60s\"", "How long a TLS handshake may take."),
    key(
        "limits.write_timeout",
        "\"300s\"",
        "A client that takes less than 16 KiB of what waits for it within this time is dropped.",
    ),
    key(
        "limits.file_threads",
        "32",
        "Threads that wait for the disk: so many for mail that comes and goes, and as many for IMAP.",
    ),
    key(
        "limits.stop_timeout",
        "\"30s\"",
        "How long open sessions may take to end when the server stops.",
    ),
    key(
        "log.format",
        "\"auto\"",
        "\"human\", \"json\", \"journald\", or \"classic\" (the lines of Postfix and Dovecot, for tools that\nread those). \"auto\": journald when started by systemd, else human.",
    ),
    key("log.level", "\"info\"", "\"error\", \"warn\", \"info\", \"debug\", \"trace\"."),
    unset(
        "log.file",
        "\"/var/log/mail.log\"",
        "Append to this file instead of standard error; opened again on SIGHUP.",
    ),
];
