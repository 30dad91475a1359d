# SPDX-License-Identifier: MIT
"""Checks of DKIM keys: whether the daemon can read them, and whether the DNS has their records."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

from qpsmtpd.errors import ConfigError, DnsError
from qpsmtpd.mailauth.dkimkey import DkimKeyError, Key, choose_key
from qpsmtpd.mailauth.dkimsigning import SigningKey
from qpsmtpd.plugin.dkimfiles import key_directories, read_domain
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.services import Resolver
from qpsmtpd.plugin.system import System

#: What is signed to find out whether two halves of a key belong together.
_SAMPLE = bytes(range(32))


async def check_keys(system: System, directory: Path, resolver: Resolver) -> AsyncIterator[Finding]:
    """All keys in a directory, which need not exist, and their records."""
    try:
        homes = key_directories(system.path(directory))
    except ConfigError as error:
        yield _unreadable(system, error)
        return
    for home in homes:
        async for finding in _check_home(system, home, resolver):
            yield finding


async def _check_home(system: System, home: Path, resolver: Resolver) -> AsyncIterator[Finding]:
    odd: list[tuple[str, str]] = []
    keys: tuple[SigningKey, ...] = ()
    wrong: list[ConfigError] = []
    try:
        keys = read_domain(home, lambda where, text: odd.append((where, text)))
    except ConfigError as error:
        wrong += error.parts
    for where, text in odd:
        yield Finding.warning(where, text)
    for part in wrong:
        yield _unreadable(system, part)
    for key in keys:
        yield await check_record(key, resolver)


async def check_record(key: SigningKey, resolver: Resolver) -> Finding:
    """Whether the DNS has the record of a key, so that others can check its signatures."""
    try:
        records = await resolver.txt(key.name)
    except DnsError as error:
        return Finding.notice(key.name, f"cannot be looked up now: {error}")
    if not records:
        return _unpublished(key, "is not in the DNS, so nobody can check what this key signs")
    try:
        public = choose_key(records)
    except DkimKeyError as error:
        return _unpublished(key, f"has a record that nobody can use: {error}")
    if not _belong_together(key, public):
        return _unpublished(key, "is another key in the DNS, so all signatures fail")
    if public.testing:
        text = "says t=y in the DNS: signatures are only being tried out, and count for nothing"
        return Finding.notice(key.name, text)
    return Finding.ok(key.name, f"the DNS has this key ({public.type}, {public.bits} bits)")


def _belong_together(key: SigningKey, public: Key) -> bool:
    return public.verify is not None and public.verify(key.private.sign(_SAMPLE), _SAMPLE)


def _unpublished(key: SigningKey, text: str) -> Finding:
    command = f"qpsmtpd dkim-key {key.domain} --show"
    return Finding.warning(key.name, text, "Publish the record that this prints:", command)


def _unreadable(system: System, error: ConfigError) -> Finding:
    """The problem of a file, and how its reader gets at it if that is the problem."""
    found = system.obstacle(error.where, os.R_OK)
    if found is None:
        return Finding.error(error.where, error.problem)
    if found.kind != "denied":
        return Finding.notice(error.where, str(found))
    advice = "Let the user's group read it:"
    commands = (f"chgrp {system.user} {error.where}", f"chmod g+rX {error.where}")
    return Finding.error(error.where, str(found), advice, *commands)
