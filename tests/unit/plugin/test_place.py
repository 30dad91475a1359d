# SPDX-License-Identifier: MIT
"""Places in all the forms in which they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.plugin.place import PLACE_FORMS, Place, parse_place, parse_places


@pytest.mark.parametrize(
    ("text", "place", "written"),
    [
        ("/run/x.sock", Place(path="/run/x.sock"), "unix:/run/x.sock"),
        ("unix:/run/x.sock", Place(path="/run/x.sock"), "unix:/run/x.sock"),
        ("local:/run/x.sock", Place(path="/run/x.sock"), "unix:/run/x.sock"),
        ("8891", Place("127.0.0.1", 8891), "127.0.0.1:8891"),
        ("filter.test:3", Place("filter.test", 3), "filter.test:3"),
        ("192.0.2.1:65535", Place("192.0.2.1", 65535), "192.0.2.1:65535"),
        ("[2001:db8::1]:8891", Place("2001:db8::1", 8891), "[2001:db8::1]:8891"),
        ("inet:8891", Place("127.0.0.1", 8891), "127.0.0.1:8891"),
        ("inet6:8891", Place("::1", 8891), "[::1]:8891"),
        ("inet:8891@localhost", Place("localhost", 8891), "localhost:8891"),
        ("inet6:8891@2001:db8::1", Place("2001:db8::1", 8891), "[2001:db8::1]:8891"),
        ("inet6:8891@[::1]", Place("::1", 8891), "[::1]:8891"),
        ("inet:localhost:8891", Place("localhost", 8891), "localhost:8891"),
        ("inet6:[::1]:8891", Place("::1", 8891), "[::1]:8891"),
    ],
)
def test_places(text: str, place: Place, written: str) -> None:
    assert parse_place(text) == parse_place(text, 783) == place
    assert str(place) == written
    assert parse_place(written) == place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("localhost", Place("localhost", 783)),
        ("inet:localhost", Place("localhost", 783)),
        ("[::1]", Place("::1", 783)),
        ("2001:db8::1", Place("2001:db8::1", 783)),
    ],
)
def test_a_host_alone_needs_a_default_for_the_port(text: str, place: Place) -> None:
    assert parse_place(text, 783) == place
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_place(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":783",
            "host:",
            "host:0",
            "host:65536",
            "host:x",
            "0",
            "65536",
            "9" * 30,
            "host:" + "9" * 5000,
        ),
        *("run/x.sock", "unix:", "unix:run/x", "local:", "a b", "a b:1", "a:b:1"),
        *("inet:", "inet:1@", "inet:@host", "1@host", "inet:1@a:b"),
        *(
            "[::1",
            "inet:1@[::1",
            "[host]:1",
            "[]:1",
            "[::1]x",
            "2001:db8::1]:5",
            "inet6:2001:db8::1:5",
        ),
        *("2001:db8:::1", "[1:2]:3", "[fe80::1%eth0]:1"),
    ],
)
def test_what_is_not_a_place(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_place(text, 783)
    assert str(caught.value) == PLACE_FORMS


@given(st.text(alphabet="/:[]@.-_aé016 unixetlocal"), st.sampled_from([0, 783]))
def test_whatever_is_a_place_can_be_written_and_read_again(text: str, port: int) -> None:
    try:
        place = parse_place(text, port)
    except ValueError as error:
        assert str(error) == PLACE_FORMS
    else:
        assert bool(place.path) != (bool(place.host) and 0 < place.port < 65536)
        assert parse_place(str(place)) == place


def test_several() -> None:
    assert [str(place) for place in parse_places(["a:1,/b", "c"], 2)] == ["a:1", "unix:/b", "c:2"]
