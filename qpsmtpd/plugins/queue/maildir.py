# SPDX-License-Identifier: MIT
"""queue/maildir: put every message into a Maildir.

    queue/maildir /var/spool/qpsmtpd/Maildir
    queue/maildir /var/mail %d/%l
    queue/maildir /var/mail %u 770 create=no

The first argument is the directory. The second, if any, names a Maildir below it for each recipient
by a pattern with %l (local part), %d (domain) or %u (address): each recipient gets a file there.
The domain is in lower case, an international one as `xn--...`, however the client wrote it.
Characters of the address other than letters, digits and -+_.,@= become _, and a name that is empty,
. or .. becomes underscores. One of more than 255 characters, which no file system takes, is cut off
and ends with = and a hash. The third argument is the mode of new directories in octal, by default
700; new files have the same mode without the x bits.

Upper and lower case make no difference in a local part: `Joe` and `joe` get one Maildir, the one
that is there, else a new one in lower case.

Missing directories are made: without a pattern at start, with one as messages arrive. So whatever a
client writes before the @ gets a Maildir, unless other plugins check the recipients. With
`create=no` no Maildir is made, and who has none is not a recipient here: it is refused at RCPT with
550 5.1.1, wherever this line is.

Below the first argument symbolic links are not followed, so that the owner of a mailbox cannot make
us write elsewhere.

A file begins with Return-Path and Delivered-To (one for each recipient it is for) and has LF line
ends. A message without a header section gets the empty line that mail programs look for. The file
is written to tmp, synced to the disk, linked into new, and the directory is synced; then the client
gets 250. Several files are all written before the first one appears, so that a full disk means
delivery to everybody or to nobody. Any failure defers the message: 452 4.3.1 if the disk or a quota
is full, else 451 4.3.0, and the log says what happened. No files are left behind then.

The file names are those of the Maildir specification: time, process and counter, host.

Differences from the Perl version: invalid arguments are an error at start (there every delivery
failed). Files are synced, and several appear together. Symbolic links are not followed. A mode of
four digits (0700) is understood; one without rwx for the owner is not. Spellings in upper and lower
case share a Maildir (existing ones stay apart), and long local parts have one.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import os
import re
import socket
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qpsmtpd.api import (
    ConfigError,
    Finding,
    Message,
    Obstacle,
    Plugin,
    Recipient,
    System,
    Transaction,
    Verdict,
    accept,
    canonical_domain,
    defer,
    deny,
    matching,
    opt,
    unless_another,
)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
#: Octets of a name in a directory, and hexadecimal digits that stand for what is cut off.
_LONGEST_NAME = 255
_DIGITS = 32
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_is_path = re.compile(r"[-/\w.]+", re.ASCII).fullmatch
_is_mode = re.compile(r"0?7[0-7]{2}").fullmatch
_unsafe = re.compile(r"[^-A-Za-z0-9+_.,@=]")
_placeholder = re.compile(r"%([ldu])")


def _parts(pattern: str) -> list[str]:
    return pattern.strip("/").split("/") if pattern else []


def _is_pattern(text: str) -> bool:
    named = {"", ".", ".."}.isdisjoint(_parts(text))
    return not text or (named and _placeholder.search(text) is not None)


@dataclass(frozen=True, kw_only=True)
class MaildirOptions:
    """Options of queue/maildir."""

    directory: str = opt(
        doc="The Maildir; with a pattern, the directory above the Maildirs.",
        positional=True,
        check=matching(_is_path, "a path of only letters, digits and -_./"),
    )
    pattern: str = opt(
        "",
        doc="The Maildir of each recipient, below the directory, with %l, %d or %u.",
        positional=True,
        check=matching(_is_pattern, "a path with %l, %d or %u, whose parts are not empty, . or .."),
    )
    mode: str = opt(
        "700",
        doc="The mode of new directories, in octal.",
        positional=True,
        check=matching(_is_mode, "an octal mode with rwx for the owner (700, 770)"),
    )

    create: bool = opt(
        True, doc="Whether Maildirs that are missing are made; if not, they are not recipients."
    )

    def check(self) -> Iterator[str]:
        if not (self.create or self.pattern):
            yield "create=no needs a pattern: without one there is a single Maildir"

    @property
    def parts(self) -> list[str]:
        """The path components of the pattern."""
        return _parts(self.pattern)

    @property
    def literal_parts(self) -> list[str]:
        """Those that are the same for everybody."""
        return [part for part in self.parts if not _placeholder.search(part)]


_NOT_NOW = "Message cannot be stored now, try again later"
#: What a recipient without a Maildir gets, if none is to be made.
NOBODY = deny("No such user here", status="5.1.1", code=550)


class Maildir(Plugin[MaildirOptions]):
    """Deliver into Maildirs."""

    # With create=no, by a look of its own (hook_verify_recipient).
    takes_every_recipient = True

    async def start(self) -> None:
        self._mode = int(self.options.mode, 8)
        self._host = socket.gethostname().replace("/", r"\057").replace(":", r"\072")
        self._numbers = itertools.count()
        if self.services.check_only or self.services.rehearsal:
            return
        try:
            await asyncio.to_thread(self._prepare)
        except OSError as error:
            problem = f"directory: {self.options.directory}: {error.strerror}"
            raise ConfigError(self.name, problem) from error

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether the daemon's user can deliver into the directory, or create it."""
        directory, user = self.options.directory, system.user
        if system.account is None:
            return
        closed = system.confinement(directory)
        if closed is not None:
            yield closed
        for path in self._directories():
            there = system.existing(path)
            found = system.obstacle(there, os.R_OK | os.W_OK | os.X_OK)
            if found is not None and found.kind == "hidden":
                yield Finding.notice(path, str(found))
            elif found is not None:
                yield self._denied(path, found, user)
                return
            elif there != Path(path):
                yield Finding.notice(path, "does not exist; qpsmtpd creates it when it starts")
                return
        if closed is None:
            yield Finding.ok(directory, f"user {user} can deliver here")

    def _directories(self) -> list[str]:
        """Those needed at start: with a pattern only the one above the Maildirs."""
        parts = [] if self.options.parts else ["tmp", "new", "cur"]
        directory = self.options.directory
        return [directory, *(f"{directory.rstrip('/')}/{part}" for part in parts)]

    def _denied(self, path: str, found: Obstacle, user: str) -> Finding:
        names = " ".join(self._directories())
        command = f"install -d -o {user} -g {user} -m {self.options.mode} {names}"
        return Finding.error(path, str(found), "Give the directory to the user:", command)

    def _prepare(self) -> None:
        directory = Path(self.options.directory)
        if not directory.exists():
            directory.mkdir(self._mode, parents=True)
            directory.chmod(self._mode)
        if not self.options.parts:
            with open_box(self.options.directory, [], self._mode):
                pass

    async def hook_verify_recipient(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        if self.options.create:
            return None
        try:
            await asyncio.to_thread(self._look_for, self._subdirectory(recipient))
        except FileNotFoundError:
            return NOBODY
        except OSError as error:
            self.log.error(
                "cannot look for to=%r directory=%s ip=%s: %s",
                str(recipient),
                self.options.directory,
                tx.session.client.ip,
                error,
            )
            return defer(_NOT_NOW, status="4.3.0", code=451)
        return None

    def _look_for(self, parts: list[str]) -> None:
        with open_box(self.options.directory, parts, None, self.options.literal_parts):
            pass

    async def hook_queue(self, tx: Transaction) -> Verdict:
        assert tx.message is not None
        files = self._files(tx)
        options = self.options
        delivery = Delivery(
            options.directory, self._mode, create=options.create, literal=options.literal_parts
        )
        try:
            for file in files:
                await _write(delivery, file, tx.message)
            await asyncio.to_thread(delivery.commit)
        except OSError as error:
            await asyncio.to_thread(delivery.roll_back)
            self.log.error(
                "cannot deliver directory=%s ip=%s: %s",
                self.options.directory,
                tx.session.client.ip,
                error,
            )
            if isinstance(error, FileNotFoundError) and not self.options.create:
                return NOBODY
            if error.errno in _FULL:
                full = defer("Mail system full, try again later", status="4.3.1", code=452)
                return unless_another(full)
            return unless_another(defer(_NOT_NOW, status="4.3.0", code=451))
        except BaseException:
            await asyncio.to_thread(delivery.roll_back)
            raise
        for recipient in tx.recipients:
            recipient.success = "delivered"
        tx.next_hop_id = files[0].name
        return accept("Message stored", status="2.0.0")

    def _files(self, tx: Transaction) -> list[MailFile]:
        """What to write: one file, or with a pattern one for each recipient."""
        if not self.options.parts:
            return [MailFile([], self._unique_name(), _top(tx, tx.recipients))]
        return [
            MailFile(self._subdirectory(recipient), self._unique_name(), _top(tx, [recipient]))
            for recipient in tx.recipients
        ]

    def _unique_name(self) -> str:
        now = self.services.clock.now()
        microseconds = int(now % 1 * 1_000_000)
        number = next(self._numbers)
        return f"{int(now)}.P{os.getpid()}M{microseconds}Q{number}.{self._host}"

    def _subdirectory(self, recipient: Recipient) -> list[str]:
        """The pattern filled in: names that only lead further down."""
        address = recipient.address
        local_part = _unsafe.sub("_", address.local_part)
        domain = _unsafe.sub("_", address.domain or canonical_domain(self.services.me))
        values = {"l": local_part, "d": domain, "u": f"{local_part}@{domain}"}
        return [
            _name(_placeholder.sub(lambda match: values[match[1]], part))
            for part in self.options.parts
        ]


def _name(text: str) -> str:
    if text in ("", ".", ".."):
        return "_" * max(len(text), 1)
    if len(text) <= _LONGEST_NAME:
        return text
    digest = hashlib.sha256(text.lower().encode()).hexdigest()[:_DIGITS]
    return f"{text[: _LONGEST_NAME - 1 - _DIGITS]}={digest}"


def _top(tx: Transaction, recipients: Sequence[Recipient]) -> bytes:
    """The fields that a final delivery adds (RFC 5321 section 4.4)."""
    lines = [f"Return-Path: {tx.reverse_path.path if tx.reverse_path else '<>'}\n"]
    lines += [f"Delivered-To: {recipient}\n" for recipient in recipients]
    return "".join(lines).encode()


# --- files: in threads ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MailFile:
    """A file to be written: the names below the directory, its own, and what it begins with."""

    parts: list[str]
    name: str
    top: bytes


async def _write(delivery: Delivery, file: MailFile, message: Message) -> None:
    await asyncio.to_thread(delivery.begin, file)
    async for block in message.stream_for_readers():
        # A CR at the end of a block belongs to the LF at the start of the next one.
        text = block.removesuffix(b"\r").replace(b"\r\n", b"\n")
        await asyncio.to_thread(delivery.write, text)
    await asyncio.to_thread(delivery.end)


class Delivery:
    """Writes files one after the other, and makes them all appear, or none.

    Its methods run in threads, one at a time: a hook that is cancelled goes on to `roll_back`
    while a thread may still be at work.
    """

    def __init__(
        self, directory: str, mode: int, *, create: bool = True, literal: Collection[str] = ()
    ) -> None:
        """`create`: whether to make Maildirs that are missing; `literal`: as for `open_box`."""
        self._directory = directory
        self._mode = mode
        self._create = create
        self._literal = literal
        self._files: list[MailFile] = []
        self._handle = -1
        self._lock = threading.Lock()
        self._over = False

    def begin(self, file: MailFile) -> None:
        """Open a file in tmp."""
        with self._turn(), self._box(file) as (tmp, _):
            self._handle = os.open(file.name, _NEW_FILE, 0o600, dir_fd=tmp)
            self._files.append(file)
            os.fchmod(self._handle, self._mode & 0o666)
            self._put(file.top)

    def write(self, block: bytes) -> None:
        """Append to it."""
        with self._turn():
            self._put(block)

    def end(self) -> None:
        """Sync and close it."""
        with self._turn():
            os.fsync(self._handle)
            self._close()

    def commit(self) -> None:
        """Let all files appear in new, for good."""
        with self._turn():
            for file in self._files:
                with self._box(file) as (tmp, new):
                    os.link(file.name, file.name, src_dir_fd=tmp, dst_dir_fd=new)
                    os.fsync(new)
            self._unlink("tmp")

    def roll_back(self) -> None:
        """Leave nothing behind."""
        with self._lock:
            self._over = True
            with suppress(OSError):
                self._close()
            self._unlink("new")
            self._unlink("tmp")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock:
            if self._over:
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            yield

    def _box(self, file: MailFile) -> AbstractContextManager[tuple[int, int]]:
        mode = self._mode if self._create else None
        return open_box(self._directory, file.parts, mode, self._literal)

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._handle, rest) :]

    def _close(self) -> None:
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)

    def _unlink(self, where: Literal["tmp", "new"]) -> None:
        for file in self._files:
            with suppress(OSError), self._box(file) as (tmp, new):
                os.unlink(file.name, dir_fd=tmp if where == "tmp" else new)


