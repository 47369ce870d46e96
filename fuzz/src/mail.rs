use waypost_mail::Address;

/// An address that parses is printed in a form that parses to the same.
pub fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(address) = Address::parse(text) {
        let again = Address::parse(&address.to_string());
        assert_eq!(again.as_ref(), Ok(&address));
    }
}
