# SPDX-License-Identifier: MIT
"""`qpsmtpd dkim-key`: make a key of DKIM, print its record for the DNS, and compare the two."""

from __future__ import annotations

import argparse
import asyncio
import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qpsmtpd.commands.arguments import add_command, add_config, directories_of, number_type
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mail.domain import canonical_domain, is_domain
from qpsmtpd.mailauth.dkimkey import LEAST_RSA_BITS
from qpsmtpd.mailauth.dkimprivate import MOST_CHECKED_RSA_BITS, USUAL_RSA_BITS
from qpsmtpd.mailauth.dkimsigning import SigningKey
from qpsmtpd.plugin.dkimchecks import check_record
from qpsmtpd.plugin.dkimfiles import DIRECTORY, is_selector, read_domain, signing_domain
from qpsmtpd.plugin.dkimnewkey import make_key_file, zone_record
from qpsmtpd.plugin.finding import Finding, Severity

_PLUGIN = "dkim"


def add_dkim_key(commands: Any) -> None:
    """Add the command `dkim-key`."""
    text = (
        "Make a key with which the plugin dkim signs mail of a domain, and print the record that "
        "the DNS needs; or print or check the records of keys that are there."
    )
    parser = add_command(commands, "dkim-key", _dkim_key, text)
    parser.add_argument("domain", type=_domain, metavar="DOMAIN", help="the domain")
    parser.add_argument(
        "--selector", type=_selector, metavar="NAME",
        help="the name of the key within the domain (default: year, month and type)",
    )  # fmt: skip
    parser.add_argument(
        "--type", choices=("rsa", "ed25519"), default="rsa",
        help="rsa, which everybody can check (default), or ed25519, beside a key of rsa",
    )  # fmt: skip
    parser.add_argument(
        "--bits", type=_bits, default=USUAL_RSA_BITS, metavar="NUMBER",
        help=f"the size of a key of rsa, {LEAST_RSA_BITS} to {MOST_CHECKED_RSA_BITS} "
        f"(default: {USUAL_RSA_BITS})",
    )  # fmt: skip
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--show", action="store_true", help="make no key: print the records of those there are"
    )
    instead.add_argument(
        "--check", action="store_true", help="make no key: compare those there are with the DNS"
    )
    add_config(parser)
    parser.epilog = (
        "Keys are in the directory dkim of the configuration, and only root and the daemon can "
        "read them. Nothing is overwritten. The daemon uses a new key from the next reload on; "
        "publish its record before that. The exit status of --check is 1 if anything is wrong."
    )


def _domain(text: str) -> str:
    domain = canonical_domain(text)
    if not is_domain(domain) or domain.startswith("."):
        raise argparse.ArgumentTypeError(f"{text!r} is not a domain (example.org)")
    return domain


def _selector(text: str) -> str:
    if not is_selector(text.lower()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name in the DNS, such as 202611")
    return text.lower()


def _bits(text: str) -> int:
    bits = number_type(LEAST_RSA_BITS)(text)
    if bits > MOST_CHECKED_RSA_BITS:
        problem = f"{text!r} is too big: not everybody checks more than {MOST_CHECKED_RSA_BITS}"
        raise argparse.ArgumentTypeError(problem)
    return bits


def _dkim_key(arguments: argparse.Namespace) -> int:
    directories = directories_of(arguments.config)
    installation = Installation(machine=Machine(), directories=directories)
    home = ConfigFiles(directories).path(DIRECTORY) / arguments.domain
    if arguments.show:
        print("\n\n".join("\n".join(_record(key)) for key in _keys(home)))
        return 0
    if arguments.check:
        return asyncio.run(_check(_keys(home), installation))
    print("\n".join(_make(home, arguments, installation)))
    return 0


# --- a new key ------------------------------------------------------------------------------


def _make(home: Path, arguments: argparse.Namespace, installation: Installation) -> Iterator[str]:
    """Make a key; what to tell about it."""
    if home.is_symlink():
        other = signing_domain(home)
        raise QpsmtpdError(f"{home} is a link to {other}: make the key for that domain")
    selector = arguments.selector or f"{datetime.now(UTC):%Y%m}-{arguments.type}"
    older = _keys(home) if home.is_dir() else ()
    if any(key.selector == selector for key in older):
        raise QpsmtpdError(f"{home} has a key {selector} already: choose another --selector")
    user = installation.user
    group = _group_of(user) if os.geteuid() == 0 else None
    path = make_key_file(home, selector, arguments.type, arguments.bits, group)
    [key] = [each for each in _keys(home) if each.selector == selector]
    yield f"{path} is made ({arguments.type}, {key.private.bits} bits)."
    if group is None:
        yield f"Only you can read it: let the daemon ({user}) read it, and nobody else."
    yield ""
    yield from _record(key)
    yield ""
    yield "When the record is published, check it, and let the daemon sign:"
    yield ""
    yield f"    qpsmtpd dkim-key {key.domain} --check"
    yield "    systemctl reload qpsmtpd.service"
    if not _is_in_chain(installation):
        yield ""
        yield f"The file plugins has no line {_PLUGIN} yet: add it."
    if older:
        yield ""
        names = ", ".join(each.selector for each in older)
        yield f"Messages are signed with every key: with {names} as well, until you remove it."


def _group_of(user: str) -> int | None:
    """The group of the daemon's user; None if there is no such user."""
    try:
        return pwd.getpwnam(user).pw_gid
    except KeyError:
        return None


def _is_in_chain(installation: Installation) -> bool:
    return any(entry.text.split()[0].partition(":")[0] == _PLUGIN for entry in installation.entries)


# --- keys that are there --------------------------------------------------------------------


def _keys(home: Path) -> Sequence[SigningKey]:
    """The keys of a domain.  Raises QpsmtpdError."""
    if not home.is_dir():
        raise QpsmtpdError(f"there is no key: {home} does not exist")
    return read_domain(home, lambda where, text: print(f"{where}: {text}", file=sys.stderr))


def _record(key: SigningKey) -> Iterator[str]:
    yield "The record for a zone file:"
    yield ""
    yield zone_record(key)
    yield ""
    yield "The same where a form asks for name, type and value:"
    yield ""
    yield key.name
    yield "TXT"
    yield key.private.record


async def _check(keys: Sequence[SigningKey], installation: Installation) -> int:
    resolver = installation.resolver()
    try:
        findings = [await check_record(key, resolver) for key in keys]
    finally:
        close = getattr(resolver, "close", None)
        if close is not None:
            await close()
    for finding in findings:
        print("\n".join(_told(finding)))
    return int(not findings or any(finding.severity is not Severity.OK for finding in findings))


def _told(finding: Finding) -> Iterator[str]:
    yield f"{finding.subject}: {finding.severity.name.lower()}: {finding.text}"
    if finding.advice:
        yield f"    {finding.advice} {' '.join(finding.commands)}"
