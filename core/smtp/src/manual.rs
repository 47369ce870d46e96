//! What has gone wrong between mail servers, and what stands against it here.
//!
//! # Smuggling
//!
//! Two servers that disagree on where a message ends see different messages: what one takes for
//! text is an envelope for the other, and passes with the good name of the first. The ends that were
//! used are LF `.` LF, LF `.` CRLF, CRLF `.` LF, CR `.` CR and their mixtures with NUL and CR CR LF.
//!
//! There is no list of them here. [`crate::body::Scanner`] knows one end, CRLF `.` CRLF, and is
//! compared with the words of RFC 5321 on every text of up to seven octets out of CR, LF, `.` and
//! `x`, in every cutting (`every_short_text_in_every_cutting_is_as_the_rfc_says`). So that we do not
//! pass on what the next server could mistake, no bare CR or LF leaves the scanner
//! (`only_crlf_goes_out`); with [`crate::server::BareNewline::Reject`] such a message is refused,
//! after its true end, so that the dialogue stays in step (`bare_newlines_by_setting`).
//!
//! # Injection before TLS
//!
//! Whoever sits on the line can put commands behind the client's STARTTLS; a server that keeps them
//! in its buffer executes them inside TLS, as if the client had said them. Here anything that waits
//! behind STARTTLS, and anything that comes in clear after it, ends the session; and what was learned
//! in clear is forgotten (`clear_text_behind_starttls_ends_the_session`,
//! `what_was_said_in_clear_is_forgotten`).
//!
//! # Pipelining
//!
//! A server that starts a command before the one before it has its answer must look again, when its
//! turn comes, whether it may. Here commands run one at a time, in [`crate::server`]'s one phase, and
//! the rest waits in a bounded inbox. A refused DATA is followed by commands, not by a message
//! (RFC 2920 3.1); a refused BDAT is followed by its chunk, which is read and dropped
//! (`no_space_is_told_before_the_message_is_sent`, `a_failed_chunk_ends_the_transaction`).
//!
//! # A message that is lost, or comes twice
//!
//! The reply to the last dot says that the message is on disk. It is not sent before the world has
//! said so, not withheld when the server is told to stop at that moment (`a_polite_stop`), and the
//! outcome is waited for when the client has gone
//! (`a_client_that_goes_away_while_its_message_is_made_durable`). What fails on the way is told at
//! the end of the message (`a_failed_append_is_told_at_the_end`), and is a 4xx.
//!
//! # Passwords
//!
//! An empty password, which a directory takes for an anonymous bind and accepts, is never sent to it;
//! a wrong one is answered late, whatever was wrong
//! (`a_wrong_password_is_told_after_a_while`); and a directory that is down is not a wrong password:
//! a client that hears 535 throws a good password away
//! (`a_directory_that_is_down_is_no_wrong_password`).
//!
//! # Too much of everything
//!
//! Lines without end (`endless_lines`), recipients without end (`a_hundred_thousand_recipients`,
//! `original_recipients_of_twelve_kilobytes`),
//! messages without end (`a_message_that_is_too_big`, `a_trickle_is_no_message`,
//! `a_trickle_of_chunks_is_no_message_either`), circles (`a_message_in_a_loop`), nonsense
//! (`errors_make_a_session_slow_and_then_end_it`), silence (`silence_ends_a_session`), peers that do
//! not read (`a_client_that_reads_nothing_is_not_listened_to`) and a world that cannot follow
//! (`a_slow_world_makes_the_client_wait`): each has its limit.
//!
//! # Messages on their way out
//!
//! Whatever stands in a spool leaves with CRLF line ends and stuffed dots, so that no host, however
//! lax, sees an end where there is none; every body of up to seven octets out of CR, LF, `.` and `x`
//! is tried (`every_short_body`, `a_body_with_odd_line_ends_arrives_with_good_ones`).
//!
//! A host that answers the wrong thing can make a client believe it has taken a message. A reply
//! counts for the command that is due; a line that is no reply ends the connection instead of being
//! skipped, as skipping one shifts all that follow (`nonsense_anywhere`); a yes to a message that is
//! not out yet is none (`the_last_word_comes_before_the_message_is_out`); and where MAIL was refused
//! but a recipient was not, the lone dot that RFC 2920 3.1 asks for is not sent, because it would
//! deliver an empty message (`every_combination`).
//!
//! When the connection is lost after the last dot, nobody knows. The message is tried again, and may
//! come twice; the outcome says so (`closing_anywhere`). A host that is silent has its time, and a
//! line now and then does not buy it more
//! (`silence_anywhere_and_answers_that_come_too_late`).
//!
//! A password goes to a relay host inside TLS, or nowhere (`no_password_without_tls`). What a host
//! said before the handshake is not heard after it
//! (`what_was_said_in_clear_is_not_heard_in_tls`).
