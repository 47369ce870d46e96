//! Laws of the store: whatever sessions, deliveries and other programs do, in any order.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use waypost_imap::server::{self as imap, NamedFlags, StoreHow};

use super::testing::{Place, names};
use super::{Error, Parcel, Store};

/// What happens.
#[derive(Clone, Debug)]
enum Act {
    Deliver,
    Append(u8),
    Flag {
        session: usize,
        at: usize,
        how: u8,
        flags: u8,
    },
    Keyword {
        session: usize,
        at: usize,
        keyword: u8,
    },
    Expunge {
        session: usize,
    },
    CopyToSelf {
        session: usize,
        at: usize,
    },
    Sync {
        session: usize,
    },
    Reopen {
        session: usize,
    },
    /// Another program: new flags for a file of `cur/`.
    ForeignFlag {
        at: usize,
        seen: bool,
    },
    /// Another program removes a file.
    ForeignRemove {
        at: usize,
    },
    /// Another program delivers.
    ForeignDeliver,
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let (session, at) = (0usize..2, 0usize..8);
    let act = prop_oneof![
        4 => Just(Act::Deliver),
        2 => (0u8..32).prop_map(Act::Append),
        4 => (session.clone(), at.clone(), 0u8..3, 0u8..32)
            .prop_map(|(session, at, how, flags)| Act::Flag { session, at, how, flags }),
        2 => (session.clone(), at.clone(), 0u8..4)
            .prop_map(|(session, at, keyword)| Act::Keyword { session, at, keyword }),
        2 => session.clone().prop_map(|session| Act::Expunge { session }),
        1 => (session.clone(), at.clone()).prop_map(|(session, at)| Act::CopyToSelf { session, at }),
        4 => session.clone().prop_map(|session| Act::Sync { session }),
        1 => session.prop_map(|session| Act::Reopen { session }),
        2 => (at.clone(), any::<bool>()).prop_map(|(at, seen)| Act::ForeignFlag { at, seen }),
        1 => at.prop_map(|at| Act::ForeignRemove { at }),
        2 => Just(Act::ForeignDeliver),
        1 => Just(Act::Restart),
    ];
    proptest::collection::vec(act, 1..40)
}

/// A client: what it was told, and nothing else.
struct Client {
    handle: imap::Handle,
    now: imap::ModSeq,
    uid_next: u32,
    messages: BTreeMap<u32, imap::Flags>,
    recent: BTreeSet<u32>,
}

impl Client {
    fn open(store: &Store, place: &Place) -> Self {
        let open = store.open(&place.mail000(), "INBOX", true).unwrap();
        let mut client = Self {
            handle: open.handle,
            now: open.now,
            uid_next: open.uid_next,
            messages: BTreeMap::new(),
            recent: BTreeSet::new(),
        };
        client.add(&open.messages);
        client
    }

    fn add(&mut self, messages: &[imap::Message]) {
        for message in messages {
            assert_eq!(self.messages.insert(message.uid, message.flags), None, "told twice");
            if message.recent {
                self.recent.insert(message.uid);
            }
        }
    }

    fn take(&mut self, changes: &imap::Changes) {
        for uid in &changes.expunged {
            assert!(self.messages.remove(uid).is_some(), "{uid} is gone, but was never there");
        }
        for message in &changes.changed {
            let known = self.messages.insert(message.uid, message.flags);
            assert!(known.is_some(), "{} has changed, but was never there", message.uid);
        }
        let lowest = changes.added.first().map(|message| message.uid);
        assert!(lowest.is_none_or(|uid| uid >= self.uid_next), "a new message with an old uid");
        self.add(&changes.added);
        assert!(changes.uid_next >= self.uid_next && changes.now >= self.now);
        (self.uid_next, self.now) = (changes.uid_next, changes.now);
    }

    fn uid(&self, at: usize) -> Option<u32> {
        self.messages.keys().nth(at).copied()
    }
}

struct World {
    place: Place,
    store: Store,
    clients: Vec<Client>,
    delivered: usize,
    /// What a uid stands for.
    subjects: BTreeMap<u32, String>,
}

impl World {
    fn new() -> Self {
        let place = Place::with_maildir();
        let store = place.store.clone();
        let clients = (0..2).map(|_| Client::open(&store, &place)).collect();
        Self { place, store, clients, delivered: 0, subjects: BTreeMap::new() }
    }

