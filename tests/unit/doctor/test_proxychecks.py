# SPDX-License-Identifier: MIT
"""Proxy checks."""

from __future__ import annotations

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


def test_no_proxy(machine: FakeMachine) -> None:
    assert summary(check_proxies(an_installation(machine))) == []
