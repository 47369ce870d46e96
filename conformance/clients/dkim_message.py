#!/usr/bin/python3
"""Signs or verifies a message with dkimpy, an implementation that is not ours.

  dkim_message.py sign KEY SELECTOR DOMAIN < message > signed message
  dkim_message.py verify SELECTOR DOMAIN PUBLIC < message   exits with 1 unless the signature is good

KEY is the PEM file of a private key, PUBLIC the text of the DNS record.
"""
import sys

import dkim

message = sys.stdin.buffer.read()
if sys.argv[1] == "sign":
    key, selector, domain = sys.argv[2:5]
    with open(key, "rb") as file:
        signature = dkim.sign(message, selector.encode(), domain.encode(), file.read(),
                              include_headers=[b"from", b"to", b"subject", b"date", b"message-id"])
    sys.stdout.buffer.write(signature + message)
else:
    selector, domain, public = sys.argv[2:5]
    name = f"{selector}._domainkey.{domain}.".encode()
    found = dkim.verify(message, dnsfunc=lambda asked, timeout=5: public.encode() if asked == name else None)
    sys.exit(0 if found else 1)
