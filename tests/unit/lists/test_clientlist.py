# SPDX-License-Identifier: MIT
"""Lists of clients in the format of postgrey."""

from __future__ import annotations

import pytest

from qpsmtpd.api import ClientList, ConfigError, Entry, parse_ip


def a_list(*lines: str) -> ClientList:
    return ClientList([Entry(line, f"list:{n}") for n, line in enumerate(lines, start=1)])


@pytest.mark.parametrize(
    ("entry", "address", "listed"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.10", False),
        ("192.0.2", "192.0.2.10", True),
        ("192.0.2.", "192.0.2.10", True),
        ("192.0.2", "192.0.20.1", False),
        ("192.0.2.0/28", "192.0.2.15", True),
        ("192.0.2.0/28", "192.0.2.16", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("example.com", "192.0.2.1", False),
    ],
)
def test_addresses(entry: str, address: str, listed: bool) -> None:
    assert a_list(entry).has_address(parse_ip(address)) is listed


@pytest.mark.parametrize(
    ("entry", "name", "listed"),
    [
        ("example.com", "example.com", True),
        ("example.com", "mx.EXAMPLE.com.", True),
        (".example.com", "mx.example.com", True),
        ("example.com", "example.com.evil.test", False),
        ("example.com", "myexample.com", False),
        (r"/^mta[12].siol.net$/", "mta2.siol.net", True),
        (r"/^mta[12].siol.net$/", "mta1234.siol.net", False),
        ("192.0.2.1", "192.0.2.1.example", False),
    ],
)
def test_names(entry: str, name: str, listed: bool) -> None:
    assert a_list(entry).has_name(name) is listed


def test_whether_names_matter() -> None:
    assert not a_list("192.0.2.1").has_names
    assert a_list("192.0.2.1", "example.com").has_names
    assert a_list("/x/").has_names


@pytest.mark.parametrize("entry", ["two words", "/[/", "1.2.3.4.5/6"])
def test_wrong_entries(entry: str) -> None:
    with pytest.raises(ConfigError) as caught:
        a_list("192.0.2.1", entry)
    assert caught.value.where == "list:2"
