#!/usr/bin/python3
"""Python's smtplib: submission with STARTTLS or TLS from the start, several recipients, refusals.

usage: smtp_client.py starttls|tls PORT CA USER PASSWORD SENDER RECIPIENT...
"""
import smtplib
import ssl
import sys
from email.message import EmailMessage

how, port, ca, user, password, sender, *recipients = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
if how == "tls":
    client = smtplib.SMTP_SSL("localhost", int(port), context=context)
else:
    client = smtplib.SMTP("localhost", int(port))
    client.starttls(context=context)
client.ehlo()
assert "auth" in client.esmtp_features, client.esmtp_features
try:
    client.login(user, password + "x")
    sys.exit("a wrong password is accepted")
except smtplib.SMTPAuthenticationError as error:
    assert error.smtp_code == 535, error
client.login(user, password)

message = EmailMessage()
message["From"] = sender
message["To"] = ", ".join(recipients)
message["Subject"] = "Grüße from smtplib"
message.set_content("Ein Brief mit Umlauten: äöü\n.\n..\nEnde\n")
message.add_attachment(bytes(range(256)) * 40, maintype="application", subtype="octet-stream",
                       filename="every-byte.bin")
refused = client.send_message(message, from_addr=sender,
                              to_addrs=recipients + ["nobody@example.com"])
assert list(refused) == ["nobody@example.com"], refused
assert refused["nobody@example.com"][0] == 550, refused

try:
    client.sendmail("someone@elsewhere.test", recipients, "Subject: not mine\r\n\r\n")
    sys.exit("a foreign sender is accepted")
except smtplib.SMTPRecipientsRefused as error:
    assert all(code == 553 for code, _ in error.recipients.values()), error
client.quit()
