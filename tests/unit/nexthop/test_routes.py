# SPDX-License-Identifier: MIT
"""Files of routes."""

from __future__ import annotations

import pytest

from qpsmtpd.errors import ConfigError
from qpsmtpd.nexthop.routes import Destination, Routes
from qpsmtpd.plugin.services import Entry

DEFAULT = Destination(("default.example",), 26)
LINES = (
    "example.com mail.example.com",
    ".example.com mx1.internal,[::1] 2525",
    ".sub.example.com 192.0.2.1",
    "Bücher.example. mail.example.com",
    "[192.0.2.9] mail.example.com",
)


def routes(*lines: str) -> Routes:
    return Routes([Entry(line, f"smtp_routes:{n}") for n, line in enumerate(lines, 1)], DEFAULT)


@pytest.mark.parametrize(
    ("domain", "hosts", "port"),
    [
        ("example.com", ("mail.example.com",), 25),
        ("a.example.com", ("mx1.internal", "::1"), 2525),
        ("b.a.example.com", ("mx1.internal", "::1"), 2525),
        ("sub.example.com", ("mx1.internal", "::1"), 2525),
        ("a.sub.example.com", ("192.0.2.1",), 25),
        ("xn--bcher-kva.example", ("mail.example.com",), 25),
        ("[192.0.2.9]", ("mail.example.com",), 25),
        ("anotherexample.com", DEFAULT.hosts, 26),
        ("com", DEFAULT.hosts, 26),
        (None, DEFAULT.hosts, 26),
    ],
)
def test_of(domain: str | None, hosts: tuple[str, ...], port: int) -> None:
    assert routes(*LINES).of(domain) == Destination(hosts, port)


def test_destinations() -> None:
    assert routes().destinations == [DEFAULT]
    found = routes(*LINES).destinations
    assert found[0] == DEFAULT
    assert len(found) == 4


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("example.com", "has to be"),
        ("example.com mx 25 more", "has to be"),
        ("example.com mx, 25", "has to be"),
        ("example.com m/x", "has to be"),
        ("exa_mple..com mx", "not a domain"),
        ("u@example.com mx", "not a domain"),
        ("example.com mx 0", "not a port"),
        ("example.com mx 65536", "not a port"),
        ("example.com mx smtp", "not a port"),
        ("EXAMPLE.com mx", "twice"),
    ],
)
def test_wrong_lines(line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        routes("example.com mx", line, "x y/z")
    assert [error.where for error in caught.value.parts] == ["smtp_routes:2", "smtp_routes:3"]
