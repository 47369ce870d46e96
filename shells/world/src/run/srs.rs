//! Forwarded mail: with which envelope sender and which fields on top a message leaves, and where
//! mail for a rewritten sender goes.
//!
//! Nothing below the top of the message is touched, so the signatures of others stay good.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use waypost_machine::Secret;
use waypost_mail::srs::{Srs, SrsError, is_srs};
use waypost_mail::{Address, Delivery, Domain, Enhanced, Reply, ReversePath, Target};
use waypost_queue::Origin;
use waypost_route::{Looked, Map, Request};

use crate::fs::{Fs, read_to_end};
use crate::{Inner, lock};

/// The file of secrets in the spool's directory, one in a line; the first one signs.
const FILE: &str = "srs-secret";
const MAX_FILE: u64 = 64 * 1024;
/// Characters of the proof in an address, so that guessing is hopeless: whoever has a good address
/// can send mail through us to the one that it stands for.
const PROOF: usize = 8;
/// Octets of a new secret.
const LENGTH: usize = 32;

/// How a message leaves for one recipient on another server. Recipients for whom this is the same
/// can share a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    /// MAIL FROM.
    pub(crate) sender: ReversePath,
    /// Fields that stand before the message, CRLF line ends.
    pub(crate) head: String,
}

/// How a message leaves. One that was forwarded leaves with a sender of ours, if its own is of
/// another domain, and tells that it has been here.
pub(crate) fn leaving(world: &Arc<Inner>, origin: &Origin, delivery: &Delivery) -> Leaving {
    let mut leaving = Leaving { sender: origin.sender.clone(), head: String::from(&*origin.head) };
    if is_forward(delivery) {
        if let Some(srs) = &world.srs
            && let ReversePath::Address(sender) = &origin.sender
            && !is_ours(world, sender.domain(), delivery)
        {
            match srs.forward(sender, day(world)) {
                Ok(rewritten) => leaving.sender = ReversePath::Address(rewritten),
                Err(error) => tracing::warn!("warning: {}: {sender}: {error}", origin.queue_id),
            }
        }
        let passed = delivery.orig_to.to_string();
        if origin.smtputf8 || passed.is_ascii() {
            leaving.head.insert_str(0, &format!("Delivered-To: {passed}\r\n"));
        }
    }
    leaving
}

/// True for a delivery to another server that an alias of ours leads to. A bounce that goes back to
/// where a forwarded message came from is none.
pub(crate) fn is_forward(delivery: &Delivery) -> bool {
    let elsewhere = matches!(delivery.target, Target::Remote);
    elsewhere && delivery.to != delivery.orig_to && !is_srs(&delivery.orig_to)
}

/// Whether a sender's domain is one of ours, as far as that is known at once: while the directory
/// has to be asked first, a domain counts as foreign. Rewritten without need, a sender still is an
/// address of ours that failure notices come back to.
fn is_ours(world: &Arc<Inner>, domain: &Domain, delivery: &Delivery) -> bool {
    let policy = &world.policy;
    let same = |name: &String| name.eq_ignore_ascii_case(domain.as_str());
    domain == delivery.orig_to.domain()
        || policy.virtual_mailbox_domains.listed.iter().any(same)
        || policy.virtual_alias_domains.listed.iter().any(same)
        || policy.mydestination.iter().any(same)
        || policy.virtual_alias_domains.table && in_table(world, domain)
}

fn in_table(world: &Arc<Inner>, domain: &Domain) -> bool {
    let answer = Arc::new(std::sync::Mutex::new(None));
    let keep = Arc::clone(&answer);
    let done = Box::new(move |looked| *lock(&keep) = Some(looked));
    world.lookups.look(Map::AliasDomains, domain.as_str(), done);
    let known = lock(&answer).take();
    matches!(known, Some(Looked::Found(_)))
}

/// Has the table asked beforehand, so that the answer is there when the message leaves.
pub(crate) fn ask_ahead(world: &Arc<Inner>, sender: &ReversePath) {
    if let ReversePath::Address(sender) = sender
        && world.srs.is_some()
        && world.policy.virtual_alias_domains.table
    {
        world.lookups.look(Map::AliasDomains, sender.domain().as_str(), Box::new(drop));
    }
}

/// Where mail for a sender that we have rewritten goes, whoever sends it; `None` when the recipient
/// is no such address.
///
/// # Errors
/// The reply when it is not from us, or too old.
pub(crate) fn returning(world: &Inner, recipient: &Address) -> Option<Result<Address, Reply>> {
    let srs = world.srs.as_ref()?;
    if *recipient.domain() != srs.domain || !is_srs(recipient) {
        return None;
    }
    match srs.reverse(recipient, day(world)) {
        Ok(original) => Some(Ok(original)),
        // Somebody may be called so.
        Err(SrsError::NotSrs | SrsError::NotOurs) => None,
        Err(error) => {
            tracing::info!("{recipient}: {error}");
            let key = recipient.lookup_key();
            let text = format!("<{key}>: Recipient address rejected: User unknown ({error})");
            Some(Err(Reply::new(550, Enhanced(5, 1, 1), text)))
        }
    }
}

/// Where a recipient leads that is not asked about for the first time, or is of our own making: the
/// sender of a message that fails here may be one that we have rewritten.
pub(crate) fn again(world: &Inner, to: Address, orig_to: Address) -> Request {
    match returning(world, &to) {
        Some(Ok(original)) => Request::Again { to: original, orig_to },
        _ => Request::Again { to, orig_to },
    }
}

/// Days since 1970.
fn day(world: &Inner) -> i64 {
    world.settings.clock.wall().secs.div_euclid(86_400)
}

/// Reads the secrets; when there are none yet, makes one where `make` says so. Without one, nothing
/// is rewritten.
///
/// # Errors
/// When the file cannot be read or written.
pub(crate) fn open(
    fs: &dyn Fs,
    spool: &Path,
    domain: Option<&Domain>,
    make: bool,
) -> io::Result<Option<Srs>> {
    let Some(domain) = domain else { return Ok(None) };
    let path = spool.join(FILE);
    let text = match fs.open(&path) {
        Ok(file) => read_to_end(&*file, MAX_FILE)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
            let mut random = [0; LENGTH];
            std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
            let mut text: String = random.iter().map(|octet| format!("{octet:02x}")).collect();
            text.push('\n');
            // Whole or not at all: half a secret is easily guessed.
            let temporary = spool.join(format!("{FILE}.tmp"));
            let mut file = fs.create(&temporary, 0o600)?;
            file.write_all(text.as_bytes())?;
            file.sync()?;
            fs.rename(&temporary, &path)?;
            fs.sync_dir(spool)?;
            text.into_bytes()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let lines = text.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii);
    let secrets: Vec<_> = lines.filter(|it| !it.is_empty()).map(|it| it.to_vec()).collect();
    if secrets.iter().any(|secret| secret.len() < 16) {
        tracing::warn!("warning: {}: a secret has fewer than 16 characters", path.display());
    }
    let mut srs = Srs::new(domain.clone(), Secret::new(Vec::new()));
    srs.hash_length = PROOF;
    srs.secrets = secrets.into_iter().map(Secret::new).collect();
    Ok((!srs.secrets.is_empty()).then_some(srs))
}
