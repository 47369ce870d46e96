//! The settings of routing, with Postfix's names and defaults.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use waypost_mail::{Address, Network};

/// The settings of routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `myorigin`: the domain of aliases that have none; usually `myhostname`.
    pub myorigin: String,
    /// `mydestination`: domains of the machine itself, in which nobody has a mailbox here.
    pub mydestination: Vec<String>,
    /// `inet_interfaces`: our own addresses, for `user@[192.0.2.1]`.
    pub own_addresses: Vec<IpAddr>,
    /// `virtual_alias_domains`: domains in which every address is an alias.
    pub virtual_alias_domains: Domains,
    /// `virtual_mailbox_domains`: domains of mailboxes.
    pub virtual_mailbox_domains: Domains,
    /// `relay_domains`: domains, with those below them, that are passed on for anybody.
    pub relay_domains: Vec<String>,
    /// `mynetworks`
    pub mynetworks: Vec<Network>,
    /// `smtpd_relay_restrictions`
    pub relay_restrictions: Vec<Restriction>,
    /// `smtpd_recipient_restrictions`
    pub recipient_restrictions: Vec<Restriction>,
    /// Whether there is a `smtpd_sender_login_maps`; without it, sender addresses are free.
    pub sender_login_maps: bool,
    /// `recipient_delimiter`: each character of it begins an address extension.
    pub recipient_delimiter: String,
    /// `virtual_alias_expansion_limit`: addresses that one recipient may become.
    pub alias_expansion_limit: usize,
    /// `virtual_alias_recursion_limit`: aliases that may lead to one another.
    pub alias_recursion_limit: usize,
    /// `virtual_mailbox_base`: stands before every mailbox path.
    pub virtual_mailbox_base: String,
    /// `virtual_minimum_uid`: a mailbox of a lower user id is not delivered to. 0 never is.
    pub minimum_uid: u32,
    /// Where group ids come from.
    pub gid: Gid,
    /// Who gets the mail for `postmaster`, `abuse` and `root` of our domains where the tables name
    /// nobody (RFC 5321 4.5.1, RFC 2142; cron writes to root).
    pub postmaster: Option<Address>,
    /// How long a table may take to answer.
    pub lookup_timeout: Duration,
}

/// Domains, listed or in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains {
    /// Those listed.
    pub listed: Vec<String>,
    /// Whether a table has more.
    pub table: bool,
}

/// Where group ids come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gid {
    /// `virtual_gid_maps` is a table of its own.
    Table,
    /// It is the same as `virtual_uid_maps`.
    SameAsUid,
}

/// A restriction, in the words of postconf(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// `defer`: 450, whoever it is.
    Defer,
    /// `defer_unauth_destination`: 454, unless the recipient is ours.
    DeferUnauthDestination,
    /// `permit`: ends the list.
    Permit,
    /// `permit_auth_destination`: ends the list when the recipient is ours.
    PermitAuthDestination,
    /// `permit_mynetworks`: ends the list for clients of these networks.
    PermitMynetworks,
    /// `permit_sasl_authenticated`: ends the list for clients that logged in.
    PermitSaslAuthenticated,
    /// `reject`: 554, whoever it is.
    Reject,
    /// `reject_authenticated_sender_login_mismatch`: a login may only use its own addresses.
    RejectAuthenticatedSenderLoginMismatch,
    /// `reject_known_sender_login_mismatch`: a login may use its own addresses and those that
    /// nobody owns.
    RejectKnownSenderLoginMismatch,
    /// `reject_non_fqdn_recipient`: a domain without a dot is refused.
    RejectNonFqdnRecipient,
    /// `reject_non_fqdn_sender`: a domain without a dot is refused.
    RejectNonFqdnSender,
    /// `reject_sender_login_mismatch`: the two rules for clients with and without login.
    RejectSenderLoginMismatch,
    /// `reject_unauth_destination`: 554, unless the recipient is ours.
    RejectUnauthDestination,
    /// `reject_unauthenticated_sender_login_mismatch`: an address with owners needs a login.
    RejectUnauthenticatedSenderLoginMismatch,
    /// `reject_unlisted_recipient`: recipients that lead nowhere are refused here already; at the
    /// end they always are.
    RejectUnlistedRecipient,
}

