# SPDX-License-Identifier: MIT
"""Plugins that configurations name and that we do not ship: what stands in for each of them.

They are those of the Perl version that we lack, and others that were published for it.  What it
means that one is missing decides what becomes of its line:

- idle: nothing depends on it, so its line is skipped, with a warning;
- a filter refuses mail, logs clients in or changes messages; without it more passes than the
  administrator believes, or less.  That is an error, unless the setting `missing_plugins` is skip;
- vital: without it mail would be lost, or relayed for strangers.  That is always an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from qpsmtpd.config.names import old_names, todays_name

#: What it means that a plugin is missing.
Loss = Literal["idle", "filter", "vital"]

_SHIPPED = Path(__file__).parents[1] / "plugins"

#: How alike two names must be, from 0 to 1, for one to be a misspelling of the other.
_LIKENESS = 0.85

_LOGIN = (
    "auth/auth_dovecot, auth/auth_pam and others ask who knows the users; a plugin of "
    "your own has hook_auth_plain (qpsmtpd-plugin-api(7))"
)
_RETIRED_SCANNER = "virus/command runs any scanner; virus/clamdscan asks ClamAV"
_RECIPIENTS = (
    "verify_recipients asks the mail system behind us; rcpt_ldap, rcpt_sql, rcpt_socketmap and "
    "rcpt_map look recipients up in tables"
)
_ATTACHMENTS = "Postfix behind us can refuse attachments (mime_header_checks)"
_SUMMARY = "each message has one line in the log anyway, at the level LOGINFO"
_LOGGING = (
    "logging/file, logging/syslog, logging/journald, logging/json and logging/warn write logs"
)
_ANY_QUEUE = "queue/maildir, queue/smtp-forward, queue/postfix-queue and others deliver"
_REWRITE = "a plugin of your own in Perl has to be rewritten in Python (CONTRIBUTING.md)"


@dataclass(frozen=True, slots=True)
class Absent:
    """A plugin that we do not ship; `stands_in` completes "not available in this version: ".

    known: whether we know what it is, and do not guess.
    built_in: whether the daemon itself does what it did.
    """

    stands_in: str
    loss: Loss = "filter"
    known: bool = True
    built_in: bool = False


def _milter(filters: str) -> Absent:
    return Absent(f"the plugin milter can ask {filters}")


def _idle(stands_in: str) -> Absent:
    return Absent(stands_in, "idle")


def _vital(stands_in: str) -> Absent:
    return Absent(stands_in, "vital")


#: Plugins of the Perl version.
_OF_PERL = {
    "domainkeys": _idle("DKIM has replaced DomainKeys; the plugin dkim checks its signatures"),
    "logging/apache": _idle(_LOGGING),
    "stunnel": Absent(
        "stunnel can tell who the client is with `protocol = proxy`; list its address in the file "
        "proxy_networks",
        "vital",
        built_in=True,
    ),
    "tls_cert": _idle("it is a program that made certificates, not a plugin"),
    "virus/aveclient": _idle(_RETIRED_SCANNER),
    "virus/bitdefender": _idle(_RETIRED_SCANNER),
    "virus/hbedv": _idle(_RETIRED_SCANNER),
    "virus/kavscanner": _idle(_RETIRED_SCANNER),
    "virus/sophie": _idle(_RETIRED_SCANNER),
    "virus/uvscan": Absent(_RETIRED_SCANNER),
}

#: Plugins of others, and what older Perl versions had.
_OF_OTHERS = {
    "auth/authnull": Absent("it let everybody log in, with any password; remove this line"),
    "authsql": Absent(_LOGIN),
    "bcc": Absent("Postfix behind us can copy messages (always_bcc)"),
    "bounce_verp": Absent("bogus_bounce finds some of what only looks like a bounce"),
    "check_badcountries": Absent("hosts_allow refuses networks"),
    "check_delivery": Absent(_RECIPIENTS),
    "check_goodrcptto": Absent(_RECIPIENTS),
    "check_smtp_forward": Absent(_RECIPIENTS),
    "config/qmail_cdb": _vital("put its settings into files of the configuration directory"),
    "denysoft_multi_rcpt": Absent("the file max_recipients limits recipients, for every sender"),
    "disclaimer": _idle("messages pass without it; the mail system behind us can add it"),
    "filter/header_whitelist": _idle("whitelist exempts clients, senders and recipients"),
    "karma_tool": _idle("it is a program, not a plugin: `qpsmtpd karma` has taken its place"),
    "logging/logterse": _idle(_SUMMARY),
    "peers": _vital(
        "it chose other plugins for each client: write the plugins of the file peers/0 here; relay "
        "and whitelist exempt clients"
    ),
    "saslauth": Absent(_LOGIN),
    "tnef2mime": _idle("messages pass with their winmail.dat as it is"),
    "virus/check_for_hi_virus": _idle("the worm that it knew is of 2004"),
    "virus/exe_filter": Absent(_ATTACHMENTS),
    "virus/pattern_filter": Absent(_ATTACHMENTS),
}

ABSENT = _OF_PERL | _OF_OTHERS

#: For plugins that nobody knows, by the folder that their name begins with.
_BY_FOLDER = {
    "auth": Absent(_LOGIN, known=False),
    "logging": Absent(_LOGGING, "idle", known=False),
    "queue": Absent(_ANY_QUEUE, known=False),
}
_OTHERS = Absent(_REWRITE, known=False)

#: What stands in for plugins that nobody knows, by the last part of their name.
_BY_WORD = {
    "address": "badmailfrom and badrcptto refuse addresses",
    "black_list": "hosts_allow, badhelo, badmailfrom and badrcptto are lists that refuse",
    "date": "headers with `past` and `future` judges the Date field",
    "mailers": "headers with `require` refuses messages that lack header fields",
    "dkim_check": "dkim checks DKIM signatures",
    "sender": "resolvable_fromhost and badmailfrom judge senders",
    "spf": "sender_permitted_from checks SPF",
    "system_load": "loadcheck defers mail while the load is high",
    "test_recipient": _RECIPIENTS,
    "unrecognized_commands": "count_unrecognized_commands hangs up on such clients",
    "white_list": "whitelist exempts clients, senders and recipients",
}


def what_stands_in(name: str, shipped: Sequence[str]) -> Absent:
    """What to do about a plugin that is not there, known or not; `shipped` are those we have."""
    if name in ABSENT:
        return ABSENT[name]
    folder, _, last = name.rpartition("/")
    last, _ = todays_name(last)
    # Long ago plugins were in no folder.
    absent = next((known for of, known in ABSENT.items() if of.rpartition("/")[2] == last), None)
    if absent and not folder:
        return absent
    guess = _BY_FOLDER.get(folder, _OTHERS)
    text = absent.stands_in if absent else _guessed(name, last, shipped)
    return replace(guess, stands_in=text or guess.stands_in)


def _guessed(name: str, last: str, shipped: Sequence[str]) -> str:
    """What a plugin that nobody knows may be meant to do; "" if its name does not show it."""
    if last in shipped:
        return f"did you mean {last}?"
    near = difflib.get_close_matches(name, [*shipped, *ABSENT], n=1, cutoff=_LIKENESS)
    return f"did you mean {near[0]}?" if near else _BY_WORD.get(last, "")


def harmless_names() -> list[str]:
    """The names that may stand on a plugin line, with "_" for "-": what we ship, older names of it,
    and what nobody misses.

    No plugin is imported for this, as the maintainer scripts are made with it.
    """
    files = (file.relative_to(_SHIPPED).with_suffix("") for file in _SHIPPED.rglob("*.py"))
    shipped = {str(file) for file in files if file.name != "__init__"}
    old = {name for new in shipped for name in (*old_names(new), *old_names(new.replace("_", "-")))}
    idle = {name for name, absent in ABSENT.items() if absent.loss == "idle"}
    idle |= {name.rpartition("/")[2] for name in idle}
    return sorted(shipped | {name.replace("-", "_") for name in old | idle})
