# SPDX-License-Identifier: MIT
"""Recipients in our domains pass, everything else is relaying, and no spelling gets around it."""

from __future__ import annotations

from typing import Any

import pytest

from qpsmtpd.api import ConfigError, Verdict, accept, deny
from qpsmtpd.plugins.rcpt_ok import RcptOk
from qpsmtpd.testing import FakeConfig, a_plugin, a_recipient, a_session, a_transaction, services

DENIED = deny("Relaying denied", status="5.7.1")
ROUTED = deny("Routed addresses are not accepted here", status="5.7.1")
RCPTHOSTS = [
    "localhost",
    "Example.ORG",
    ".suffix.example",
    "bücher.example",
    "Straße.example",
    "[192.0.2.25]",
]


async def verdict_on(address: str, line: str = "", **session: Any) -> Verdict | None:
    plugin = await a_plugin(RcptOk, line, config={"rcpthosts": RCPTHOSTS})
    tx = a_transaction(session=a_session(**session))
    return await plugin.hook_rcpt(tx, a_recipient(address))


@pytest.mark.parametrize(
    "address",
    [
        "user@localhost",
        "user@example.org",
        "User@EXAMPLE.org",
        "user@mx.example",
        "postmaster",
        "user@a.suffix.example",
        "user@a.b.Suffix.Example",
        "user@bücher.example",
        "user@BÜCHER.example",
        "user@xn--bcher-kva.example",
        "user@[192.0.2.25]",
        "user@straße.example",
        "wow!@example.org",
    ],
)
async def test_local(address: str) -> None:
    assert await verdict_on(address) == accept()


@pytest.mark.parametrize(
    "address",
    [
        "user@example.com",
        "user@suffix.example",
        "user@nosuffix.example",
        "user@example.org.evil.test",
        "user@sub.example.org",
        "user@sub.mx.example",
        "user@buecher.example",
        "user@strasse.example",
        "user@[192.0.2.2]",
    ],
)
async def test_foreign(address: str) -> None:
    assert await verdict_on(address) == DENIED


async def test_without_rcpthosts_only_our_own_name_is_local() -> None:
    plugin = await a_plugin(RcptOk)
    assert await plugin.hook_rcpt(a_transaction(), a_recipient("user@mx.example")) == accept()
    assert await plugin.hook_rcpt(a_transaction(), a_recipient("user@localhost")) == DENIED


async def test_relay_clients_send_anywhere() -> None:
    assert await verdict_on("user@example.com", relay_client=True) == accept()
    assert await verdict_on("user%other.test@example.com", relay_client=True) == accept()


async def test_white_lists_are_no_permission_to_relay() -> None:
    plugin = await a_plugin(RcptOk)
    tx = a_transaction()
    tx.whitelisted_sender = True
    tx.session.whitelisted_host = "list.example"
    assert await plugin.hook_rcpt(tx, a_recipient("user@example.com")) == DENIED


@pytest.mark.parametrize(
    "address",
    [
        "user%other.test@localhost",
        "other.test!user@localhost",
        "a!b!user@localhost",
        '"user@other.test"@localhost',
        '"user%other.test"@localhost',
        '"!\\ x"@localhost',
        "user％other.test@localhost",
        "user＠other.test@localhost",
        "other.test！user@localhost",
        "user﹫other.test@localhost",
    ],
)
async def test_routes(address: str) -> None:
    assert await verdict_on(address) == ROUTED
    assert await verdict_on(address, "allow_routed_addresses yes") == accept()


async def test_routes_elsewhere_are_relaying() -> None:
    assert await verdict_on("u%other.test@example.com", "allow_routed_addresses yes") == DENIED


async def test_morercpthosts() -> None:
    config = FakeConfig()
    config.maps["morercpthosts"] = {
        b"more.example": b"",
        b"xn--bcher-kva.test": b"",
        "käse.test".encode(): b"",
    }
    lent = services()
    object.__setattr__(lent, "config", config)
    plugin = await a_plugin(RcptOk, services=lent)
    for address in (
        "user@More.example",
        "user@bücher.test",
        "user@xn--kse-qla.test",
        "u@KÄSE.test",
    ):
        assert await plugin.hook_rcpt(a_transaction(), a_recipient(address)) == accept()
    assert await plugin.hook_rcpt(a_transaction(), a_recipient("user@a.more.example")) == DENIED


@pytest.mark.parametrize(
    "line", [".", "..", "*.example.com", "user@example.com", "a b", "a,b", "$myhostname", "@a", ""]
)
async def test_what_is_no_domain_is_an_error(line: str) -> None:
    with pytest.raises(ConfigError, match=r"rcpthosts:2: .*is not a domain"):
        await a_plugin(RcptOk, config={"rcpthosts": ["good.example", line]})


async def test_a_final_dot_is_tolerated() -> None:
    plugin = await a_plugin(RcptOk, config={"rcpthosts": ["example.org."]})
    assert await plugin.hook_rcpt(a_transaction(), a_recipient("user@example.org")) == accept()
