//! What people see, by example.

use waypost_queue::{Listed, Place};
use waypost_world::Queued;

use super::*;
use crate::control::testing::{at, entries};

fn messages() -> Vec<Message> {
    let entries = entries().into_iter();
    let queued = entries.map(|entry| Queued {
        listed: Listed {
            id: entry.origin.queue_id.parse().unwrap(),
            place: if entry.held { Place::Hold } else { Place::Deferred },
            next: entry.next(),
        },
        entry: entry.into(),
    });
    queued.map(|it| Message::of(&it, None)).collect()
}

#[test]
fn the_table() {
    let messages = messages();
    let mut shown = format!("{HEAD}\n");
    messages.iter().for_each(|it| shown += &format!("{}\n", row(it)));
    shown += &total(messages.len(), messages.iter().map(|it| it.message_size).sum());
    let expected = "\
-Queue ID-------- --Size-- -Arrival Time (UTC)- -Sender/Recipient-------
00DC1142012            533 Sun Nov 22 07:51:47  mail001@example.com
    (host localhost[127.0.0.1] said: 451 4.3.0 <defer@remote.test>: Temporary lookup failure (in reply to RCPT TO command))
    next try Sun Nov 22 07:56:30, tried once
                                                defer@remote.test
    next try Sun Nov 22 07:56:30, not tried yet
                                                other@remote.test

0C1D6142003!           549 Sun Nov 22 07:51:39  mail001@example.com
    (Server certificate not verified)
    held, tried once
                                                someone@selfsigned.test

77AF0142071            527 Sun Nov 22 07:51:30  mail001@example.com
    (TLS is required, but was not offered by host localhost[127.0.0.1])
    next try Sun Nov 22 07:56:30, tried once
                                                someone@notls.test (given as stuck@example.com)

-- 1 Kbytes in 3 Requests.";
    assert_eq!(shown, expected);
}

#[test]
fn one_reason_stands_once() {
    let mut message = messages().remove(2);
    let mut second = message.recipients[0].clone();
    second.address = "other@notls.test".into();
    second.orig_to = None;
    message.recipients.push(second);
    let shown = row(&message);
    assert_eq!(shown.matches("TLS is required").count(), 1);
    assert!(shown.ends_with("    other@notls.test\n"), "{shown}");
}

#[test]
fn places_have_their_words() {
    let mut message = messages().remove(2);
    for (place, status, mark, words) in [
        ("active", "waiting", "77AF0142071* ", "    in delivery, tried once\n"),
        ("incoming", "waiting", "77AF0142071 ", "    next in turn, tried once\n"),
        ("hold", "waiting", "77AF0142071! ", "    held, tried once\n"),
        ("deferred", "failed", "77AF0142071# ", "    returned to the sender, tried once\n"),
    ] {
        message.queue_name = place.into();
        message.recipients[0].status = status.into();
        message.forced_expire = status == "failed";
        let shown = row(&message);
        assert!(shown.starts_with(mark) && shown.contains(words), "{shown}");
    }
    assert_eq!(total(0, 0), "Mail queue is empty");
    assert_eq!(total(1, 4096), "-- 4 Kbytes in 1 Request.");
}

#[test]
fn all_of_one_message() {
    let expected = "\
77AF0142071
  queue:         deferred
  from:          mail001@example.com (login mail001)
  message-id:    <stuck@client.example.net>
  size:          527 octets
  arrived:       Sun Nov 22 07:51:30 UTC
  sender warned: no
  to: someone@notls.test (given as stuck@example.com)
    way:         smtp:notls.test
    state:       next try Sun Nov 22 07:56:30, tried once
    last said:   4.7.4 TLS is required, but was not offered by host localhost[127.0.0.1]
";
    assert_eq!(message(&messages()[2]), expected);
    let shown = message(&messages()[0]);
    let reply = "    its words:   451 4.3.0 <defer@remote.test>: Temporary lookup failure\n";
    assert!(shown.contains(reply), "{shown}");
}

#[test]
fn the_fields_of_postqueue_come_first() {
    // As `postqueue -j` prints it, but for the blanks.
    let postqueue = "{\"queue_name\":\"deferred\",\"queue_id\":\"77AF0142071\",\
        \"arrival_time\":1795333890,\"message_size\":527,\"forced_expire\":false,\
        \"sender\":\"mail001@example.com\",\"recipients\":[{\"address\":\"someone@notls.test\",\
        \"delay_reason\":\"TLS is required, but was not offered by host localhost[127.0.0.1]\"";
    let json = serde_json::to_string(&messages()[2]).unwrap();
    let ours = json.strip_prefix(postqueue).expect(&json);
    assert_eq!(
        ours,
        ",\"orig_to\":\"stuck@example.com\",\"status\":\"waiting\",\"attempts\":1,\
         \"next\":1795334190,\"transport\":\"smtp\",\"nexthop\":\"notls.test\",\"dsn\":\"4.7.4\"}],\
         \"next\":1795334190,\"message_id\":\"<stuck@client.example.net>\",\"login\":\"mail001\",\
         \"warned\":false}"
    );
    assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), messages()[2]);
}

#[test]
fn destinations_in_a_table() {
    let suspended = Destination {
        transport: "smtp".into(),
        nexthop: "remote.test".into(),
        messages: 3,
        recipients: 4,
        oldest: Some(at(1_795_333_890).secs),
        window: Some(5),
        busy: Some(1),
        dead: Some("no route".into()),
    };
    let head = destinations_head();
    let shown = destination(&suspended);
    assert_eq!(head.find("Oldest"), shown.find("Sun Nov 22 07:51:30"));
    assert!(shown.starts_with("smtp:remote.test "), "{shown}");
    assert!(shown.ends_with(" 3          4      1/5 Sun Nov 22 07:51:30  suspended (no route)"));
    let resting = Destination { window: None, busy: None, dead: None, ..suspended };
    assert!(destination(&resting).ends_with(" - Sun Nov 22 07:51:30  waiting"));
}
