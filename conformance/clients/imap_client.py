#!/usr/bin/python3
"""Python's imaplib: a mailbox used the way a mail program does.

usage: imap_client.py PORT CA USER PASSWORD
"""
import imaplib
import ssl
import sys

port, ca, user, password = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)


def connect():
    return imaplib.IMAP4_SSL("localhost", int(port), ssl_context=context)


def ok(answer):
    kind, data = answer
    assert kind == "OK", answer
    return data


wrong = connect()
try:
    wrong.login(user, password + "x")
    sys.exit("a wrong password is accepted")
except imaplib.IMAP4.error:
    pass
wrong.logout()

client = connect()
ok(client.login(user, password))
for name in ("Sent", "Archive", "Archive.2026"):
    ok(client.create(name))
    ok(client.subscribe(name))
assert len([line for line in ok(client.list()) if b"Archive" in line]) == 2
assert len(ok(client.lsub())) == 3

text = b"From: a@example.com\r\nSubject: note %d\r\n\r\nbody of note %d\r\n"
for n in range(10):
    ok(client.append("Archive", r"(\Seen)" if n % 2 else None, None, text % (n, n)))
assert ok(client.select("Archive")) == [b"10"]
assert ok(client.search(None, "UNSEEN")) == [b"1 3 5 7 9"]
assert ok(client.search(None, "SUBJECT", '"note 7"')) == [b"8"]
assert ok(client.search(None, "BODY", '"of note 3"')) == [b"4"]
assert ok(client.uid("search", None, "1:3 UNSEEN")) == [b"1 3"]
body = ok(client.fetch("3", "(BODY.PEEK[])"))
assert body[0][1] == text % (2, 2), body
ok(client.store("1:5", "+FLAGS", r"(\Flagged work)"))
assert ok(client.search(None, "KEYWORD", "work", "FLAGGED")) == [b"1 2 3 4 5"]
ok(client.copy("1:2", "Archive.2026"))
assert "MOVE" in client.capabilities or b"MOVE" in ok(client.capability())[0]
assert ok(client.uid("MOVE", "3", "Sent")) is not None
ok(client.store("1", "+FLAGS", r"(\Deleted)"))
ok(client.expunge())
assert ok(client.search(None, "ALL")) == [b"1 2 3 4 5 6 7 8"]
ok(client.close())
assert ok(client.status("Archive.2026", "(MESSAGES)"))[0].endswith(b"(MESSAGES 2)")
assert ok(client.status("Sent", "(MESSAGES UIDNEXT)"))[0].endswith(b"(MESSAGES 1 UIDNEXT 2)")
ok(client.rename("Archive", "Kept"))
assert ok(client.select("Kept", readonly=True)) == [b"8"]
ok(client.close())
ok(client.delete("Sent"))
assert client.select("Sent")[0] == "NO"
client.logout()
