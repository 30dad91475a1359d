# SPDX-License-Identifier: MIT
"""What only the next hop can do is offered if it offers that, and asked for where it does."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from qpsmtpd.api import TlsInfo
from qpsmtpd.testing import a_session
from tests.unit.nexthop.fake import KEYWORDS, FakeHop
from tests.unit.nexthop.sasl import Sasl
from tests.unit.nexthop.test_tls import server_context
from tests.unit.plugins.queue.test_smtp_forward import a_mail, forward, forwarder, routing, summary

OFFERED = ("DELIVERBY 240", "MT-PRIORITY MIXER", "FUTURERELEASE 86400 2027-01-01T00:00:00Z")
ASKED = {"BY": "120;R", "MT-PRIORITY": "3", "HOLDFOR": "60"}


async def test_offered_as_the_next_hop_does() -> None:
    async with FakeHop(keywords=(*KEYWORDS, *OFFERED)) as hop, forwarder(hop) as plugin:
        session = a_session()
        await plugin.hook_ehlo(session, "client.example")
        assert session.capabilities == []
        assert (await plugin.hook_queue(a_mail())).accepted
        await plugin.hook_ehlo(session, "client.example")
        assert session.capabilities == ["DSN", *OFFERED]


async def test_not_offered_if_next_hops_differ() -> None:
    one, other = FakeHop(keywords=("DELIVERBY 240",)), FakeHop(keywords=("DELIVERBY 120",))
    async with routing(one, other) as plugin:
        for address in ("a@x.test", "a@other.test"):
            assert (await plugin.hook_queue(a_mail(address))).accepted
        session = a_session()
        await plugin.hook_ehlo(session, "client.example")
        assert session.capabilities == ["LIMITS RCPTDOMAINMAX=1"]


async def test_passed_on() -> None:
    hop = FakeHop(keywords=OFFERED)
    assert (await forward(hop, a_mail(parameters=dict(ASKED)))).accepted
    assert hop.commands[1].endswith("> BY=120;R MT-PRIORITY=3 HOLDFOR=60")


@pytest.mark.parametrize("left_out", OFFERED)
async def test_a_next_hop_that_has_ceased_to_offer_it(left_out: str) -> None:
    """At the next attempt the client is not offered it either."""
    hop = FakeHop(keywords=tuple(keyword for keyword in OFFERED if keyword != left_out))
    verdict = await forward(hop, a_mail(parameters=dict(ASKED)))
    assert summary(verdict) == ("defer", 451, "4.3.3")
    assert not hop.messages


@pytest.mark.parametrize(
    ("user", "said", "passed"),
    [("joe", "a+2Bb@x.test", "a+2Bb@x.test"), ("", "a@x.test", "<>"), ("joe", "<>", "<>")],
)
async def test_who_has_submitted_it(user: str, said: str, passed: str, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    session = a_session()
    session.auth_user = user
    tx = a_mail(session=session, parameters={"AUTH": said})
    sasl = Sasl("us", "secret")
    hop = FakeHop(keywords=("AUTH PLAIN",), sasl=sasl)
    assert (await forward(hop, tx, f"user=us password_file={password}")).accepted
    assert f"MAIL FROM:<from@example.com> AUTH={passed}" in hop.commands


async def test_nobody_is_told_where_we_have_not_logged_in() -> None:
    hop = FakeHop(keywords=("AUTH PLAIN",))
    assert (await forward(hop, a_mail(parameters={"AUTH": "a@x.test"}))).accepted
    assert hop.commands[1] == "MAIL FROM:<from@example.com>"


@pytest.mark.parametrize(("tls", "counts"), [("verify", True), ("require", False), ("may", False)])
async def test_requiretls_needs_a_certificate(tls: str, counts: bool, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    line = f"tls={tls}" + (f" ca={tmp_path}/ca.pem" if tls == "verify" else "")
    keywords = (*KEYWORDS, "STARTTLS", "REQUIRETLS")
    hop = FakeHop(keywords=keywords, context=server_context(authority))
    async with hop, forwarder(hop, line) as plugin:
        assert (await plugin.hook_queue(a_mail())).accepted
        session = a_session()
        await plugin.hook_ehlo(session, "client.example")
        assert session.capabilities == ["DSN"]
        session.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")
        await plugin.hook_ehlo(session, "client.example")
        assert session.capabilities == ["DSN", *["REQUIRETLS"] * counts]
        verdict = await plugin.hook_queue(a_mail(parameters={"REQUIRETLS": None}))
    if counts:
        assert verdict.accepted
        assert any(command.endswith(" REQUIRETLS") for command in hop.commands)
    else:
        assert summary(verdict) == ("defer", 451, "4.3.3")
        assert len(hop.messages) == 1


async def test_requiretls_in_the_clear_does_not_count() -> None:
    hop = FakeHop(keywords=(*KEYWORDS, "REQUIRETLS"))
    verdict = await forward(hop, a_mail(parameters={"REQUIRETLS": None}))
    assert summary(verdict) == ("defer", 451, "4.3.3")
    assert not hop.messages
