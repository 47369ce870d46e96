//! How far a session has come (RFC 3501 3).

use alloc::boxed::Box;
use alloc::sync::Arc;

use waypost_mail::Account;

use crate::server::{Handle, Keywords, ModSeq};
use crate::view::View;

/// The state of a session.
#[derive(Debug, Default)]
pub(crate) enum State {
    /// Nothing but greeting and login commands.
    #[default]
    NotAuthenticated,
    /// Logged in.
    Authenticated(Arc<Account>),
    /// A mailbox is open.
    Selected(Arc<Account>, Box<Selected>),
}

impl State {
    pub(crate) fn account(&self) -> Option<&Arc<Account>> {
        match self {
            Self::NotAuthenticated => None,
            Self::Authenticated(account) | Self::Selected(account, _) => Some(account),
        }
    }

    pub(crate) fn selected(&mut self) -> Option<&mut Selected> {
        match self {
            Self::Selected(_, selected) => Some(selected),
            _ => None,
        }
    }

    /// Opens a mailbox; without a login nothing happens.
    pub(crate) fn select(&mut self, selected: Selected) {
        if let Some(account) = self.account() {
            *self = Self::Selected(account.clone(), Box::new(selected));
        }
    }

    /// Closes the mailbox, if one is open.
    pub(crate) fn unselect(&mut self) -> Option<Box<Selected>> {
        let account = self.account()?.clone();
        match core::mem::replace(self, Self::Authenticated(account)) {
            Self::Selected(_, selected) => Some(selected),
            _ => None,
        }
    }
}

/// An open mailbox.
#[derive(Debug)]
pub(crate) struct Selected {
    /// Its name in calls.
    pub(crate) handle: Handle,
    /// Its name.
    pub(crate) name: Box<str>,
    /// SELECT, not EXAMINE.
    pub(crate) write: bool,
    /// What the client sees of it.
    pub(crate) view: View,
    /// Its keywords.
    pub(crate) keywords: Keywords,
    /// New keywords can be made.
    pub(crate) may_add_keywords: bool,
    /// What the view knows.
    pub(crate) now: ModSeq,
}
