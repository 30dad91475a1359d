# SPDX-License-Identifier: MIT
"""Mail systems: where Exim and Postfix are set up to listen, and how to get them out of our way.

We do not touch their configuration: the commands are only printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.doctor.exim import Exim
from qpsmtpd.doctor.fronts import check_fronts
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.overlaps import is_loopback, listed, overlap
from qpsmtpd.doctor.postfix import Postfix
from qpsmtpd.plugin.finding import Finding

_SMTP = ListenAddress("", 25)
_READERS: dict[str, Callable[[Machine], Exim | Postfix | None]] = {
    "Exim": Exim.read,
    "Postfix": Postfix.read,
}
_ASK_AGAIN = "dpkg-reconfigure qpsmtpd"


def check_mail_systems(installation: Installation) -> Iterator[Finding]:
    """Each installed mail system: its configuration, and where that makes it listen."""
    postfix, exim = Postfix.read(installation.machine), Exim.read(installation.machine)
    if postfix is not None:
        yield _addresses(installation, "Postfix", postfix.addresses)
        yield from _without_port(installation, postfix)
    if exim is not None:
        yield from _check_exim(installation, exim)
    if exim is None and postfix is None:
        yield Finding.notice("mail system", "neither Exim nor Postfix is installed")
    yield from check_fronts(installation)
    yield from installation.found("Mail systems")


def _check_exim(installation: Installation, exim: Exim) -> Iterator[Finding]:
    yield Finding.ok("Exim", exim.form)
    if exim.own:
        text = "its configuration is your own, so it is not known where it listens"
        yield Finding.notice("Exim", text, "If it is in the way of qpsmtpd:", *exim.to_loopback)
    else:
        yield _addresses(installation, "Exim", exim.addresses)


def _addresses(installation: Installation, name: str, theirs: list[ListenAddress]) -> Finding:
    clashes = _clashes(installation, theirs)
    if not clashes:
        where = f"listens on {listed(theirs)}" if theirs else "accepts no mail from the network"
        return Finding.ok(name, f"{where}, not in the way of qpsmtpd")
    advice, commands = _out_of_the_way(installation, name)
    text = f"is set up to listen on {listed(clashes)}"
    if not installation.wanted:
        return Finding.notice(name, text, advice, *commands)
    finding = Finding.error if installation.enabled else Finding.warning
    return finding(name, f"{text}, where qpsmtpd is to listen", advice, *commands)


def _clashes(installation: Installation, theirs: list[ListenAddress]) -> list[ListenAddress]:
    usual = () if installation.fronts else (_SMTP,)
    wanted = installation.wanted or usual
    return [address for address in theirs if any(overlap(address, ours) for ours in wanted)]


def _without_port(installation: Installation, postfix: Postfix) -> Iterator[Finding]:
    """Whether mail from the network comes to nobody: not to us, who are inside, nor to Postfix."""
    asked = any(address.kind == "milter" for address in installation.fronts)
    if not asked or installation.wanted or any(map(_is_public, postfix.addresses)):
        return
    text = "takes no mail from the network on port 25, and neither does qpsmtpd, which it asks"
    advice = "If it is to, and inet_interfaces is what keeps it from that:"
    commands = ("postconf -e inet_interfaces=all", "systemctl restart postfix")
    yield Finding.notice("Postfix", text, advice, *commands)


def _is_public(address: ListenAddress) -> bool:
    return address.port == _SMTP.port and not is_loopback(address.host)


def in_the_way(installation: Installation, name: str) -> bool:
    """Whether Exim or Postfix is, or may be, set up to listen where we are to listen."""
    mta = _READERS[name](installation.machine)
    if isinstance(mta, Exim) and mta.own:
        return True
    return mta is not None and bool(_clashes(installation, mta.addresses))


def _out_of_the_way(installation: Installation, name: str) -> tuple[str, tuple[str, ...]]:
    """Advice and commands that take port 25 of the public addresses from Exim or Postfix."""
    mta = _READERS[name](installation.machine)
    commands = mta.to_loopback if mta else ()
    if not any(map(_needs_loopback, installation.wanted)):
        return f"Let {name} listen only on loopback addresses:", commands
    public = " ".join(installation.machine.public_addresses()) or "those reached from outside"
    advice = (
        f"qpsmtpd is to listen on loopback addresses as well, which {name} needs. Let qpsmtpd "
        f"listen only on the public addresses ({public}), and {name} on the others:"
    )
    return advice, (_ASK_AGAIN, *commands)


def _needs_loopback(address: ListenAddress) -> bool:
    """Whether it covers the loopback addresses that a mail system usually has."""
    return any(overlap(address, ListenAddress(host, 25)) for host in ("127.0.0.1", "::1"))
