//! How this server is not to be fooled: hazards, defences, and the tests that watch them.
//!
//! # Literal confusion
//!
//! A client announces a literal and then sends octets that look like commands. A server that
//! refuses the command at the announcement and forgets that the octets come all the same
//! (RFC 7888: they do, after `{n+}`) executes them: what was quoted data, say the body of a mail
//! in a web front end, becomes commands. The reference server does so after a bad date in APPEND.
//!
//! Here framing comes before parsing (`frame.rs`). A refused command is followed to its end,
//! through all the literals it announces, whatever is wrong with it: an unknown name, a line that
//! is too long, a literal beyond the limit, something behind the message of an APPEND. Only then
//! is it answered. Where the end cannot be known, as with a size of more than 64 bits, the session
//! ends. `frame.rs` tests it with every cut of every mixture of lines and literals; the dialogue
//! `imap/32-append` and `tests/hostile.rs` show it from outside.
//!
//! A literal is announced at the end of a line and outside of quotes. A quoted string that lacks
//! its end announces nothing, so `"{5+}` cannot hide a command either.
//!
//! # STARTTLS injection
//!
//! Octets that follow STARTTLS in the same write were sent in clear by who knows whom (RFC 3501
//! 6.2.1, CVE-2011-0411). The frame takes no octet behind the line of a command, so they are still
//! in the inbox when TLS is asked for, and the session closes instead: `tests/hostile.rs`.
//!
//! # Memory
//!
//! Before login a command has 8 KiB, after it 64 KiB with all its literals. The one literal that
//! may be large, the message of APPEND, is never held: it goes to the world in blocks, two at a
//! time, and the client has to wait with the rest. FETCH asks the world for a message only when
//! there is room to send it. Sets, lists, search keys and flags have limits in the grammar.
//!
//! What is made of a message can be larger than the message: a header of commas is an envelope of a
//! hundred times its size, and its fields can be asked for in hundreds of ways. So an envelope takes
//! 10,000 addresses of a field, and a response is made when there is room for it
//! (`responses_are_made_as_they_are_read`, `fields_are_picked_as_they_are_read`).
//!
//! # Sequence numbers
//!
//! A client that deletes message 3 means the message that it knows as 3. No EXPUNGE is told while
//! FETCH, STORE or SEARCH with numbers run (RFC 3501 7.4.1), and what is gone keeps its number
//! until then: `view.rs`, against a naive model.
//!
//! # Half a command
//!
//! `STORE 1 FLAGS` without flags takes all flags away in the reference server. A client that was
//! cut off in the middle of a line does not want that: it is refused here.
//!
//! # Guessing passwords
//!
//! A wrong password is answered late, an unknown user like a wrong password, and an empty password
//! never reaches a directory, which would take it for an anonymous bind and say yes (RFC 4513
//! 5.1.2). A directory that is down is said to be down: the password may well be right.
