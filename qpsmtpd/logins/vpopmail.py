# SPDX-License-Identifier: MIT
"""vpopmail: its users, as it keeps them in files and tables, and how a login is judged by them.

qmail's table of users says in which directory a domain is: users/cdb, made of users/assign.  There
`vpasswd.cdb`, made of `vpasswd`, has a line for each user:

    USER:CRYPT:UID:GID:GECOS:DIRECTORY:QUOTA[:CLEAR]

The number GID consists of flags.  `.qmailadmin-limits` in the same directory, or vlimits.default in
vpopmail's own, sets some of them for all users of the domain (vpopmail's README.vlimits).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from pathlib import Path

from qpsmtpd.lists.cdb import Cdb, CdbError
from qpsmtpd.logins.attempts import readable
from qpsmtpd.logins.judging import WRONG, temporary, within
from qpsmtpd.logins.unixcrypt import crypt_matches
from qpsmtpd.mail.domain import is_domain
from qpsmtpd.mail.session import AuthAttempt, Session
from qpsmtpd.mail.verdict import Verdict, accept
from qpsmtpd.plugin.base import password_matches
from qpsmtpd.plugin.services import Services
from qpsmtpd.scanners.wire import ScannerError

#: Characters of a name and of a domain: no table of vpopmail has longer ones.
MAX_NAME = 64
MAX_DOMAIN = 96

#: Octets of a file of text that are read.
_MAX_TEXT = 64 << 20

_is_name = re.compile(r"[a-z0-9!#$&'*+=?^_`{|}~.-]+").fullmatch


class Flag(IntFlag):
    """What a user may not do, as far as it concerns us."""

    NO_RELAY = 0x20
    NO_SMTP = 0x800
    #: The limits of the domain are not for this user.
    V_OVERRIDE = 0x2000


#: What `.qmailadmin-limits` says of a domain.
_LIMITS = {b"disable_smtp": Flag.NO_SMTP, b"disable_external_relay": Flag.NO_RELAY}


@dataclass(frozen=True, slots=True)
class Account:
    """What vpopmail keeps of a user.

    crypted: of crypt(3).  clear: the password itself, or b"" where that is not kept.
    """

    crypted: bytes = field(repr=False)
    clear: bytes = field(repr=False)
    flags: Flag

    @property
    def obstacle(self) -> str:
        """Why this user may not log in to send mail; "" if nothing forbids it."""
        if self.flags & Flag.NO_SMTP:
            return "NO_SMTP: may not send by SMTP"
        return "NO_RELAY: may not relay" if self.flags & Flag.NO_RELAY else ""

    def matches(self, attempt: AuthAttempt) -> bool:
        """Whether the client knew the password; it may block.  Raises ScannerError."""
        if attempt.password is not None and self.crypted:
            return crypt_matches(attempt.password.encode(), _without_scheme(self.crypted))
        try:
            return bool(self.clear) and password_matches(attempt, self.clear.decode())
        except UnicodeDecodeError:
            return False


def parse_account(line: bytes) -> Account:
    """The user of a line of vpasswd, without the name.  Raises ScannerError."""
    fields = line.rstrip(b"\r\n").split(b":", 6)
    gid = fields[2] if len(fields) > 5 else b"?"
    if gid.strip(b"0123456789") or len(gid) > 10:
        raise ScannerError("the user's line is not one of vpopmail")
    clear = fields[6] if len(fields) > 6 else b""
    return Account(fields[0], clear, Flag(int(gid or b"0")))


def account_of_row(row: Mapping[str, object]) -> Account:
    """The user of a row of vpopmail's table in a database.  Raises ScannerError.

    Columns for flags and passwords in clear text may be missing.
    """
    gid = row.get("pw_gid") or 0
    crypted, clear = (row.get(name) or "" for name in ("pw_passwd", "pw_clear_passwd"))
    if not (isinstance(gid, int) and isinstance(crypted, str) and isinstance(clear, str)):
        raise ScannerError("the user's row is not one of vpopmail")
    return Account(crypted.encode(), clear.encode(), Flag(gid))


def name_and_domain(user: str) -> tuple[str, str] | None:
    """The two parts of a user's name; None if vpopmail can have no such user."""
    name, _, domain = user.lower().rpartition("@")
    if len(name) > MAX_NAME or len(domain) > MAX_DOMAIN or not _is_name(name):
        return None
    return (name, domain) if domain.isascii() and is_domain(domain) else None


#: The user with this name in this domain, None if there is none.  Raises ScannerError.
Find = Callable[[str, str], Awaitable[Account | None]]


