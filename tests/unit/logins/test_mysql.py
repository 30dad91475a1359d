# SPDX-License-Identifier: MIT
"""MySQL: what is sent before it is certain that nobody listens, and who gets the password."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.mysql import MySqlAccess, MySqlServer, Talk, as_number
from qpsmtpd.scanners.wire import ScannerError
from tests.unit.client import PATIENCE
from tests.unit.logins.fakemysql import (
    OK,
    failure,
    fake_mysql,
    packet,
    rows,
    switch,
)
from tests.unit.scanners.fake import NONSENSE, SILENT, Answer, Early

SECRET = "geheim"
LIES = [answer for answer in NONSENSE if not isinstance(answer, Early)]
each_lie = pytest.mark.parametrize("lie", LIES, ids=lambda lie: repr(lie)[:30])


def access(place: str, context: ssl.SSLContext | None = None, timeout: float = 30) -> MySqlAccess:
    host, _, port = place.rpartition(":")
    return MySqlAccess(MySqlServer(host, int(port), "mail", "me"), SECRET, context, timeout)


def ask(asked: MySqlAccess, query: str = "SELECT 1") -> Sequence[dict[str, Any]]:
    with Talk(asked).asking() as question:
        return question(query)


def why_not(asked: MySqlAccess) -> str:
    with pytest.raises(ScannerError) as caught:
        ask(asked)
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certified(authority: trustme.CA) -> ssl.SSLContext:
    """What a server has whose certificate is valid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """What we have who want to see that certificate."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_a_query() -> None:
    with fake_mysql(packet(2, OK), rows({"name": "user", "none": None})) as server:
        assert ask(access(server.place), "SELECT 7") == [{"name": "user", "none": None}]
    login, query = server.said[:2]
    assert b"me\0" in login and SECRET.encode() not in login
    assert query == b"\x09\0\0\0\x03SELECT 7"


def test_with_tls(certified: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    answers = packet(3, OK), rows({"a": "1"})
    with fake_mysql(*answers, context=certified) as server:
        assert ask(access(server.place, trusting)) == [{"a": "1"}]
    assert b"me\0" not in server.said[0]  # the wish for TLS, in the clear
    assert b"me\0" in server.said[1]


@pytest.mark.parametrize("plugin", [b"mysql_native_password", b"unknown"])
def test_a_server_without_tls_hears_nothing(trusting: ssl.SSLContext, plugin: bytes) -> None:
    with fake_mysql(packet(2, OK), rows(), plugin=plugin) as server:
        assert why_not(access(server.place, trusting)) == "does not have TLS"
        assert server.left.wait(PATIENCE)
    assert server.said == []


def test_a_server_that_only_claims_to_have_tls(trusting: ssl.SSLContext) -> None:
    with fake_mysql(packet(2, OK), packet(3, OK), claims_tls=True) as server:
        why_not(access(server.place, trusting))
        assert server.left.wait(PATIENCE)
    assert b"me\0" not in b"".join(server.said)


@pytest.mark.parametrize("name", ["mx.example", "127.0.0.2"])
def test_a_certificate_of_somebody_else(
    authority: trustme.CA, trusting: ssl.SSLContext, name: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with fake_mysql(packet(3, OK), rows(), context=context) as server:
        assert "certificate" in (why_not(access(server.place, trusting))).lower()
        assert server.left.wait(PATIENCE)
    assert len(server.said) == 1


def test_a_certificate_of_an_unknown_authority(certified: ssl.SSLContext) -> None:
    with fake_mysql(packet(3, OK), rows(), context=certified) as server:
        asked = access(server.place, ssl.create_default_context())
        assert "certificate" in (why_not(asked)).lower()


def test_a_library_that_goes_on_without_tls_does_not_get_the_password(
    trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the first test of ours be passed over, the password is not there."""
    from pymysql.connections import Connection

    from qpsmtpd.logins import mysql

    monkeypatch.setattr(
        mysql._guarded(), "_request_authentication", Connection._request_authentication
    )
    for plugin in (b"mysql_native_password", b"unknown"):
        # With the second, the library logs in without ever reading the password.
        with fake_mysql(packet(2, OK), rows({"a": "1"}), plugin=plugin) as server:
            # Later versions of the library have a test of their own.
            text = why_not(access(server.place, trusting))
            assert "does not have TLS" in text or "SSL" in text


