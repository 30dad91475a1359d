# SPDX-License-Identifier: MIT
"""Ports: whether the addresses that qpsmtpd is to listen on are free, or who has them."""

from __future__ import annotations

from collections.abc import Iterator

from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.listeners import Listening, listening
from qpsmtpd.doctor.mailsystems import in_the_way
from qpsmtpd.doctor.overlaps import listed, overlap
from qpsmtpd.doctor.units import SOCKET
from qpsmtpd.plugin.finding import Finding

#: The mail systems that we know how to set up.
_RESTARTS = {"Exim": "systemctl restart exim4", "Postfix": "systemctl restart postfix"}
_SMTP = ListenAddress("", 25)


def check_ports(installation: Installation) -> Iterator[Finding]:
    """Who listens where we are to listen; on port 25 if nothing says where that is."""
    sockets = listening(installation.machine)
    if not sockets and not installation.machine.exists("/proc/net/tcp"):
        yield Finding.notice("/proc/net/tcp", "cannot be read, so it is not known who listens")
        return
    if not installation.wanted and not installation.fronts:
        yield from _without_addresses(sockets)
    for address in installation.wanted:
        yield from _check(
            installation, address, [s for s in sockets if overlap(s.address, address)]
        )


def _without_addresses(sockets: list[Listening]) -> Iterator[Finding]:
    text = "no systemd unit says where qpsmtpd is to listen"
    yield Finding.notice("addresses", text, "Give the addresses with --listen to check them.")
    for found in sockets:
        if overlap(found.address, _SMTP):
            yield Finding.notice(str(found.address), f"{found} listens here")


def _check(
    installation: Installation, address: ListenAddress, sockets: list[Listening]
) -> Iterator[Finding]:
    subject = str(address)
    foreign = [found for found in sockets if not found.ours and not _held(installation, found)]
    unknown = [found for found in foreign if not found.programs]
    if unknown and not installation.machine.privileged:
        text = f"something listens on {listed(found.address for found in unknown)}"
        yield Finding.notice(subject, text, "Run this as root to see what it is.")
    elif foreign:
        yield _clash(installation, subject, foreign)
    elif sockets:
        yield Finding.ok(subject, f"is held for qpsmtpd by {sockets[0]}")
    else:
        start = f"systemctl start {SOCKET}" if installation.machine.systemd else ""
        advice = "Start it when everything else is in order:" if start else ""
        text = "is free; qpsmtpd is not running"
        yield Finding.notice(subject, text, advice, *filter(None, [start]))


def _held(installation: Installation, found: Listening) -> bool:
    """Whether systemd has the socket for us."""
    if not found.by_systemd:
        return False
    answer = installation.machine.run("systemctl", "is-active", SOCKET)
    return answer is not None and answer.text == "active"


def _clash(installation: Installation, subject: str, foreign: list[Listening]) -> Finding:
    who = "; ".join(f"{found} listens on {found.address}" for found in foreign)
    text = f"{who}, so qpsmtpd cannot listen on {subject}"
    advice, commands = _remedy(installation, foreign[0])
    finding = Finding.error if installation.enabled else Finding.warning
    return finding(subject, text, advice, *commands)


def _remedy(installation: Installation, found: Listening) -> tuple[str, tuple[str, ...]]:
    title = found.programs[0].title if found.programs else ""
    if title not in _RESTARTS:
        advice = "Stop that program, or let qpsmtpd listen on other addresses:"
        return advice, ("dpkg-reconfigure qpsmtpd",)
    if in_the_way(installation, title):
        return f"See {title} below.", ()
    return "It is no longer configured to listen there. Restart it:", (_RESTARTS[title],)
