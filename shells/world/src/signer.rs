//! Signatures on mail that goes out: what the world needs of whoever makes them.

use waypost_mail::Domain;

/// Hands out all of a message that stands behind its header, piece by piece.
pub type Message<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&[u8])) -> Result<(), SignError>;

/// Signs messages.
pub trait Signer: Send + Sync {
    /// Whether there is a key for mail whose author is in this domain.
    fn signs(&self, domain: &Domain) -> bool;

    /// Makes the fields that are to stand on top of a message, CRLF line ends. `header` ends with
    /// its empty line, where the message has one; `rest` is called once. May wait for the disk.
    ///
    /// # Errors
    /// When the message cannot be read, or a key does not work.
    fn sign(&self, domain: &Domain, header: &[u8], rest: Message<'_>) -> Result<String, SignError>;
}

/// Why there is no signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign: {0}")]
pub struct SignError(pub String);
