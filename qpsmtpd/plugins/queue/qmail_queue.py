# SPDX-License-Identifier: MIT
"""queue/qmail-queue: hand messages to qmail through its program qmail-queue.

    queue/qmail-queue [PROGRAM] [timeout DURATION] [processes NUMBER]

The program is the one in the environment variable QMAILQUEUE, else PROGRAM, else
bin/qmail-queue below the directory in the environment variable QMAIL or /var/qmail.  It gets the
message, with LF line ends, on descriptor 0 and the envelope on descriptor 1; what it writes to
stderr is logged.  It is run without a shell, and its environment is only a search path.  A set-uid
program cannot be run from a unit with NoNewPrivileges; there the unit qpsmtpd-handover.socket must
be active, which runs the program if its service lists it.

The message is accepted if the program ends with status 0, refused with 552 if it reports a
permanent problem (11 to 40, and 115), and deferred with 452 if it reports any other, cannot be run,
or is too slow: `timeout` is for each step.  At most `processes` run at once in each worker.

Differences from the Perl version: permanent problems give 552, not 451; a program other than
qmail's does not get a different environment.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

from qpsmtpd.api import (
    Finding,
    LogLevel,
    Plugin,
    Seconds,
    System,
    Transaction,
    Verdict,
    accept,
    check_program,
    defer,
    deny,
    matching,
    opt,
    unless_another,
)
from qpsmtpd.nexthop.program import Finished, ProgramError, Programs, once

DEFAULT_HOME = "/var/qmail"

#: Exit statuses that stand for permanent problems, as qmail's own callers read them.
PERMANENT = frozenset({*range(11, 41), 115})

ADDRESS_TOO_LONG = 11


@dataclass(frozen=True, kw_only=True)
class QmailOptions:
    program: str = opt(
        "",
        doc="The program; by default the one of qmail.",
        positional=True,
        check=matching(os.path.isabs, "an absolute path"),
    )
    timeout: Seconds = opt(Seconds(300), doc="How long to wait for the program in each step.")
    processes: int = opt(20, least=1, doc="How many programs each worker runs at once.")


class QmailQueue(Plugin[QmailOptions]):
    """Run qmail-queue."""

    async def start(self) -> None:
        self._program = self._configured()
        self._commands = Programs(self.options.processes)

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether the program can be run, with the privileges that it needs."""
        program = self._configured()
        # What stands in for qmail's own program need not be set-id.
        yield from check_program(system, program, set_id=program.startswith(self._home))
        text = "cannot be asked about recipients, so mail to unknown users is not refused"
        yield Finding.notice("qmail", text, "List those that exist, for example with rcpt_map.")

    async def hook_queue(self, tx: Transaction) -> Verdict:
        inputs = {0: _message(tx), 1: once(_envelope(tx))}
        try:
            finished = await self._commands.feed(
                [self._program], inputs, timeout=self.options.timeout
            )
        except ProgramError as error:
            self.log.error("message not handed over: %s", error)
            return defer("Mail system not available", status="4.3.0")
        if finished.status:
            return self._refusal(finished)
        tx.next_hop_id = f"qp {finished.pid}"
        return accept(f"Queued as {tx.next_hop_id}", status="2.6.0")

    @property
    def _home(self) -> str:
        return self.services.environment.get("QMAIL", DEFAULT_HOME)

    def _configured(self) -> str:
        usual = self.options.program or f"{self._home}/bin/qmail-queue"
        return self.services.environment.get("QMAILQUEUE") or usual

    def _refusal(self, finished: Finished) -> Verdict:
        permanent = finished.status in PERMANENT
        # A permanent problem is the message's, any other the administrator's.
        level = LogLevel.LOGINFO if permanent else LogLevel.LOGERROR
        status, output = finished.status, finished.output
        self.log.log(level, "%s exit_status=%d output=%r", self._program, status, output)
        if finished.status == ADDRESS_TOO_LONG:
            return deny("Envelope address too long", status="5.1.3")
        if permanent:
            return deny("Message refused by the mail system", status="5.3.0")
        return unless_another(defer("Mail system cannot take the message now", status="4.3.0"))


async def _message(tx: Transaction) -> AsyncGenerator[bytes, None]:
    """The message with LF line ends."""
    assert tx.message is not None
    kept = b""
    async for block in tx.message.stream():
        text = kept + block
        kept = b"\r" if text.endswith(b"\r") else b""
        yield text[: len(text) - len(kept)].replace(b"\r\n", b"\n")
    yield kept


def _envelope(tx: Transaction) -> bytes:
    """F, the reverse-path, T and each recipient, NUL after each; and one more NUL."""
    sender = tx.reverse_path.unquoted if tx.reverse_path else ""
    recipients = (f"T{recipient.address.unquoted}\0" for recipient in tx.recipients)
    return f"F{sender}\0{''.join(recipients)}\0".encode()
