# SPDX-License-Identifier: MIT
"""servers.py: in which order name servers are asked, and what the log says about their silence."""

from __future__ import annotations

import logging

import pytest

from qpsmtpd.dns.nameserver import AVOID_SECONDS
from qpsmtpd.dns.servers import Servers
from qpsmtpd.testing import FakeClock

ADDRESSES = [("192.0.2.1", 53), ("192.0.2.2", 53), ("192.0.2.3", 53)]


def some_servers(*addresses: tuple[str, int], rotate: bool = False) -> Servers:
    servers = Servers(FakeClock())
    servers.use(addresses or ADDRESSES, rotate=rotate)
    return servers


def order(servers: Servers) -> str:
    """The last digits of the addresses."""
    return "".join(str(server).partition(":")[0][-1] for server in servers.in_order())


def test_the_order_of_the_file() -> None:
    servers = some_servers()
    assert [order(servers) for _ in range(3)] == ["123"] * 3


def test_rotate() -> None:
    servers = some_servers(rotate=True)
    assert [order(servers) for _ in range(4)] == ["231", "312", "123", "231"]


def test_those_that_keep_silent_come_last_for_a_while() -> None:
    clock = FakeClock()
    servers = Servers(clock)
    servers.use(ADDRESSES)
    servers.in_order()[0].avoid()
    assert order(servers) == "231"
    clock.advance(AVOID_SECONDS)
    assert order(servers) == "123", "one question tries it"
    assert order(servers) == "231"


def test_when_all_keep_silent_all_are_asked() -> None:
    servers = some_servers()
    for server in servers.in_order():
        server.avoid()
    assert order(servers) == "123"


def test_others_are_used_after_a_change_and_the_same_are_kept() -> None:
    servers = some_servers()
    before = servers.in_order()
    servers.use([ADDRESSES[2], ("192.0.2.4", 53), ADDRESSES[0]])
    assert order(servers) == "341"
    after = servers.in_order()
    assert after[0] is before[2]
    assert after[2] is before[0]


def test_an_address_that_cannot_be_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    servers = some_servers(("fe80::1%nowhere\n", 53), ("192.0.2.1", 53))
    assert str(servers) == "192.0.2.1:53"
    (record,) = caplog.records
    assert record.message.startswith(r"name_server='fe80::1%nowhere\n' is left out error=")


def test_the_log_says_once_that_none_answers_and_once_that_one_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    servers = some_servers(*ADDRESSES[:2])
    for answered in (True, False, False, True, True, False):
        servers.note(answered=answered)
        assert servers.all_silent is not answered
    down = "no name server answers servers=192.0.2.1:53, 192.0.2.2:53"
    up = "a name server answers again servers=192.0.2.1:53, 192.0.2.2:53"
    assert [record.message for record in caplog.records] == [down, up, down]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_there_may_be_none() -> None:
    servers = Servers(FakeClock())
    assert servers.in_order() == []
    assert str(servers) == "none"
    servers.close()
