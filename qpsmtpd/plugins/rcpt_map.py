# SPDX-License-Identifier: MIT
"""rcpt_map: accept only listed recipients of a domain.

    rcpt_map domain example.com file /etc/qpsmtpd/map/example.com
             [default DENY=No_such_user.]

For a domain whose mail goes to another host that refuses unknown users too late or never. The lines
of the file, besides empty ones and comments (`#`), are like these:

    user@example.com      OK
    former@example.com    DENY      gave notice

An address in upper or lower case, a verdict (OK, DENY, DENYSOFT, DENY_DISCONNECT,
DENYSOFT_DISCONNECT, or DECLINED: other plugins decide), and the text that the client gets. A
recipient in the domain that is not listed gets the verdict of `default`, in whose text underscores
stand for blanks: by default 550 5.1.1. Recipients in other domains are left to other plugins. For
several domains write `rcpt_map:1`, `rcpt_map:2` and so on. Belongs before rcpt_ok.

A relative file name is looked up in the directory of the configuration, then in the working
directory. A file that cannot be read, or an invalid line in it, is an error. It is read at start
and on reload.

Differences from the Perl version: that looked at the file again at every connection. There an `OK`
at the end of a line did not count as a verdict, and an address in upper case matched nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from qpsmtpd.api import (
    ConfigError,
    Domain,
    Entry,
    Plugin,
    Recipient,
    Transaction,
    Verdict,
    address_key,
    fit_status,
    opt,
    read_each,
    verdict_from_word,
)

TEXT = "No such user."


@dataclass(frozen=True, kw_only=True)
class RcptMapOptions:
    """Options of rcpt_map."""

    domain: Domain = opt(doc="The domain whose recipients are in the file.")
    file: Path = opt(doc="The file with its recipients.")
    default: str = opt(
        "DENY=No_such_user.", doc="VERDICT=TEXT for recipients that are not in the file."
    )

    def check(self) -> Iterator[str]:
        try:
            self.default_verdict()
        except ValueError as error:
            yield f"default: {error}"

    def default_verdict(self) -> Verdict | None:
        """What to say of recipients that are not in the file."""
        code, _, text = self.default.partition("=")
        return _verdict(code, text.replace("_", " "))


class RcptMap(Plugin[RcptMapOptions]):
    """Knows all recipients of one domain."""

    may_accept_recipients = True

    async def start(self) -> None:
        self._default = self.options.default_verdict()
        self._verdicts = await asyncio.to_thread(self._read)

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        address = recipient.address
        if address.domain != self.options.domain:
            return None
        return self._verdicts.get(address.key, self._default)

    def _read(self) -> dict[str, Verdict | None]:
        path = self.services.config.path(self.options.file)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(str(path), f"cannot be read ({error})") from None
        return _read_rules(text, path)


def _read_rules(text: str, file: Path) -> dict[str, Verdict | None]:
    return dict(read_each(_entries(text, file), _rule))


def _entries(text: str, file: Path) -> Iterator[Entry]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield Entry(line, f"{file}:{number}")


def _rule(entry: Entry) -> tuple[str, Verdict | None]:
    address, code, reason = [*entry.text.split(maxsplit=2), "", ""][:3]
    try:
        verdict = _verdict(code, reason.strip())
    except ValueError as error:
        raise ConfigError(entry.where, f"must be: ADDRESS VERDICT; {error}") from None
    if "@" not in address:
        raise ConfigError(entry.where, f"{address!r} is not an address")
    return address_key(address), verdict


def _verdict(code: str, text: str) -> Verdict | None:
    """The verdict that a code stands for; raises ValueError for any other word."""
    verdict = verdict_from_word(code, text)
    if verdict is None or verdict.accepted:
        return verdict
    status = fit_status("5.1.1", verdict.decision)
    return replace(verdict, text=verdict.text or TEXT, status=status)
