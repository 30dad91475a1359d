# SPDX-License-Identifier: MIT
"""Where a scanner listens."""

from __future__ import annotations

import pytest

from qpsmtpd.scanners.place import Place, parse_place, parse_places


@pytest.mark.parametrize(
    ("text", "place", "written"),
    [
        ("/run/x.sock", Place(path="/run/x.sock"), "/run/x.sock"),
        ("unix:/run/x.sock", Place(path="/run/x.sock"), "/run/x.sock"),
        ("localhost", Place("localhost", 783), "localhost:783"),
        ("scan.example:3", Place("scan.example", 3), "scan.example:3"),
        ("192.0.2.1:65535", Place("192.0.2.1", 65535), "192.0.2.1:65535"),
        ("[2001:db8::1]:3310", Place("2001:db8::1", 3310), "[2001:db8::1]:3310"),
        ("[::1]", Place("::1", 783), "[::1]:783"),
        ("2001:db8::1", Place("2001:db8::1", 783), "[2001:db8::1]:783"),
    ],
)
def test_places(text: str, place: Place, written: str) -> None:
    assert parse_place(text, 783) == place
    assert str(place) == written


@pytest.mark.parametrize(
    "text", ["", ":783", "run/x.sock", "host:", "host:0", "host:65536", "host:x", "a b", "[::1"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_place(text, 783)


def test_without_a_default_a_host_needs_a_port() -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_place("localhost")


def test_several() -> None:
    assert [str(place) for place in parse_places(["a:1,/b", "c"], 2)] == ["a:1", "/b", "c:2"]
