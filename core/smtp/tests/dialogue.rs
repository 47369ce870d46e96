//! Messages from the first greeting to the last reply, and what goes wrong on the way.

mod common;

use common::{Dialogue, port25};
use waypost_machine::Why;

use waypost_smtp::server::Fact;

#[test]
fn a_message() {
    let mut d = Dialogue::new(port25());
    assert_eq!(d.take(), "220 mail.example.com ESMTP Waypost\r\n");
    let offer = d.say("EHLO client.example.net\r\n");
    assert_eq!(
        offer,
        "250-mail.example.com\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n\
         250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n"
    );
    d.data();
    let said = d.say("Subject: dots\r\n\r\n..\r\n..one\r\n.\r\nQUIT\r\n");
    assert_eq!(said, "250 2.0.0 Ok: queued as Q1\r\n221 2.0.0 Bye\r\n");
    assert_eq!(d.closed, Some(Why::Done));
    let message = &d.world.messages[0];
    assert!(message.committed && !message.aborted);
    assert_eq!(message.body, b"Subject: dots\r\n\r\n.\r\n.one\r\n");
    assert_eq!(message.envelope.sender.to_string(), "someone@elsewhere.test");
    assert_eq!(message.envelope.recipients.len(), 1);
    assert_eq!(&*message.envelope.client.helo, "client.example.net");
    assert!(message.envelope.client.esmtp && message.envelope.client.tls.is_none());
    assert_eq!(message.envelope.arrived.secs, 1_795_341_600);
    let counts = [("ehlo", 1), ("mail", 1), ("rcpt", 1), ("data", 1), ("quit", 1)];
    let counts = counts.map(|(verb, n)| (verb, n, n)).to_vec();
    assert_eq!(d.facts, [Fact::Connected, Fact::Disconnected { counts, lost: None }]);
}
