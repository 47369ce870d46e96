use waypost_maildir::name::{self, Info};
use waypost_maildir::sync::{Dir, Listing, plan};
use waypost_maildir::{Folder, Keywords, Subscriptions, UidList, uidvalidity};

/// Flags put into a file name are read back, and the base stays.
pub fn file_name(data: &[u8]) {
    if !name::is_message(data) {
        return;
    }
    let info = name::info(data);
    let again = name::with_info(data, info);
    assert_eq!(name::info(&again), info);
    assert_eq!(name::base(&again), name::base(data));
    let none = name::with_info(data, Info::default());
    assert_eq!(name::info(&none), Info::default());
    let _ = (name::size(data), name::virtual_size(data), name::in_cur(data));
}

/// A folder name survives its encoding, and its directory leads back to it.
pub fn folder(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(folder) = Folder::parse(text) {
        assert_eq!(Folder::from_encoded(&folder.encoded()).as_ref(), Ok(&folder));
        if let Some(dir) = folder.dir_name() {
            assert!(!dir.contains('/') && dir != "." && dir != "..");
            assert_eq!(Folder::from_dir_name(dir.as_bytes()).as_ref(), Some(&folder));
        }
    }
    if let Ok(folder) = Folder::from_encoded(text) {
        let _ = (folder.parent(), folder.special_use());
    }
    let subscriptions = Subscriptions::parse(data);
    let again = Subscriptions::parse(subscriptions.print().as_bytes());
    assert!(again.iter().eq(subscriptions.iter()));
}

/// A uid list that parses prints to one that parses to the same; uids grow.
pub fn uidlist(data: &[u8]) {
    let Ok(list) = UidList::parse(data.to_vec()) else { return };
    let uids: Vec<u32> = list.iter().map(|e| e.uid).collect();
    assert!(uids.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(uids.last().is_none_or(|last| *last < list.next_uid() || *last == u32::MAX));
    if list.guid().is_none() {
        return;
    }
    let printed = list.print(|_| true);
    let again = UidList::parse(printed.clone()).expect("our own print parses");
    assert_eq!(again.print(|_| true), printed);
    assert_eq!(again.uid_validity(), list.uid_validity());
    assert_eq!(again.iter().map(|e| e.uid).collect::<Vec<_>>(), uids);
}

/// Keyword files.
pub fn keywords(data: &[u8]) {
    let keywords = Keywords::parse(data);
    for (index, name) in keywords.iter() {
        assert_eq!(keywords.name(index), Some(name));
        assert!(keywords.find(name).is_some_and(|first| first <= index));
    }
    let printed: String = keywords.iter().map(|(n, name)| format!("{n} {name}\n")).collect();
    assert!(Keywords::parse(printed.as_bytes()).iter().eq(keywords.iter()), "{printed}");
    if let Some(value) = uidvalidity::parse(data) {
        assert_eq!(uidvalidity::parse(uidvalidity::text(value).as_bytes()), Some(value));
    }
    if let Some(value) = uidvalidity::parse_file_name(data) {
        let name = uidvalidity::file_name(value);
        assert_eq!(uidvalidity::parse_file_name(name.as_bytes()), Some(value));
        assert!(uidvalidity::next(value) != value);
    }
}

/// Any listing with any uid list: every message once, uids ascending.
pub fn sync(data: &[u8]) {
    let mut parts = data.splitn(2, |&b| b == 0);
    let (Some(head), Some(names)) = (parts.next(), parts.next()) else { return };
    let mut list = UidList::parse(head.to_vec()).unwrap_or_else(|_| UidList::new(1, [7; 16]));
    let mut listing = Listing::with_capacity(8);
    for (n, name) in names.split(|&b| b == b'\n' || b == b'/').enumerate() {
        let dir = if n % 2 == 0 { Dir::New } else { Dir::Cur };
        listing.push(dir, name);
    }
    let plan = plan(&listing, &mut list, |uid| uid % 7 == 3);
    let uids: Vec<u32> = plan.present.iter().map(|p| p.uid).collect();
    assert!(uids.windows(2).all(|pair| pair[0] < pair[1]), "{uids:?}");
    assert!(plan.present.len() <= listing.len());
}
