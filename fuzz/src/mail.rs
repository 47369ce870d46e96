use waypost_machine::Secret;
use waypost_mail::srs::{Srs, SrsError, is_srs};
use waypost_mail::{Address, Domain, Network};

/// An address, a domain or a network that parses is printed in a form that parses to the same.
pub fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(address) = Address::parse(text) {
        assert_eq!(Address::parse(&address.to_string()).as_ref(), Ok(&address));
        let again = Address::new(address.local(), address.domain().clone());
        assert_eq!(again.as_ref(), Ok(&address));
        assert_eq!(address.is_utf8(), !address.lookup_key().is_ascii());
    }
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain));
    }
    if let Ok(network) = text.parse::<Network>() {
        assert_eq!(network.to_string().parse().as_ref(), Ok(&network));
    }
}

/// A rewritten sender leads back to the original for as long as it should, and nothing that was changed
/// on its way does.
pub fn srs(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(address) = Address::parse(text) else { return };
    let domain = || Domain::parse("us.test").expect("a domain");
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    let srs = Srs { hash_length: 24, ..Srs::new(domain(), secret("0123456789abcdef")) };
    let day = 20_000 + i64::from(data.len() as u8);
    if address.domain().as_str() == "us.test" {
        assert!(srs.reverse(&address, day).is_err(), "nobody guesses 24 characters");
    }
    let Ok(rewritten) = srs.forward(&address, day) else { return };
    if *address.domain() == domain() {
        assert_eq!(rewritten, address);
        return;
    }
    assert!(is_srs(&rewritten) && *rewritten.domain() == domain());
    for later in [0, 1, 20] {
        let back = srs.reverse(&rewritten, day + later);
        if !is_srs(&address) {
            assert_eq!(back.as_ref(), Ok(&address), "{rewritten}");
        } else {
            assert!(back.is_ok(), "{rewritten}: {back:?}");
        }
    }
    if !is_srs(&address) {
        assert!(srs.reverse(&rewritten, day + 30).is_err(), "for ever");
    }
    let other = Srs { hash_length: 24, ..Srs::new(domain(), secret("fedcba9876543210")) };
    assert!(matches!(other.reverse(&rewritten, day), Err(SrsError::Forged)), "{rewritten}");
}
