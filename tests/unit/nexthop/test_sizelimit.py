# SPDX-License-Identifier: MIT
"""The size limit of the mail system on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.nexthop import sizelimit
from qpsmtpd.nexthop.sizelimit import (
    EXIM_DEFAULT,
    POSTCONF,
    of_exim,
    of_postfix,
    size_findings,
)
from qpsmtpd.plugin.finding import Severity
from qpsmtpd.testing import FakeSystem


@pytest.mark.parametrize(
    ("script", "limit"),
    [
        ('test "$*" = "-xh message_size_limit" && echo 10240000', 10240000),
        ("echo 0", 0),
        ("echo unlimited", 0),
        ("echo 7; exit 1", 0),
    ],
)
def test_of_postfix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, limit: int
) -> None:
    program = tmp_path / "postconf"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sizelimit, "POSTCONF", (str(program), *POSTCONF[1:]))
    assert of_postfix() == limit


def test_without_postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizelimit, "POSTCONF", (f"{tmp_path}/missing",))
    assert of_postfix() == 0


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, EXIM_DEFAULT),
        ({"exim4.conf.localmacros": "X = 1\nMESSAGE_SIZE_LIMIT = 20M\n"}, 20 << 20),
        ({"conf.d/main/000_localmacros": "MESSAGE_SIZE_LIMIT==1234"}, 1234),
        ({"exim4.conf.localmacros": "#MESSAGE_SIZE_LIMIT = 20M\n"}, EXIM_DEFAULT),
        ({"exim4.conf": "message_size_limit = 1M"}, 0),
    ],
)
def test_of_exim(files: dict[str, str], limit: int) -> None:
    assert of_exim(lambda path: files.get(path.removeprefix("/etc/exim4/"), "")) == limit


@pytest.mark.parametrize(
    ("printed", "announced", "databytes", "severity", "words"),
    [
        ("100", 100, 0, Severity.OK, "up to 100 octets, clients send up to 100"),
        ("100", 100, 50, Severity.OK, "clients send up to 50"),
        ("100", 100, 200, Severity.NOTICE, "has no effect"),
        ("100", 0, 0, Severity.NOTICE, "clients may send larger ones"),
        ("message_size_limit = 1K", 2048, 0, Severity.NOTICE, "clients may send larger ones"),
        ("message_size_limit = 1K", 2048, 1024, Severity.OK, "up to 1024 octets"),
    ],
)
def test_what_the_doctor_says(
    tmp_path: Path, printed: str, announced: int, databytes: int, severity: Severity, words: str
) -> None:
    system = FakeSystem(tmp_path)
    system.outputs["ask"] = printed
    (finding,) = size_findings("Postfix", ("ask",), system, announced, databytes)
    assert finding.severity is severity
    assert words in finding.text


@pytest.mark.parametrize("outputs", [{}, {"ask": "0"}, {"ask": "nonsense"}])
def test_no_limit_is_not_worth_a_word(tmp_path: Path, outputs: dict[str, str]) -> None:
    system = FakeSystem(tmp_path)
    system.outputs = outputs
    assert list(size_findings("Postfix", ("ask",), system, 0, 0)) == []
