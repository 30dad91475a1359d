# SPDX-License-Identifier: MIT
"""Hop checks: whether a next hop answers, and is not ourselves; for `examine` of plugins."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from qpsmtpd.mail.address import Address
from qpsmtpd.mail.domain import canonical_domain
from qpsmtpd.nexthop.blame import Step, concerns_us
from qpsmtpd.nexthop.cleanup import Cleanup, CleanupError
from qpsmtpd.nexthop.client import Client, connect
from qpsmtpd.nexthop.hopoptions import NextHopOptions, Paths, complete
from qpsmtpd.nexthop.hopreply import NextHopError
from qpsmtpd.nexthop.prober import Prober
from qpsmtpd.nexthop.target import Target
from qpsmtpd.plugin.filechecks import denied, socket_denied
from qpsmtpd.plugin.finding import Finding, Severity
from qpsmtpd.plugin.system import Obstacle, System
from qpsmtpd.plugin.verification import unavailable

#: Seconds for each step with the next hop.
TIMEOUT = 5.0

_START_POSTFIX = "systemctl start postfix"


# --- SMTP and LMTP --------------------------------------------------------------------------


async def check_next_hop(
    system: System,
    plugin: str,
    options: NextHopOptions,
    target: Target,
    files: Paths = Path,
    *,
    as_client: bool = False,
) -> AsyncIterator[Finding]:
    """Says hello to the next hop of a plugin, asks for its postmaster, and hands over nothing.

    files: where a file is that the administrator named.
    as_client: it is told who the client is, and does not judge us.
    """
    try:
        target = complete(options, target, files)
    except ValueError as failure:
        yield Finding.error(plugin, str(failure))
        return
    path = target.path and str(system.path(target.path))
    there, target = target.path, replace(target, path=path)
    subject = f"{plugin} {target}"
    if there and (found := socket_denied(system, subject, there)):
        yield found
    if loop := await _loop(system, target):
        text = f"qpsmtpd itself is to listen on {loop}, so mail would go round in circles"
        yield Finding.error(subject, text, "Name another next hop:", "dpkg-reconfigure qpsmtpd")
        return
    target = replace(target, timeout=min(TIMEOUT, target.timeout))
    works = True
    async for finding in _talk(subject, target, as_client):
        yield finding
        works = works and finding.severity is not Severity.ERROR
    if works:
        prober = Prober(target, as_stranger=not target.lmtp)
        yield await check_questions(subject, [prober], target.hello)


async def _loop(system: System, target: Target) -> str:
    """Where the daemon is to listen itself, if that is where the next hop is."""
    if target.path:
        return ""
    try:
        async with asyncio.timeout(TIMEOUT):
            found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port)
    except (OSError, TimeoutError):
        return ""
    hosts = sorted({str(entry[4][0]) for entry in found})
    return next(filter(None, (system.listens(host, target.port) for host in hosts)), "")


async def _talk(subject: str, target: Target, as_client: bool) -> AsyncIterator[Finding]:
    try:
        client = await connect(target)
    except NextHopError as failure:
        advice = (
            "All mail is deferred until it answers. Check that it is running and is the right one."
        )
        yield Finding.error(subject, str(failure), advice)
        return
    largest = f" (up to {client.largest_message} octets)" if client.largest_message else ""
    offers = " ".join(sorted(client.extensions)) or "nothing (no EHLO)"
    encrypted = ", with TLS" if client.encrypted else ""
    refusal = None if as_client else await _refusal_of_us(client)
    client.leave()
    await client.wait_closed(TIMEOUT)
    if refusal is None:
        yield Finding.ok(subject, f"answers{encrypted}, and offers {offers}{largest}")
    else:
        advice = "All mail is deferred until it lets us hand over; change that there, or log in."
        yield Finding.error(subject, f"refuses us: {refusal}", advice)
    if "SMTPUTF8" not in client.extensions:
        text = "has no SMTPUTF8: messages with internationalized addresses are refused (RFC 6531)"
        yield Finding.notice(subject, text)


async def _refusal_of_us(client: Client) -> str | None:
    """What the next hop has against us; what it has against the addresses does not count."""
    sender, recipient = "MAIL FROM:<>", "RCPT TO:<postmaster>"
    try:
        replies = await client.begin(sender, [recipient], data=False)
    except NextHopError as failure:
        return str(failure)
    step: Step = "RCPT" if replies.mail.positive else "MAIL"
    reply = replies.recipients[0]
    addresses = ("postmaster",) if step == "RCPT" else ("null sender", "<>")
    return str(reply) if reply.permanent and concerns_us(reply, step, addresses) else None


# --- questions about recipients -------------------------------------------------------------


async def check_questions(subject: str, probers: Sequence[Prober], me: str) -> Finding:
    """What the first place that answers says about a recipient that does not exist."""
    nobody = Address(f"qpsmtpd-doctor-{secrets.token_hex(4)}", canonical_domain(me))
    verification = unavailable("no answer")
    for prober in probers:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                verification = await prober.verify(nobody)
        await prober.close()
        if verification.answer != "unavailable":
            break
    if verification.answer == "unknown":
        return Finding.ok(subject, "says which recipients it does not have")
    if verification.answer == "known":
        text = f"takes every recipient in {me} from us, so mail to unknown users is not refused"
        return Finding.notice(subject, text)
    if verification.answer == "unsure":
        text = f"answers questions about recipients, but not about {me} ({verification.reason})"
        return Finding.ok(subject, text)
    text = "cannot be asked about recipients, so mail to unknown users is not refused"
    return Finding.warning(subject, f"{text}: {verification.reason}")


# --- Postfix's cleanup(8) -------------------------------------------------------------------


async def check_cleanup(system: System, address: str) -> AsyncIterator[Finding]:
    """Whether the daemon can reach Postfix's cleanup at a path or HOST:PORT."""
    if not address.startswith("/"):
        yield await _connect(address, address)
        return
    found = system.obstacle(address, os.W_OK)
    status = None if found else system.status(address)
    if found is not None:
        yield _obstacle(system, address, found)
    elif status is None:
        yield _missing(system, address)
    elif not stat.S_ISSOCK(status.st_mode):
        advice = "Name cleanup's socket on the line of the plugin."
        yield Finding.error(address, "is not a socket", advice)
    else:
        yield await _connect(address, str(system.path(address)))
        if stale := _running_without_group(system, address):
            yield stale


