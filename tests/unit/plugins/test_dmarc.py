# SPDX-License-Identifier: MIT
"""dmarc: what is refused at each level, who is checked, and where the result goes."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from qpsmtpd.api import (
    DKIM_RESULTS,
    DMARC_RESULT,
    SPF_RESULT,
    AuthResult,
    ConfigError,
    Decision,
    DkimResult,
    DmarcCounts,
    Resolver,
    Session,
    Severity,
    SpfResult,
    Transaction,
    Verdict,
)
from qpsmtpd.mailauth.aggregate import Row, day_of
from qpsmtpd.mailauth.budget import QUESTIONS, resolver_for
from qpsmtpd.plugins.dmarc import TEXT_AUTHOR, TEXT_POLICY, TEXT_TEMPERROR, Dmarc
from qpsmtpd.testing import (
    CLIENT_IP,
    FakeClock,
    FakeConfig,
    FakeResolver,
    FakeStore,
    FakeSystem,
    Records,
    a_plugin,
    a_session,
    a_transaction,
    dns_failure,
    findings_of,
    services,
)

DNS: Records = {
    ("TXT", "_dmarc.reject.test"): ["v=DMARC1; p=reject"],
    ("TXT", "_dmarc.quarantine.test"): ["v=DMARC1; p=quarantine"],
    ("TXT", "_dmarc.nothing.test"): ["v=DMARC1; p=none"],
    ("TXT", "_dmarc.testing.test"): ["v=DMARC1; p=reject; t=y"],
    ("TXT", "_dmarc.silent.test"): dns_failure(),
}
PASSED = SpfResult("pass", "mailfrom", "reject.test")
FAILED = SpfResult("fail", "mailfrom", "attack.test")
UNSIGNED: tuple[DkimResult, ...] = ()


async def run(
    author: str,
    line: str = "",
    *,
    spf: SpfResult | None = FAILED,
    dkim: tuple[DkimResult, ...] | None = UNSIGNED,
    session: Session | None = None,
    sender: str = "x@attack.test",
    fields: str = "",
    **lent: Any,
) -> tuple[Verdict | None, Transaction]:
    """What a message of this author leads to, with these results of SPF and DKIM."""
    lent.setdefault("dns", DNS)
    plugin = await a_plugin(Dmarc, line, **lent)
    tx = a_transaction(sender, session=session, message=f"{fields}From: {author}\n\nx\n")
    assert await plugin.hook_data_headers_end(tx) is None
    if spf is not None:
        tx.notes[SPF_RESULT] = spf
    if dkim is not None:
        tx.notes[DKIM_RESULTS] = dkim
    verdict = await plugin.hook_data_post_headers(tx)
    await tx.end_tasks()
    return verdict, tx


def said(tx: Transaction) -> AuthResult:
    [result] = tx.auth_results
    return result


# --- results --------------------------------------------------------------------------------------


async def test_results() -> None:
    verdict, tx = await run("a@reject.test", spf=PASSED)
    assert verdict is None
    told = {"header.from": "reject.test", "policy.dmarc": "reject"}
    assert said(tx) == AuthResult("dmarc", "pass", "", told)
    result = tx.notes[DMARC_RESULT]
    assert (result.result, result.aligned) == ("pass", (("spf", "reject.test"),))

    _, tx = await run("a@sub.testing.test", dkim=(DkimResult("pass", domain="attack.test"),))
    told = {"header.from": "sub.testing.test", "policy.dmarc": "quarantine"}
    assert said(tx) == AuthResult("dmarc", "fail", "", told)
    assert tx.notes[DMARC_RESULT].declared == "reject"
    assert tx.notes[DMARC_RESULT].where == "testing.test"

    _, tx = await run("a@nobody.test")
    assert said(tx) == AuthResult("dmarc", "none", "", {"header.from": "nobody.test"})

    _, tx = await run("a@silent.test")
    why = "policy cannot be looked up"
    assert said(tx) == AuthResult("dmarc", "temperror", why, {"header.from": "silent.test"})


async def test_without_one_domain() -> None:
    _, tx = await run("a@reject.test, b@nothing.test", "reject 0")
    assert said(tx) == AuthResult("dmarc", "permerror", "From names more than one domain")
    _, tx = await run("nobody", "reject 0")
    assert said(tx) == AuthResult("dmarc", "permerror", "From is not a list of addresses")
    verdict, tx = await run("root@[192.0.2.1]", "reject 1")
    assert verdict is None
    assert said(tx) == AuthResult("dmarc", "none", "", {"header.from": "[192.0.2.1]"})


async def test_an_internationalized_author() -> None:
    dns = {("TXT", "_dmarc.xn--bcher-kva.test"): ["v=DMARC1; p=reject"]}
    _, tx = await run("a@bücher.test", dns=dns)
    assert said(tx).get("header.from") == "xn--bcher-kva.test"
    assert said(tx).result == "fail"


async def test_the_header_section_is_that_which_came() -> None:
    plugin = await a_plugin(Dmarc, dns=DNS)
    tx = a_transaction(message="From: a@reject.test\n\nx\n")
    assert tx.message is not None
    tx.message.headers.replace("From", "changed@nobody.test")
    await plugin.hook_data_headers_end(tx)
    tx.notes[SPF_RESULT], tx.notes[DKIM_RESULTS] = FAILED, ()
    await plugin.hook_data_post_headers(tx)
    assert said(tx).get("header.from") == "reject.test"
    await tx.end_tasks()


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("author", "levels"),
    [
        ("a@reject.test", "- - 5.7.1"),
        ("a@sub.reject.test", "- - 5.7.1"),
        ("a@quarantine.test", "- - -"),
        ("a@nothing.test", "- - -"),
        ("a@testing.test", "- - -"),
        ("a@nobody.test", "- - -"),
        ("a@silent.test", "- - -"),
        ("a@reject.test, b@attack.test", "- 5.7.1 5.7.1"),
        ("a@reject.test, b@reject.test", "- - 5.7.1"),
        ("nobody", "- 5.7.1 5.7.1"),
        ("Group:;", "- 5.7.1 5.7.1"),
    ],
)
async def test_levels(author: str, levels: str) -> None:
    found = []
    for line in ("reject 0", "", "reject 1"):
        verdict, _ = await run(author, line)
        found.append("-" if verdict is None else verdict.status)
        if verdict is not None:
            assert (verdict.decision, verdict.code) == (Decision.DENY, 550)
    assert found == levels.split()


@pytest.mark.parametrize("line", ["", "reject author", "reject=author"])
async def test_the_default_is_to_refuse_what_has_no_author(line: str) -> None:
    verdict, _ = await run("nobody", line)
    assert verdict is not None
    assert verdict.text == TEXT_AUTHOR.format("From is not a list of addresses")
    assert (await run("a@reject.test", line))[0] is None


@pytest.mark.parametrize("line", ["", "reject 0", "reject 1"])
async def test_a_pass_is_never_refused(line: str) -> None:
    assert (await run("a@reject.test", line, spf=PASSED))[0] is None


async def test_texts() -> None:
    verdict, _ = await run("a@Sub.REJECT.test", "reject 1")
    assert verdict is not None
    assert verdict.text == TEXT_POLICY.format("sub.reject.test")
    assert "DMARC policy for sub.reject.test" in verdict.text
    assert verdict.reason == (
        "dmarc=fail from='sub.reject.test' policy=reject record='reject.test' why=''"
    )


async def test_reject_types() -> None:
    verdict, _ = await run("a@reject.test", "reject 1 reject_type temp")
    assert verdict is not None
    assert (verdict.decision, verdict.status, verdict.code) == (Decision.DEFER, "4.7.1", 0)
    for author in ("a@reject.test", "nobody"):
        verdict, tx = await run(author, "reject naughty")
        assert verdict is None
        assert len(tx.session.deferred_rejects) == 1


async def test_temperror() -> None:
    signature = DkimResult("temperror", domain="reject.test")
    for author, dkim in (("a@silent.test", UNSIGNED), ("a@reject.test", (signature,))):
        verdict, tx = await run(author, "reject 1", dkim=dkim)
        assert verdict is None
        assert said(tx).result == "temperror"
        verdict, _ = await run(author, "reject 1 temperror defer", dkim=dkim)
        assert verdict is not None
        assert (verdict.decision, verdict.status) == (Decision.DEFER, "4.4.3")
        assert verdict.text == TEXT_TEMPERROR


@pytest.mark.parametrize(
    ("author", "points"),
    [
        ("a@reject.test", -3),
        ("a@quarantine.test", -3),
        ("a@testing.test", -3),
        ("a@nothing.test", 0),
        ("a@nobody.test", 0),
        ("a@silent.test", 0),
        ("nobody", -1),
    ],
)
async def test_karma(author: str, points: int) -> None:
    _, tx = await run(author)
    assert tx.session.karma == points


# --- results that are missing ---------------------------------------------------------------------


async def test_without_spf() -> None:
    """What nobody has checked may be a pass: it is not a fail."""
    _, tx = await run("a@reject.test", spf=None, sender="x@sub.reject.test")
    assert said(tx).result == "temperror"
    _, tx = await run("a@reject.test", spf=None, sender="x@attack.test")
    assert said(tx).result == "fail"
    hello = a_session(ehlo="MX.reject.test")
    _, tx = await run("a@reject.test", spf=None, sender="", session=hello)
    assert said(tx).result == "temperror"


async def test_without_dkim() -> None:
    signature = "DKIM-Signature: v=1\n"
    _, tx = await run("a@reject.test", "reject 1", dkim=None, fields=signature)
    assert said(tx).result == "temperror"
    _, tx = await run("a@reject.test", dkim=None)
    assert said(tx).result == "fail"


def test_other_plugins() -> None:
    assert Dmarc.after == Dmarc.needs == ("sender_permitted_from", "dkim")


# --- who is checked, and when ---------------------------------------------------------------------


@pytest.mark.parametrize("exempt", ["auth_user", "relay_client", "whitelisted_host"])
async def test_who_is_not_checked(exempt: str) -> None:
    session = a_session(ehlo="client.example")
    setattr(session, exempt, "user" if exempt == "auth_user" else True)
    verdict, tx = await run("nobody", "reject 1", session=session)
    assert verdict is None
    assert tx.auth_results == []
    assert DMARC_RESULT not in tx.notes
    assert tx.tasks is None


async def test_an_allowlisted_sender_is_not_checked() -> None:
    plugin = await a_plugin(Dmarc, dns=DNS)
    tx = a_transaction(message="From: nobody\n\nx\n")
    tx.whitelisted_sender = True
    await plugin.hook_data_headers_end(tx)
    assert await plugin.hook_data_post_headers(tx) is None
    assert tx.auth_results == []


async def test_the_policy_is_looked_up_while_the_client_sends() -> None:
    resolver = FakeResolver(DNS)
    plugin = await a_plugin(Dmarc, dns=resolver)
    tx = a_transaction(message="From: a@reject.test\n\nx\n")
    await plugin.hook_data_headers_end(tx)
    await asyncio.sleep(0)
    assert resolver.asked == [("TXT", "_dmarc.reject.test")]
    await tx.end_tasks()


async def test_lookups_are_limited() -> None:
    limits = []

    class Limiting(FakeResolver):
        def limited(self, *, questions: int = 0, seconds: float = 0) -> Resolver:
            limits.append((questions, seconds))
            return self

    await run("a@reject.test", dns=Limiting(DNS))
    assert limits == [(40, 20.0)]


async def test_what_spf_asks_does_not_count() -> None:
    """A forger's SPF record cannot make the policy of somebody else unknown."""
    plugin = await a_plugin(Dmarc, "reject 1", dns=DNS)
    tx = a_transaction(message="From: a@reject.test\n\nx\n")
    spent = resolver_for(tx, plugin.services.resolver, "spf")
    for _ in range(QUESTIONS):
        await spent.txt("x.attack.test")
    await plugin.hook_data_headers_end(tx)
    tx.notes[SPF_RESULT], tx.notes[DKIM_RESULTS] = FAILED, ()
    assert await plugin.hook_data_post_headers(tx) is not None
    await tx.end_tasks()


