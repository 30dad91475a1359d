# SPDX-License-Identifier: MIT
"""What the file `store` may say."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.store.location import WANTED, RedisLocation, parse_location


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("/var/lib/qpsmtpd/store", Path("/var/lib/qpsmtpd/store")),
        ("redis://redis.example", RedisLocation("redis.example")),
        ("redis://redis.example/", RedisLocation("redis.example")),
        ("redis://192.0.2.1:6380/5", RedisLocation("192.0.2.1", 6380, db=5)),
        ("redis://[2001:db8::1]:6380", RedisLocation("2001:db8::1", 6380)),
        ("redis://:se%2Fcret@h", RedisLocation("h", password="se/cret")),
        ("redis://me:secret@h:1/2", RedisLocation("h", 1, db=2, user="me", password="secret")),
        ("rediss://h", RedisLocation("h", tls=True)),
        (
            "rediss://h?ssl_ca_certs=/etc/ssl/our.pem",
            RedisLocation("h", tls=True, ca_file="/etc/ssl/our.pem"),
        ),
        ("unix:///run/redis.sock", RedisLocation(socket="/run/redis.sock")),
        (
            "unix://:secret@/run/a%20b?db=3",
            RedisLocation(socket="/run/a b", db=3, password="secret"),
        ),
    ],
)
def test_locations(text: str, location: object) -> None:
    assert parse_location(text) == location


@pytest.mark.parametrize(
    "text",
    [
        "",
        "store.sqlite",
        "sqlite:///x",
        "redis:",
        "redis:///0",
        "redis://h/x",
        "redis://h/-1",
        "redis://h/0/1",
        "redis://h:port",
        "redis://h:99999",
        "redis://h?db=1",
        "redis://h?ssl_ca_certs=/x",
        "rediss://h?ssl_ca_certs",
        "redis://h#1",
        "redis://[::1",
        "unix://run/redis.sock",
        "unix:///",
        "unix:///x?db=one",
        "unix:///x?nodb=1",
        "http://h",
    ],
)
def test_no_locations(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_location(text)
    assert str(caught.value) == WANTED


@given(
    st.text() | st.from_regex(r"(redis|rediss|unix)://[a:@/?#\[\]%0-9.=&]{0,20}", fullmatch=True)
)
def test_a_location_is_right_or_wrong(text: str) -> None:
    try:
        location = parse_location(text)
    except ValueError as error:
        assert str(error) == WANTED
        return
    if isinstance(location, RedisLocation):
        assert bool(location.host) != bool(location.socket)
        assert location.port in range(65536)


@given(st.text(min_size=1), st.text(), st.sampled_from(["redis://", "rediss://", "unix://"]))
def test_a_password_is_any_text_and_is_never_shown(password: str, user: str, scheme: str) -> None:
    credentials = ":".join(quote(text, safe="", errors="ignore") for text in (user, password))
    place = "/run/r" if scheme == "unix://" else "h"
    location = parse_location(f"{scheme}{credentials}@{place}")
    assert isinstance(location, RedisLocation)
    assert location.password == password.encode(errors="ignore").decode()
    assert location.user == user.encode(errors="ignore").decode()
    shown = {
        "redis://": "redis://h:6379/0",
        "rediss://": "rediss://h:6379/0",
        "unix://": "unix:///run/r?db=0",
    }
    assert str(location) == shown[scheme]
    assert "password" not in repr(location)


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert str(parse_location("redis://[::1]")) == "redis://[::1]:6379/0"
