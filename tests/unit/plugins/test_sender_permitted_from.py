# SPDX-License-Identifier: MIT
"""sender_permitted_from: levels, identities, who is not checked, and where the result goes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from qpsmtpd.api import (
    SPF_RESULT,
    AuthResult,
    ConfigError,
    Decision,
    DnsAnswer,
    RecordType,
    Resolver,
    Session,
    Transaction,
    Verdict,
)
from qpsmtpd.plugins.sender_permitted_from import (
    DMARC_SPF,
    RULES,
    SPF_PASS_HOST,
    SPFQUERY,
    SenderPermittedFrom,
)
from qpsmtpd.testing import (
    FakeResolver,
    Records,
    a_plugin,
    a_session,
    a_transaction,
    dns_failure,
)

HELLO = "client.example"
DNS: Records = {
    ("TXT", "pass.test"): ["v=spf1 +all"],
    ("TXT", "fail.test"): ["v=spf1 -all"],
    ("TXT", "softfail.test"): ["v=spf1 ~all"],
    ("TXT", "neutral.test"): ["v=spf1 ?all"],
    ("TXT", "permerror.test"): ["v=spf1 foo"],
    ("TXT", "temperror.test"): dns_failure(),
    ("TXT", "explained.test"): ["v=spf1 -all exp=why.test"],
    ("TXT", "why.test"): ["See https://why.test/?%{i} " + "x" * 300],
}
RESULTS = ("pass", "fail", "softfail", "neutral", "none", "permerror", "temperror")


async def run(
    sender: str,
    line: str = "",
    *,
    session: Session | None = None,
    plugin: SenderPermittedFrom | None = None,
    **lent: Any,
) -> tuple[Verdict | None, Transaction]:
    """What MAIL leads to, and the transaction once its message is complete."""
    lent.setdefault("dns", DNS)
    plugin = plugin or await a_plugin(SenderPermittedFrom, line, **lent)
    tx = a_transaction(sender, session=session, message="Subject: x\n\nx\n")
    verdict = await plugin.hook_mail(tx, tx.reverse_path)
    if verdict is None:
        assert await plugin.hook_data_post_headers(tx) is None
        verdict = await plugin.hook_data_post(tx)
    await tx.end_tasks()
    return verdict, tx


def shape(verdict: Verdict | None) -> str:
    return "-" if verdict is None else verdict.status


@pytest.mark.parametrize(
    ("result", "levels"),
    [
        ("pass", "- - - - - - -"),
        ("fail", "- - 4.7.23 5.7.23 5.7.23 5.7.23 5.7.23"),
        ("softfail", "- - - 4.7.1 5.7.1 5.7.1 5.7.1"),
        ("neutral", "- - - - - 5.7.1 5.7.1"),
        ("none", "- - - - - - 5.7.1"),
        ("permerror", "- - - - 4.7.24 4.7.24 5.7.24"),
        ("temperror", "- - - - 4.4.3 4.4.3 4.4.3"),
    ],
)
async def test_levels(result: str, levels: str) -> None:
    found = []
    for level in range(7):
        verdict, tx = await run(f"a@{result}.test", f"reject {level}")
        found.append(shape(verdict))
        assert tx.notes[SPF_RESULT].result == result
        [said] = tx.auth_results
        assert (said.method, said.result) == ("spf", result)
        assert said.get("smtp.mailfrom") == f"{result}.test"
    assert found == levels.split()


@pytest.mark.parametrize("result", RESULTS)
async def test_decision_and_status_agree(result: str) -> None:
    verdict, _ = await run(f"a@{result}.test", "reject 6")
    if verdict is not None:
        assert verdict.decision is (Decision.DENY if verdict.status[0] == "5" else Decision.DEFER)
        assert verdict.text == RULES[result].text
        assert f"spf={result} mailfrom='{result}.test'" in verdict.reason


@pytest.mark.parametrize(
    ("line", "config", "level"),
    [
        ("", {}, 0),
        ("", {"spfbehavior": ["4", "ignored"]}, 4),
        ("reject 2", {"spfbehavior": ["4"]}, 2),
        ("reject 0", {"spfbehavior": ["4"]}, 0),
        ("spf_deny 1", {}, 3),
        ("spf_deny=2", {}, 4),
        ("spf_deny 0 reject 2", {}, 2),
        ("spf_deny 2 reject 6", {}, 4),  # as in the Perl version
    ],
)
async def test_where_the_level_is(line: str, config: dict[str, list[str]], level: int) -> None:
    plugin = await a_plugin(SenderPermittedFrom, line, config=config)
    assert plugin._level == level


@pytest.mark.parametrize("line", ["reject 7", "reject -1", "reject naughty", "spf_deny 3", "x 1"])
async def test_wrong_arguments(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(SenderPermittedFrom, line)


async def test_a_wrong_file() -> None:
    with pytest.raises(ConfigError, match="spfbehavior:1: 'yes' is not a number from 0 to 6"):
        await a_plugin(SenderPermittedFrom, config={"spfbehavior": ["yes"]})


async def test_the_explanation_is_cleaned_cut_and_ascribed() -> None:
    verdict, _ = await run("a@explained.test", "reject 3")
    assert verdict is not None
    text, explanation = verdict.text.split("\n")
    assert text == RULES["fail"].text
    assert explanation.startswith("The domain explains: See https://why.test/?192.0.2.1 xxx")
    assert len(explanation) == len("The domain explains: ") + 200


@pytest.mark.parametrize(("result", "karma"), [("pass", 1), ("fail", -1), ("softfail", -1)])
async def test_karma_and_notes(result: str, karma: int) -> None:
    _, tx = await run(f"a@{result}.test")
    assert tx.session.karma == karma
    assert tx.notes[SPFQUERY] == result
    assert tx.notes.get(SPF_PASS_HOST) == ("pass.test" if result == "pass" else None)
    assert tx.notes[DMARC_SPF] == {"domain": f"{result}.test", "scope": "mfrom", "result": result}


@pytest.mark.parametrize("result", RESULTS)
async def test_what_could_be_refused_is_logged(
    result: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await run(f"a@{result}.test")
    lines = [record.getMessage() for record in caplog.records if "spf=" in record.getMessage()]
    assert bool(lines) is (result not in ("pass", "neutral", "none"))


async def test_the_client_does_not_wait_unless_it_may_be_refused() -> None:
    dns = FakeResolver(silent=True)
    plugin = await a_plugin(SenderPermittedFrom, "reject 1", dns=dns)
    tx = a_transaction("a@pass.test")
    assert await plugin.hook_mail(tx, tx.reverse_path) is None
    await asyncio.sleep(0)
    assert dns.asked == [("TXT", "pass.test")]
    assert not tx.auth_results
    await tx.end_tasks()


@pytest.mark.parametrize("exempt", ["relay_client", "auth_user", "whitelisted_host"])
async def test_who_is_not_checked(exempt: str) -> None:
    dns = FakeResolver(DNS)
    session = a_session(ehlo=HELLO)
    setattr(session, exempt, "yes")
    verdict, tx = await run("a@fail.test", "reject 6", session=session, dns=dns)
    assert verdict is None
    assert (dns.asked, list(tx.auth_results), SPF_RESULT in tx.notes) == ([], [], False)


async def test_a_domain_is_asked_about_as_a_label() -> None:
    dns = FakeResolver({("TXT", "xn--bcher-kva.test"): ["v=spf1 +all"]})
    _, tx = await run("a@bücher.test", dns=dns)
    assert dns.asked == [("TXT", "xn--bcher-kva.test")]
    assert tx.auth_results[0].get("smtp.mailfrom") == "xn--bcher-kva.test"


async def test_an_address_literal_has_no_record() -> None:
    dns = FakeResolver()
    _, tx = await run("a@[192.0.2.1]", dns=dns)
    assert (tx.notes[SPF_RESULT].result, dns.asked) == ("none", [])


# --- the null sender ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hello", "status"),
    [
        ("pass.test", "-"),
        ("fail.test", "5.7.23"),
        ("softfail.test", "-"),
        ("neutral.test", "-"),
        ("none.test", "-"),
        ("permerror.test", "-"),
        ("temperror.test", "-"),
        ("[192.0.2.1]", "-"),
    ],
)
async def test_an_error_message_is_refused_only_if_its_client_lies(hello: str, status: str) -> None:
    verdict, tx = await run("", "reject 6", session=a_session(ehlo=hello))
    assert shape(verdict) == status
    [said] = tx.auth_results
    assert (said.get("smtp.helo"), said.get("smtp.mailfrom")) == (hello, None)
    assert tx.notes[DMARC_SPF]["scope"] == "helo"


async def test_a_hello_name_is_checked_once_for_each_session() -> None:
    dns = FakeResolver(DNS)
    plugin = await a_plugin(SenderPermittedFrom, dns=dns)
    session = a_session(ehlo="PASS.test.")
    for _ in range(2):
        _, tx = await run("", session=session, plugin=plugin)
        assert tx.notes[SPF_RESULT].result == "pass"
    assert dns.asked == [("TXT", "pass.test")]
    session.hello_host = "fail.test"
    _, tx = await run("", session=session, plugin=plugin)
    assert tx.notes[SPF_RESULT].result == "fail"
    await session.end_tasks()


async def test_the_macros_of_a_hello_name() -> None:
    dns = FakeResolver({("TXT", "a.test"): ["v=spf1 exists:%{l}.%{o}.%{h} -all"]})
    await run("", session=a_session(ehlo="a.test"), dns=dns)
    assert dns.asked[-1] == ("A", "postmaster.a.test.a.test")


@pytest.mark.parametrize("sender", ["a@pass.test", ""])
async def test_the_lookups_are_limited(sender: str) -> None:
    class Limiting(FakeResolver):
        budgets = 0

        def limited(self, **limits: Any) -> Resolver:
            self.budgets += 1
            return super().limited(**limits)

    dns = Limiting(DNS)
    _, tx = await run(sender, session=a_session(ehlo="pass.test"), dns=dns)
    assert (dns.budgets, tx.notes[SPF_RESULT].result) == (1, "pass")


# --- DMARC and Received-SPF ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "levels"),
    [
        ("pass", "- - - - -"),
        ("fail", "- 5.7.23 5.7.23 5.7.23 5.7.23"),
        ("softfail", "- - 5.7.1 5.7.1 5.7.1"),
        ("neutral", "- - - 5.7.1 5.7.1"),
        ("none", "- - - - 5.7.1"),
        ("permerror", "- - - - 5.7.24"),
        ("temperror", "- - - - -"),
    ],
)
async def test_without_a_dmarc_policy(result: str, levels: str) -> None:
    found = []
    for level in range(5):
        plugin = await a_plugin(SenderPermittedFrom, f"no_dmarc_policy {level}", dns=DNS)
        tx = a_transaction(f"a@{result}.test", message="Subject: x\n\nx\n")
        assert await plugin.hook_mail(tx, tx.reverse_path) is None
        assert await plugin.hook_data_post_headers(tx) is None
        assert await plugin.hook_data_post(tx) is None  # nobody has looked for a policy
        tx.auth_results.append(AuthResult("dmarc", "none"))
        found.append(shape(await plugin.hook_data_post(tx)))
        await tx.end_tasks()
    assert found == levels.split()


async def test_received_spf() -> None:
    _, tx = await run("a@pass.test", "received_spf yes")
    assert tx.message is not None
    tx.put_fields_on_top()
    value = tx.message.headers.get("Received-SPF")
    assert value is not None
    assert value.startswith("pass receiver=mx.example;")
    assert "envelope-from" in value
    _, tx = await run("a@pass.test")
    tx.put_fields_on_top()
    assert tx.message is not None and "Received-SPF" not in tx.message.headers


# --- a DNS that does not answer -------------------------------------------------------------------


class Slow(FakeResolver):
    """Answers when it is told to."""

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self.told = asyncio.Event()

    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
        await self.told.wait()
        return await super().look_up(kind, name)


async def test_a_late_answer_counts() -> None:
    dns = Slow(DNS)
    plugin = await a_plugin(SenderPermittedFrom, dns=dns)
    tx = a_transaction("a@pass.test", message="Subject: x\n\nx\n")
    await plugin.hook_mail(tx, tx.reverse_path)
    waiting = asyncio.create_task(plugin.hook_data_post_headers(tx))
    await asyncio.sleep(0)
    assert not waiting.done()
    dns.told.set()
    await waiting
    assert tx.notes[SPF_RESULT].result == "pass"
    await tx.end_tasks()


async def test_a_hook_that_is_given_up_leaves_the_check_to_others() -> None:
    """The hook's time limit must not cancel a check that belongs to the session."""
    dns = Slow(DNS)
    plugin = await a_plugin(SenderPermittedFrom, "reject 2", dns=dns)
    session = a_session(ehlo="pass.test")
    tx = a_transaction("", session=session)
    waiting = asyncio.create_task(plugin.hook_mail(tx, None))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    dns.told.set()
    _, tx = await run("", session=session, plugin=plugin)
    assert tx.notes[SPF_RESULT].result == "pass"
    await session.end_tasks()