async def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await run("a@reject.test")
    await run("a@reject.test", spf=PASSED)
    await run("a@nobody.test")
    assert [record.getMessage() for record in caplog.records] == [
        "dmarc=fail from='reject.test' policy=reject record='reject.test' why=''"
    ]


# --- a list of public suffixes --------------------------------------------------------------------


async def test_a_list_of_public_suffixes(tmp_path: Path) -> None:
    (tmp_path / "suffixes").write_text("test\nco.test\n")
    line = "public_suffix_list suffixes"
    resolver = FakeResolver({("TXT", "_dmarc.a.co.test"): ["v=DMARC1; p=reject"]})
    passed = SpfResult("pass", "mailfrom", "b.co.test")
    _, tx = await run("x@m.a.co.test", line, spf=passed, dns=resolver, config_dir=tmp_path)
    assert said(tx).result == "fail"
    assert tx.notes[DMARC_RESULT].org_domain == "a.co.test"
    assert resolver.asked == [("TXT", "_dmarc.m.a.co.test"), ("TXT", "_dmarc.a.co.test")]


@pytest.mark.parametrize(
    ("octets", "problem"),
    [
        (None, "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"// nothing\n", "has no public suffixes"),
    ],
)
async def test_lists_that_cannot_be_used(
    tmp_path: Path, octets: bytes | None, problem: str
) -> None:
    if octets is not None:
        (tmp_path / "suffixes").write_bytes(octets)
    with pytest.raises(ConfigError, match=problem):
        await a_plugin(Dmarc, "public_suffix_list suffixes", config_dir=tmp_path)


# --- reports --------------------------------------------------------------------------------------

REPORTING = "reporting 1 report_sender dmarc@mx.test report_via 127.0.0.1:10025"
ASKING: Records = {
    ("TXT", "_dmarc.asks.test"): ["v=DMARC1; p=reject; rua=mailto:a@asks.test"],
    ("TXT", "_dmarc.reject.test"): ["v=DMARC1; p=reject"],
    ("TXT", "_dmarc.silent.test"): dns_failure(),
}
TODAY = day_of(FakeClock().now())


async def counted(author: str, line: str = REPORTING, **more: Any) -> list[tuple[Row, int]]:
    """The rows about asks.test after a message."""
    store = more.setdefault("store", FakeStore())
    recipients = more.pop("recipients", ())
    plugin = await a_plugin(Dmarc, line, dns=ASKING, store=store)
    plugin.mode = more.pop("mode", "enforce")
    session = a_session(ehlo="client.example", relay_client=more.pop("relay_client", False))
    fields = more.pop("fields", "")
    tx = a_transaction(
        "x@sender.test", *recipients, session=session, message=f"{fields}From: {author}\n\nx\n"
    )
    await plugin.hook_data_headers_end(tx)
    tx.notes[SPF_RESULT] = more.pop("spf", FAILED)
    tx.notes[DKIM_RESULTS] = more.pop("dkim", UNSIGNED)
    await plugin.hook_data_post_headers(tx)
    await tx.end_tasks()
    return await DmarcCounts(store, FakeClock()).rows(TODAY, "asks.test")


async def test_messages_are_counted_where_that_is_wanted() -> None:
    [(row, count)] = await counted("a@sub.asks.test")
    assert count == 1
    assert (row.header_from, row.envelope_from, row.source) == (
        *("sub.asks.test", "sender.test", CLIENT_IP),
    )
    assert (row.disposition, row.reason, row.spf, row.spf_result) == (
        *("none", "local_policy", "fail", "fail"),
    )
    assert await counted("a@asks.test", "reporting 0") == []
    assert await counted("a@asks.test", "") == []
    assert await counted("a@reject.test") == []
    assert await counted("a@silent.test") == []
    assert await counted("a@asks.test, b@reject.test", f"reject 0 {REPORTING}") == []
    assert await counted("a@asks.test", relay_client=True) == []


async def test_messages_that_are_alike_are_one_row() -> None:
    store = FakeStore()
    await counted("a@asks.test", store=store)
    [(_, count)] = await counted("b@asks.test", store=store)
    assert count == 2


async def test_what_becomes_of_a_message_is_counted() -> None:
    refusing = f"reject 1 {REPORTING}"
    [(row, _)] = await counted("a@asks.test", refusing)
    assert (row.disposition, row.reason) == ("reject", "")
    # The client comes again.
    assert await counted("a@asks.test", f"{refusing} reject_type temp") == []
    [(row, _)] = await counted("a@asks.test", refusing, mode="shadow")
    assert (row.disposition, row.reason) == ("none", "local_policy")
    [(row, _)] = await counted("a@asks.test", refusing, spf=replace(PASSED, domain="asks.test"))
    assert (row.disposition, row.spf, row.dkim) == ("pass", "pass", "fail")


async def test_recipients_are_private_unless_the_administrator_says_otherwise() -> None:
    recipients = ("u@us.test",)
    [(row, _)] = await counted("a@asks.test", recipients=recipients)
    assert row.envelope_to == ""
    [(row, _)] = await counted(
        "a@asks.test", f"{REPORTING} report_recipients 1", recipients=recipients
    )
    assert row.envelope_to == "us.test"


async def test_reports_are_not_reported() -> None:
    """Those that pass; a forger cannot hide behind a subject."""
    report = "Subject: Report Domain: us.test\n"
    passed = replace(PASSED, domain="asks.test")
    assert await counted("a@asks.test", fields=report, spf=passed) == []
    assert len(await counted("a@asks.test", fields=report)) == 1
    assert len(await counted("a@asks.test", fields=f"X-{report}", spf=passed)) == 1
    # Non-delivery reports about reports, and complaints.
    assert await counted("a@asks.test", recipients=("Dmarc@mx.test",), spf=passed) == []
    both = ("dmarc@mx.test", "u@mx.test")
    assert len(await counted("a@asks.test", recipients=both, spf=passed)) == 1


async def test_a_store_that_is_down_changes_no_verdict() -> None:
    down = FakeStore(down=True)
    verdict, tx = await run("a@asks.test", f"reject 1 {REPORTING}", dns=ASKING, store=down)
    assert verdict is not None
    assert verdict.decision is Decision.DENY
    assert said(tx).result == "fail"
    verdict, _ = await run("a@asks.test", REPORTING, dns=ASKING, store=down)
    assert verdict is None


@pytest.mark.parametrize(
    "line", ["reporting 1", "reporting 1 report_sender a@b.test", "reporting report_via x:25"]
)
async def test_the_line_of_the_perl_version_goes_on_working(line: str) -> None:
    lent = services(dns=ASKING)
    plugin = await a_plugin(Dmarc, line, services=lent)
    [warning] = cast(FakeConfig, plugin.services.config).warnings
    assert "reporting needs report_sender" in warning
    assert await counted("a@asks.test", line) == []


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("report_sender nobody", "is not an address (dmarc-reports@example.org)"),
        ("report_sender a@[192.0.2.1]", "is not an address"),
        ("report_sender a@bücher.test", "is not an address"),
        ("report_sender <a@b.test>", "is not an address"),
        ("report_via localhost", "is not HOST:PORT or the path of a program"),
        ("report_via localhost:0", "is not HOST:PORT"),
        ("report_via localhost:65536", "is not HOST:PORT"),
        ("report_via sendmail", "is not HOST:PORT"),
    ],
)
async def test_options_of_reports(option: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        await a_plugin(Dmarc, option)


@pytest.mark.parametrize("place", ["mx.test:25", "[::1]:10025", "127.0.0.1:65535", "/usr/sbin/x"])
async def test_places_that_take_reports(place: str) -> None:
    plugin = await a_plugin(Dmarc, f"report_via {place}")
    assert plugin.options.report_via == place


@pytest.mark.parametrize(
    ("line", "said", "expected"),
    [
        (REPORTING, "enabled\n", [Severity.OK]),
        (REPORTING, "disabled\n", [Severity.NOTICE]),
        (REPORTING, "", [Severity.NOTICE]),
        (REPORTING, None, []),
        ("reporting", "disabled\n", []),
        ("", "disabled\n", []),
    ],
)
async def test_the_doctor_sees_whether_reports_are_sent(
    tmp_path: Path, line: str, said: str | None, expected: list[Severity]
) -> None:
    system = FakeSystem(tmp_path)
    if said is not None:
        system.outputs["systemctl is-enabled qpsmtpd-dmarc-report.timer"] = said
    found = await findings_of(await a_plugin(Dmarc, line), system)
    assert [finding.severity for finding in found] == expected
