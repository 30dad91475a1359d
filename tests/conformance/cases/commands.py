# SPDX-License-Identifier: MIT
"""The commands, their order, and what is no command."""

from __future__ import annotations

from tests.conformance.cases.parts import (
    HELLO,
    MAIL,
    PLUGINS,
    RCPT,
    a_mail,
    message,
    whole,
)
from tests.conformance.dialogue import Case, Dialogue, Keywords, Send

_BODY = b"Subject: test\r\n\r\nHello.\r\n.\r\n"

CASES = (
    Case(
        "commands",
        {"plugins": PLUGINS},
        (
            whole("one message"),
            Dialogue("two messages", (HELLO, *a_mail(), *a_mail())),
            Dialogue("after HELO", ("HELO client.example.test", *a_mail())),
            Dialogue("keywords", (HELLO, Keywords())),
            Dialogue("HELO without name", ("HELO",)),
            Dialogue("EHLO without name", ("EHLO",)),
            Dialogue("HELO with words behind the name", ("HELO name of mine",)),
            Dialogue("HELO with an odd name", ("HELO _~!",)),
            Dialogue("HELO twice", ("HELO client.example.test", "HELO client.example.test")),
            Dialogue("EHLO twice", (HELLO, HELLO)),
            Dialogue("EHLO after RSET", (HELLO, "RSET", HELLO)),
            Dialogue("EHLO within a transaction", (HELLO, MAIL, HELLO, RCPT)),
            Dialogue("MAIL before EHLO", (MAIL,)),
            Dialogue("RCPT before EHLO", (RCPT,)),
            Dialogue("DATA before EHLO", ("DATA",)),
            Dialogue("RCPT before MAIL", (HELLO, RCPT)),
            Dialogue("DATA before MAIL", (HELLO, "DATA")),
            Dialogue("DATA before RCPT", (HELLO, MAIL, "DATA")),
            Dialogue("DATA with an argument", (HELLO, MAIL, RCPT, Send(b"DATA x\r\n", end=True))),
            Dialogue("MAIL starts over", (HELLO, MAIL, RCPT, "MAIL FROM:<b@example.com>", "DATA")),
            Dialogue("a refused MAIL keeps the first", (HELLO, MAIL, RCPT, "MAIL FROM:x", RCPT)),
            Dialogue("a refused MAIL starts over", (HELLO, MAIL, RCPT, "MAIL FROM:", "RSET")),
            Dialogue("RSET", (HELLO, MAIL, RCPT, "RSET", "DATA", RCPT, *a_mail())),
            Dialogue("RSET with an argument", ("RSET x",)),
            Dialogue("a refused RSET", (HELLO, MAIL, RCPT, "RSET x", RCPT)),
            Dialogue("NOOP", ("NOOP", "NOOP with words")),
            Dialogue("VRFY", ("VRFY <user@example.test>", "VRFY")),
            Dialogue("HELP", ("HELP", "HELP MAIL")),
            Dialogue("QUIT", ("QUIT", "NOOP")),
            Dialogue("QUIT with an argument", ("QUIT now",)),
            Dialogue(
                "lower case", ("ehlo c.example", MAIL.lower(), RCPT.lower(), "data", message())
            ),
            Dialogue("verbs nobody knows", ("EXPN list", "TURN", "ETRN x", "XCLIENT A=B")),
            Dialogue("AUTH without plugin", (HELLO, "AUTH PLAIN AGEAYg==")),
            Dialogue("STARTTLS without plugin", (HELLO, "STARTTLS")),
            Dialogue("an empty line", ("",)),
            Dialogue("a blank first", (" NOOP",)),
            Dialogue("a tab behind the verb", ("NOOP\tx",)),
            Dialogue("blanks behind the verb", ("NOOP  ", "RSET  ")),
            Dialogue("a long verb", ("NOOPNOOPNOOPNOOP",)),
            Dialogue("a line that ends in LF", (Send(b"NOOP\n"),)),
            Dialogue("NUL in a command", (Send(b"NOOP\0\r\n"),)),
            Dialogue("a long line", (f"NOOP {'x' * 5000}",)),
            Dialogue(
                "many recipients",
                (
                    HELLO,
                    MAIL,
                    *(f"RCPT TO:<user{number}@example.test>" for number in range(30)),
                ),
            ),
            whole("two recipients", RCPT, "RCPT TO:<b@example.test>"),
            Dialogue("the same recipient twice", (HELLO, *a_mail(RCPT, RCPT))),
            Dialogue(
                "pipelined",
                (HELLO, Send(f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode(), 3), Send(_BODY)),
            ),
            Dialogue(
                "pipelined, refused recipient",
                (HELLO, Send(f"{MAIL}\r\nRCPT TO:<x@other.example>\r\nDATA\r\n".encode(), 3)),
            ),
            Dialogue(
                "everything in one piece",
                (
                    Send(
                        f"{HELLO}\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode() + _BODY + b"NOOP\r\n", 6
                    ),
                ),
            ),
            Dialogue("the client goes at once", (Send(b"", end=True),)),
            Dialogue("the client closes after a command", (Send(b"NOOP\r\n", end=True),)),
            Dialogue("the client closes within a command", (Send(b"NOOP", end=True),)),
            Dialogue("the client closes before DATA", (HELLO, MAIL, Send(b"", end=True))),
        ),
    ),
    Case(
        "timeout",
        {"plugins": PLUGINS, "timeout": ["2"]},
        (
            Dialogue("no command", (Send(b"", label="silence"),)),
            Dialogue(
                "no end of the message",
                (HELLO, MAIL, RCPT, "DATA", Send(b"Subject: a\r\n", label="a part")),
            ),
        ),
    ),
    Case(
        "greeting",
        {"plugins": PLUGINS, "smtpgreeting": ["mx.example welcomes you"]},
        (Dialogue("own text", (HELLO, "HELP")),),
    ),
)
