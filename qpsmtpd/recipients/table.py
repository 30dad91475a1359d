# SPDX-License-Identifier: MIT
"""RecipientTable: refuses recipients of our own domains that are not in a table.

It works within `hook_verify_recipient`, that is on recipients which plugins have accepted, and
never accepts one itself: whatever a table says, nobody relays through it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from qpsmtpd.errors import AddressError
from qpsmtpd.lists.domains import DomainList
from qpsmtpd.mail.address import Address, parse_mailbox
from qpsmtpd.mail.domain import Domain
from qpsmtpd.mail.notes import Note
from qpsmtpd.mail.session import Recipient, Transaction
from qpsmtpd.mail.verdict import Verdict, defer, deny
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.breaker import Breaker
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.options import Seconds, matching, opt
from qpsmtpd.plugin.verification import KNOWN, unknown
from qpsmtpd.recipients.memory import RecipientMemory
from qpsmtpd.scanners.service import Slots, answered
from qpsmtpd.scanners.wire import ScannerError

OnError = Literal["defer", "pass"]

UNKNOWN_TEXT = "No such user here"
FAILURE_TEXT = "The recipient cannot be looked up now, please try again later"

#: Seconds for which the canary, once it has been seen, is taken to be alive.
CANARY_LIVES = 60.0

#: Seconds for the question of the doctor.
DOCTORS_PATIENCE = 5.0

_BUSY = "too many recipients are being looked up"

#: What follows from a table that is down, for the doctor, by the option on_error.
CONSEQUENCE = {
    "defer": "All recipients that it should know are deferred until it works.",
    "pass": "Unknown recipients are taken until it works.",
}

#: The recipients of a transaction that some table knows.
_FOUND = Note[frozenset[str]]("recipients in tables")


def _is_mailbox(text: str) -> bool:
    try:
        return parse_mailbox(text, utf8=True).domain is not None
    except AddressError:
        return False


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What is the same for all tables; subclass it with where the table is."""

    domains: tuple[Domain, ...] = opt(
        (),
        doc="The domains whose recipients are in the table; without it, all of ours (the files "
        "`rcpthosts`, `morercpthosts.cdb` and `me`).",
    )
    unknown: Literal["refuse", "next"] = opt(
        "refuse",
        doc="What becomes of recipients that are not in the table: refuse them (550 5.1.1), or "
        "leave them to the next table, which then is not asked about those that this one has.",
    )
    on_error: OnError = opt(
        "defer",
        doc="What becomes of recipients while the table is down, too slow, or gives no sensible "
        "answer: defer them (451), or take them.",
    )
    timeout: Seconds = opt(
        Seconds(10),
        least=0.1,
        most=50,
        doc="How long to wait for one recipient, and as long again for the canary; both together "
        "have to be less than the hook_timeout of the line.",
    )
    connections: int = opt(
        4, least=1, doc="How many recipients each worker looks up at once; others wait."
    )
    delimiter: str = opt(
        "",
        check=matching(lambda text: len(text) == 1, "one character such as +"),
        doc="What separates a user from an extension (Postfix: recipient_delimiter); "
        "user+x@example.com is then known if user@example.com is.",
    )
    catch_all: bool = opt(
        False, doc="Whether @example.com in the table stands for all recipients of the domain."
    )
    positive: Seconds = opt(
        Seconds(600), least=0, doc="How long a recipient that is known is remembered; 0: not."
    )
    negative: Seconds = opt(
        Seconds(60), least=0, doc="How long one that is not known is remembered; 0: not."
    )
    canary: str = opt(
        "",
        check=matching(_is_mailbox, "an address such as postmaster@example.com"),
        doc="An address that is certainly in the table. While it is not found there, the table is "
        "taken to be broken, and nobody is refused for not being in it.",
    )


class TableKey(NamedTuple):
    """What is looked up, in lower case, the domain with A-labels; no user is the whole domain."""

    user: str
    domain: str

    @property
    def address(self) -> str:
        """`user@domain`, or `@domain`."""
        return f"{self.user}@{self.domain}"


class Backend(Protocol):
    """One place that has the table.  Its text is what the log calls it."""

    async def find(self, keys: Sequence[TableKey]) -> bool:
        """Whether any of these is there.  Takes as long as it is let.  Raises ScannerError."""

    async def close(self) -> None:
        """Close what is open."""


