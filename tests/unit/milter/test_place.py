# SPDX-License-Identifier: MIT
"""Places in all the forms in which they are written."""

from __future__ import annotations

import pytest

from qpsmtpd.milter.place import Place, parse_place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("8891", Place("127.0.0.1", 8891)),
        ("filter.test:8891", Place("filter.test", 8891)),
        ("[2001:db8::1]:8891", Place("2001:db8::1", 8891)),
        ("inet:8891", Place("127.0.0.1", 8891)),
        ("inet:8891@localhost", Place("localhost", 8891)),
        ("inet:localhost:8891", Place("localhost", 8891)),
        ("inet6:8891", Place("::1", 8891)),
        ("inet6:8891@2001:db8::1", Place("2001:db8::1", 8891)),
        ("inet6:[::1]:8891", Place("::1", 8891)),
        ("unix:/run/x.sock", Place(path="/run/x.sock")),
        ("local:/run/x.sock", Place(path="/run/x.sock")),
        ("/run/x.sock", Place(path="/run/x.sock")),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parse_place(text) == place
    assert parse_place(str(place)) == place


@pytest.mark.parametrize(
    "text", ["", "host", "unix:run/x", "0", "65536", "a:b:1", "inet:", "inet:1@", "a b:1", "9" * 30]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT, PORT, unix:/PATH"):
        parse_place(text)