def _missing(system: System, path: str) -> Finding:
    if not system.exists("/usr/sbin/postfix"):
        text = "does not exist: Postfix is not installed"
        return Finding.error(path, text, "Choose another delivery:", "dpkg-reconfigure qpsmtpd")
    text = "does not exist: Postfix is not running"
    return Finding.error(path, text, "Start it:", _START_POSTFIX)


def _obstacle(system: System, path: str, found: Obstacle) -> Finding:
    if found.kind == "missing":
        return _missing(system, path)
    if found.kind == "hidden":
        return Finding.notice(path, str(found))
    if found.gid is None or (system.account and found.gid in system.account.groups):
        advice = "Restore Postfix's permissions:"
        return Finding.error(path, str(found), advice, "postfix set-permissions")
    return denied(system, path, found)


async def _connect(subject: str, address: str) -> Finding:
    try:
        async with await Cleanup.connect(address, TIMEOUT):
            return Finding.ok(subject, "Postfix accepts connections")
    except CleanupError as failure:
        return Finding.error(
            subject, f"nobody answers: {failure}", "Start Postfix:", _START_POSTFIX
        )


def _running_without_group(system: System, path: str) -> Finding | None:
    """The groups of a process stay as they were at its start."""
    parent = system.status(path.rpartition("/")[0])
    groups, account = system.running_groups(), system.account
    if parent is None or groups is None or account is None or parent.st_mode & 0o001:
        return None
    if parent.st_gid not in account.groups or parent.st_gid in groups:
        return None
    group = system.group_name(parent.st_gid)
    text = f"the running daemon was started before its user became a member of {group}"
    return Finding.error(path, text, "Restart it:", "systemctl restart qpsmtpd.service")
