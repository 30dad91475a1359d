# SPDX-License-Identifier: MIT
"""naughty speaks at the hook it is told, and at the end of the message."""

from __future__ import annotations

import pytest

from qpsmtpd.api import ConfigError, Session, Verdict, defer, deny
from qpsmtpd.plugins.naughty import Naughty
from qpsmtpd.testing import a_plugin, a_recipient, a_session, a_transaction

HOOKS = ["connect", "mail", "rcpt", "data", "data_post"]


def a_naughty_session(*texts: str, kind: str = "") -> Session:
    session = a_session()
    session.deferred_rejects.extend(texts)
    session.deferred_type = kind
    return session


async def speaking(plugin: Naughty, session: Session) -> dict[str, Verdict]:
    tx = a_transaction(session=session)
    verdicts = {
        "connect": await plugin.hook_connect(session),
        "mail": await plugin.hook_mail(tx, tx.reverse_path),
        "rcpt": await plugin.hook_rcpt(tx, a_recipient()),
        "data": await plugin.hook_data(tx),
        "data_post": await plugin.hook_data_post(tx),
    }
    return {hook: verdict for hook, verdict in verdicts.items() if verdict}


@pytest.mark.parametrize("hook", HOOKS)
async def test_at_the_hook_and_at_the_end(hook: str) -> None:
    plugin = await a_plugin(Naughty, f"reject {hook}")
    verdicts = await speaking(plugin, a_naughty_session("bad host"))
    assert set(verdicts) == {hook, "data_post"}
    assert verdicts[hook] == deny("bad host", status="5.7.1", disconnect=True)


async def test_the_default_is_rcpt() -> None:
    verdicts = await speaking(await a_plugin(Naughty), a_naughty_session("bad host"))
    assert set(verdicts) == {"rcpt", "data_post"}


async def test_the_good_pass() -> None:
    assert await speaking(await a_plugin(Naughty), a_session()) == {}


async def test_one_line_for_each_reason() -> None:
    session = a_naughty_session("bad host", "bad name")
    verdicts = await speaking(await a_plugin(Naughty), session)
    assert verdicts["rcpt"].text == "bad host\nbad name"


@pytest.mark.parametrize(
    ("own", "kind", "verdict"),
    [
        ("", "temp", defer("x", status="4.7.1")),
        ("perm", "temp_disconnect", defer("x", status="4.7.1", disconnect=True)),
        ("perm", "", deny("x", status="5.7.1")),
        ("temp", "", defer("x", status="4.7.1")),
    ],
)
async def test_reject_type(own: str, kind: str, verdict: Verdict) -> None:
    plugin = await a_plugin(Naughty, f"reject_type {own}" if own else "")
    verdicts = await speaking(plugin, a_naughty_session("x", kind=kind))
    assert verdicts["rcpt"] == verdict


@pytest.mark.parametrize("line", ["reject hook_queue_post", "reject_type nonsense"])
async def test_wrong_options(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(Naughty, line)


@pytest.mark.parametrize("exempt", ["host", "sender", "relay"])
async def test_who_has_become_exempt_is_not_refused(exempt: str) -> None:
    """A DNS list of friends answers after the one that found the reason."""
    session = a_naughty_session("bad host")
    tx = a_transaction(session=session)
    session.relay_client = exempt == "relay"
    session.whitelisted_host = "list.example" if exempt == "host" else ""
    tx.whitelisted_sender = exempt == "sender"
    plugin = await a_plugin(Naughty, "reject rcpt")
    assert await plugin.hook_rcpt(tx, a_recipient()) is None
    assert await plugin.hook_data_post(tx) is None
