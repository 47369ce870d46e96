//! Messages broken in many ways, made at random, with the answers of Dovecot 2.3.

use waypost_message::crlf::{mask_nul, to_crlf};
use waypost_message::mime::scan;
use waypost_message::print;
use waypost_message::section::{self, Found, Text};

/// How many there are.
const COUNT: usize = 56;

fn answers(message: &[u8]) -> Vec<u8> {
    let structure = scan(message);
    let mut out = b"ENVELOPE ".to_vec();
    print::envelope(&structure.root().envelope(), &mut out);
    out.extend_from_slice(b"\nBODYSTRUCTURE ");
    print::body_structure(&structure, &mut out);
    out.push(b'\n');
    let sections: [(&str, &[u32], Text); 10] = [
        ("HEADER", &[], Text::Header),
        ("TEXT", &[], Text::Text),
        ("1", &[1], Text::All),
        ("1.MIME", &[1], Text::Mime),
        ("2.MIME", &[2], Text::Mime),
        ("2", &[2], Text::All),
        ("1.1", &[1, 1], Text::All),
        ("1.HEADER", &[1], Text::Header),
        ("1.TEXT", &[1], Text::Text),
        ("2.1.MIME", &[2, 1], Text::Mime),
    ];
    for (name, numbers, text) in sections {
        let mut octets = match section::find(&structure, numbers, &text) {
            Found::Octets(start, end) => {
                to_crlf(&message[start.physical as usize..end.physical as usize])
            }
            _ => Vec::new(),
        };
        mask_nul(&mut octets);
        out.extend_from_slice(format!("BODY[{name}] ").as_bytes());
        print::literal(&octets, &mut out);
        out.push(b'\n');
    }
    out
}

#[test]
fn odd_messages_as_the_reference() {
    for n in 1..=COUNT {
        let read = |kind: &str| std::fs::read(format!("tests/data/odd/odd{n:02}.{kind}")).unwrap();
        let (ours, theirs) = (answers(&read("eml")), read("txt"));
        assert!(
            ours == theirs,
            "message {n}:\n{}\nexpected:\n{}",
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&theirs)
        );
    }
}
