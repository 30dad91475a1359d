# SPDX-License-Identifier: MIT
"""The policy front: actions at each stage, and what ties requests together."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.fronts.policyfront import OUR_FAULT
from qpsmtpd.testing import serve
from tests.unit.fronts.front_plugins import obeying
from tests.unit.fronts.mta import policy_of

RESULTS = (
    "PREPEND Authentication-Results: mx.example.test; auth=none; iprev=pass policy.iprev=192.0.2.9"
)
STAGES = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE")


async def test_all_stages_of_a_good_message(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        asked = [await postfix.ask(stage, recipient="user@example.test") for stage in STAGES]
        assert asked == ["DUNNO", "DUNNO", "DUNNO", RESULTS, "DUNNO", "DUNNO"]


async def test_one_stage_takes_all_the_steps_before_it(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path) | {"databytes": ["1000000"]}) as serving:
        for attributes, action in [
            ({"client_address": "192.0.2.66"}, "550 5.7.1 Not you"),
            ({"helo_name": "bad.example"}, "550 5.7.1 Not this name"),
            ({"sender": "deny@client.example"}, "550 5.7.1 100% no"),
            ({"recipient": "defer@example.test"}, "450 4.7.1 Later"),
            ({"sender": "deny@data.example"}, "554 5.7.1 100% no"),
            ({"size": "2000000"}, "552 5.3.4 Message too big"),
        ]:
            async with policy_of(serving) as postfix:
                given = {"recipient": "user@example.test", "size": "100", **attributes}
                assert await postfix.ask("END-OF-MESSAGE", **given) == action


@pytest.mark.parametrize(
    ("word", "action"),
    [
        ("deny", "550 5.7.1 100% no"),
        ("defer", "450 4.7.1 Later"),
        ("lines", "550 5.7.1 one two"),
        ("fault", OUR_FAULT),
        ("hold", "HOLD for a look"),
        ("drop", "DISCARD obedient"),
    ],
)
async def test_actions(tmp_path: Path, word: str, action: str) -> None:
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        assert await postfix.rcpt() == RESULTS
        assert await postfix.rcpt(f"{word}@example.test") == action
        again = {"HOLD": "DUNNO"}.get(action.partition(" ")[0], action)
        assert await postfix.rcpt(f"{word}@example.test") == again


async def test_a_refusal_that_closes_stands_for_all_that_follows(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        assert await postfix.rcpt("leave@example.test") == "550 5.7.1 Go away"
        assert await postfix.rcpt() == "550 5.7.1 Go away"
        assert await postfix.rcpt(instance="1.2") == "550 5.7.1 Go away"
        assert await postfix.rcpt(client_port="40001", instance="1.3") == RESULTS


async def test_instances_are_messages_of_one_session(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        for instance in ("1.1", "1.2", "1.3"):
            assert await postfix.rcpt(instance=instance) == RESULTS
            assert await postfix.rcpt("other@example.test", instance=instance) == "DUNNO"
        [front] = serving.server._fronts
        assert serving.server.connections == 1
        assert front.busy is False


async def test_fields_of_plugins_are_put_on_top_one_by_one(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        assert await postfix.rcpt("mark@example.test") == RESULTS
        assert await postfix.rcpt() == "PREPEND X-Mark: of rcpt"
        assert await postfix.ask("DATA") == "DUNNO"


async def test_tags_are_put_on_top(tmp_path: Path) -> None:
    files = obeying(tmp_path)
    files["plugins"][0] += " mode=tag"
    async with serve(files) as serving, policy_of(serving) as postfix:
        assert await postfix.rcpt("deny@example.test") == RESULTS
        tag = "PREPEND X-Qpsmtpd-Tag: obedient hook=rcpt 550 5.7.1 100% no"
        assert await postfix.rcpt() == tag
        assert await postfix.ask("DATA") == "DUNNO"


async def test_relaying_is_the_business_of_postfix(tmp_path: Path) -> None:
    """Never OK, which would let a recipient through that Postfix would not take."""
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        assert await postfix.rcpt("user@elsewhere.example") == RESULTS
        assert await postfix.rcpt("other@elsewhere.example") == "DUNNO"
        assert await postfix.rcpt("user@example.test") == "DUNNO"


async def test_logins_and_tls_are_those_of_postfix(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        action = await postfix.rcpt(
            sasl_username="me", sasl_method="PLAIN", encryption_protocol="TLSv1.3",
            encryption_cipher="X", encryption_keysize="256",
        )  # fmt: skip
        assert "auth=pass (plain) smtp.auth=me" in action


@pytest.mark.parametrize(
    "sender", ["", "root", '"a b"@client.example', "a b@client.example", "ü@ö.example"]
)
async def test_senders(tmp_path: Path, sender: str) -> None:
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        assert await postfix.rcpt(sender=sender) == RESULTS


async def test_addresses_that_are_none(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        assert await postfix.rcpt(sender="@") == "501 5.1.7 Bad sender address syntax"
        assert await postfix.rcpt("a@-x-", instance="2") == "501 5.1.3 Bad recipient address syntax"


async def test_other_commands(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        assert await postfix.ask("VRFY", recipient="user@example.test") == "DUNNO"
        assert await postfix.ask("ETRN") == "DUNNO"
        assert await postfix.ask("HELO", protocol_name="SMTP") == "DUNNO"


async def test_many_requests_in_one_piece(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        one = "request=smtpd_access_policy\nprotocol_state=CONNECT\nclient_address=192.0.2.9\n\n"
        assert await postfix.raw(one.encode() * 3) == "DUNNO"
        assert await postfix.raw(b"") == "DUNNO"
        assert await postfix.raw(b"") == "DUNNO"


@pytest.mark.parametrize(
    "octets",
    [
        b"\n",
        b"EHLO x\r\n\n\n",
        b"request=smtpd_access_policy\nprotocol_state=NOWHERE\n\n",
        b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=x\n\n",
        b"request=" + b"x" * 70_000,
    ],
)
async def test_nonsense_ends_the_connection(
    tmp_path: Path, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(obeying(tmp_path)) as serving:
        async with policy_of(serving) as postfix:
            assert await postfix.raw(octets) == ""
        async with policy_of(serving) as postfix:
            assert await postfix.rcpt() == RESULTS
    assert "does not keep to the protocol" in caplog.text


async def test_a_server_that_stops(tmp_path: Path) -> None:
    async with serve(obeying(tmp_path)) as serving, policy_of(serving) as postfix:
        await postfix.rcpt()
        await serving.server.drain(60)
        assert await postfix.raw(b"") == ""
