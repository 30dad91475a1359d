# SPDX-License-Identifier: MIT
"""Data source names of Perl's DBI."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.dsn import DataSource, parse_dsn

SOCKET = "/run/mysqld/mysqld.sock"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (
            "dbi:mysql:dbname=vpopmail;host=127.0.0.1",
            DataSource("vpopmail", "127.0.0.1", 3306, False, None),
        ),
        ("DBI:mysql:vpopmail", DataSource("vpopmail", SOCKET, 3306, False, None)),
        (" dbi:mysql:database=v;host=localhost;", DataSource("v", SOCKET, 3306, False, None)),
        ("dbi:MariaDB:db=v;mariadb_socket=/s", DataSource("v", "/s", 3306, False, None)),
        ("dbi:mysql:v;host=db;port=33", DataSource("v", "db", 33, False, None)),
        ("dbi:mysql:v;host=db;mysql_ssl=1", DataSource("v", "db", 3306, True, None)),
        (
            "dbi:mysql:v;hostname=db;mysql_ssl_ca_file=/c;mysql_ssl_verify_server_cert=1",
            DataSource("v", "db", 3306, True, Path("/c")),
        ),
    ],
)
def test_names(text: str, source: DataSource) -> None:
    assert parse_dsn(text) == source


@pytest.mark.parametrize(
    "text",
    [
        *("", "vpopmail", "dbi:Pg:dbname=v", "dbi:mysql", "dbi:mysql:", "dbi:mysql:host=db"),
        *("dbi:mysql:v;port=x", "dbi:mysql:v;port=0", "dbi:mysql:v;port=70000"),
        *("dbi:mysql:v;mysql_read_default_file=/x", "dbi:mysql:v;mysql_socket=x"),
        *("dbi:mysql:v;host=a/b", "dbi:mysql:v;host=db;mysql_socket=/s"),
    ],
)
def test_wrong_names(text: str) -> None:
    with pytest.raises(ValueError, match="dbi:mysql:dbname"):
        parse_dsn(text)


@given(st.text() | st.from_regex(r"dbi:mysql:[a-z=;/_]*"))
def test_any_text(text: str) -> None:
    with suppress(ValueError):
        assert parse_dsn(text).host
