# SPDX-License-Identifier: MIT
"""LMTP: a reply to the message for each recipient (RFC 2033), and the rules of SMTP otherwise."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import Transaction, Verdict, accept, defer, deny
from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.daemon.sockets import bind
from qpsmtpd.mail.session import Session
from qpsmtpd.testing import a_session, serve
from tests.unit.client import Client, catcher, catching, on_both_loops
from tests.unit.fakewire import MESSAGE, Catcher, a_plugin_with, always, talk
from tests.unit.nexthop.fake import DROP, FakeHop

MAIL = b"LHLO client.example\r\nMAIL FROM:<a@client.example>\r\n"
ENVELOPE = MAIL + b"RCPT TO:<one@example.test>\r\nRCPT TO:<two@example.test>\r\n"
DATA = ENVELOPE + b"DATA\r\n"
#: Replies up to the 354.
BEFORE = 6
CAUGHT = "250 2.0.0 Caught"
OK, NO, LATER = "250 2.0.0 Saved", "550 5.2.2 over quota", "452 4.2.2 over quota"


def a_client() -> Session:
    session = a_session()
    session.lmtp = True
    return session


async def replies_to(*script: bytes, plugins: tuple[Any, ...] = (), **more: Any) -> list[str]:
    """The replies behind the 354."""
    wire = await talk(*script, plugins=(*plugins, Catcher()), session=a_client(), **more)
    return wire.replies[BEFORE:]


async def test_one_reply_for_each() -> None:
    assert await replies_to(DATA, MESSAGE, b"NOOP\r\n") == [CAUGHT, CAUGHT, "250 2.0.0 OK"]


async def test_in_single_octets() -> None:
    script = DATA + MESSAGE + b"NOOP\r\n"
    octets = (script[i : i + 1] for i in range(len(script)))
    assert await replies_to(*octets) == [CAUGHT, CAUGHT, "250 2.0.0 OK"]


@pytest.mark.parametrize("hook", ["data_post_headers", "data_post", "queue_pre", "queue"])
async def test_a_refusal_is_that_of_each(hook: str) -> None:
    plugin = a_plugin_with(**{hook: always(deny("no"))})
    assert await replies_to(DATA, MESSAGE, plugins=(plugin,)) == ["552 5.7.1 no"] * 2


async def test_a_refusal_before_the_message_is_one() -> None:
    wire = await talk(
        DATA,
        b"NOOP\r\n",
        plugins=(a_plugin_with(data=always(defer("no"))), Catcher()),
        session=a_client(),
    )
    assert wire.replies[5:] == ["451 4.7.1 no", "250 2.0.0 OK"]


async def test_what_plugins_say_of_each() -> None:
    verdict = accept("all")
    each = (accept("one"), deny("two", code=550, status="5.1.1"))

    async def queue(tx: Transaction) -> Verdict:
        return replace(verdict, for_each=each[: len(tx.recipients)])

    plugin = a_plugin_with(queue=queue)
    assert await replies_to(DATA, MESSAGE, plugins=(plugin,)) == ["250 2.0.0 one", "550 5.1.1 two"]


async def test_the_client_hears_of_whom_it_has_named() -> None:
    """In that order, whatever plugins make of the recipients."""
    seen: list[str] = []

    async def change(tx: Transaction) -> None:
        tx.remove_recipient(tx.recipients[0].address)
        tx.add_recipient(tx.recipients[0].address)
        seen.extend(str(each) for each in tx.recipients)

    async def queue(_tx: Transaction) -> Verdict:
        return replace(accept("all"), for_each=(deny("two"),))

    plugin = a_plugin_with(queue_pre=change, queue=queue)
    replies = await replies_to(DATA, MESSAGE, plugins=(plugin,))
    assert seen == ["two@example.test"]
    assert replies == ["250 2.0.0 all", "552 5.7.1 two"]


async def test_verdicts_that_do_not_fit_do_no_harm() -> None:
    async def queue(_tx: Transaction) -> Verdict:
        return replace(accept("all"), for_each=(deny("x"),) * 5)

    replies = await replies_to(DATA, MESSAGE, plugins=(a_plugin_with(queue=queue),))
    assert replies == ["250 2.0.0 all"] * 2


# --- from hop to hop ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plugin", "rcpt", "dots", "codes"),
    [
        ("lmtp", {}, (OK, OK), [250, 250]),
        ("lmtp", {}, (OK, NO), [250, 550]),
        ("lmtp", {}, (NO, LATER), [550, 452]),
        ("lmtp", {"one@example.test": NO}, (OK,), [550, 250]),
        ("lmtp", {"one@example.test": LATER, "two@example.test": NO}, (), [452, 550]),
        ("lmtp", {}, (OK, DROP), [250, 451]),
        ("lmtp", {}, (DROP,), [451, 451]),
        ("smtp-forward", {}, (), [250, 250]),
        ("smtp-forward", {"one@example.test": NO}, (), [550, 250]),
        ("smtp-forward", {"one@example.test": LATER}, (), [452, 250]),
        ("smtp-forward", {"one@example.test": NO, "two@example.test": LATER}, (), [550, 452]),
    ],
)
async def test_what_the_next_hop_says_of_each(
    plugin: str, rcpt: dict[str, str], dots: tuple[str, ...], codes: list[int]
) -> None:
    async with FakeHop(lmtp=plugin == "lmtp", rcpt=dict(rcpt), dots=dots) as hop:
        files = {"plugins": ["rcpt_ok", f"queue/{plugin} 127.0.0.1 {hop.port}"]}
        async with serve(files) as serving:
            client = await Client.connect(serving.host, serving.fronts["lmtp"])
            assert (await client.reply()).startswith("220 mx.example LMTP")
            envelope = ENVELOPE.decode().splitlines()
            assert await client.commands(*envelope, "DATA") == [250, 250, 250, 250, 354]
            client.send(MESSAGE)
            assert [int((await client.reply())[:3]) for _ in codes] == codes
            assert await client.commands("NOOP", "QUIT") == [250, 221]
            await client.close()


@on_both_loops
async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    async with serve(catching(tmp_path)) as serving:
        await serving.server.listen(bind([ListenAddress("", 0, kind="lmtp", path=path)]))
        client = Client(*await asyncio.open_unix_connection(path))
        assert (await client.reply()).startswith("220 mx.example LMTP")
        assert await client.commands(*ENVELOPE.decode().splitlines(), "DATA") == [250] * 4 + [354]
        assert await client.deliver() == CAUGHT
        assert await client.reply() == CAUGHT
        await client.close()
        (message,) = catcher(serving).messages
        assert b" with LMTP id " in message
