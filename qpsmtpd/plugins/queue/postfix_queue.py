# SPDX-License-Identifier: MIT
"""queue/postfix-queue: put messages into the queue of Postfix on this machine.

    queue/postfix-queue [SOCKET] [FLAG_…]... [timeout DURATION]

Speaks to Postfix's cleanup(8), without SMTP in between.  The sockets to try, in order, are the
one in the environment variable POSTFIXQUEUE, else those of the file `cleanup_sockets` (a path or
host:port per line), else SOCKET, else /var/spool/postfix/public/cleanup.  The daemon's user must
be able to open it: only the group postdrop may enter Postfix's directory `public`.

The flags say what Postfix does with the message; several may be given:

    FLAG_FILTER      header_checks, body_checks
    FLAG_MILTER      non_smtpd_milters
    FLAG_BCC_OK      always_bcc and the like
    FLAG_MAP_OK      canonical and virtual maps
    FLAG_HOLD        hold the message
    FLAG_DISCARD     throw it away
    FLAG_BOUNCE      bounce what Postfix refuses, which makes backscatter

The default is FLAG_MASK_EXTERNAL, the first four, as for mail that Postfix itself takes by SMTP.
`content_filter` of main.cf never applies: only Postfix's SMTP server asks for it.

The message is accepted when Postfix has it on disk.  It is refused with 552 if Postfix's checks
reject it, if it is too big (message_size_limit) or has too many Received fields, and with 452 if
Postfix cannot be reached, is too slow (`timeout` is for each step) or has trouble of its own.  The
texts of header_checks and milters are passed on to the client.

The plugin verify_recipients asks Postfix's SMTP server which recipients it knows: local users and
aliases, those of virtual domains, and those of relay_recipient_maps (without that table every
recipient of a relay domain is known), each with recipient_delimiter, as Postfix says itself
(smtpd_reject_unlisted_recipient). It is asked on port 25 of 127.0.0.1, if the greeting there has
the word Postfix, and else through a socket behind which systemd runs `sendmail -bs` as Postfix's
user (qpsmtpd-postfix.socket). `ask` names another place, such as a Postfix on another port.

Clients are told (SIZE) how large a message Postfix takes: its message_size_limit when our
configuration is loaded.

A message that another plugin wants to be kept aside gets FLAG_HOLD, for instance when a milter
quarantines it.

What a client asks for by DSN (NOTIFY, ORCPT, RET, ENVID; RFC 3461) is passed on: Postfix sends such
notices.

Differences from the Perl version: without flags Postfix's checks and maps apply; an unknown flag
is an error; Postfix is told who the client is; the client is told when Postfix cannot be reached.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from qpsmtpd.api import (
    ConfigError,
    Entry,
    Finding,
    Plugin,
    Recipient,
    ReversePath,
    Seconds,
    Session,
    Severity,
    System,
    Transaction,
    Verdict,
    Verification,
    accept,
    defer,
    deny,
    matching,
    opt,
    parse_place,
    printable_ascii,
    read_each,
    unavailable,
    unless_another,
)
from qpsmtpd.nexthop import (
    Prober,
    Target,
    check_cleanup,
    check_questions,
    offer_dsn,
    smtp_target,
)
from qpsmtpd.nexthop.cleanup import Cleanup, CleanupError, CleanupFlag, CleanupResult, CleanupStatus
from qpsmtpd.nexthop.sizelimit import POSTCONF, of_postfix, size_findings

Flag = Literal[
    "FLAG_NONE", "FLAG_BOUNCE", "FLAG_FILTER", "FLAG_HOLD", "FLAG_DISCARD", "FLAG_BCC_OK",
    "FLAG_MAP_OK", "FLAG_MILTER", "FLAG_SMTPUTF8", "FLAG_AUTOUTF8", "FLAG_FILTER_ALL",
    "FLAG_MASK_EXTERNAL", "FLAG_MASK_INTERNAL", "FLAG_MASK_EXTRA",
]  # fmt: skip

DEFAULT_SOCKET = "/var/spool/postfix/public/cleanup"

#: Where Postfix's SMTP server usually is, unless that is ourselves.
LOOPBACK = "127.0.0.1:25"

#: Where the unit qpsmtpd-postfix.socket listens, behind which is Postfix's SMTP server.
SMTP_SOCKET = "/run/qpsmtpd/postfix.socket"

#: Seconds to wait for that server in each step.
ASKING = 30.0

#: The first bit that is set decides; what Postfix may take later comes first.
REFUSALS = (
    (CleanupStatus.DEFER, "4.7.1", "Message deferred, try again later"),
    (CleanupStatus.PROXY | CleanupStatus.WRITE, "4.3.0", "Mail system cannot store mail now"),
    (CleanupStatus.BAD, "4.3.0", "Mail system error, try again later"),
    (CleanupStatus.RECIPIENTS, "5.1.0", "No recipients"),
    (CleanupStatus.HOPS, "5.4.6", "Too many Received fields"),
    (CleanupStatus.SIZE, "5.3.4", "Message too big"),
    (CleanupStatus.POLICY | CleanupStatus.CONTENT, "5.7.1", "Message content rejected"),
)
UNKNOWN_REFUSAL = (CleanupStatus(0), "4.3.0", "Mail system cannot take the message now")

_is_path_or_address = re.compile(r"/\S+|[\w.-]+:\d+|\[[0-9A-Fa-f:.]+\]:\d+").fullmatch
_reason_with_status = re.compile(r"([45]\.\d{1,3}\.\d{1,3})\s+(.*)", re.DOTALL).fullmatch
_LONGEST_REASON = 200


def _is_socket(text: str) -> bool:
    """Whether it is a place in one of the forms that have always been allowed here."""
    with suppress(ValueError):
        return bool(_is_path_or_address(text) and parse_place(text))
    return False


@dataclass(frozen=True, kw_only=True)
class PostfixOptions:
    socket: str = opt(
        DEFAULT_SOCKET,
        doc="The socket of cleanup(8): a path or host:port.",
        positional=True,
        check=matching(_is_socket, "a path or host:port"),
    )
    flags: tuple[Flag, ...] = opt(
        ("FLAG_MASK_EXTERNAL",), doc="What Postfix does with the message; several may be given."
    )
    timeout: Seconds = opt(Seconds(300), doc="How long to wait for Postfix in each step.")
    ask: str = opt(
        "",
        doc="Where Postfix's SMTP server answers questions about recipients: a path or host:port.",
        check=matching(_is_socket, "a path or host:port"),
    )

    @staticmethod
    def rewrite(words: list[str]) -> list[str]:
        """Flags are written without the name of the option."""
        return [f"flags={word}" if word.startswith("FLAG_") else word for word in words]


class PostfixQueue(Plugin[PostfixOptions]):
    """Hand messages to cleanup(8)."""

    can_hold = True
    files = {
        "cleanup_sockets": "Sockets of Postfix's cleanup(8) to try in order: a path or HOST:PORT "
        "each.",
    }

    async def start(self) -> None:
        self._sockets = await self._configured()
        self._flags = CleanupFlag.FLAG_NONE
        for name in self.options.flags:
            self._flags |= CleanupFlag[name]
        self._probers = self._places_to_ask()
        here = any(socket.startswith("/") for socket in self._sockets)
        self._largest = await self.services.run_blocking(of_postfix) if here else 0

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the daemon's user can reach each socket, Postfix answers there, and can be asked
        about recipients."""
        works = True
        for socket in await self._configured():
            async for finding in check_cleanup(system, socket):
                yield finding
                works = works and finding.severity is not Severity.ERROR
        if works:
            yield await check_questions("Postfix", self._places_to_ask(), self.services.me)
            announced = of_postfix()
            for found in size_findings(
                "Postfix", POSTCONF, system, announced, self.services.databytes
            ):
                yield found

    async def knows_recipient(self, recipient: Recipient, sender: ReversePath) -> Verification:
        verification = unavailable("there is no place to ask Postfix")
        for prober in self._probers:
            verification = await prober.verify(recipient.address, sender)
            if verification.answer != "unavailable":
                break
        return verification

    def largest_message(self) -> int:
        return self._largest

    async def hook_ehlo(self, session: Session, host: str) -> None:
        offer_dsn(session)

    async def hook_queue(self, tx: Transaction) -> Verdict:
        connection = await self._connect()
        if connection is None:
            return unless_another(defer("Mail system not available", status="4.3.0"))
        try:
            async with connection:
                result = await connection.submit(tx, self._flags_for(tx))
        except CleanupError as error:
            self.log.error("message not handed over: %s", error)
            return defer("Mail system did not take the message", status="4.3.0")
        if result.status:
            return self._refusal(result)
        tx.next_hop_id = result.queue_id
        return accept(f"Queued as {result.queue_id}", status="2.6.0")

    async def stop(self) -> None:
        for prober in self._probers:
            await prober.close()

    def _flags_for(self, tx: Transaction) -> CleanupFlag:
        return self._flags | (CleanupFlag.FLAG_HOLD if tx.held_for else CleanupFlag.FLAG_NONE)

    def _places_to_ask(self) -> list[Prober]:
        if self.options.ask:
            return [Prober(self._target(self.options.ask))]
        loopback = Prober(self._target(LOOPBACK), product="Postfix")
        return [loopback, Prober(self._target(SMTP_SOCKET))]

    def _target(self, place: str) -> Target:
        return smtp_target(place, hello=self.services.me, timeout=ASKING)

    async def _configured(self) -> list[str]:
        if given := self.services.environment.get("POSTFIXQUEUE"):
            return [_checked(Entry(given, "POSTFIXQUEUE"))]
        entries = await self.services.config.entries("cleanup_sockets")
        return read_each(entries, _checked) or [self.options.socket]

    async def _connect(self) -> Cleanup | None:
        for socket in self._sockets:
            try:
                return await Cleanup.connect(socket, self.options.timeout)
            except CleanupError as error:
                self.log.error("%s", error)
        return None

    def _refusal(self, result: CleanupResult) -> Verdict:
        self.log.info("refused status=%d reason=%r", result.status, result.reason)
        bits, status, text = next(
            (refusal for refusal in REFUSALS if result.status & refusal[0]), UNKNOWN_REFUSAL
        )
        refuse = deny if status.startswith("5") else defer
        if bits & (CleanupStatus.CONTENT | CleanupStatus.DEFER):
            status, text = _words_of_postfix(result.reason, status, text)
        return refuse(text, status=status)


def _checked(entry: Entry) -> str:
    if not _is_socket(entry.text):
        raise ConfigError(entry.where, f"{entry.text!r} is not a path or host:port")
    return entry.text


def _words_of_postfix(reason: str, status: str, text: str) -> tuple[str, str]:
    """The status and the text of a reason, where they fit; in ASCII and not too long."""
    match = _reason_with_status(reason)
    if match and match[1][0] == status[0]:
        status, reason = match[1], match[2]
    return status, printable_ascii(reason, _LONGEST_REASON) or text
