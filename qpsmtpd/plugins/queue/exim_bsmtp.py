# SPDX-License-Identifier: MIT
"""queue/exim-bsmtp: hand messages to Exim as batch SMTP.

    queue/exim-bsmtp [exim_path PROGRAM] [timeout DURATION]
                     [processes NUMBER]

Runs `PROGRAM -bS` for each message and gives it HELO, the envelope and the message on standard
input.  PROGRAM is /usr/sbin/rsmtp, or /usr/sbin/exim4 where that does not exist.  It is run without
a shell, and its environment is only a search path.  Exim must let the daemon's user choose the
envelope sender, which Debian's configuration does (untrusted_set_sender, local_sender_retain).
As Exim is set-uid root, it cannot be run from a unit with NoNewPrivileges; there the unit
qpsmtpd-handover.socket must be active, which runs `PROGRAM -bS` if its service lists that.

The message is accepted if Exim ends with status 0 and has reported no error; Exim does not tell the
id it gave.  It is refused with 552 and Exim's words if Exim reports a 5xx (message too big,
acl_not_smtp, an address it does not understand), and with 452 if Exim reports a 4xx, fails without
a reply (no disk space, broken configuration), is missing, or is too slow: `timeout` is for each
step.  In batch SMTP Exim reports a deferring ACL as 550 as well.  At most `processes` run at once
in each worker.

The plugin verify_recipients asks Exim by `exim4 -bv`, run in the same way: up to four processes of
each worker answer questions, for some seconds each. Known is what Exim's routers accept: local
users, aliases (`:fail:` is unknown, `:defer:` is unsure), and with Debian's configuration every
recipient of a relay domain whose mail can be routed. What Exim's ACLs would say does not matter, as
they are not asked about messages from here either.

Batch SMTP has no ESMTP parameters, so SMTPUTF8 is not offered: an address with a domain in Unicode
(RFC 6531) would be refused with 5.6.7.

Clients are told (SIZE) how large a message Exim takes: the macro MESSAGE_SIZE_LIMIT of Debian's
configuration when ours is loaded, or 50 MiB, which is Exim's default.

Differences from the Perl version: a 4xx defers; the message is not copied to a file first.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.api import (
    Finding,
    Plugin,
    Recipient,
    ReversePath,
    Seconds,
    Session,
    System,
    Transaction,
    Verdict,
    Verification,
    accept,
    check_program,
    defer,
    deny,
    matching,
    opt,
    printable_ascii,
    unsure,
    withdraw_extension,
)
from qpsmtpd.nexthop import DotStuffer
from qpsmtpd.nexthop.eximtrust import PROGRAM, check_trust
from qpsmtpd.nexthop.eximverify import EximVerifier
from qpsmtpd.nexthop.program import Finished, ProgramError, Programs
from qpsmtpd.nexthop.sizelimit import EXIM, of_exim, size_findings

#: Where Debian has Exim's name for `exim -bS`.
DEFAULT_PROGRAM = "/usr/sbin/rsmtp"

_reply_line = re.compile(r"^ *([45]\d\d)[ -](.*)", re.MULTILINE)
_LONGEST_TEXT = 200

_STATUS = {"552": "5.3.4", "550": "5.7.1", "501": "5.1.0", "452": "4.3.1"}


@dataclass(frozen=True, kw_only=True)
class EximOptions:
    exim_path: str = opt(
        DEFAULT_PROGRAM,
        doc="The program to run.",
        positional=True,
        check=matching(os.path.isabs, "an absolute path"),
    )
    timeout: Seconds = opt(Seconds(300), doc="How long to wait for Exim in each step.")
    processes: int = opt(20, least=1, doc="How many programs each worker runs at once.")


class EximBsmtp(Plugin[EximOptions]):
    """Run `exim -bS`."""

    async def start(self) -> None:
        self._commands = Programs(self.options.processes)
        self._verifier = EximVerifier([self._verifying_program, "-bv"])
        self._largest = of_exim()
        if not os.access(self._program, os.X_OK):
            self.log.error("%s cannot be run; every message is deferred", self._program)

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether Exim can be run with its rights, and trusts the daemon's user."""
        program = self._first(system.runnable)
        yield from check_program(system, program, set_id=True)
        if system.runnable(program):
            # Under the name rsmtp Exim only reads batch SMTP, and shows no settings.
            yield check_trust(system, PROGRAM if program == DEFAULT_PROGRAM else program)
            question = f"{self._verifying_program} -bv"
            fine = Finding.ok(question, "says which recipients Exim does not have")
            yield system.set_id_problem(question) or fine
            announced = of_exim(system.read)
            yield from size_findings("Exim", EXIM, system, announced, self.services.databytes)

    async def knows_recipient(self, recipient: Recipient, sender: ReversePath) -> Verification:
        if not recipient.address.is_ascii:
            return unsure("not asked: internationalized address")
        return await self._verifier.verify(str(recipient.address))

    async def hook_ehlo(self, session: Session, host: str) -> None:
        withdraw_extension(session, "SMTPUTF8")

    def largest_message(self) -> int:
        return self._largest

    async def hook_queue(self, tx: Transaction) -> Verdict:
        if not all(domain.isascii() for domain in _domains(tx)):
            return deny("Internationalized domains are not supported here", status="5.6.7")
        inputs = {0: _batch(tx, self.services.me)}
        try:
            finished = await self._commands.feed(
                [self._program, "-bS"], inputs, timeout=self.options.timeout
            )
        except ProgramError as error:
            self.log.error("message not handed over: %s", error)
            return defer("Mail system not available", status="4.3.0")
        return self._verdict(finished)

    async def stop(self) -> None:
        await self._verifier.close()

    @property
    def _program(self) -> str:
        return self._first(lambda path: os.access(path, os.X_OK))

    @property
    def _verifying_program(self) -> str:
        """Exim by the name under which it takes options: rsmtp stands for `exim -bS`."""
        program = self.options.exim_path
        return PROGRAM if Path(program).name == "rsmtp" else program

    def _first(self, runnable: Callable[[str], bool]) -> str:
        path = self.options.exim_path
        return PROGRAM if path == DEFAULT_PROGRAM and not runnable(path) else path

    def _verdict(self, finished: Finished) -> Verdict:
        if finished.output:
            self.log.warning("exim status=%d output=%r", finished.status, finished.output)
        replies = _reply_line.findall(finished.output)
        if not replies:
            return self._without_reply(finished.status)
        if finished.status == 0:
            # The status says taken, the reply says not taken.  Twice is better than never.
            return defer("Mail system did not take the message", status="4.3.0")
        code, words = replies[-1]
        text = printable_ascii(words, _LONGEST_TEXT)
        refuse = deny if code.startswith("5") else defer
        return refuse(text, status=_STATUS.get(code, f"{code[0]}.0.0"))

    def _without_reply(self, status: int) -> Verdict:
        if status == 0:
            return accept("Queued", status="2.6.0")
        self.log.error("exim failed without a reply status=%d", status)
        return defer("Mail system cannot take the message now", status="4.3.0")


def _domains(tx: Transaction) -> Iterator[str]:
    """The domains as they are handed over."""
    for address in (tx.reverse_path, *(recipient.address for recipient in tx.recipients)):
        yield (address and address.written_domain) or ""


async def _batch(tx: Transaction, me: str) -> AsyncGenerator[bytes, None]:
    """The message as batch SMTP (CRLF line ends, as Exim takes them)."""
    assert tx.message is not None
    sender = tx.reverse_path.path if tx.reverse_path else "<>"
    lines = [f"HELO {me}", f"MAIL FROM:{sender}"]
    lines += [f"RCPT TO:{recipient.address.path}" for recipient in tx.recipients]
    yield "".join(f"{line}\r\n" for line in [*lines, "DATA"]).encode()
    stuffer = DotStuffer()
    async for block in tx.message.stream():
        yield bytes(stuffer.feed(block))
    yield stuffer.end() + b"QUIT\r\n"