@pytest.mark.parametrize("plugin", [b"mysql_clear_password", b"dialog", b"mysql_old_password"])
def test_who_wants_the_password_in_the_clear(plugin: bytes) -> None:
    with fake_mysql(switch(2, plugin), packet(4, OK), rows()) as server:
        assert why_not(access(server.place)) == "wants the password in the clear"
        assert server.left.wait(PATIENCE)
    assert len(server.said) == 1


def test_nor_by_tls(certified: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    with fake_mysql(switch(3, b"mysql_clear_password"), context=certified) as server:
        assert "in the clear" in why_not(access(server.place, trusting))


def test_no_file_is_read_for_a_server(tmp_path: Path) -> None:
    """LOAD DATA LOCAL is something that a server can ask for."""
    (tmp_path / "secret").write_text("secret")
    request = packet(1, b"\xfb" + f"{tmp_path}/secret".encode())
    with fake_mysql(packet(2, OK), request, SILENT) as server:
        why_not(access(server.place))
        assert server.left.wait(PATIENCE)
    assert b"secret" not in b"".join(server.said)


@pytest.mark.parametrize("before", range(2))
@each_lie
def test_nonsense(lie: Answer, before: int) -> None:
    with fake_mysql(*[packet(2, OK)][:before], lie) as server:
        why_not(access(server.place, timeout=0.2 if lie == SILENT else 30))


def test_errors() -> None:
    with fake_mysql(failure(2, 1045, b"Access denied")) as server:
        assert "Access denied" in why_not(access(server.place))
    with fake_mysql(packet(2, OK), failure(1, 1146, b"No such table")) as server:
        assert "No such table" in why_not(access(server.place))


def test_nobody_there(tmp_path: Path, nowhere: str) -> None:
    with pytest.raises(ScannerError, match="refused") as caught:
        ask(access(nowhere))
    assert caught.value.unreachable
    with pytest.raises(ScannerError, match="No such file"):
        ask(MySqlAccess(MySqlServer(f"{tmp_path}/none", 1, "d", "u"), "", None, 1))


@pytest.mark.parametrize("tls", [False, True])
def test_giving_up_ends_it(certified: ssl.SSLContext, trusting: ssl.SSLContext, tls: bool) -> None:
    """After that, nothing is begun."""
    with fake_mysql(SILENT, context=certified if tls else None) as server:
        talk = Talk(access(server.place, trusting if tls else None))

        def give_up() -> None:
            for _ in range(2 if tls else 1):  # the wish for TLS, and the login
                server.heard.acquire(timeout=PATIENCE)
            talk.give_up()

        thread = threading.Thread(target=give_up)
        thread.start()
        with pytest.raises(ScannerError), talk.asking():
            pass
        thread.join()
        with pytest.raises(ScannerError, match="too long"), talk.asking():
            pass


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_value_is_a_number(text: str) -> None:
    number = as_number(text).removeprefix("_utf8mb4 0x").strip("'")
    assert not number.strip("0123456789abcdef")
    assert bytes.fromhex(number).decode() == text


@pytest.mark.parametrize(
    ("server", "text"),
    [
        (MySqlServer("db", 3306, "m", "u"), "mysql db:3306 m"),
        (MySqlServer("::1", 7, "m", "u"), "mysql [::1]:7 m"),
        (MySqlServer("/run/x", 3306, "m", "u"), "mysql /run/x m"),
    ],
)
def test_its_name(server: MySqlServer, text: str) -> None:
    assert str(server) == text
