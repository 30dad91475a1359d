# SPDX-License-Identifier: MIT
"""content_log copies messages, and never stands in their way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from qpsmtpd.api import Message, Transaction
from qpsmtpd.plugins import content_log
from qpsmtpd.plugins.content_log import ContentLog
from qpsmtpd.testing import a_plugin, a_transaction


def a_mail(text: str = "Subject: x\n\nbody\n") -> Transaction:
    return a_transaction(message=text)


async def a_log(tmp_path: Path, **files: str) -> ContentLog:
    config = {"content_log_file": f"{tmp_path}/mail"} | files
    return await a_plugin(ContentLog, config={name: [text] for name, text in config.items()})


async def test_appends_with_our_fields(tmp_path: Path) -> None:
    plugin = await a_log(tmp_path)
    tx = a_mail()
    assert tx.message is not None
    tx.message.headers.prepend("Received", "from x")
    await plugin.hook_data_post(tx)
    await plugin.hook_data_post(a_mail("Subject: y\n\n\n"))
    file = tmp_path / "mail"
    assert file.read_bytes() == b"Received: from x\nSubject: x\n\nbody\nSubject: y\n\n\n"
    assert file.stat().st_mode & 0o777 == 0o600


async def test_name_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mail").mkdir()
    plugin = await a_plugin(ContentLog)
    await plugin.hook_data_post(a_mail())
    # The fake clock stands still in January 2027.
    assert [path.name for path in (tmp_path / "mail").iterdir()] == ["20270115"]
    dated = await a_log(tmp_path, content_log_file=f"{tmp_path}/%Y")
    await dated.hook_data_post(a_mail())
    assert (tmp_path / "2027").exists()


@pytest.mark.parametrize(
    ("value", "on"),
    [(v, True) for v in ("true", "1", "yes", "yes   ")]
    + [(v, False) for v in ("0", "false", "no", "asdf")],
)
async def test_enabled(tmp_path: Path, value: str, on: bool) -> None:
    plugin = await a_log(tmp_path, content_log_enabled=value)
    await plugin.hook_data_post(a_mail())
    assert (tmp_path / "mail").exists() == on


async def test_no_message(tmp_path: Path) -> None:
    await (await a_log(tmp_path)).hook_data_post(a_transaction())
    assert not (tmp_path / "mail").exists()


async def test_a_failure_is_logged_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plugin = await a_log(tmp_path, content_log_file="/nonexistent/mail")
    await plugin.hook_data_post(a_mail())
    assert "not written file='/nonexistent/mail': No such file" in caplog.text


async def test_messages_at_the_same_time(tmp_path: Path) -> None:
    plugin = await a_log(tmp_path)
    texts = [f"Subject: {n}\n\n{n}\n" for n in range(20)]
    await asyncio.gather(*(plugin.hook_data_post(a_mail(text)) for text in texts))
    assert sorted((tmp_path / "mail").read_text().splitlines(keepends=True)) == sorted(
        "".join(texts).splitlines(keepends=True)
    )


async def test_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(_path: Path, _message: Message) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(content_log, "TIMEOUT", 0.01)
    monkeypatch.setattr(content_log, "_append", hang)
    await (await a_log(tmp_path)).hook_data_post(a_mail())
    assert "not written within 0.01 s" in caplog.text
