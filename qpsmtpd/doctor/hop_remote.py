# SPDX-License-Identifier: MIT
"""queue/smtp-forward and queue/lmtp: whether somebody answers there, and it is not ourselves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

from qpsmtpd.config.pluginlines import PluginLine
from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.doctor.access import WRITE, obstacle
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.overlaps import overlap
from qpsmtpd.nexthop.client import connect
from qpsmtpd.nexthop.hopreply import NextHopError
from qpsmtpd.nexthop.target import Target, tls_context
from qpsmtpd.plugin.finding import Finding

#: Seconds for each step with the next hop.
TIMEOUT = 5.0


def check_remote(installation: Installation, line: PluginLine) -> Iterator[Finding]:
    """Says hello to the next hop, and hands over nothing."""
    try:
        target = _target(installation, line)
    except (OSError, ssl.SSLError) as failure:
        yield Finding.error(line.name, f"ca: {line.options.ca}: {failure}")
        return
    subject = f"{line.name} {target}"
    if target.path:
        yield from _check_path(installation, subject, _path(line))
    elif loop := asyncio.run(_loop(installation, target)):
        text = f"qpsmtpd is to listen on {loop} itself, so mail would go round in circles"
        yield Finding.error(subject, text, "Name another next hop:", "dpkg-reconfigure qpsmtpd")
        return
    yield from asyncio.run(_talk(subject, target))


def _target(installation: Installation, line: PluginLine) -> Target:
    options, lmtp = line.options, line.name.startswith("queue/lmtp")
    path = _path(line)
    return Target(
        host="" if path else options.host.strip("[]"),
        port=options.port,
        path=str(installation.machine.path(path)) if path else "",
        hello=installation.settings.me,
        lmtp=lmtp,
        tls=options.tls,
        context=tls_context(options.tls, options.ca),
        timeout=min(TIMEOUT, options.timeout),
    )


def _path(line: PluginLine) -> str:
    """The path of a unix socket, empty for TCP."""
    host: str = line.options.host
    return host.removeprefix("unix:") if host.startswith("unix:") else ""


def _check_path(installation: Installation, subject: str, path: str) -> Iterator[Finding]:
    account = installation.account
    if account is not None:
        found = obstacle(installation.machine, path, account, WRITE)
        if found is not None and found.kind == "denied":
            yield Finding.error(subject, str(found))


async def _loop(installation: Installation, target: Target) -> ListenAddress | None:
    """Where we are to listen ourselves, if that is where the next hop is."""
    try:
        async with asyncio.timeout(TIMEOUT):
            found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port)
    except (OSError, TimeoutError):
        return None
    hosts = {str(entry[4][0]) for entry in found}
    for host in filter(installation.machine.local, sorted(hosts)):
        for ours in installation.wanted:
            if overlap(ours, ListenAddress(host, target.port)):
                return ours
    return None


async def _talk(subject: str, target: Target) -> list[Finding]:
    try:
        client = await connect(target)
    except NextHopError as failure:
        advice = "All mail is deferred until it answers. See that it runs, and that it is meant."
        return [Finding.error(subject, str(failure), advice)]
    offers = " ".join(sorted(client.extensions)) or "nothing (no EHLO)"
    encrypted = ", with TLS" if client.encrypted else ""
    client.leave()
    await client.wait_closed(TIMEOUT)
    findings = [Finding.ok(subject, f"answers{encrypted}, and offers {offers}")]
    if "SMTPUTF8" not in client.extensions:
        text = "has no SMTPUTF8: messages with internationalized addresses are refused (RFC 6531)"
        findings.append(Finding.notice(subject, text))
    return findings