async def judge_account(
    log: logging.Logger,
    services: Services,
    session: Session,
    attempt: AuthAttempt,
    find: Find,
    *,
    timeout: float,
) -> Verdict | None:
    """What follows from the user that is found: None, for the next plugin, if there is none.

    454 4.7.0 if that takes longer than the time limit.
    """
    whole = name_and_domain(attempt.user)
    if whole is None or not _is_askable(session, attempt):
        log.info("nobody has such a name or password user=%r", attempt.user[:100])
        return None
    try:
        return await within(timeout, _judged(log, services, attempt, find(*whole)))
    except ScannerError as error:
        return temporary(f"user={attempt.user!r}: {error}")


async def _judged(
    log: logging.Logger,
    services: Services,
    attempt: AuthAttempt,
    found: Awaitable[Account | None],
) -> Verdict | None:
    account = await found
    if account is None:
        log.info("unknown user=%r mechanism=%s", attempt.user, attempt.mechanism)
        return None
    if attempt.password is None and not account.clear:
        log.info("no password in clear text user=%r mechanism=%s", attempt.user, attempt.mechanism)
        return None
    if not await services.run_blocking(account.matches, attempt):
        log.info("wrong password user=%r mechanism=%s", attempt.user, attempt.mechanism)
        return WRONG
    if account.obstacle:
        log.info("refused user=%r: %s", attempt.user, account.obstacle)
        return WRONG
    return accept()


def _is_askable(session: Session, attempt: AuthAttempt) -> bool:
    return attempt.password is None or readable(session, attempt) is not None


def _without_scheme(crypted: bytes) -> bytes:
    """A hash as crypt(3) knows it: vpopmail puts words such as {SHA512-CRYPT} before some."""
    return crypted.partition(b"}")[2] if crypted.startswith(b"{") else crypted


@dataclass(frozen=True, slots=True)
class VpopmailFiles:
    """The files of vpopmail and qmail, below the directories of both.  All methods block."""

    vpopmail: Path
    qmail: Path

    def find(self, name: str, domain: str) -> Account | None:
        """The user with this name, which is in lower case.  Raises ScannerError."""
        try:
            directory = self.directory(domain)
            return None if directory is None else self._find_in(directory, name.encode())
        except (OSError, CdbError) as error:
            raise ScannerError(f"cannot read the files of vpopmail: {error}") from None

    def directory(self, domain: str) -> Path | None:
        """That of a domain, None if it is not one of vpopmail's.  Raises OSError, CdbError."""
        key = domain.encode()
        for name, look_up in (("cdb", _from_cdb), ("assign", _from_assign)):
            try:
                return look_up(self.qmail / "users" / name, key)
            except FileNotFoundError:
                pass
        usual = self.vpopmail / "domains" / domain
        return usual if usual.is_dir() else None

    def _find_in(self, directory: Path, name: bytes) -> Account | None:
        line = _line_of(directory, name)
        if line is None:
            return None
        account = parse_account(line)
        if account.flags & Flag.V_OVERRIDE:
            return account
        return Account(account.crypted, account.clear, account.flags | self._limits(directory))

    def _limits(self, directory: Path) -> Flag:
        for file in (directory / ".qmailadmin-limits", self.vpopmail / "etc" / "vlimits.default"):
            try:
                text = _read(file)
            except FileNotFoundError:
                continue
            flags = Flag(0)
            for line in text.splitlines():
                words = line.replace(b":", b" ").split(maxsplit=1)
                flags |= _LIMITS.get(words[0] if words else b"", Flag(0))
            return flags
        return Flag(0)


def _line_of(directory: Path, name: bytes) -> bytes | None:
    try:
        with Cdb.open(directory / "vpasswd.cdb") as users:
            return users.get(name)
    except FileNotFoundError:
        pass
    beginning = name + b":"
    for line in _read(directory / "vpasswd").split(b"\n"):
        if line.startswith(beginning):
            return line.removeprefix(beginning)
    return None


def _from_cdb(file: Path, domain: bytes) -> Path | None:
    """What qmail-newu(8) has made of the line in users/assign."""
    with Cdb.open(file) as users:
        value = users.get(b"!" + domain + b"-")
    return None if value is None else _as_directory(value.split(b"\0"), 3)


def _from_assign(file: Path, domain: bytes) -> Path | None:
    """The directory in a line such as `+DOMAIN-:DOMAIN:UID:GID:DIRECTORY:-::`."""
    beginning = b"+" + domain + b"-:"
    for line in _read(file).split(b"\n"):
        if line.startswith(beginning):
            return _as_directory(line.split(b":"), 4)
    return None


def _as_directory(fields: list[bytes], number: int) -> Path:
    text = fields[number].decode("utf-8", "surrogateescape") if len(fields) > number else ""
    if not text.startswith("/"):
        raise OSError("qmail's table of users names no directory for the domain")
    return Path(text)


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_MAX_TEXT)
