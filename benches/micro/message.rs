//! Reading messages.

use waypost_message::{mime, print};

fn with_attachment() -> Vec<u8> {
    let mut text = String::from(
        "From: \"Some One\" <someone@elsewhere.test>\r\nTo: <you@example.com>, Team <t@example.com>\r\n\
         Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <bench@client.example.net>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"b1\"\r\n\r\n--b1\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\nHello.\r\n--b1\r\n\
         Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n",
    );
    while text.len() < 100_000 {
        text.push_str(&"AAECAwQFBgcICQoLDA0ODw==".repeat(3));
        text.push_str("\r\n");
    }
    text.push_str("--b1--\r\n");
    text.into_bytes()
}

/// Finding all parts.
pub(crate) fn structure() -> Box<dyn FnMut() -> usize> {
    let text = with_attachment();
    Box::new(move || {
        assert_eq!(mime::scan(&text).parts().len(), 3);
        text.len()
    })
}

/// ENVELOPE from the header, as FETCH sends it.
pub(crate) fn envelope() -> Box<dyn FnMut() -> usize> {
    let text = with_attachment();
    let structure = mime::scan(&text);
    Box::new(move || {
        let mut out = Vec::new();
        print::envelope(&structure.root().envelope(), &mut out);
        usize::from(!out.is_empty())
    })
}