    fn text(&mut self) -> String {
        self.delivered += 1;
        format!("Subject: s{}\r\n\r\nx\r\n", self.delivered)
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Deliver => {
                let text = self.text();
                let parcel = Parcel { home: self.place.mail000(), head: Vec::new() };
                let mut incoming = self.store.deliver(vec![parcel]);
                incoming.append(&[Bytes::from(text)]);
                incoming.commit().remove(0).unwrap();
            }
            Act::Append(system) => {
                let (text, flags) = (self.text(), NamedFlags { system, keywords: Vec::new() });
                let home = self.place.mail000();
                let upload = self.store.begin_upload(&home, "INBOX", flags, Some(5)).unwrap();
                self.store.append(upload, &[Bytes::from(text)]).unwrap();
                self.store.commit_upload(upload).unwrap();
            }
            Act::Flag { session, at, how, flags } => {
                let how = [StoreHow::Add, StoreHow::Remove, StoreHow::Replace][usize::from(how)];
                self.flag(session, at, how, &NamedFlags { system: flags, keywords: Vec::new() });
            }
            Act::Keyword { session, at, keyword } => {
                let keywords = vec![format!("k{keyword}").into()];
                self.flag(session, at, StoreHow::Add, &NamedFlags { system: 0, keywords });
            }
            Act::Expunge { session } => {
                let client = &mut self.clients[session];
                let changes = self.store.expunge(client.handle, None, client.now).unwrap();
                client.take(&changes);
            }
            Act::CopyToSelf { session, at } => {
                let client = &self.clients[session];
                if let Some(uid) = client.uid(at) {
                    self.store.copy(client.handle, &[uid], "INBOX", false).unwrap();
                }
            }
            Act::Sync { session } => self.sync(session),
            Act::Reopen { session } => {
                self.store.release(self.clients[session].handle);
                self.clients[session] = Client::open(&self.store, &self.place);
            }
            Act::Restart => {
                self.place.clock.advance(std::time::Duration::from_secs(1));
                self.store = self.place.restarted();
                self.clients = (0..2).map(|_| Client::open(&self.store, &self.place)).collect();
            }
            Act::ForeignFlag { .. } | Act::ForeignRemove { .. } | Act::ForeignDeliver => {
                self.foreign(act);
            }
        }
    }

    fn foreign(&mut self, act: &Act) {
        let cur = self.place.names("cur");
        let text = self.text();
        let path = |name: &str| self.place.at("cur").join(name);
        self.place.as_user(|| match *act {
            Act::ForeignFlag { at, seen } => {
                if let Some(name) = cur.get(at) {
                    let (base, _) = name.split_once(':').unwrap();
                    let to = format!("{base}:2,{}", if seen { "S" } else { "" });
                    std::fs::rename(path(name), path(&to)).unwrap();
                }
            }
            Act::ForeignRemove { at } => {
                if let Some(name) = cur.get(at) {
                    std::fs::remove_file(path(name)).unwrap();
                }
            }
            _ => {
                let new = self.place.at("new").join(format!("{}.foreign.h", self.delivered));
                std::fs::write(new, text).unwrap();
            }
        });
    }

    fn flag(&mut self, session: usize, at: usize, how: StoreHow, flags: &NamedFlags) {
        let client = &mut self.clients[session];
        let uids: Vec<u32> = client.uid(at).into_iter().chain(client.uid(at + 2)).collect();
        let changes = self.store.set_flags(client.handle, &uids, how, flags, client.now).unwrap();
        client.take(&changes);
    }

    fn sync(&mut self, session: usize) {
        let client = &mut self.clients[session];
        let changes = self.store.sync(client.handle, client.now).unwrap();
        client.take(&changes);
    }

    /// Both clients and a new one see the same; each uid stands for what it always stood for.
    fn check(&mut self) {
        self.sync(0);
        self.sync(1);
        let fresh = Client::open(&self.store, &self.place);
        assert_eq!(self.clients[0].messages, fresh.messages);
        assert_eq!(self.clients[1].messages, fresh.messages);
        assert!(self.clients[0].recent.is_disjoint(&self.clients[1].recent));
        for uid in fresh.messages.keys() {
            let body = self.store.body(fresh.handle, *uid, 0, 1000).unwrap().unwrap();
            let subject = String::from_utf8(body.to_vec()).unwrap();
            let known = self.subjects.entry(*uid).or_insert_with(|| subject.clone());
            assert_eq!(*known, subject, "uid {uid} names two messages");
        }
        self.store.release(fresh.handle);
        let dir = self.place.at("");
        let files = names(&dir.join("cur")).len() + names(&dir.join("new")).len();
        assert_eq!(files, fresh.messages.len());
        assert!(!dir.join("dovecot-uidlist.lock").exists() && self.place.names("tmp").is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn clients_are_told_the_truth(acts in acts()) {
        let mut world = World::new();
        for (step, act) in acts.iter().enumerate() {
            world.act(act);
            if step % 8 == 7 {
                world.check();
            }
        }
        world.check();
    }
}

#[test]
fn threads_do_not_disturb_each_other() {
    const EACH: usize = 25;
    let place = Place::with_maildir();
    let store = &place.store;
    let told = std::sync::Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (place, told) = (&place, &told);
            scope.spawn(move || {
                let mut client = Client::open(store, place);
                for i in 0..EACH {
                    let text = format!("Subject: t{thread}i{i}\r\n\r\nx\r\n");
                    let home = place.mail000();
                    let upload =
                        store.begin_upload(&home, "INBOX", NamedFlags::default(), None).unwrap();
                    store.append(upload, &[Bytes::from(text.clone())]).unwrap();
                    let (_, uid) = store.commit_upload(upload).unwrap();
                    assert_eq!(
                        told.lock().unwrap().insert(uid, text),
                        None,
                        "uid {uid} given twice"
                    );
                    let parcel = Parcel { home, head: b"Subject: d\r\n\r\n".to_vec() };
                    store.deliver(vec![parcel]).commit().remove(0).unwrap();
                    let uids: Vec<u32> = client.messages.keys().copied().collect();
                    let flags = NamedFlags { system: 1 << (thread + 1) & 31, keywords: Vec::new() };
                    let changed =
                        store.set_flags(client.handle, &uids, StoreHow::Add, &flags, client.now);
                    client.take(&changed.unwrap());
                    let body = store.body(client.handle, uid, 0, 100).unwrap();
                    assert!(body.is_some());
                }
            });
        }
    });
    let fresh = Client::open(store, &place);
    assert_eq!(fresh.messages.len(), 4 * EACH * 2);
    for (uid, text) in told.into_inner().unwrap() {
        let body = store.body(fresh.handle, uid, 0, 100).unwrap().unwrap();
        assert_eq!(body, text.as_bytes());
    }
    assert_eq!(store.sync(imap::Handle(u64::MAX), fresh.now), Err(Error::Gone));
}
