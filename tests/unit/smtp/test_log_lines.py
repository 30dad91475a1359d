# SPDX-License-Identifier: MIT
"""Whatever the conversation warns of, it says about which client."""

from __future__ import annotations

import ast
import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd import smtp
from qpsmtpd.api import AuthAttempt, Session, StoreError, Transaction, accept
from qpsmtpd.logs.records import ContextFilter, bind, format_record
from qpsmtpd.plugin.base import HOOK_METHODS
from qpsmtpd.testing import a_session, a_transaction
from tests.unit.fakewire import Catcher, a_plugin_with, always, fails, talk
from tests.unit.smtp.test_conversation import EVERYTHING

WARNING = {"warning", "error", "exception", "critical"}


def warnings_in(file: Path) -> Iterator[tuple[str, str]]:
    """Where something is logged as a warning or worse, and the text of the line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr in WARNING and ast.unparse(node.func.value).endswith("log"):
            yield f"{file.name}:{node.lineno}", ast.unparse(node.args[0])


def test_every_warning_names_the_client() -> None:
    files = sorted(Path(smtp.__file__).parent.glob("*.py"))
    found = [line for file in files for line in warnings_in(file)]
    assert len(found) > 4
    assert [where for where, text in found if "ip=%s" not in text] == []


# --- at run time ----------------------------------------------------------------------------


class Lines(logging.Handler):
    """Keeps what would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.addFilter(ContextFilter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(format_record(record))


@pytest.fixture
def lines() -> Iterator[list[str]]:
    handler, logger = Lines(), logging.getLogger("qpsmtpd")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler.lines
    logger.removeHandler(handler)
    logger.setLevel(level)
    bind(None)


def all_name(lines: list[str], ip: str = "192.0.2.1") -> bool:
    """Whether each line says once whom it is about."""
    assert lines
    return all(line.partition("\n")[0].count(f"ip={ip}") == 1 for line in lines)


async def nonsense(*_args: Any) -> Any:
    return 42


async def silent(*_args: Any) -> Any:
    raise StoreError("down")


HOOKS = [method.removeprefix("hook_") for method in HOOK_METHODS]
NOT_ASKED = {"logging", "config", "user_config", "post_fork", "auth_exchange"}


@pytest.mark.parametrize("way", [fails, nonsense, silent])
@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook not in NOT_ASKED])
async def test_a_broken_hook(hook: str, way: Any, lines: list[str]) -> None:
    plugins = (a_plugin_with("broken", **{hook: way}), Catcher())
    await talk(*EVERYTHING, plugins=plugins, auth=("PLAIN", "LOGIN", "CRAM-MD5"))
    assert all_name(lines)


async def test_everything_that_a_plugin_begins(lines: list[str]) -> None:
    """Its tasks, its taps, and its threads."""
    log = logging.getLogger("qpsmtpd.plugins.test")

    async def works() -> None:
        log.warning("from a task")

    async def begins(tx: Transaction, *_args: Any) -> None:
        tx.session.begin(works())
        tx.begin(works())
        await asyncio.to_thread(log.warning, "from a thread")

    def listens(_block: bytes) -> None:
        raise RuntimeError

    async def taps(tx: Transaction, *_args: Any) -> None:
        await begins(tx)
        tx.tap(plugin, listens)

    plugin = a_plugin_with("test", mail=taps, rcpt=begins, data_post=begins)
    await talk(*EVERYTHING, plugins=(plugin, Catcher()))
    assert sum("from a " in line for line in lines) >= 6
    assert any("fault in a tap" in line for line in lines)
    assert all_name(lines)


async def test_a_login(lines: list[str]) -> None:
    async def refuses(_session: Session, attempt: AuthAttempt) -> None:
        logging.getLogger("qpsmtpd.plugins.test").info("user %r", attempt.user)

    await talk(*EVERYTHING, plugins=(a_plugin_with(auth=refuses),), auth=("PLAIN",))
    assert all_name(lines)


async def test_what_is_about_nobody(lines: list[str]) -> None:
    """The store, the resolver and the server work for whoever came first."""
    bind(a_session())
    for name in ("store.guard", "dns.servers", "daemon.server", "config.loader"):
        logging.getLogger(f"qpsmtpd.{name}").warning("down")
    assert not any("ip=" in line for line in lines)
    bind(None)
    logging.getLogger("qpsmtpd.plugins.test").warning("started")
    assert not any("ip=" in line for line in lines)


async def test_where_the_address_stands(lines: list[str]) -> None:
    bind(a_transaction().session)
    log = logging.getLogger("qpsmtpd.plugins.test")
    log.info("one\ntwo")
    log.info("says %r", "ip=198.51.100.1")
    log.info("ip=%s first", "192.0.2.1")
    log.error(ValueError("no text"))
    assert [line.partition(": ")[2] for line in lines] == [
        "one ip=192.0.2.1\n    two",
        "says 'ip=198.51.100.1' ip=192.0.2.1",
        "ip=192.0.2.1 first",
        "no text ip=192.0.2.1",
    ]


async def test_an_accepted_plugin_says_so_too(lines: list[str]) -> None:
    await talk(*EVERYTHING, plugins=(a_plugin_with(auth=always(accept())), Catcher()))
    assert all_name(lines)
