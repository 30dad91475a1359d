# SPDX-License-Identifier: MIT
"""Exim's trust: whether the daemon's user may choose the envelope sender, and how to let it."""

from __future__ import annotations

import re

from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.system import Facts, System

PROGRAM = "/usr/sbin/exim4"
SETTINGS = "/etc/exim4/update-exim4.conf.conf"
OWN_FILE = "/etc/exim4/exim4.conf"

#: Where macros go, with one configuration file and with a split one.
_MACROS = "/etc/exim4/exim4.conf.localmacros"
_SPLIT_MACROS = "/etc/exim4/conf.d/main/000_localmacros"

#: The options that say which users Exim trusts.
_NAMES = ("trusted_users", "untrusted_set_sender", "local_sender_retain")

_variable = re.compile(r"""^\s*(\w+)=(?:'([^']*)'|"([^"]*)"|(\S*))\s*$""", re.MULTILINE).findall


def settings_of(facts: Facts) -> dict[str, str]:
    """What the administrator told Debian about Exim; ignored if there is OWN_FILE."""
    return {name: a or b or c for name, a, b, c in _variable(facts.read(SETTINGS))}


def options_of(facts: Facts, program: str, *names: str) -> dict[str, str] | None:
    """Options of the main configuration, as Exim understands it; None if it does not say.

    A switch that is off has no entry, one that is on is empty.
    """
    output = facts.run(program, "-bP", *names)
    if output is None or output.status:
        return None
    pairs = (line.partition("=") for line in output.text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs if not name.startswith("no_")}


def check_trust(system: System, program: str) -> Finding:
    """Whether Exim trusts the daemon's user; `program` can tell."""
    options, user = options_of(system, program, *_NAMES), system.user
    if options is None:
        return Finding.notice("Exim", f"does not say whether it trusts user {user}")
    trusted = options.get("trusted_users", "").replace(":", " ").split()
    if user in trusted:
        return Finding.ok("Exim", f"trusts user {user}")
    commands = to_trust(system, user, trusted) if system.runnable(PROGRAM) else ()
    advice = "Make it a trusted user:" if commands else ""
    if options.get("untrusted_set_sender") == "*" and "local_sender_retain" in options:
        text = f"does not trust user {user}, but lets every user choose the envelope sender"
        return Finding.notice("Exim", text, advice.replace(":", ", to be sure:"), *commands)
    text = f"does not trust user {user}: it would replace every sender with that"
    return Finding.warning("Exim", text, advice, *commands)


def to_trust(facts: Facts, user: str, trusted: list[str]) -> tuple[str, ...]:
    """The commands that make Exim trust a user besides those it trusts already."""
    names = " : ".join([*trusted, user])
    if facts.exists(OWN_FILE):
        return (f"sensible-editor {OWN_FILE}  # trusted_users = {names}",)
    split = settings_of(facts).get("dc_use_split_config") == "true"
    file = _SPLIT_MACROS if split else _MACROS
    line = f"MAIN_TRUSTED_USERS = {names}"
    if re.search(r"^\s*MAIN_TRUSTED_USERS\s*=", facts.read(file), re.MULTILINE):
        change = f"sed -i 's/^ *MAIN_TRUSTED_USERS *=.*/{line}/' {file}"
    else:
        change = f"echo '{line}' >> {file}"
    return change, "update-exim4.conf"
