"""Checks signatures with dkimpy.

Argument: a file of DNS records, a line "name<TAB>text" each. Standard input: messages, each after a
line with its length. For each message a line: what was found of each signature.
"""
import sys

import dkim

records = dict(line.rstrip("\n").split("\t") for line in open(sys.argv[1]))


def lookup(name, timeout=5):
    text = records.get(name.decode().rstrip("."))
    return text.encode() if text else None


while length := sys.stdin.buffer.readline():
    message = sys.stdin.buffer.read(int(length))
    found = []
    for n in range(message.lower().count(b"dkim-signature:")):
        try:
            found.append(str(dkim.DKIM(message).verify(idx=n, dnsfunc=lookup)))
        except dkim.ValidationError:
            # The hash of the body is another one.
            found.append("False")
    print(" ".join(found))