class RecipientTable:
    """The table of one plugin, at one place or several: the first that works is asked."""

    def __init__(
        self,
        plugin: Plugin[Any],
        options: TableOptions,
        backends: Sequence[Backend],
        ours: DomainList,
    ) -> None:
        """Nothing is opened yet.

        ours: the domains that we accept mail for, from anybody.
        """
        services = plugin.services
        for domain in options.domains:
            if domain not in ours:
                text = f"{domain} is not a domain that we accept mail for (see the file rcpthosts)"
                services.config.warn("", f"domains: {text}")
        self._log = plugin.log
        self._options = options
        self._clock = services.clock
        self._print = plugin.fingerprint
        self._ours = ours
        self._backends = [
            (backend, Breaker(services.clock, "recipient table", str(backend)))
            for backend in backends
        ]
        self._slots = Slots(options.connections, _BUSY)
        self._memory = RecipientMemory(
            services.store.scoped(plugin.name),
            services.clock,
            positive=options.positive,
            negative=options.negative,
        )
        self._canary = parse_mailbox(options.canary, utf8=True) if options.canary else None
        self._canary_lives_until = 0.0

    async def judge(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        """The verdict on a recipient that has been accepted; None if it is known, or not ours."""
        address, found = recipient.address, tx.notes.get(_FOUND, frozenset())
        if not self._is_about(address) or address.key in found:
            return None
        try:
            known = await self._knows(address)
        except ScannerError as error:
            return unverified(self._log, self._options.on_error, recipient, error)
        if known:
            tx.notes[_FOUND] = found | {address.key}
        if known or self._options.unknown == "next":
            return None
        return deny(UNKNOWN_TEXT, status="5.1.1", code=550, reason="not in the table")

    async def close(self) -> None:
        """Close what is open; nobody is asked any more."""
        for backend, _ in self._backends:
            await backend.close()

    def _is_about(self, address: Address) -> bool:
        # <postmaster> without a domain is always taken (RFC 5321 section 4.5.1).
        if address.domain is None or address.domain not in self._ours:
            return False
        return not self._options.domains or address.domain in self._options.domains

    # --- asking -----------------------------------------------------------------------------

    async def _knows(self, address: Address) -> bool:
        key = f"{self._print}/{address.key}"
        remembered = await self._memory.recall(key)
        if remembered is not None:
            return remembered == KNOWN
        known = await self._is_there(address)
        if not known:
            await self._check_canary()
        await self._memory.remember(key, KNOWN if known else unknown())
        return known

    async def _check_canary(self) -> None:
        """Make sure that a table without some recipient is not one without all others as well."""
        canary, now = self._canary, self._clock.monotonic()
        if canary is None or now < self._canary_lives_until:
            return
        if not await self._is_there(canary):
            raise ScannerError(f"the canary {canary} is not in the table: it must be broken")
        self._canary_lives_until = now + CANARY_LIVES

    async def _is_there(self, address: Address) -> bool:
        """Ask the first place that works.  Raises ScannerError if none does."""
        keys = table_keys(address, self._options)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.timeout
        problems: list[str] = []
        async with self._slots.taken(deadline):
            for number, (backend, breaker) in enumerate(self._backends):
                if not breaker.may_try():
                    problems.append(f"{backend}: down: {breaker.reason}")
                    continue
                now = loop.time()
                share = (deadline - now) / (len(self._backends) - number)
                try:
                    with breaker.attempt():
                        return await answered(now + share, backend.find(keys))
                except ScannerError as error:
                    problems.append(f"{backend}: {error}")
        raise ScannerError("; ".join(problems))


def table_keys(address: Address, options: TableOptions) -> list[TableKey]:
    """What stands for an address in a table, the closest first."""
    user, _, domain = address.key.rpartition("@")
    keys = [TableKey(user, domain)]
    short = user.partition(options.delimiter)[0] if options.delimiter else ""
    if short and short != user:
        keys.append(TableKey(short, domain))
    if options.catch_all:
        keys.append(TableKey("", domain))
    return keys


def unverified(
    log: logging.Logger, on_error: OnError, recipient: Recipient, error: ScannerError
) -> Verdict | None:
    """What becomes of a recipient that nobody could be asked about."""
    if on_error == "pass":
        log.info("taken unverified to=%r: %s", str(recipient), error)
        return None
    return defer(FAILURE_TEXT, status="4.3.0", code=451, reason=f"not looked up: {error}")


async def check_backend(name: str, options: TableOptions, backend: Backend) -> Finding:
    """Whether a table answers, for `examine` of plugins; `name` is that of the plugin."""
    subject = f"{name} {backend}"
    canary = parse_mailbox(options.canary, utf8=True) if options.canary else None
    keys = table_keys(canary, options) if canary else [TableKey("qpsmtpd-doctor", "invalid")]
    deadline = asyncio.get_running_loop().time() + DOCTORS_PATIENCE
    try:
        found = await answered(deadline, backend.find(keys))
    except ScannerError as error:
        return Finding.error(subject, str(error), CONSEQUENCE[options.on_error])
    finally:
        await backend.close()
    if canary and not found:
        return Finding.error(subject, f"does not have {canary}", CONSEQUENCE[options.on_error])
    return Finding.ok(subject, "answers")
