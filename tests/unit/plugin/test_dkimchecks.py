# SPDX-License-Identifier: MIT
"""Checks of DKIM keys: files that the daemon cannot read, and records that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.mailauth.dkimprivate import parse_private_key
from qpsmtpd.mailauth.dkimsigning import SigningKey
from qpsmtpd.plugin.dkimchecks import check_keys, check_record
from qpsmtpd.plugin.finding import Finding, Severity
from qpsmtpd.plugin.system import Obstacle
from qpsmtpd.testing import FakeResolver, FakeSystem, Records, dns_failure
from tests.unit.mailauth.signing import ed25519_record, rsa_record
from tests.unit.plugin.dkimdirectories import add_key, key_text, record_of

NAME = "s._domainkey.a.example"
UNUSABLE = "has a record that nobody can use"
HERE = FakeSystem(Path("/"))


def told(finding: Finding) -> str:
    return f"{finding.severity.name} {finding.subject}: {finding.text}"


async def checked(directory: Path, records: Records, system: FakeSystem = HERE) -> list[Finding]:
    return [each async for each in check_keys(system, directory, FakeResolver(records))]


@pytest.mark.parametrize(
    ("records", "severity", "text"),
    [
        ([record_of(key_text())], Severity.OK, "the DNS has this key (ed25519, 256 bits)"),
        ([], Severity.WARNING, "is not in the DNS"),
        ([ed25519_record()], Severity.WARNING, "is another key in the DNS"),
        ([rsa_record()], Severity.WARNING, "is another key in the DNS"),
        (["v=DKIM1; p="], Severity.WARNING, f"{UNUSABLE}: key revoked"),
        (["v=spf1 -all"], Severity.WARNING, f"{UNUSABLE}: key"),
        (
            [record_of(key_text())] * 2,
            Severity.WARNING,
            f"{UNUSABLE}: several",
        ),
        (
            [record_of(key_text()) + "; h=sha1"],
            Severity.WARNING,
            UNUSABLE,
        ),
        ([record_of(key_text()) + "; t=y"], Severity.NOTICE, "says t=y in the DNS"),
        (dns_failure(), Severity.NOTICE, "cannot be looked up now: SERVFAIL"),
    ],
)
async def test_records(records: Any, severity: Severity, text: str) -> None:
    key = SigningKey("s", "a.example", parse_private_key(key_text()))
    finding = await check_record(key, FakeResolver({("TXT", NAME): records}))
    assert (finding.severity, finding.subject) == (severity, NAME)
    assert finding.text.startswith(text)
    commands = ("qpsmtpd dkim-key a.example --show",) if severity is Severity.WARNING else ()
    assert finding.commands == commands


async def test_all_keys_are_checked(tmp_path: Path) -> None:
    add_key(tmp_path / "a.example", "s.private")
    add_key(tmp_path / "b.example", "s.private", key_text("rsa", 1024))
    add_key(tmp_path / "c.example", "s.private", b"")
    add_key(tmp_path / "d.example", "t.private")
    (tmp_path / "e.example").mkdir()
    found = await checked(tmp_path, {("TXT", NAME): [record_of(key_text())]})
    unpublished = "is not in the DNS, so nobody can check what this key signs"
    assert [told(finding).replace(str(tmp_path), "") for finding in found] == [
        f"OK {NAME}: the DNS has this key (ed25519, 256 bits)",
        "WARNING /b.example/s.private: has 1024 bits: keys should have 2048, so make a new one",
        f"WARNING s._domainkey.b.example: {unpublished}",
        "ERROR /c.example/s.private: is not a private key (PEM)",
        f"WARNING t._domainkey.d.example: {unpublished}",
        "WARNING /e.example: has no key, so mail of e.example is not signed: "
        "qpsmtpd dkim-key makes one",
    ]


async def test_without_keys(tmp_path: Path) -> None:
    assert await checked(tmp_path / "dkim", {}) == []


@pytest.mark.parametrize(("kind", "severity"), [("denied", "ERROR"), ("hidden", "NOTICE")])
async def test_what_the_daemon_cannot_read(tmp_path: Path, kind: Any, severity: str) -> None:
    path = tmp_path / "a.example/s.private"
    path.mkdir(parents=True)  # cannot be read, not even by root
    system = FakeSystem(Path("/"))
    system.obstacles[str(path)] = Obstacle(path, kind, "is closed")
    [finding] = await checked(tmp_path, {}, system)
    assert told(finding) == f"{severity} {path}: {path} is closed"
    readable = (f"chgrp qpsmtpd {path}", f"chmod g+rX {path}")
    assert finding.commands == (readable if kind == "denied" else ())


async def test_a_directory_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "dkim").write_text("")
    [finding] = await checked(tmp_path / "dkim", {})
    assert told(finding) == f"ERROR {tmp_path}/dkim: cannot be read: Not a directory"
