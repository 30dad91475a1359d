# SPDX-License-Identifier: MIT
"""virus/clamdscan: have ClamAV's daemon clamd look for viruses.

    virus/clamdscan [clamd_socket PLACE] [deny_viruses yes|no]
                    [max_size KB] [scan_all 0|1]

A message of up to `max_size` kilobytes is sent to clamd (INSTREAM), so clamd may be on another
machine, and needs no access to our files. With a virus it is refused with 552 5.7.1 "Virus found:
NAME", and costs the client a point of karma. With `deny_viruses no` it gets the header fields
X-Virus-Found: Yes and X-Virus-Details instead. Without a virus it gets X-Virus-Found: No and
X-Virus-Checked. Fields X-Virus-* that came with the message become X-Old-Virus-*.

clamd is asked at Debian's `/run/clamav/clamd.ctl`, or where `clamd_socket` says: a path, or
HOST:PORT; `clamd_host` and `clamd_port` say the same. Of several, with commas between them, the
first that works is used. While none does, or none gives a sensible answer in time, messages are
deferred with 451 4.3.0, or pass unscanned with `on_error pass`. One that cannot be reached, or has
failed three times in a row, is tried again after a second, and then less and less often, at least
every ten seconds; the log says when it is down and when it works again.

`max_size` has to be less than StreamMaxLength of clamd.conf (25M in Debian): a message for which
that is too little passes unscanned, with a warning in the log.

Exempt clients are checked as well. Clients that another plugin has left to the plugin naughty are
not. With `scan_all 0` only multipart messages are scanned. With `mode=shadow` the message is not
changed.

Differences from the Perl version: `defer_on_error no` was the default; it is `on_error pass` now.
The spool file needs no permissions for clamd. X-Virus-Checked does not tell the version of clamd.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

from qpsmtpd.api import (
    PLACE_FORMS,
    Finding,
    Place,
    Plugin,
    Size,
    System,
    Transaction,
    Verdict,
    opt,
    parse_place,
    parse_places,
)
from qpsmtpd.scanners import (
    Content,
    ScannerError,
    ScannerOptions,
    Service,
    VirusReport,
    check_scanner,
    is_false,
    put_away,
    replace_words,
    unscanned,
)
from qpsmtpd.scanners.clamd import PORT, ping, scan, version

#: Where Debian's clamd listens.
SOCKET = "/run/clamav/clamd.ctl"

_is_multipart = re.compile(r"\s*multipart/", re.IGNORECASE).match


_check_place = partial(parse_place, port=PORT)


@dataclass(frozen=True, kw_only=True)
class ClamdscanOptions(ScannerOptions):
    """Options of virus/clamdscan."""

    clamd_socket: tuple[str, ...] = opt(
        (),
        check=_check_place,
        doc=f"Where clamd listens: {PLACE_FORMS}. Of several, the first that works is used; by "
        f"default {SOCKET}.",
    )
    clamd_host: tuple[str, ...] = opt(
        (), check=_check_place, doc="The host, or hosts, of a clamd that listens on clamd_port."
    )
    clamd_port: int = opt(PORT, least=1, most=65535, doc="The port at clamd_host.")
    deny_viruses: bool = opt(True, doc="Whether a message with a virus is refused, or only marked.")
    max_size: Size = opt(
        Size(1 << 20),
        doc="Larger messages are not scanned. A number alone is in kilobytes (1024).",
    )
    scan_all: bool = opt(True, doc="Whether messages are scanned that are not multipart, too.")

    @staticmethod
    def rewrite(words: Sequence[str]) -> Sequence[str]:
        """defer_on_error, and sizes in kilobytes."""
        words = replace_words(words, "defer_on_error", _on_error)
        return replace_words(words, "max_size", _in_bytes)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where to ask."""
        named = parse_places(self.clamd_socket, PORT) + parse_places(
            self.clamd_host, self.clamd_port
        )
        return named or parse_places([SOCKET])


def _on_error(value: str) -> list[str]:
    return ["on_error", "pass" if is_false(value) else "defer"]


def _in_bytes(value: str) -> list[str]:
    return ["max_size", f"{value}k" if value.isdigit() else value]


class Clamdscan(Plugin[ClamdscanOptions]):
    """Viruses, in the opinion of clamd."""

    async def start(self) -> None:
        options = self.options
        self._service = Service(
            options.places,
            ping,
            self.services.clock,
            timeout=options.timeout,
            connections=options.connections,
        )
        changes = self.mode != "shadow"
        checked = f"by ClamAV on {self.services.me}"
        self._report = VirusReport(
            self.name, self.log, checked, refuse=options.deny_viruses, change=changes
        )

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether each clamd answers."""
        start = "systemctl enable --now clamav-daemon.service"
        async for finding in check_scanner(
            system, self.name, self.options, self.options.places, version, start=start
        ):
            yield finding

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        if tx.message is None or tx.session.has_deferred_rejects:
            return None
        if self._report.change:
            put_away(tx, "X-Virus", "rename")
        if not self.options.scan_all and not _is_multipart(tx.message.headers.peek("Content-Type")):
            return None
        content = Content(tx.message)
        if content.size > self.options.max_size:
            self.log.info("skipped: the message is too large size=%d", content.size)
            return None
        try:
            answer = await self._service.ask(lambda wire: scan(wire, content))
        except ScannerError as error:
            return unscanned(self.options, self.log, error)
        if answer.too_large:
            self.log.warning(
                "passed unscanned: size=%d is more than clamd takes (StreamMaxLength); make "
                "max_size less, or that more",
                content.size,
            )
            return None
        return self._report.about(tx, answer.virus)
