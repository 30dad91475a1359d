# SPDX-License-Identifier: MIT
"""The mail systems that qpsmtpd hands over to, as Debian packages and starts them."""

from __future__ import annotations

import mailbox
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.packaging.guest.client import DOMAIN, wait_until_served
from tests.packaging.guest.report import run, wait_for

ADDRESS = ("127.0.0.1", 25)
USER = "alice"
RECIPIENT = f"{USER}@{DOMAIN}"
MAILBOX = Path("/var/mail") / USER
EXIM_LOG = Path("/var/log/exim4/mainlog")
# Exim prefers this file to the configuration that Debian generates.
EXIM_OVERRIDE = Path("/etc/exim4/exim4.conf")

Outage = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Method:
    """One way to hand mail over: the plugin's line, and an outage of the other side."""

    name: str
    plugin: str
    outage: Outage
    tells_queue_id: bool = True
    keeps_connections: bool = False
    refuses_unknown_users: bool = False  # Exim takes everything from hosts that may relay
    is_exim: bool = False
    sends_notices: bool = False  # Exim offers DSN only to hosts in dsn_advertise_hosts


@dataclass(frozen=True)
class MailSystem:
    """One mail system: how to prepare it, to see its deliveries, and to hand mail over to it."""

    prepare: Callable[[], None]
    delivered: Callable[[str], bool]  # does the log say so of this queue id?
    queued: Callable[[], bool]  # is anything waiting?
    has_taken_chunks: Callable[[], bool]  # does the log say that a message came by BDAT?
    methods: tuple[Method, ...]

    def wait_until_idle(self) -> None:
        """Wait until everything taken so far has been delivered."""
        wait_for("empty queue", lambda: not self.queued())


def stopped(unit: str, *, kill: bool = False) -> Outage:
    """The outage of a daemon that does not run.

    kill: end its children as well, which would go on serving the connections that are open.
    """

    @contextmanager
    def outage() -> Iterator[None]:
        if kill:
            run("systemctl", "kill", unit)
        # Debian 12 has postfix@-.service behind postfix.service, and stops it later.
        run("systemctl", "stop", f"{unit}*")
        try:
            yield
        finally:
            run("systemctl", "start", unit)
            wait_until_served(ADDRESS)

    return outage


@contextmanager
def exim_misconfigured() -> Iterator[None]:
    """The outage of an Exim that no longer understands its configuration.

    Stopping its daemon is none for `exim4 -bS`, which takes and delivers mail by itself.
    """
    EXIM_OVERRIDE.write_text("no such option\n")
    try:
        yield
    finally:
        EXIM_OVERRIDE.unlink()


def messages(subject: str) -> list[bytes]:
    """The delivered messages of this subject, each with its `From ` line."""
    if not MAILBOX.exists():
        return []
    box = mailbox.mbox(MAILBOX, create=False)
    try:
        box.lock()  # the mail system may be in the middle of writing one
        found = [key for key, message in box.items() if message["subject"] == subject]
        return [box.get_bytes(key, from_=True) for key in found]
    except mailbox.ExternalClashError:
        return []
    finally:
        box.close()


def _prepare_postfix() -> None:
    run("usermod", "--append", "--groups", "postdrop", "qpsmtpd")
    run("postconf", "-e", f"mydestination = {DOMAIN}, localhost")
    run("systemctl", "restart", "postfix*")


def _journal() -> list[str]:
    return run("journalctl", "--boot", "--no-pager", "--output=cat").splitlines()


def _postfix_delivered(queue_id: str) -> bool:
    return any(line.startswith(f"{queue_id}: to=") and "status=sent" in line for line in _journal())


def _exim_delivered(queue_id: str) -> bool:
    return f" {queue_id} => {USER} " in EXIM_LOG.read_text()


def _by_smtp(outage: Outage) -> Method:
    line = "queue/smtp-forward 127.0.0.1 25"
    return Method("smtp-forward", line, outage, keeps_connections=True)


MAIL_SYSTEMS = {
    "postfix": MailSystem(
        prepare=_prepare_postfix,
        delivered=_postfix_delivered,
        queued=lambda: "Mail queue is empty" not in run("postqueue", "-p"),
        has_taken_chunks=lambda: any(
            line.startswith("disconnect from ") and " bdat=" in line for line in _journal()
        ),
        methods=(
            Method("postfix-queue", "queue/postfix-queue", stopped("postfix"), sends_notices=True),
            replace(_by_smtp(stopped("postfix")), refuses_unknown_users=True, sends_notices=True),
        ),
    ),
    "exim4": MailSystem(
        prepare=lambda: None,
        delivered=_exim_delivered,
        queued=lambda: run("exim4", "-bpc").strip() != "0",
        has_taken_chunks=lambda: bool(re.search(r" <= .* K S=", EXIM_LOG.read_text())),
        methods=(
            # Batch SMTP answers nothing, so there is no queue id to pass on.
            Method(
                "exim-bsmtp",
                "queue/exim-bsmtp",
                exim_misconfigured,
                tells_queue_id=False,
                is_exim=True,
            ),
            replace(_by_smtp(stopped("exim4", kill=True)), is_exim=True),
        ),
    ),
}
