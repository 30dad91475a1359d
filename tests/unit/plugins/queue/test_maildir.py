# SPDX-License-Identifier: MIT
"""queue/maildir: files, names, directories; and nothing left behind when something fails."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.errors import ConfigError
from qpsmtpd.mail.address import Address
from qpsmtpd.mail.headers import Headers
from qpsmtpd.mail.message import Body, Message, Spool
from qpsmtpd.mail.session import Recipient, Transaction
from qpsmtpd.mail.verdict import Decision, Verdict
from qpsmtpd.plugins.queue.maildir import NOBODY, Delivery, Maildir, MaildirOptions, MailFile
from qpsmtpd.testing import a_plugin, a_transaction, services

MESSAGE = b"Subject: x\r\n\r\nHello\r\n.dot\r\n"
TEXT = b"Subject: x\n\nHello\n.dot\n"


def a_mail(*recipients: str, sender: str = "from@example.com") -> Transaction:
    return a_transaction(sender, *(recipients or ("to@x.test",)), message=MESSAGE)


def files(directory: Path, *parts: str) -> list[Path]:
    return sorted(directory.joinpath(*parts).glob("**/*.P*"))


def summary(verdict: Verdict) -> tuple[Decision, int, str]:
    return verdict.decision, verdict.code, verdict.status


# --- without pattern ------------------------------------------------------------------------


async def test_one_file_for_all_recipients(tmp_path: Path) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path}/a/Maildir")
    tx = a_mail("a@x.test", "b@x.test")
    verdict = await plugin.hook_queue(tx)
    assert verdict == Verdict(Decision.ACCEPT, "Message stored", "2.0.0")
    assert {recipient.success for recipient in tx.recipients} == {"delivered"}
    [file] = files(tmp_path)
    assert file.parent == tmp_path / "a/Maildir/new"
    assert file.name == tx.next_hop_id
    assert file.read_bytes() == (
        b"Return-Path: <from@example.com>\nDelivered-To: a@x.test\nDelivered-To: b@x.test\n" + TEXT
    )


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("just text\n", "\njust text\n"),
        ("two\nlines\n", "\ntwo\nlines\n"),
        ("two\n\nparagraphs\n", "\ntwo\n\nparagraphs\n"),
        ("Subject: x\ntext\n", "Subject: x\n\ntext\n"),
        ("Subject: x\n", "Subject: x\n"),
        ("\ntext\n", "\ntext\n"),
    ],
)
async def test_text_without_a_header_section_is_seen(
    tmp_path: Path, message: str, text: str
) -> None:
    plugin = await a_plugin(Maildir, str(tmp_path))
    tx = a_transaction("a@b.example", "to@x.test", message=message)
    assert tx.message is not None
    tx.message.headers.prepend("Received", "from us")
    await plugin.hook_queue(tx)
    [file] = files(tmp_path)
    assert file.read_text().partition("Received: from us\n")[2] == text


async def test_a_mere_check_makes_no_directories(tmp_path: Path) -> None:
    await a_plugin(Maildir, f"{tmp_path}/m", check_only=True)
    assert not (tmp_path / "m").exists()


async def test_directories_are_made_at_start(tmp_path: Path) -> None:
    await a_plugin(Maildir, f"{tmp_path}/m")
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"cur", "new", "tmp"}


async def test_null_reverse_path(tmp_path: Path) -> None:
    plugin = await a_plugin(Maildir, str(tmp_path))
    await plugin.hook_queue(a_mail(sender=""))
    assert files(tmp_path)[0].read_bytes().startswith(b"Return-Path: <>\n")


async def test_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "a/b:c.example")
    plugin = await a_plugin(Maildir, str(tmp_path))
    for _ in range(2):
        await plugin.hook_queue(a_mail())
    names = [file.name for file in files(tmp_path)]
    assert [re.sub(r"P\d+M", "P1M", name) for name in names] == [
        r"1800000000.P1M0Q0.a\057b\072c.example",
        r"1800000000.P1M0Q1.a\057b\072c.example",
    ]


async def test_message_in_a_file(tmp_path: Path) -> None:
    """The slabs of a big message end anywhere, in the middle of a CRLF too."""
    body = b"\r\n" + b"x\r\n" * 1_000_000
    spool = Spool(tmp_path, 1000)
    spool.write(body)
    tx = a_mail("a@x.test", "b@x.test")
    headers = Headers.parse(b"Subject: x\r\n")
    tx.message = Message(headers, await spool.seal(), len(body) + 12)
    assert tx.message.body.in_memory is None
    plugin = await a_plugin(Maildir, f"{tmp_path}/m %l")
    assert (await plugin.hook_queue(tx)).accepted
    tx.close()
    text = b"Subject: x\n\n" + b"x\n" * 1_000_000
    written = [file.read_bytes() for file in files(tmp_path, "m")]
    assert [data.partition(b"test\n")[2] for data in written] == [text, text]


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        ([b"a\r", b"\n", b"\r", b"\nb\r\n"], b"a\n\nb\n"),
        ([b"", b"a\r\n"], b"a\n"),
    ],
)
async def test_line_ends_across_blocks(tmp_path: Path, blocks: list[bytes], text: bytes) -> None:
    class InBlocks(Body):
        in_memory = None

        async def stream(self) -> Any:
            for block in blocks:
                yield block

    plugin = await a_plugin(Maildir, str(tmp_path))
    tx = a_mail()
    tx.message = Message(Headers.parse(b""), InBlocks(b"", None, 0), 0)
    assert (await plugin.hook_queue(tx)).accepted
    assert files(tmp_path)[0].read_bytes().partition(b"x.test\n")[2] == text


# --- with pattern ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "recipient", "directory"),
    [
        ("%d/%l", "user@x.test", "x.test/user"),
        ("%u", "user+a@x.test", "user+a@x.test"),
        ("%d/mail/%l-%l", "u@x.test", "x.test/mail/u-u"),
        ("/%d/", "u@x.test", "x.test"),
        ("%l", '"User.Name=x,_"@x.test', "user.name=x,_"),
        ("Users/%l", "u@x.test", "Users/u"),
        ("%l", '"../../etc"@x.test', ".._.._etc"),
        ("%l", '".."@x.test', "__"),
        ("%l", '"."@x.test', "_"),
        ("%l", '""@x.test', "_"),
        ("%l", "%d%l@x.test", "_d_l"),
        ("%l", "ü/a@x.test", "__a"),
        ("%d", "u@[192.0.2.1]", "_192.0.2.1_"),
        ("%d/%l", "User@X.Test", "x.test/user"),
        ("%d", "u@bücher.test", "xn--bcher-kva.test"),
        ("%d", "u@XN--Bcher-KVA.test", "xn--bcher-kva.test"),
        ("%u", "postmaster", "postmaster@mx.example"),
    ],
)
async def test_directory_of_a_recipient(
    tmp_path: Path, pattern: str, recipient: str, directory: str
) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path}/m {pattern}")
    tx = a_mail(recipient)
    assert (await plugin.hook_queue(tx)).accepted
    [file] = files(tmp_path)
    assert file.parent == tmp_path / "m" / directory / "new"
    assert f"Delivered-To: {tx.recipients[0]}\n".encode() in file.read_bytes()


@pytest.mark.parametrize("there", ["joe", "Joe", "JOE"])
async def test_the_case_of_a_local_part_does_not_matter(tmp_path: Path, there: str) -> None:
    """A Maildir that is there gets the mail, however it is spelt."""
    plugin = await a_plugin(Maildir, f"{tmp_path} Users/%l")
    (tmp_path / "users").mkdir()
    (tmp_path / "Users" / there).mkdir(parents=True)
    for recipient in ("joe@x.test", "jOe@x.test", "JOE@x.test"):
        assert (await plugin.hook_queue(a_mail(recipient))).accepted
    assert len(files(tmp_path, "Users", there, "new")) == len(files(tmp_path)) == 3


async def test_maildirs_that_differ_in_case_stay_apart(tmp_path: Path) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path} %l")
    for name in ("joe", "Joe"):
        (tmp_path / name).mkdir()
    for recipient in ("joe@x.test", "Joe@x.test", "JOE@x.test"):
        assert (await plugin.hook_queue(a_mail(recipient))).accepted
    assert [len(files(tmp_path, name)) for name in ("joe", "Joe")] == [2, 1]


@pytest.mark.parametrize("length", [243, 244, 250, 256])
async def test_a_long_local_part_has_a_maildir(tmp_path: Path, length: int) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path} %u-mail")
    one, other = "x" * length, "x" * (length - 1) + "y"
    recipients = [f"{one}@x.test", f"{other}@x.test", f"{one.upper()}@x.test"]
    assert (await plugin.hook_queue(a_mail(*recipients))).accepted
    boxes = {path.name: len(files(path)) for path in tmp_path.iterdir()}
    assert sorted(boxes.values()) == [1, 2]
    assert all(len(name) <= 255 for name in boxes)
    assert any(re.search(r"=[0-9a-f]{32}$", name) for name in boxes) is (length > 243)


async def test_only_existing_maildirs(tmp_path: Path) -> None:
    (tmp_path / "joe").mkdir()
    for name in ("tmp", "new", "cur"):
        (tmp_path / "joe" / name).mkdir()
    plugin = await a_plugin(Maildir, f"{tmp_path} %l create=no")
    for recipient, refused in (("Joe@x.test", False), ("jim@x.test", True)):
        tx = a_mail(recipient)
        verdict = await plugin.hook_verify_recipient(tx, tx.recipients[0])
        assert verdict == (NOBODY if refused else None)
        delivered = await plugin.hook_queue(tx)
        assert (delivered == NOBODY) is refused
    assert len(files(tmp_path)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["joe"]


async def test_everybody_is_a_recipient_if_maildirs_are_made(tmp_path: Path) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path} %l")
    tx = a_mail()
    assert await plugin.hook_verify_recipient(tx, tx.recipients[0]) is None
    assert list(tmp_path.iterdir()) == []


async def test_a_maildir_that_cannot_be_looked_for(tmp_path: Path) -> None:
    (tmp_path / "joe").symlink_to("elsewhere")
    plugin = await a_plugin(Maildir, f"{tmp_path} %l create=no")
    tx = a_mail("joe@x.test")
    verdict = await plugin.hook_verify_recipient(tx, tx.recipients[0])
    assert verdict is not None
    assert (verdict.decision, verdict.code, verdict.status) == (Decision.DEFER, 451, "4.3.0")


async def test_no_pattern_and_nothing_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="create=no needs a pattern"):
        await a_plugin(Maildir, f"{tmp_path} create=no")


@given(st.text(), st.text())
def test_no_recipient_leads_elsewhere(local_part: str, domain: str) -> None:
    recipient = Recipient(Address(local_part, domain or None))
    for pattern in ("%l", "%d/%l", "%u", "%l/%d"):
        options = MaildirOptions(directory="/m", pattern=pattern)
        names = Maildir("maildir", options, services())._subdirectory(recipient)
        assert len(names) == pattern.count("/") + 1
        assert all(re.fullmatch(r"[-A-Za-z0-9+_.,@=]+", name) for name in names)
        assert not {".", ".."} & set(names)


@pytest.mark.parametrize("me", ["mx.example", "MX.Example."])
async def test_the_box_of_postmaster_is_that_of_our_own_domain(tmp_path: Path, me: str) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path} %u", me=me)
    assert (await plugin.hook_queue(a_mail("postmaster", "postmaster@MX.example"))).accepted
    assert len(files(tmp_path, "postmaster@mx.example/new")) == 2


async def test_one_file_for_each_recipient(tmp_path: Path) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path} %d/%l")
    assert (await plugin.hook_queue(a_mail("a@x.test", "b@x.test", "a@x.test"))).accepted
    assert len(files(tmp_path, "x.test/a/new")) == 2
    [file] = files(tmp_path, "x.test/b/new")
    assert file.read_bytes() == (
        b"Return-Path: <from@example.com>\nDelivered-To: b@x.test\n" + TEXT
    )
    assert len(files(tmp_path)) == 3


@pytest.mark.parametrize(
    ("mode", "directory_mode", "file_mode"),
    [("", 0o700, 0o600), ("770", 0o770, 0o660), ("0755", 0o755, 0o644)],
)
async def test_modes(tmp_path: Path, mode: str, directory_mode: int, file_mode: int) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path}/m %d/%l {mode}")
    await plugin.hook_queue(a_mail())
    made = [p for p in (tmp_path / "m").rglob("*") if p.is_dir()] + [tmp_path / "m"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in made} == {directory_mode}
    assert stat.S_IMODE(files(tmp_path)[0].stat().st_mode) == file_mode


async def test_group_is_inherited(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m").chmod(0o2770)
    plugin = await a_plugin(Maildir, f"{tmp_path}/m %l 770")
    await plugin.hook_queue(a_mail())
    assert stat.S_IMODE((tmp_path / "m/to").stat().st_mode) == 0o2770


async def test_directory_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    plugin = await a_plugin(Maildir, f"{tmp_path}/link")
    assert (await plugin.hook_queue(a_mail())).accepted


@pytest.mark.parametrize("link", ["x.test", "x.test/to", "x.test/to/new", "x.test/to/tmp"])
async def test_links_below_are_not_followed(tmp_path: Path, link: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    for name in ("new", "tmp", "cur", "to/new", "to/tmp"):
        (elsewhere / name).mkdir(parents=True)
    place = tmp_path / "m" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere)
    plugin = await a_plugin(Maildir, f"{tmp_path}/m %d/%l")
    assert summary(await plugin.hook_queue(a_mail())) == (Decision.DEFER, 451, "4.3.0")
    assert files(elsewhere) == []


# --- failures -------------------------------------------------------------------------------


def failing(name: str, nth: int, number: int) -> Callable[..., Any]:
    """A function of `os` that works but for its nth call."""
    real = getattr(os, name)
    calls = iter(range(1000))

    def function(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == nth:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    return function


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, (452, "4.3.1")),
        (errno.EDQUOT, (452, "4.3.1")),
        (errno.EIO, (451, "4.3.0")),
    ],
)
@pytest.mark.parametrize(
    ("name", "nth"),
    [("open", 0), ("open", 5), ("write", 0), ("write", 3), ("fsync", 0), ("fsync", 1),
     ("fsync", 2), ("fsync", 3), ("link", 0), ("link", 1), ("mkdir", 0)],
)  # fmt: skip
async def test_failure_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    nth: int,
    number: int,
    expected: tuple[int, str],
) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path} %l")
    if name != "mkdir":
        await plugin.hook_queue(a_mail("a@x.test", "b@x.test"))
    before = files(tmp_path)
    monkeypatch.setattr(os, name, failing(name, nth, number))
    verdict = await plugin.hook_queue(a_mail("a@x.test", "b@x.test"))
    assert summary(verdict) == (Decision.DEFER, *expected)
    assert files(tmp_path) == before
    assert os.strerror(number) in caplog.text


async def test_everything_is_synced_before_it_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path} %l")
    await plugin.hook_queue(a_mail("a@x.test", "b@x.test"))
    calls: list[str] = []
    for name in ("write", "fsync", "link", "unlink"):
        monkeypatch.setattr(os, name, recorded(calls, name))
    await plugin.hook_queue(a_mail("a@x.test", "b@x.test"))
    written = ["write", "write", "fsync"] * 2
    assert calls == [*written, "link", "fsync", "link", "fsync", "unlink", "unlink"]


async def test_new_directories_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path} %l")
    calls: list[str] = []
    monkeypatch.setattr(os, "fsync", recorded(calls, "fsync"))
    await plugin.hook_queue(a_mail())
    # For to, tmp, new and cur that above each; then the file, and new.
    assert len(calls) == 4 + 2


def test_nothing_is_written_after_it_was_rolled_back(tmp_path: Path) -> None:
    delivery = Delivery(str(tmp_path), 0o700)
    delivery.roll_back()
    with pytest.raises(OSError, match=os.strerror(errno.ECANCELED)):
        delivery.begin(MailFile([], "1.P1.host", b""))
    assert files(tmp_path) == []


def recorded(calls: list[str], name: str) -> Callable[..., Any]:
    real = getattr(os, name)

    def function(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return real(*args, **kwargs)

    return function


async def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:3]))
    plugin = await a_plugin(Maildir, str(tmp_path))
    assert (await plugin.hook_queue(a_mail())).accepted
    assert files(tmp_path)[0].read_bytes().endswith(TEXT)


@pytest.mark.parametrize("name", ["write", "fsync", "link"])
async def test_cancelled_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plugin = await a_plugin(Maildir, str(tmp_path))
    loop = asyncio.get_running_loop()
    reached, proceed = asyncio.Event(), threading.Event()
    real = getattr(os, name)

    def slow(*args: Any, **kwargs: Any) -> Any:
        loop.call_soon_threadsafe(reached.set)
        assert proceed.wait(5)
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, slow)
    task = asyncio.create_task(plugin.hook_queue(a_mail()))
    await reached.wait()
    task.cancel()
    await asyncio.sleep(0)
    proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(tmp_path) == []


async def test_directory_is_missing_later(tmp_path: Path) -> None:
    plugin = await a_plugin(Maildir, f"{tmp_path}/m")
    for name in ("cur", "new", "tmp", ""):
        (tmp_path / "m" / name).rmdir()
    assert summary(await plugin.hook_queue(a_mail())) == (Decision.DEFER, 451, "4.3.0")


# --- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "",
        "/a;b",
        "/a%l",
        "{tmp} Maildir",
        "{tmp} %l/..",
        "{tmp} ./%l",
        "{tmp} %d//%l",
        "{tmp} %l 000",
        "{tmp} %l 77",
        "{tmp} %l 888",
        "{tmp} %l 600",
        "{tmp} %l 1700",
        "{tmp} %l 700 more",
        "{tmp}/file",
        "{tmp}/file/below",
    ],
)
async def test_wrong_arguments(tmp_path: Path, line: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError):
        await a_plugin(Maildir, line.replace("{tmp}", str(tmp_path)))
