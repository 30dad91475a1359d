# SPDX-License-Identifier: MIT
"""Proxy checks."""

from __future__ import annotations

from typing import Any

import pytest

from qpsmtpd.doctor.proxychecks import check_proxies
from tests.unit.doctor.fakes import FakeMachine, an_installation, summary


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("192.0.2.10", "ok has to say who the client is"),
        ("2001:db8::10", "ok has to say"),
        ("192.0.2.0/28", "ok has to say"),
        ("192.0.2.0/24", "warning has 256 addresses, each of which can pose as any client"),
        ("2001:db8::/64", "warning has 18446744073709551616 addresses"),
        ("127.0.0.1", "notice lets every user of this machine pose"),
    ],
)
def test_networks(machine: FakeMachine, line: str, found: str) -> None:
    (said,) = summary(check_proxies(an_installation(machine, proxy_networks=f"{line}\n")))
    assert said.startswith(found)


@pytest.mark.parametrize("file", ["xclient_networks", "xforward_networks"])
def test_who_speaks_for_clients(machine: FakeMachine, file: str) -> None:
    lines: dict[str, Any] = {file: "192.0.2.10\n192.0.2.0/24\n::1\n"}
    ok, warning, notice = summary(check_proxies(an_installation(machine, **lines)))
    assert ok.startswith("ok may say ")
    assert warning.startswith("warning has 256 addresses")
    assert notice.startswith("notice lets every user of this machine pose")


def test_no_proxy(machine: FakeMachine) -> None:
    assert summary(check_proxies(an_installation(machine))) == []
