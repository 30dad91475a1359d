# SPDX-License-Identifier: MIT
"""What is said to Postfix and to us about every extension that either of them has.

Both take mail for example.test of 100,000 octets at most; a proxy at 127.0.0.2 may say XCLIENT, and
one at 127.0.0.3 XFORWARD.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.conformance.dialogue import Dialogue, Keywords, Send, Step
from tests.ends_of_data import LOOKALIKES, REAL

LARGEST = 100_000
XCLIENT, XFORWARD = "127.0.0.2", "127.0.0.3"

HELLO = "EHLO client.example"
SENDER = "MAIL FROM:<sender@client.example>"
RECIPIENT = "RCPT TO:<user@example.test>"
ENVELOPE = (HELLO, SENDER, RECIPIENT)
MESSAGE = b"Subject: test\r\n\r\nHello.\r\n"


def _chunk(octets: bytes, end: str = "", replies: int = 1) -> Send:
    command = f"BDAT {len(octets)}{end}"
    return Send(f"{command}\r\n".encode() + octets, replies, label=command)


def _mail(*parameters: str) -> Sequence[Step]:
    """MAIL with each of these; what is taken is taken back."""
    steps = ((f"{SENDER} {each}".rstrip(), "RSET") for each in parameters)
    return (HELLO, *(step for pair in steps for step in pair))


def _rcpt(*parameters: str) -> Sequence[Step]:
    return (HELLO, SENDER, *(f"{RECIPIENT} {each}" for each in parameters))


def _long(line: str, octets: int, label: str) -> Send:
    return Send(f"{line}{'a' * octets}\r\n".encode(), label=label)


def _at_once(*lines: str, replies: int, label: str) -> Send:
    return Send("".join(f"{line}\r\n" for line in lines).encode(), replies, label=label)


_ORDER = (
    Dialogue("one message", (*ENVELOPE, "DATA", Send(MESSAGE + b".\r\n", label="message"))),
    Dialogue("keywords", (HELLO, Keywords())),
    Dialogue("keywords for who may say XCLIENT", (HELLO, Keywords()), client=XCLIENT),
    Dialogue("keywords for who may say XFORWARD", (HELLO, Keywords()), client=XFORWARD),
    Dialogue("no HELO", (SENDER, RECIPIENT, "RSET")),
    Dialogue("no name", ("EHLO", "HELO", "EHLO ", HELLO)),
    Dialogue("names that are none", ("EHLO client.example more", "EHLO [192.0.2.256]", "HELO <x>")),
    Dialogue("EHLO ends a transaction", (*ENVELOPE, HELLO, RECIPIENT, "DATA")),
    Dialogue("HELO ends a transaction", (*ENVELOPE, "HELO client.example", RECIPIENT, "DATA")),
    Dialogue("EHLO that is refused ends none", (*ENVELOPE, "EHLO", RECIPIENT)),
    Dialogue("HELO after EHLO", (HELLO, "HELO client.example", f"{SENDER} SIZE=10", RECIPIENT)),
    Dialogue("LHLO", ("LHLO client.example",)),
    Dialogue("RCPT before MAIL", (HELLO, RECIPIENT, SENDER)),
    Dialogue("DATA before RCPT", (HELLO, "DATA", SENDER, "DATA")),
    Dialogue("a second MAIL", (*ENVELOPE, SENDER, RECIPIENT)),
    Dialogue("RSET", (*ENVELOPE, "RSET", RECIPIENT, "RSET x")),
    Dialogue("a recipient of others", (HELLO, SENDER, "RCPT TO:<user@elsewhere.example>", "DATA")),
    Dialogue("the null sender", (HELLO, "MAIL FROM:<>", RECIPIENT, "RCPT TO:<>")),
    Dialogue(
        "paths that are none",
        (
            *(HELLO, "MAIL", "MAIL FROM", "MAIL FROM:", "MAIL FROM:sender@client.example x"),
            *("MAIL FROM:<sender@client.example", "MAIL TO:<sender@client.example>", SENDER),
            *("RCPT", "RCPT TO", "RCPT TO:", "RCPT TO:<user@example.test", "RCPT TO:<@>"),
            "RCPT FROM:<user@example.test>",
        ),
    ),
)
_PARAMETERS = (
    Dialogue(
        "SIZE",
        _mail(
            *("SIZE=10", "SIZE=0", f"SIZE={LARGEST}", f"SIZE={LARGEST + 1}", "SIZE=", "SIZE"),
            *("SIZE=-1", "SIZE=x", "SIZE=1 SIZE=2", "SIZE=1,5", f"SIZE={'9' * 30}", "size=10"),
        ),
    ),
    Dialogue(
        "SIZE of a message",
        (
            *(*ENVELOPE, "DATA"),
            Send(MESSAGE + b"x" * 70 + b"\r\n" + b"text\r\n" * 20_000 + b".\r\n", label="too much"),
        ),
    ),
    Dialogue(
        "BODY",
        _mail(
            *("BODY=7BIT", "BODY=8BITMIME", "BODY=BINARYMIME", "BODY=8bitmime", "BODY=9BIT"),
            *("BODY=", "BODY", "BODY=7BIT BODY=8BITMIME"),
        ),
    ),
    Dialogue("unknown parameters", (*_mail("FLY=HIGH", "FLY", "=", "SIZE=1 FLY=HIGH"), SENDER)),
    Dialogue("unknown parameters of RCPT", _rcpt("FLY=HIGH", "SIZE=1", "BODY=7BIT", "RET=FULL")),
    Dialogue("RET", _mail("RET=FULL", "RET=hdrs", "RET=ALL", "RET=", "RET", "RET=FULL RET=HDRS")),
    Dialogue(
        "ENVID",
        _mail(
            *("ENVID=QQ314159", "ENVID=a+2Bb", "ENVID=", "ENVID", "ENVID=a+0D", "ENVID=a+zz"),
            *("ENVID=a=b", "ENVID=1 ENVID=2", f"ENVID={'1' * 100}", f"ENVID={'1' * 101}"),
        ),
    ),
    Dialogue(
        "NOTIFY",
        _rcpt(
            *("NOTIFY=NEVER", "NOTIFY=SUCCESS", "NOTIFY=SUCCESS,FAILURE,DELAY", "NOTIFY=never"),
            *("NOTIFY=NEVER,SUCCESS", "NOTIFY=SUCCESS,NEVER", "NOTIFY=", "NOTIFY", "NOTIFY=X"),
            *("NOTIFY=SUCCESS,SUCCESS", "NOTIFY=SUCCESS;DELAY", "NOTIFY=SUCCESS,"),
            *("NOTIFY=NEVER NOTIFY=DELAY", "NOTIFY=NEVER FLY=HIGH"),
        ),
    ),
    Dialogue(
        "ORCPT",
        (
            *_rcpt(
                *("ORCPT=rfc822;user@example.test", "ORCPT=rfc822;a+2Bb@example.test", "ORCPT=x;y"),
                *("ORCPT=user@example.test", "ORCPT=rfc822;", "ORCPT=;x", "ORCPT=", "ORCPT"),
                *("ORCPT=rfc822;a+zz", "ORCPT=rfc822;a=b", "ORCPT=rfc 822;x", "ORCPT=rfc822;a+00"),
                "ORCPT=rfc822;x ORCPT=rfc822;y",
            ),
            _long(f"{RECIPIENT} ORCPT=rfc822;", 600, "ORCPT of 600 octets"),
        ),
    ),
    Dialogue(
        "DSN after HELO",
        ("HELO client.example", f"{SENDER} RET=HDRS ENVID=x", f"{RECIPIENT} NOTIFY=NEVER"),
    ),
    Dialogue(
        "SMTPUTF8",
        (
            *_mail("SMTPUTF8", "SMTPUTF8=x", "SMTPUTF8 SMTPUTF8", "BODY=8BITMIME SMTPUTF8"),
            *("MAIL FROM:<größe@client.example>", "RSET", SENDER, "RCPT TO:<größe@example.test>"),
            *("RSET", "MAIL FROM:<größe@client.example> SMTPUTF8", "RCPT TO:<größe@example.test>"),
            "RCPT TO:<user@example.test> ORCPT=utf-8;größe@example.test",
        ),
    ),
    Dialogue("AUTH= without AUTH", _mail("AUTH=<>", "AUTH=a+40b", "AUTH=")),
    Dialogue(
        "what other servers offer",
        _mail("BY=120;R", "MT-PRIORITY=3", "HOLDFOR=60", "REQUIRETLS", "HOLDUNTIL=x", "XVERP"),
    ),
)
_CHUNKS = (
    Dialogue("one chunk", (*ENVELOPE, _chunk(MESSAGE, " LAST"))),
    Dialogue("chunks", (*ENVELOPE, _chunk(MESSAGE[:20]), _chunk(MESSAGE[20:]), "BDAT 0 LAST")),
    Dialogue("an empty message in a chunk", (*ENVELOPE, "BDAT 0 LAST")),
    Dialogue("a chunk without a line end", (*ENVELOPE, _chunk(MESSAGE + b"x", " LAST"))),
    Dialogue("a chunk in small letters", (*ENVELOPE, Send(b"bdat 6 last\r\na: b\r\n"))),
    Dialogue("a chunk before EHLO", (_chunk(MESSAGE, " LAST"), HELLO)),
    Dialogue("a chunk before MAIL", (HELLO, _chunk(MESSAGE, " LAST"), SENDER)),
    Dialogue("a chunk before RCPT", (HELLO, SENDER, _chunk(MESSAGE, " LAST"), RECIPIENT)),
    Dialogue(
        "a chunk after HELO",
        ("HELO client.example", SENDER, RECIPIENT, _chunk(MESSAGE, " LAST")),
    ),
    Dialogue("DATA among chunks", (*ENVELOPE, _chunk(MESSAGE), "DATA", "RSET", "NOOP")),
    Dialogue("MAIL among chunks", (*ENVELOPE, _chunk(MESSAGE), SENDER, "RSET", SENDER)),
    Dialogue("RCPT among chunks", (*ENVELOPE, _chunk(MESSAGE), RECIPIENT, "BDAT 0 LAST")),
    Dialogue("NOOP among chunks", (*ENVELOPE, _chunk(MESSAGE), "NOOP", "BDAT 0 LAST")),
    Dialogue("EHLO among chunks", (*ENVELOPE, _chunk(MESSAGE), HELLO, SENDER)),
    Dialogue("RSET among chunks", (*ENVELOPE, _chunk(MESSAGE), "RSET", "BDAT 0 LAST", SENDER)),
    Dialogue("chunks after the last", (*ENVELOPE, _chunk(MESSAGE, " LAST"), "BDAT 0 LAST")),
    Dialogue(
        "too many octets in chunks",
        (*ENVELOPE, _chunk(MESSAGE), _chunk(b"text\r\n" * 20_000, " LAST"), SENDER),
    ),
    Dialogue("a chunk without a size", (*ENVELOPE, "BDAT")),
    Dialogue("a chunk with a wrong size", (*ENVELOPE, "BDAT x")),
    Dialogue("a chunk of less than nothing", (*ENVELOPE, "BDAT -1")),
    Dialogue("a chunk with a third word", (*ENVELOPE, "BDAT 0 LAST x")),
    Dialogue("a chunk with another word", (*ENVELOPE, "BDAT 0 LATS")),
    Dialogue("binary in chunks", (HELLO, f"{SENDER} BODY=BINARYMIME", RECIPIENT)),
)
_OF_OTHERS = (
    Dialogue(
        "XCLIENT",
        (
            *(HELLO, "XCLIENT ADDR=192.0.2.7 NAME=client.example PORT=40000", SENDER, HELLO),
            *(SENDER, "XCLIENT ADDR=192.0.2.8", "RSET", "XCLIENT HELO=other.example PROTO=ESMTP"),
            *(HELLO, "XCLIENT LOGIN=user", HELLO, "XCLIENT DESTADDR=192.0.2.25 DESTPORT=25"),
            *("xclient addr=ipv6:2001:db8::1", "XCLIENT ADDR=192.0.2.9 NAME=[UNAVAILABLE]"),
            *("XCLIENT ADDR=192.0.2.9 NAME=[TEMPUNAVAIL]", "XCLIENT REVERSE_NAME=x.example"),
        ),
        client=XCLIENT,
    ),
    Dialogue("XCLIENT before EHLO", ("XCLIENT ADDR=192.0.2.7", HELLO), client=XCLIENT),
    *(
        Dialogue(f"XCLIENT {words}", (HELLO, f"XCLIENT {words}".rstrip()), client=XCLIENT)
        for words in (
            *("", "ADDR", "ADDR=", "ADDR=192.0.2.256", "ADDR=x", "ADDR=[UNAVAILABLE]", "FLY=HIGH"),
            *("ADDR=192.0.2.1 ADDR=192.0.2.2", "ADDR=192.0.2.1 PORT=65536", "SOURCE=LOCAL"),
            *("ADDR=192.0.2.1 PROTO=HTTP", "NAME=a+0Ab", "NAME=a+zz", "LOGIN=a+4", "NAME=x;y"),
        )
    ),
    Dialogue("XCLIENT of anybody", (HELLO, "XCLIENT ADDR=192.0.2.7", SENDER)),
    Dialogue(
        "XFORWARD",
        (
            *(HELLO, "XFORWARD ADDR=192.0.2.7 NAME=client.example PORT=40000 HELO=client.example"),
            *("XFORWARD PROTO=ESMTP SOURCE=REMOTE IDENT=4XYZ", SENDER, "XFORWARD ADDR=192.0.2.8"),
            *("RSET", "XFORWARD ADDR=[UNAVAILABLE] NAME=[UNAVAILABLE]", "xforward source=local"),
        ),
        client=XFORWARD,
    ),
    *(
        Dialogue(f"XFORWARD {words}", (HELLO, f"XFORWARD {words}".rstrip()), client=XFORWARD)
        for words in (
            *("", "ADDR", "ADDR=", "ADDR=192.0.2.256", "FLY=HIGH", "LOGIN=user", "PROTO=HTTP"),
            *("ADDR=192.0.2.1 ADDR=192.0.2.2", "PORT=65536", "SOURCE=ELSEWHERE", "NAME=a+zz"),
        )
    ),
    Dialogue("XFORWARD of anybody", (HELLO, "XFORWARD ADDR=192.0.2.7", SENDER)),
)
_GROUPS = (
    Dialogue(
        "an envelope at once",
        (HELLO, _at_once(SENDER, RECIPIENT, RECIPIENT, "DATA", replies=4, label="up to DATA")),
    ),
    Dialogue(
        "a message and the next envelope at once",
        (
            *(*ENVELOPE, "DATA"),
            Send(MESSAGE + b".\r\nRSET\r\nNOOP\r\n", 3, label="message, RSET, NOOP"),
        ),
    ),
    Dialogue(
        "chunks at once",
        (
            HELLO,
            Send(
                f"{SENDER}\r\n{RECIPIENT}\r\nBDAT {len(MESSAGE)} LAST\r\n".encode()
                + MESSAGE
                + b"RSET\r\n",
                4,
                label="envelope, chunk, RSET",
            ),
        ),
    ),
    Dialogue("EHLO and MAIL at once", (_at_once(HELLO, SENDER, replies=2, label="EHLO, MAIL"),)),
    Dialogue(
        "HELO and MAIL at once",
        (_at_once("HELO client.example", SENDER, replies=2, label="HELO, MAIL"),),
    ),
    Dialogue("NOOP and MAIL at once", (HELLO, _at_once("NOOP", SENDER, replies=2, label="NOOP"))),
    Dialogue("VRFY and MAIL at once", (HELLO, _at_once("VRFY x", SENDER, replies=2, label="VRFY"))),
    Dialogue(
        "DATA and a message at once",
        (*ENVELOPE, Send(b"DATA\r\n" + MESSAGE + b".\r\n", 2, label="DATA, message")),
    ),
    Dialogue(
        "a refused DATA and a message at once",
        (HELLO, SENDER, Send(b"DATA\r\nRSET\r\n.\r\n", 3, label="DATA, message")),
    ),
    Dialogue("after QUIT", (HELLO, _at_once("QUIT", "NOOP", replies=2, label="QUIT, NOOP"))),
)
_OTHER_COMMANDS = (
    Dialogue("VRFY", (HELLO, "VRFY user@example.test", "VRFY user", "VRFY", "VRFY <user> x")),
    Dialogue("VRFY of others", (HELLO, "VRFY user@elsewhere.example")),
    Dialogue("EXPN", (HELLO, "EXPN list", "EXPN")),
    Dialogue("ETRN", (HELLO, "ETRN example.test", "ETRN", "ETRN @example.test", SENDER, "ETRN x")),
    Dialogue("NOOP", (HELLO, "NOOP", "NOOP x y")),
    Dialogue("HELP", (HELLO, "HELP", "HELP MAIL")),
    Dialogue("TURN", (HELLO, "TURN", "SEND FROM:<a@client.example>", "SAML x", "SOML x")),
    Dialogue("unknown commands", (HELLO, "FLY", "FLY HIGH", "", "MAILFROM:<a@client.example>")),
    Dialogue("commands of other protocols", (HELLO, "GET / HTTP/1.1", "NOOP")),
    Dialogue("a header field as a command", (HELLO, "Subject: test", "NOOP")),
    Dialogue("AUTH that is not offered", (HELLO, "AUTH PLAIN AHgAeQ==", "AUTH")),
    Dialogue("STARTTLS that is not offered", (HELLO, "STARTTLS", "STARTTLS x")),
    Dialogue("QUIT with an argument", (HELLO, "QUIT x")),
    Dialogue("DATA with an argument", (*ENVELOPE, "DATA x")),
    Dialogue(
        "case and blanks", ("eHlO  client.example ", "mail from: <a@client.example>", "noop ")
    ),
    Dialogue("a long line", (HELLO, _long("NOOP ", 1000, "NOOP"), _long("NOOP ", 3000, "NOOP"))),
)

#: What follows shows whether the message has ended: as a command it is an unknown one.
_ENDS = tuple(
    Dialogue(
        f"end {name}",
        (*ENVELOPE, "DATA", Send(MESSAGE[:-2] + end + b"FLY" + REAL, label="message")),
    )
    for name, end in LOOKALIKES.items()
)

DIALOGUES = (*_ORDER, *_PARAMETERS, *_CHUNKS, *_OF_OTHERS, *_GROUPS, *_OTHER_COMMANDS, *_ENDS)
