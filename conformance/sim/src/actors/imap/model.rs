//! What a client knows of the mailbox that it has open, and whether what it is told fits.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::response::Part;
use crate::laws::Place;

/// A message as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) uid: Option<u32>,
    pub(super) flags: Option<BTreeSet<String>>,
    pub(super) content: Option<Arc<[u8]>>,
    /// It came after the mailbox was opened.
    is_new: bool,
}

/// The mailbox that is open.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) user: String,
    pub(super) mailbox: String,
    pub(super) validity: u32,
    pub(super) messages: Vec<Known>,
    /// Opened by EXAMINE.
    pub(super) read_only: bool,
    /// UIDNEXT when it was opened.
    pub(super) next: u32,
    /// The opening is over: what comes now is new.
    pub(super) is_open: bool,
}

/// A FETCH response.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) uid: Option<u32>,
    pub(super) flags: Option<BTreeSet<String>>,
    pub(super) content: Option<Vec<u8>>,
    pub(super) size: Option<u32>,
}

impl Fetched {
    pub(super) fn read(items: &[Part]) -> Option<Self> {
        let mut fetched = Self::default();
        for item in items.chunks(2) {
            let [name, value] = item else { return None };
            match name.atom() {
                "UID" => fetched.uid = Some(value.number()?),
                "RFC822.SIZE" => fetched.size = Some(value.number()?),
                "BODY[]" => fetched.content = Some(value.octets().to_vec()),
                "FLAGS" => {
                    let flags = value.list().iter().map(|flag| flag.atom().to_owned());
                    fetched.flags = Some(flags.filter(|flag| flag != "\\Recent").collect());
                }
                _ => return None,
            }
        }
        Some(fetched)
    }
}

impl Model {
    /// `* n EXISTS`: only more, unless the mailbox was just opened.
    pub(super) fn exists(&mut self, count: usize) -> Result<(), String> {
        let known = self.messages.len();
        if count < known {
            return Err(format!("{count} EXISTS, and {known} are known"));
        }
        let is_new = self.is_open;
        self.messages.resize_with(count, || Known { is_new, ..Known::default() });
        Ok(())
    }

    /// `* n EXPUNGE`; the message that is gone.
    pub(super) fn expunge(&mut self, number: usize) -> Result<Known, String> {
        match number.checked_sub(1).filter(|at| *at < self.messages.len()) {
            Some(at) => Ok(self.messages.remove(at)),
            None => Err(format!("{number} EXPUNGE, and {} are known", self.messages.len())),
        }
    }

    /// `* n FETCH`
    pub(super) fn fetch(&mut self, number: usize, fetched: &Fetched) -> Result<(), String> {
        let count = self.messages.len();
        let at = number.checked_sub(1).filter(|at| *at < count);
        let Some(at) = at else { return Err(format!("{number} FETCH, and {count} are known")) };
        if let Some(uid) = fetched.uid {
            self.name(at, uid)?;
        }
        let message = &mut self.messages[at];
        if let Some(flags) = &fetched.flags {
            message.flags = Some(flags.clone());
        }
        if let Some(content) = &fetched.content {
            let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
            if fetched.size.is_some_and(|it| it != size) {
                return Err(format!(
                    "{number} has {size} octets and RFC822.SIZE {:?}",
                    fetched.size
                ));
            }
            message.content = Some(content.as_slice().into());
        }
        Ok(())
    }

    /// Uids ascend, and stay.
    fn name(&mut self, at: usize, uid: u32) -> Result<(), String> {
        let number = at + 1;
        if let Some(known) = self.messages[at].uid.filter(|known| *known != uid) {
            return Err(format!("{number} has uid {uid}, and had {known}"));
        }
        let before = self.messages[..at].iter().rev().find_map(|message| message.uid);
        let behind = self.messages[at + 1..].iter().find_map(|message| message.uid);
        if before.is_some_and(|other| other >= uid) || behind.is_some_and(|other| other <= uid) {
            return Err(format!("{number} has uid {uid} between {before:?} and {behind:?}"));
        }
        if self.messages[at].is_new && uid < self.next {
            return Err(format!("{number} is new and has uid {uid}; {} was the next", self.next));
        }
        self.messages[at].uid = Some(uid);
        Ok(())
    }

    /// Where a message is, if its uid is known.
    pub(super) fn place(&self, uid: u32) -> Place {
        let (user, mailbox) = (self.user.clone(), self.mailbox.clone());
        Place { user, mailbox, validity: self.validity, uid }
    }

    /// The message that a step means.
    pub(super) fn pick(&self, n: u32) -> Option<&Known> {
        let at = n as usize % self.messages.len().max(1);
        self.messages.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(uid: u32) -> Fetched {
        Fetched { uid: Some(uid), ..Fetched::default() }
    }

    #[test]
    fn a_model_believes_what_fits() {
        let mut model = Model::default();
        model.exists(3).unwrap();
        model.fetch(1, &uid(4)).unwrap();
        model.fetch(3, &uid(9)).unwrap();
        assert_eq!(model.expunge(1).unwrap().uid, Some(4));
        model.fetch(2, &uid(9)).unwrap();
        model.fetch(1, &uid(5)).unwrap();
        model.exists(3).unwrap();
        assert_eq!(model.pick(4).unwrap().uid, Some(9));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let mut model = Model::default();
        model.exists(3).unwrap();
        model.fetch(2, &uid(5)).unwrap();
        assert!(model.exists(2).is_err());
        assert!(model.expunge(4).is_err() && model.expunge(0).is_err());
        assert!(model.fetch(4, &uid(9)).is_err());
        assert!(model.fetch(2, &uid(6)).is_err());
        assert!(model.fetch(1, &uid(5)).is_err());
        assert!(model.fetch(3, &uid(4)).is_err());
        (model.is_open, model.next) = (true, 8);
        model.exists(4).unwrap();
        assert!(model.fetch(4, &uid(7)).is_err());
        let content = Some(b"abc".to_vec());
        assert!(model.fetch(1, &Fetched { size: Some(4), content, ..uid(1) }).is_err());
    }
}