/// A word that is no restriction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a restriction known here")]
pub struct UnknownRestriction(pub String);

/// Lists that would let anybody send anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "smtpd_relay_restrictions or smtpd_recipient_restrictions must hold reject_unauth_destination, \
     defer_unauth_destination, reject or defer"
)]
pub struct NoRelayControl;

impl Restriction {
    /// All restrictions by name.
    pub const NAMES: &[(&str, Self)] = &[
        ("defer", Self::Defer),
        ("defer_unauth_destination", Self::DeferUnauthDestination),
        ("permit", Self::Permit),
        ("permit_auth_destination", Self::PermitAuthDestination),
        ("permit_mynetworks", Self::PermitMynetworks),
        ("permit_sasl_authenticated", Self::PermitSaslAuthenticated),
        ("reject", Self::Reject),
        (
            "reject_authenticated_sender_login_mismatch",
            Self::RejectAuthenticatedSenderLoginMismatch,
        ),
        ("reject_known_sender_login_mismatch", Self::RejectKnownSenderLoginMismatch),
        ("reject_non_fqdn_recipient", Self::RejectNonFqdnRecipient),
        ("reject_non_fqdn_sender", Self::RejectNonFqdnSender),
        ("reject_sender_login_mismatch", Self::RejectSenderLoginMismatch),
        ("reject_unauth_destination", Self::RejectUnauthDestination),
        (
            "reject_unauthenticated_sender_login_mismatch",
            Self::RejectUnauthenticatedSenderLoginMismatch,
        ),
        ("reject_unlisted_recipient", Self::RejectUnlistedRecipient),
    ];

    /// Parses a list as it stands in main.cf: names with commas or blanks between them.
    ///
    /// # Errors
    /// The first word that is no restriction.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, UnknownRestriction> {
        let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|w| !w.is_empty());
        words
            .map(|word| {
                let known = Self::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
                known.map(|(_, it)| *it).ok_or_else(|| UnknownRestriction(word.to_string()))
            })
            .collect()
    }
}

impl Policy {
    /// The defaults of Postfix and the restrictions of a server for LDAP-managed mail:
    /// relaying for `mynetworks` and for logins, senders only as their owners.
    pub fn new(myhostname: &str) -> Self {
        Self {
            myorigin: myhostname.to_string(),
            mydestination: Vec::from(["localhost.localdomain".into(), "localhost".into()]),
            own_addresses: Vec::new(),
            virtual_alias_domains: Domains { listed: Vec::new(), table: true },
            virtual_mailbox_domains: Domains {
                listed: Vec::from([myhostname.to_string()]),
                table: false,
            },
            relay_domains: Vec::new(),
            mynetworks: Vec::new(),
            relay_restrictions: Vec::from([
                Restriction::PermitMynetworks,
                Restriction::PermitSaslAuthenticated,
                Restriction::DeferUnauthDestination,
            ]),
            recipient_restrictions: Vec::from([Restriction::RejectSenderLoginMismatch]),
            sender_login_maps: true,
            recipient_delimiter: "+".into(),
            alias_expansion_limit: 1000,
            alias_recursion_limit: 1000,
            virtual_mailbox_base: "/".into(),
            minimum_uid: 100,
            gid: Gid::Table,
            postmaster: None,
            lookup_timeout: Duration::from_secs(60),
        }
    }

    /// Checks that the restrictions control relaying, as Postfix does before it starts.
    ///
    /// Whatever they say, [`crate::Resolve`] takes a recipient in a foreign domain only from a login
    /// or from `mynetworks`.
    ///
    /// # Errors
    /// [`NoRelayControl`]
    pub fn check(&self) -> Result<(), NoRelayControl> {
        let control = |it: &Restriction| {
            matches!(
                it,
                Restriction::RejectUnauthDestination
                    | Restriction::DeferUnauthDestination
                    | Restriction::Reject
                    | Restriction::Defer
            )
        };
        let mut lists = self.relay_restrictions.iter().chain(&self.recipient_restrictions);
        if lists.any(control) { Ok(()) } else { Err(NoRelayControl) }
    }
}
