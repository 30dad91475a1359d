# SPDX-License-Identifier: MIT
"""Random SMTP dialogues: what clients send, how it is cut, and how they leave.

A dialogue follows from a seed and a number alone.  Most commands are as they should be, or no
message would ever arrive; the others are spoiled in one way or another.
"""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Iterator
from typing import Literal, NamedTuple

Leaving = Literal["half-close", "close", "reset"]

CRLF = b"\r\n"
USER, PASSWORD = "user@example.test", "secret"

_NAMES = (
    *(b"client.example", b"client.example", b"client.example", b"[127.0.0.1]", b"localhost"),
    *(b"", b"x" * 300, b"a.b.", "bücher.example".encode(), b"x;dkim=pass", b"\xff\xfe", b"[::1]"),
)
_SENDERS = (
    *(b"<a@client.example>",) * 6,
    *(b"<>", b"<a@client.example", b"a@client.example", b"<a@b@c>", b"<a@[127.0.0.1]>"),
    *("<ü@bücher.example>".encode(), b'<"a b"@client.example>', b"<@x:a@client.example>"),
    *(b"<bad@example.com>", b"<" + b"a" * 300 + b"@x.example>", b"< >", b"<a@\xff>"),
)
_RECIPIENTS = (
    *(b"<user@example.test>",) * 6,
    *(b"<other@example.test>", b"<postmaster>", b"<abuse@EXAMPLE.test.>", b"<x@elsewhere.example>"),
    *(b"<user%elsewhere.example@example.test>", b"<user@example.test", b"user@example.test", b"<>"),
    *(b'<"a@b"@example.test>', b"<bad@example.test>", b"<@elsewhere.example:user@example.test>"),
)
_PARAMETERS = (
    *(b"",) * 10,
    *(b" SIZE=1000", b" SIZE=99999999999", b" BODY=8BITMIME", b" BODY=8BITMIME SMTPUTF8"),
    *(b" AUTH=<>", b" AUTH=a+40b", b" RET=HDRS ENVID=x", b" NOTIFY=NEVER", b" X=" + b"y" * 900),
    *(b"  ", b" =", b" SIZE=-1", b" SIZE=1 SIZE=2", b"\tBODY=7BIT", b" \xc3\xa9=1"),
    *(b" BODY=BINARYMIME", b" BY=120;R", b" HOLDFOR=60", b" MT-PRIORITY=3", b" REQUIRETLS"),
)
_WISHES = (
    *(b"",) * 8,
    *(b" NOTIFY=SUCCESS", b" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;user@example.test"),
    *(b" NOTIFY=NEVER", b" NOTIFY=NEVER,SUCCESS", b" ORCPT=rfc822;+zz", b" NOTIFY=SUCCESS RET=X"),
    *(b" ORCPT=utf-8;\xc3\xbc", b" NOTIFY=", b" ORCPT=rfc822;" + b"x" * 600),
)
_ATTRIBUTES = (
    *(b"ADDR=192.0.2.7", b"ADDR=IPV6:2001:db8::1", b"ADDR=[UNAVAILABLE]", b"ADDR=1.2.3.4.5"),
    *(b"NAME=client.example", b"NAME=[TEMPUNAVAIL]", b"NAME=[UNAVAILABLE]", b"NAME=", b"NAME=+00"),
    *(b"HELO=client.example", b"HELO=localhost", b"HELO=[UNAVAILABLE]", b"HELO=" + b"x" * 300),
    *(b"PORT=25", b"PORT=99999", b"PROTO=SMTP", b"PROTO=ESMTP", b"PROTO=HTTP", b"SOURCE=REMOTE"),
    *(b"LOGIN=user+40example.test", b"LOGIN=[UNAVAILABLE]", b"DESTADDR=127.0.0.1", b"DESTPORT=25"),
    *(b"IDENT=4ABC", b"SOURCE=LOCAL", b"addr=192.0.2.8", b"X=y", b"", b"ADDR", b"\xff=\xff"),
)
_SMALL = (
    *(b"NOOP", b"NOOP x", b"RSET", b"HELP", b"HELP DATA", b"VRFY user", b"EXPN list", b"QUIT x"),
    *(
        b"BDAT 10 LAST",
        b"BDAT 5",
        b"BDAT 0",
        b"BDAT 0 LAST",
        b"BDAT",
        b"BDAT x",
        b"BDAT 99999999999999999999",
        b"bdat  7  last ",
        b"ETRN x",
        b"TURN",
        b"XCLIENT ADDR=127.0.0.1",
        b"XFORWARD NAME=x",
    ),
    *(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2", b"AUTH", b"AUTH X", b"AUTH PLAIN =", b"AUTH PLAIN x"),
    *(b"", b" ", b"\t", b"DATA x", b"RSET x", b"MAIL", b"RCPT", b"MAIL FROM", b"RCPT TO: x y"),
    *(
        b"EHLO",
        b"HELO",
        b"x" * 510,
        b"x" * 3000,
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"a\x00b",
        b"a\rb",
    ),
    *(b"NOOP " + b"\xff" * 80, b"LHLO x", b"DATA", b"HELO client.example", b"User-Agent: x"),
)
_FRAGMENTS = (
    *(
        CRLF,
        CRLF,
        b"\r\n.",
        b"\r\n..",
        b".",
        b"..",
        b"x",
        b"a: b\r\n",
        b" ",
        b"\t",
        b"From ",
        b"\xff",
    ),
    *(b"Subject: x\r\n", b"text " * 20 + CRLF, "größer\r\n".encode(), b"\r\n\r\n"),
)
_FORBIDDEN = (b"\n", b"\r", b"\0", b"\n.\n", b"\r.\r", b"\r\n.\n", b"\n.\r\n", b"x" * 70_000)
_HEADER = b"From: a@client.example\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\nSubject: fuzz\r\n"


class Send(NamedTuple):
    """Octets, in these pieces."""

    pieces: tuple[bytes, ...]


class Wait(NamedTuple):
    """Wait until every reply is there that is due."""


class StartTls(NamedTuple):
    """Say STARTTLS; begin the handshake if the server agrees."""


class Leave(NamedTuple):
    how: Leaving


Step = Send | Wait | StartTls | Leave


class Dialogue(NamedTuple):
    seed: int
    number: int
    steps: tuple[Step, ...]
    lmtp: bool = False

    @property
    def address(self) -> str:
        """Where the client comes from: no other one does."""
        number = self.number + 1
        return f"127.{1 + (number >> 16)}.{number >> 8 & 0xFF}.{number & 0xFF}"


def dialogue(seed: int, number: int) -> Dialogue:
    """The dialogue with this number."""
    writer = _Writer(random.Random(f"{seed}/{number}"))
    return Dialogue(seed, number, tuple(writer.steps()), writer.lmtp)


class _Writer:
    """Writes one dialogue."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        #: How often the client does not wait for replies, and how often something is spoiled.
        self._hurry = chance.choice((0.0, 0.0, 0.3, 0.9, 1.0))
        self._malice = chance.choice((0.0, 0.05, 0.2, 0.6))
        self._cuts = chance.choice(("whole", "whole", "few", "octets"))
        self.lmtp = chance.random() < 0.15

    def steps(self) -> Iterator[Step]:
        if not self._maybe(0.05):
            yield Wait()
        yield from self._lines(self._hello())
        if self._maybe(0.12):
            yield from (Wait(), StartTls())
            yield from self._lines(self._hello())
        if self._maybe(0.15):
            yield from self._login()
        for _ in range(self._chance.choice((0, 1, 1, 1, 2, 3))):
            yield from self._transaction()
        if self._maybe(0.7):
            yield from self._lines(b"QUIT")
        yield Leave(
            self._chance.choice(("half-close", "half-close", "half-close", "close", "reset"))
        )

    def _transaction(self) -> Iterator[Step]:
        yield from self._few_small()
        if self._maybe(0.2):
            yield from self._client_of_others()
        sender, parameters = self._pick(_SENDERS), self._pick(_PARAMETERS)
        yield from self._lines(b"MAIL FROM:" + sender + parameters)
        for _ in range(self._chance.choice((1, 1, 1, 2, 5))):
            recipient = self._pick(_RECIPIENTS) + self._pick(_WISHES)
            yield from self._lines(b"RCPT TO:" + recipient)
        yield from self._few_small()
        if self._maybe(0.05):
            return
        if self._maybe(0.3):
            yield from self._chunks()
            return
        yield from self._lines(b"DATA", wait=self._maybe(0.9))
        message = self._message()
        if self._maybe(self._malice / 6):
            # Gone in the middle of the message.
            yield self._cut(message[: self._chance.randint(0, len(message))])
            yield Leave(self._chance.choice(("half-close", "close", "reset")))
            return
        yield self._cut(message + b".\r\n")
        if not self._maybe(self._hurry):
            yield Wait()

    def _client_of_others(self) -> Iterator[Step]:
        """XCLIENT or XFORWARD; half of the clients may say them."""
        chance = self._chance
        verb = chance.choice((b"XCLIENT", b"XFORWARD"))
        words = chance.sample(_ATTRIBUTES, k=chance.choice((1, 2, 3, 5)))
        if not self._maybe(self._malice):
            words = [b"ADDR=192.0.2.7", b"HELO=client.example", b"PROTO=ESMTP"]
        yield from self._lines(b" ".join((verb, *words)))
        if verb == b"XCLIENT" and not self._maybe(0.1):
            yield from self._lines(self._hello())

    def _chunks(self) -> Iterator[Step]:
        """The message by BDAT, with other commands between the chunks or wrong sizes at times."""
        chance = self._chance
        message = self._message().replace(b"\r\n..", b"\r\n.")
        message = message.removesuffix(CRLF) if self._maybe(0.1) else message
        count = chance.choice((1, 1, 2, 3, 8))
        places = sorted(chance.randint(0, len(message)) for _ in range(count - 1))
        for begin, end in itertools.pairwise((0, *places, len(message))):
            last = end == len(message) and not self._maybe(self._malice / 4)
            size = (
                end - begin + (chance.choice((-1, 1, 20)) if self._maybe(self._malice / 8) else 0)
            )
            command = b"BDAT %d%s" % (max(size, 0), b" LAST" if last else b"")
            yield self._cut(command + CRLF + message[begin:end])
            if self._maybe(self._malice / 8):
                yield Leave(chance.choice(("half-close", "close", "reset")))
                return
            if not self._maybe(self._hurry):
                yield Wait()
            if self._maybe(self._malice / 2):
                yield from self._few_small()

    def _few_small(self) -> Iterator[Step]:
        while self._maybe(self._malice):
            if self._maybe(0.1):
                yield from self._lines(self._hello())
            elif self._maybe(0.04):
                # A handshake that cannot succeed, as what follows is not one.
                yield self._cut(b"STARTTLS\r\nNOOP\r\n")
            else:
                yield from self._lines(self._chance.choice(_SMALL))

    def _hello(self) -> bytes:
        verb = self._chance.choice((b"EHLO", b"EHLO", b"EHLO", b"HELO", b"ehlo"))
        if self.lmtp and not self._maybe(self._malice / 8):
            verb = b"LHLO"
        return verb + b" " + (self._pick(_NAMES) if self._malice else _NAMES[0])

    def _login(self) -> Iterator[Step]:
        wrong = self._maybe(0.4)
        secret = self._chance.choice(("wrong", "", "\0\0", "x" * 900)) if wrong else PASSWORD
        plain = base64.b64encode(f"\0{USER}\0{secret}".encode())
        if self._maybe(0.4):
            yield from self._lines(b"AUTH PLAIN " + plain)
        elif self._maybe(0.5):
            yield from self._lines(b"AUTH LOGIN")
            yield from self._lines(base64.b64encode(USER.encode()))
            yield from self._lines(base64.b64encode(secret.encode()))
        else:
            yield from self._lines(self._chance.choice((b"AUTH PLAIN", b"AUTH CRAM-MD5")))
            yield from self._lines(
                self._chance.choice((plain, b"*", b"=", b"????", b"", b"x" * 9000))
            )

    def _message(self) -> bytes:
        chance = self._chance
        header = _HEADER if chance.random() < 0.8 else b""
        body = b"".join(chance.choices(_FRAGMENTS, k=chance.randint(0, 12)))
        if chance.random() < self._malice:
            body += chance.choice(_FORBIDDEN) + chance.choice(_FRAGMENTS)
        if chance.random() < 0.01:
            body += (b"x" * 76 + CRLF) * 4000
        message = header + (CRLF if chance.random() < 0.9 else b"") + body
        # The dot that ends the message comes later; none may come before.
        message = message.replace(b"\r\n.\r\n", b"\r\n..\r\n")
        message = b"." + message if message.startswith(b".\r\n") else message
        return message if message.endswith(CRLF) or not message else message + CRLF

    def _lines(self, line: bytes, *, wait: bool | None = None) -> Iterator[Step]:
        chance = self._chance
        end = (
            chance.choice((b"\n", b"\r", b" \r\n", b"\0\r\n"))
            if self._maybe(self._malice / 12)
            else CRLF
        )
        if self._maybe(self._malice / 8):
            place = chance.randint(0, len(line))
            line = line[:place] + chance.choice((b" ", b"\xff", b"\t", b"<", b"x")) + line[place:]
        yield self._cut(line + end)
        if not self._maybe(self._hurry) if wait is None else wait:
            yield Wait()

    def _cut(self, octets: bytes) -> Send:
        if self._cuts == "octets" and len(octets) <= 200:
            return Send(tuple(octets[i : i + 1] for i in range(len(octets))))
        if self._cuts == "whole" or len(octets) < 2:
            return Send((octets,))
        places = sorted({0, len(octets), *(self._chance.randrange(len(octets)) for _ in range(3))})
        return Send(tuple(octets[a:b] for a, b in itertools.pairwise(places)))

    def _maybe(self, likely: float) -> bool:
        return self._chance.random() < likely

    def _pick(self, choices: tuple[bytes, ...]) -> bytes:
        """One of these; the first, which is right, unless there is malice."""
        return self._chance.choice(choices) if self._maybe(0.3 + self._malice) else choices[0]
