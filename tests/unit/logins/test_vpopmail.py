# SPDX-License-Identifier: MIT
"""vpopmail: its files, as it and qmail write them, and in whatever state they may be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.vpopmail import (
    Account,
    Flag,
    VpopmailFiles,
    account_of_row,
    name_and_domain,
    parse_account,
)
from qpsmtpd.scanners.wire import ScannerError
from tests.unit.lists.test_cdb import written

HASH = b"$1$abcdefgh$eKehL.s8tG6zTf8hBtmEF."
LINE = HASH + b":1:0:A User:/home/x:NOQUOTA"
FREE = Flag(0)


@pytest.fixture
def files(tmp_path: Path) -> VpopmailFiles:
    """Files with one domain, which is in vpopmail's usual directory."""
    (tmp_path / "vpopmail/domains/example.test").mkdir(parents=True)
    (tmp_path / "vpopmail/etc").mkdir()
    (tmp_path / "qmail/users").mkdir(parents=True)
    found = VpopmailFiles(tmp_path / "vpopmail", tmp_path / "qmail")
    keep(found, {b"user": LINE + b":geheim", b"quiet": LINE.replace(b":0:", b":2048:")})
    return found


def keep(files: VpopmailFiles, users: dict[bytes, bytes], domain: str = "example.test") -> None:
    directory = files.vpopmail / "domains" / domain
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vpasswd.cdb").write_bytes(written(users.items()))


def limit(files: VpopmailFiles, text: str) -> None:
    (files.vpopmail / "domains/example.test/.qmailadmin-limits").write_text(text)


def test_users(files: VpopmailFiles) -> None:
    assert files.find("user", "example.test") == Account(HASH, b"geheim", FREE)
    assert files.find("quiet", "example.test") == Account(HASH, b"", Flag.NO_SMTP)
    assert files.find("nobody", "example.test") is None
    assert files.find("user", "example.org") is None


def test_without_an_index(files: VpopmailFiles) -> None:
    directory = files.vpopmail / "domains/example.test"
    (directory / "vpasswd.cdb").unlink()
    with pytest.raises(ScannerError, match="vpasswd"):
        files.find("user", "example.test")
    (directory / "vpasswd").write_bytes(b"us:x\nuser:" + LINE + b":a:b\nuser:second\n")
    assert files.find("user", "example.test") == Account(HASH, b"a:b", FREE)
    assert files.find("use", "example.test") is None


def test_where_qmail_says_the_domain_is(files: VpopmailFiles) -> None:
    keep(files, {b"user": LINE + b":elsewhere"}, "0/example.test")
    place = str(files.vpopmail / "domains/0/example.test")
    assign = files.qmail / "users/assign"
    assign.write_text(f"+alias.test-:example.test:1:1:{place}:-::\n+example.test-:x\n.\n")
    found = files.find("user", "alias.test")
    assert found and found.clear == b"elsewhere"
    with pytest.raises(ScannerError, match="no directory"):
        files.find("user", "example.test")
    value = b"\0".join((b"example.test", b"1", b"1", place.encode(), b"-", b"", b""))
    cdb = files.qmail / "users/cdb"
    cdb.write_bytes(written([(b"!example.test-", value)]))
    found = files.find("user", "example.test")
    assert found and found.clear == b"elsewhere"
    assert files.find("user", "alias.test") is None  # qmail has not read that line


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("", FREE),
        ("# disable_smtp\nmaxaliases: 3\n\ndisable_pop\n", FREE),
        ("maxaliases: 3\ndisable_smtp\n", Flag.NO_SMTP),
        ("disable_external_relay: 1\n", Flag.NO_RELAY),
    ],
)
def test_limits(files: VpopmailFiles, text: str, flags: Flag) -> None:
    (files.vpopmail / "etc/vlimits.default").write_text("disable_smtp\n")
    assert files.find("user", "example.test") == Account(HASH, b"geheim", Flag.NO_SMTP)
    limit(files, text)
    assert files.find("user", "example.test") == Account(HASH, b"geheim", flags)
    keep(files, {b"user": LINE.replace(b":0:", b":8192:")})
    assert files.find("user", "example.test") == Account(HASH, b"", Flag.V_OVERRIDE)


@pytest.mark.parametrize("name", ["qmail/users/cdb", "vpopmail/domains/example.test/vpasswd.cdb"])
@pytest.mark.parametrize("octets", [b"", b"nonsense", b"\xff" * 3000])
def test_damaged_files(files: VpopmailFiles, name: str, octets: bytes) -> None:
    (files.qmail.parent / name).write_bytes(octets)
    with pytest.raises(ScannerError, match="cannot read"):
        files.find("user", "example.test")


@pytest.mark.parametrize("line", [b"", b"x", b"x:1:2:g:d", b"x:1:y:g:d:q", b"x:1:-1:g:d:q"])
def test_lines_that_are_not_of_vpopmail(files: VpopmailFiles, line: bytes) -> None:
    keep(files, {b"user": line})
    with pytest.raises(ScannerError, match="not one of vpopmail"):
        files.find("user", "example.test")


@given(st.binary())
def test_any_line(line: bytes) -> None:
    try:
        account = parse_account(line)
    except ScannerError:
        return
    assert line.startswith(account.crypted)


@pytest.mark.parametrize(
    ("row", "account"),
    [
        (
            {"pw_passwd": "x", "pw_gid": 2080, "pw_clear_passwd": "y", "pw_dir": None},
            Account(b"x", b"y", Flag.NO_SMTP | Flag.NO_RELAY),
        ),
        ({"pw_passwd": "x", "pw_gid": None}, Account(b"x", b"", FREE)),
        ({"pw_passwd": None}, Account(b"", b"", FREE)),
    ],
)
def test_rows(row: dict[str, object], account: Account) -> None:
    assert account_of_row(row) == account


@pytest.mark.parametrize("row", [{"pw_gid": "x"}, {"pw_passwd": b"x"}, {"pw_clear_passwd": 1}])
def test_rows_that_are_not_of_vpopmail(row: dict[str, object]) -> None:
    with pytest.raises(ScannerError):
        account_of_row(row)


@pytest.mark.parametrize(
    "user",
    [
        *("", "user", "@example.test", "user@", "a b@example.test", "a/b@example.test"),
        *("ü@example.test", "a:b@example.test", "user@..", "user@a/b", "user@ü.test", "a%b@c"),
        *("a" * 65 + "@b", "u@../x"),
    ],
)
def test_names_that_no_user_has(user: str) -> None:
    assert name_and_domain(user) is None


@given(st.text() | st.from_regex(r"[a-z./]+@[a-z./]+"))
def test_a_domain_is_never_a_path(user: str) -> None:
    whole = name_and_domain(user)
    if whole is not None:
        assert Path(whole[1]).parts == (whole[1],)
        assert whole[1] not in (".", "..")
        assert "\0" not in user


def test_names() -> None:
    assert name_and_domain("User.X@Example.TEST") == ("user.x", "example.test")
