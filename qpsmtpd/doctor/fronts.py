# SPDX-License-Identifier: MIT
"""Fronts: whether Postfix asks us where we listen as its milter or policy service, and can."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.config.runoptions import Kind, ListenAddress
from qpsmtpd.doctor.access import WRITE, obstacle
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.overlaps import is_loopback, overlap
from qpsmtpd.plugin.finding import Finding

#: The user that Postfix's servers run as.
_USER = "postfix"

#: The parameters of main.cf that name milters and policy services.
_PARAMETERS: dict[Kind, tuple[str, ...]] = {
    "milter": ("smtpd_milters", "non_smtpd_milters"),
    "policy": tuple(
        f"smtpd_{stage}_restrictions"
        for stage in (
            *("client", "helo", "sender", "relay", "recipient"),
            *("data", "end_of_data", "etrn"),
        )
    ),
}

_RELOAD = "systemctl reload postfix"

#: A socket in a directory of this name is ours, as in README.Debian.
_OUR_DIRECTORY = "qpsmtpd"

#: What becomes of mail, by milter_default_action, while a milter cannot be asked.
_WITHOUT_MILTER = {"accept": "mail passes unseen", "reject": "all mail is refused"}

_endpoints = re.compile(r"(?:(unix|inet6?):)([^\s,{}]+)").findall
_elements = re.compile(r"\{[^{}]*\}|[^\s,{}]+").findall


@dataclass(frozen=True)
class _Parameter:
    """A parameter of Postfix that lists the services it asks.

    option: what sets it, "-e" in main.cf and "-P" for one service.
    value: what it stands for.  text: how it is written.
    """

    option: str
    name: str
    value: str
    text: str

    def command(self, elements: Iterable[str]) -> str:
        """What sets it to these."""
        setting = f"{self.name}={', '.join(elements)}"
        return f"postconf {self.option} {shlex.quote(setting)}"


@dataclass(frozen=True)
class _Asking:
    """What Postfix's configuration says about the services it asks.

    parameters: those that name them, also of single services.  queue: its queue directory.
    chrooted: whether an SMTP server of it runs in that directory.  action: milter_default_action.
    """

    parameters: tuple[_Parameter, ...]
    queue: str
    chrooted: bool
    action: str

    @classmethod
    def read(cls, machine: Machine, kind: Kind) -> _Asking | None:
        """The configuration, by postconf(1); None if there is no Postfix."""
        queue = machine.run("postconf", "-xh", "queue_directory")
        if queue is None or queue.status:
            return None
        return cls(
            tuple(_parameters(machine, _PARAMETERS[kind])),
            queue.text,
            any(_is_chrooted(line) for line in _said(machine, "-M").splitlines()),
            _said(machine, "-xh", "milter_default_action"),
        )

    def names(self, address: ListenAddress) -> bool:
        """Whether it asks there."""
        found = (each for parameter in self.parameters for each in _endpoints(parameter.value))
        return any(self._means(address, kind, place) for kind, place in found)

    def misses(self, element: str, fronts: Iterable[ListenAddress]) -> bool:
        """Whether this element of a list names a socket that was ours, and is none of these."""
        return any(
            kind == "unix"
            and _OUR_DIRECTORY in Path(place).parts
            and not any(self._means(address, kind, place) for address in fronts)
            for kind, place in _endpoints(element)
        )

    def _means(self, address: ListenAddress, kind: str, place: str) -> bool:
        if kind == "unix":
            below = str(Path(self.queue, place.lstrip("/")))
            inside = self.chrooted or not place.startswith("/")
            return address.path == (below if inside else place)
        host, _, port = place.rpartition(":")
        if address.path or not port.isdigit():
            return False
        return overlap(address, ListenAddress(host.strip("[]"), int(port)))

    def endpoint(self, address: ListenAddress) -> str:
        """The address as Postfix writes it."""
        if not address.path:
            host = f"[{address.host}]" if ":" in address.host else address.host or "127.0.0.1"
            return f"inet:{host}:{address.port}"
        below = f"{self.queue.rstrip('/')}/"
        return f"unix:{address.path.removeprefix(below)}"


def _parameters(machine: Machine, names: tuple[str, ...]) -> Iterator[_Parameter]:
    for name in names:
        yield _Parameter("-e", name, _said(machine, "-xh", name), _said(machine, "-h", name))
    for line in _said(machine, "-P").splitlines():
        name, _, value = line.partition(" = ")
        yield _Parameter("-P", name, value, value)


def _said(machine: Machine, *arguments: str) -> str:
    answer = machine.run("postconf", *arguments)
    return answer.text if answer is not None and not answer.status else ""


def _is_chrooted(line: str) -> bool:
    """Whether an entry of master.cf is an SMTP server in a chroot: always said in Debian."""
    fields = line.split()
    return len(fields) > 7 and fields[7] == "smtpd" and fields[4] == "y"


def check_fronts(installation: Installation) -> Iterator[Finding]:
    """Each address on which a mail system can ask us, and whether it asks where we are not."""
    for address in installation.fronts:
        yield from _check(installation.machine, address)
    if installation.fronts or installation.wanted:
        yield from _asked_in_vain(installation.machine, installation.fronts)


def untold(machine: Machine, fronts: Iterable[ListenAddress], path: str) -> Iterator[Finding]:
    """What Postfix has to be told: to ask at this socket of ours, and where we are not, not to ask.

    fronts: all sockets and addresses of ours where mail systems can ask.
    """
    fronts = tuple(fronts)
    for address in fronts:
        asking = _Asking.read(machine, address.kind) if address.path == path else None
        if asking is not None and not asking.names(address):
            yield _unasked(asking, address)
    yield from _asked_in_vain(machine, fronts)


def _check(machine: Machine, address: ListenAddress) -> Iterator[Finding]:
    subject = str(address)
    if not address.path and not is_loopback(address.host):
        text = "others than this machine may ask here, and see the answers of all filters"
        yield Finding.warning(subject, text, "Listen on a Unix socket, or on 127.0.0.1.")
    asking = _Asking.read(machine, address.kind)
    if asking is None:
        yield Finding.notice(subject, "there is no Postfix here that could ask")
        return
    if not asking.names(address):
        yield _unasked(asking, address)
        return
    if address.path and (found := _unreachable(machine, address)):
        yield found
    else:
        yield Finding.ok(subject, "is asked by Postfix")
    if address.kind == "milter" and asking.action == "accept":
        text = "milter_default_action is accept: mail passes unseen while qpsmtpd is down"
        command = "postconf -e milter_default_action=tempfail"
        yield Finding.warning(subject, text, "Let it be deferred:", command)


def _unasked(asking: _Asking, address: ListenAddress) -> Finding:
    where = asking.endpoint(address)
    if address.path and asking.chrooted and not Path(address.path).is_relative_to(asking.queue):
        text = f"Postfix's SMTP server is in a chroot, and sees nothing outside {asking.queue}"
        return Finding.error(str(address), text, f"Put the socket below {asking.queue}.")
    if address.kind == "milter":
        text = "smtpd_milters of Postfix does not name it"
        return Finding.warning(str(address), text, "Let it ask there:", *_let_ask(asking, where))
    text = "no check_policy_service in a restriction list of Postfix names it"
    advice = (
        f"Add check_policy_service {where} to smtpd_recipient_restrictions, after "
        "reject_unauth_destination."
    )
    return Finding.warning(str(address), text, advice)


def _let_ask(asking: _Asking, where: str) -> tuple[str, ...]:
    """Before other milters, which see what we have found; and mail waits while we are down."""
    milters = next(each for each in asking.parameters if each.name == "smtpd_milters")
    return (
        milters.command((where, *_elements(milters.text))),
        "postconf -e milter_default_action=tempfail",
        _RELOAD,
    )


def _asked_in_vain(machine: Machine, fronts: Iterable[ListenAddress]) -> Iterator[Finding]:
    """The lists of Postfix that name a socket where we listen no longer."""
    fronts = tuple(fronts)
    for kind, names in _PARAMETERS.items():
        if (asking := _Asking.read(machine, kind)) is None:
            return
        for parameter in asking.parameters:
            gone = [e for e in _elements(parameter.value) if asking.misses(e, fronts)]
            if gone and parameter.name.rpartition("/")[2] in names:
                yield _in_vain(kind, asking, parameter, gone)


def _in_vain(kind: Kind, asking: _Asking, parameter: _Parameter, gone: list[str]) -> Finding:
    action = asking.action if kind == "milter" else ""
    what = _WITHOUT_MILTER.get(action, "all mail is deferred")
    text = f"{parameter.name} names {gone[0]}, where qpsmtpd does not listen: {what}"
    finding = Finding.warning if action == "accept" else Finding.error
    elements = _elements(parameter.text)
    rest = [element for element in elements if element not in gone]
    if kind != "milter" or rest == elements:
        return finding("Postfix", text, "Let Postfix not ask there any more.")
    advice = "Let Postfix not ask there any more:"
    return finding("Postfix", text, advice, parameter.command(rest), _RELOAD)


def _unreachable(machine: Machine, address: ListenAddress) -> Finding | None:
    """What keeps Postfix from the socket."""
    subject = str(address)
    account = machine.account(_USER)
    found = None if account is None else obstacle(machine, address.path, account, WRITE)
    if found is None:
        return None
    if found.kind == "missing":
        advice = "It is there once the unit listens:"
        return Finding.warning(subject, str(found), advice, "systemctl restart qpsmtpd.socket")
    return Finding.error(
        subject, str(found), f"Give it SocketGroup={_USER} and SocketMode=0660 in its unit."
    )