@contextmanager
def open_box(
    directory: str, parts: Sequence[str], mode: int | None, literal: Collection[str] = ()
) -> Iterator[tuple[int, int]]:
    """Open tmp and new of a Maildir, and create what is missing below the directory.

    With None as the mode nothing is created: FileNotFoundError.  The case of parts does not matter,
    except of those that are `literal`.
    """
    with ExitStack() as stack:

        def opened(handle: int) -> int:
            stack.callback(os.close, handle)
            return handle

        box = opened(os.open(directory, _DIRECTORY))
        for name in parts:
            found = name if name in literal else _in_any_case(box, name)
            box = opened(_open_directory(box, found, mode))
        tmp, new, _ = (opened(_open_directory(box, name, mode)) for name in ("tmp", "new", "cur"))
        yield tmp, new


def _in_any_case(parent: int, name: str) -> str:
    """The name of a directory as it is there, else in lower case."""
    for spelling in dict.fromkeys((name, name.lower())):
        with suppress(FileNotFoundError):
            os.stat(spelling, dir_fd=parent, follow_symlinks=False)
            return spelling
    with os.scandir(parent) as entries:
        others = [entry.name for entry in entries if entry.name.lower() == name.lower()]
    return min(others, default=name.lower())


def _open_directory(parent: int, name: str, mode: int | None) -> int:
    """Open a directory, creating it if it is missing; a symbolic link is an error."""
    flags = _DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        if mode is None:
            raise
        with suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=parent)
    handle = os.open(name, flags, dir_fd=parent)
    # Override our umask, but keep an inherited setgid bit.
    os.fchmod(handle, mode | os.fstat(handle).st_mode & 0o7000)
    os.fsync(parent)
    return handle
