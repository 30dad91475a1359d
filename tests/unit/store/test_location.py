# SPDX-License-Identifier: MIT
"""What the file `store` may say."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.store.location import WANTED, Address, RedisLocation, parse_location

H = (Address("h"),)


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("/var/lib/store", Path("/var/lib/store")),
        ("redis://redis.example", RedisLocation((Address("redis.example"),))),
        ("redis://192.0.2.1:6380/5", RedisLocation((Address("192.0.2.1", 6380),), db=5)),
        ("redis://[2001:db8::1]:6380", RedisLocation((Address("2001:db8::1", 6380),))),
        ("redis://:se%2Fcret@h", RedisLocation(H, password="se/cret")),
        (
            "redis://me:secret@h:1/2",
            RedisLocation((Address("h", 1),), db=2, user="me", password="secret"),
        ),
        ("redis://me@h?password_file=/p", RedisLocation(H, user="me", password_file="/p")),
        ("rediss://h", RedisLocation(H, tls=True)),
        (
            "rediss://h?ssl_ca_certs=/etc/ssl/our.pem",
            RedisLocation(H, tls=True, ca_file="/etc/ssl/our.pem"),
        ),
        (
            "rediss://h?ssl_certfile=/c&ssl_keyfile=/k",
            RedisLocation(H, tls=True, certificate="/c", key="/k"),
        ),
        ("unix:///run/redis.sock", RedisLocation(socket="/run/redis.sock")),
        (
            "unix://:secret@/run/a%20b?db=3",
            RedisLocation(socket="/run/a b", db=3, password="secret"),
        ),
        (
            "redis+sentinel://me@a,b:1,[::1]:2/mail/3?sentinel_user=s&sentinel_password_file=/s",
            RedisLocation(
                (Address("a", 26379), Address("b", 1), Address("::1", 2)),
                service="mail",
                db=3,
                user="me",
                sentinel_user="s",
                sentinel_password_file="/s",
            ),
        ),
        (
            "rediss+cluster://:x@h,[::1]:7000",
            RedisLocation((*H, Address("::1", 7000)), cluster=True, tls=True, password="x"),
        ),
    ],
)
def test_locations(text: str, location: object) -> None:
    assert parse_location(text) == location


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", WANTED),
        ("store.sqlite", WANTED),
        ("sqlite:///x", WANTED),
        ("redis:", WANTED),
        ("redis://h#1", WANTED),
        ("http://h", WANTED),
        ("redis+sentinels://h/x", WANTED),
        ("unix+cluster:///x", WANTED),
        ("redis:///0", "each host is HOST"),
        ("redis://h:port", "each host is HOST"),
        ("redis://h:99999", "each host is HOST"),
        ("redis://[::1", "each host is HOST"),
        ("redis+cluster://a,,b", "each host is HOST"),
        ("redis://a,b", "a single host"),
        ("redis://h/x", "database is a number"),
        ("redis://h/-1", "database is a number"),
        ("redis://h/0/1", "database is a number"),
        ("unix:///x?db=one", "database is a number"),
        ("redis+sentinel://h/mail/x", "database is a number"),
        ("redis://h?db=1", "one of these names: password_file;"),
        ("redis://h?ssl_ca_certs=/x", "one of these names: password_file;"),
        ("redis://:s?cret@h", "'?' in a password"),
        ("rediss://h?ssl_ca_certs", "NAME=VALUE"),
        ("rediss://h?ssl_ca_certs=", "NAME=VALUE"),
        ("rediss://h?ssl_ca_certs=x", "ssl_ca_certs is an absolute path"),
        ("rediss://h?ssl_certfile=/x", "both ssl_certfile and ssl_keyfile"),
        ("redis+cluster://h?sentinel_user=x", "one of these names: password_file;"),
        ("unix:///x?nodb=1", "one of these names: password_file, db;"),
        ("redis://:secret@h?password_file=/p", "not with both"),
        ("unix://run/redis.sock", "unix:///PATH"),
        ("unix:///", "unix:///PATH"),
        ("redis+sentinel://h", "what follows `sentinel monitor`"),
        ("redis+sentinel://h/a%20b", "what follows `sentinel monitor`"),
        ("redis+cluster://h/1", "one database, 0"),
    ],
)
def test_no_locations(text: str, wanted: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_location(text)
    assert wanted in str(caught.value)


@given(
    st.text()
    | st.from_regex(
        r"(rediss?(\+sentinel|\+cluster)?|unix)://[a:@/?#\[\]%0-9.=&,]{0,20}", fullmatch=True
    )
)
def test_a_location_is_right_or_wrong(text: str) -> None:
    try:
        location = parse_location(text)
    except ValueError:
        return
    if isinstance(location, RedisLocation):
        assert bool(location.addresses) != bool(location.socket)
        assert all(host and port in range(65536) for host, port in location.addresses)


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
    assert "password=" not in repr(location)


@given(st.from_regex(r"[a-z0-9]{8,20}", fullmatch=True), st.sampled_from("?#/@[:&=%"))
def test_an_error_does_not_repeat_what_may_be_a_password(secret: str, mark: str) -> None:
    for text in (f"redis://:{secret}{mark}{secret}@h", f"redis+sentinel://{secret}{mark}@h"):
        try:
            location = parse_location(text)
        except ValueError as error:
            assert secret not in str(error)
        else:
            assert isinstance(location, RedisLocation)


def test_several_servers_are_shown() -> None:
    for text in ("rediss+sentinel://a:1,[::1]:2/mail/0", "redis+cluster://a:1,b:2"):
        assert str(parse_location(text)) == text


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert str(parse_location("redis://[::1]")) == "redis://[::1]:6379/0"
