# SPDX-License-Identifier: MIT
"""answers: what the answers in debconf amount to.

Nobody may be there to ask again, so each answer that cannot be used is replaced by a safe one, and
a note says so: never more addresses than asked for, and no delivery rather than a wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from maintscripts.ask import (
    DEFAULT_LEVEL,
    DEFAULT_MAILDIR,
    DEFAULT_PROXY,
    INTEGRATION,
    INTEGRATIONS,
    LEVELS,
    LISTEN,
    MAILDIR,
    METHOD,
    METHODS,
    PROTECTION,
    PROXY,
    RCPTHOSTS,
    REPORT_TO,
    SMTP_PORT,
    STARTUP,
    UNSET,
    Facts,
    address_and_port,
    addresses,
    domains,
    host_and_port,
    usable_directory,
    words,
)

LOOPBACK = ("127.0.0.1", SMTP_PORT)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers, complete and usable; the templates see these fields.

    inside: whether it works inside Postfix, as its milter; addresses, method and rcpthosts are then
        of no use, and kept.
    listen: addresses and ports; none means all addresses.
    method: one of METHODS.
    protection: the level of filters, one of LEVELS.
    report_to: the addresses that get a daily report; none means that there is none.
    postdrop_added: whether the user qpsmtpd is in the group postdrop because of this package.
    """

    startup_enabled: bool = False
    inside: bool = False
    listen: tuple[tuple[str, int], ...] = ()
    method: str = "none"
    maildir: str = DEFAULT_MAILDIR
    proxy_host: str = DEFAULT_PROXY
    proxy_port: int = SMTP_PORT
    rcpthosts: tuple[str, ...] = ()
    protection: str = DEFAULT_LEVEL
    report_to: tuple[str, ...] = ()
    qmail_queue: str = Facts.qmail_queue
    postdrop_added: bool = False

    @property
    def wanted(self) -> bool:
        """Whether the daemon is to be started: without a delivery method it refuses to."""
        return self.startup_enabled and self.method != "none"


def settle(values: Mapping[str, str], facts: Facts) -> tuple[Answers, list[str]]:
    """The answers, and notes on those that could not be taken as they are.

    `values` are debconf's, by the name of the question; a missing one has not been answered.
    """
    notes = [
        f"{word!r} in debian-rcpthosts is not a domain and is left out"
        for word in facts.dropped
        if word != UNSET
    ]
    inside = _inside(values.get(INTEGRATION, ""), notes)
    listen = _listen(values.get(LISTEN, ""), notes)
    method = _method(values.get(METHOD, ""), facts, notes)
    if inside:
        method = _method_inside(method, facts)
    maildir = values.get(MAILDIR, "") or DEFAULT_MAILDIR
    if not usable_directory(maildir):
        if method == "maildir":
            notes.append(f"{maildir!r} is not a usable directory: nothing is delivered")
            method = "none"
        maildir = DEFAULT_MAILDIR
    try:
        proxy_host, proxy_port = host_and_port(values.get(PROXY, "") or DEFAULT_PROXY)
    except ValueError:
        if method == "proxy":
            notes.append(f"{values[PROXY]!r} is not HOST or HOST:PORT: nothing is delivered")
            method = "none"
        proxy_host, proxy_port = DEFAULT_PROXY, SMTP_PORT
    if method == "proxy" and not inside and _is_here(proxy_host, proxy_port, listen):
        notes.append(f"{proxy_host} port {proxy_port} is where qpsmtpd itself listens: mail loops")
    answers = Answers(
        startup_enabled=values.get(STARTUP) == "true",
        inside=inside,
        listen=listen,
        method=method,
        maildir=maildir.rstrip("/"),
        proxy_host=proxy_host,
        proxy_port=proxy_port,
        protection=_protection(values.get(PROTECTION, ""), notes),
        rcpthosts=_rcpthosts(values.get(RCPTHOSTS, UNSET), method, facts, notes),
        report_to=_report_to(values.get(REPORT_TO, ""), notes),
        qmail_queue=facts.qmail_queue,
    )
    return answers, notes


def _inside(answer: str, notes: list[str]) -> bool:
    if answer and answer not in INTEGRATIONS:
        notes.append(f"{answer!r} is neither {' nor '.join(INTEGRATIONS)}: front is used")
    return answer == "inside"


def _method_inside(method: str, facts: Facts) -> str:
    """A method, which the file plugins has to have, if Postfix is there; else nothing can start."""
    if facts.mta != "postfix":
        return "none"
    return "postfix" if method == "none" else method


def _listen(answer: str, notes: list[str]) -> tuple[tuple[str, int], ...]:
    asked_for = [] if answer == UNSET else words(answer)
    found: dict[tuple[str, int], None] = {}
    for word in asked_for:
        try:
            found[address_and_port(word)] = None
        except ValueError:
            notes.append(f"{word!r} is not an address to listen on and is left out")
    if asked_for and not found:
        notes.append(f"no address is left to listen on: only {LOOPBACK[0]} is used")
        return (LOOPBACK,)
    return tuple(found)


def _is_here(host: str, port: int, listen: tuple[tuple[str, int], ...]) -> bool:
    """Whether mail for this server comes back to us, as far as the address alone tells."""
    addresses = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    if not listen:
        return port == SMTP_PORT and addresses[0] in ("127.0.0.1", "::1")
    return any((address, port) in listen for address in addresses)


def _method(answer: str, facts: Facts, notes: list[str]) -> str:
    if answer in METHODS:
        return answer
    suggestion = facts.mta or "none"
    if answer:
        notes.append(f"{answer!r} is not a delivery method: {suggestion} is used")
    return suggestion


def _protection(answer: str, notes: list[str]) -> str:
    if answer in LEVELS:
        return answer
    if answer:
        notes.append(f"{answer!r} is not a level of filters: {DEFAULT_LEVEL} is used")
    return DEFAULT_LEVEL


def _report_to(answer: str, notes: list[str]) -> tuple[str, ...]:
    good, bad = addresses(answer)
    notes += [f"{word!r} is not an address for reports and is left out" for word in bad]
    return tuple(good)


def _rcpthosts(answer: str, method: str, facts: Facts, notes: list[str]) -> tuple[str, ...]:
    suggestion = facts.local_domains.get(method, ())
    if answer == UNSET:
        return suggestion
    good, bad = domains(answer)
    notes += [f"{word!r} is not a domain and is left out" for word in bad]
    return tuple(good) if good or not bad else suggestion
