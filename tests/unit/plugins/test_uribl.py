# SPDX-License-Identifier: MIT
"""uribl: what is asked for, what lists say, and what becomes of the message."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import ConfigError, Decision, Severity, Transaction, Verdict
from qpsmtpd.plugins.uribl import FIELD, URIBL_MATCHES, Uribl
from qpsmtpd.testing import (
    FakeResolver,
    FakeSystem,
    a_plugin,
    a_session,
    a_transaction,
    dns_failure,
    findings_of,
)

NAME = "spam.example.bl.test"
LISTED: dict[tuple[str, str], Any] = {
    ("A", NAME): ["127.0.0.2"],
    ("TXT", NAME): ["it is spam"],
}
TEXT = "see http://spam.example/ now\n"
HTML = '<a href="http://sp&#97;m.example/">x</a>'
DESCRIBED = "spam.example in bl.test: it is spam"


async def run(
    line: str = "",
    body: str = TEXT,
    *,
    fields: str = "",
    recipients: tuple[str, ...] = ("user@example.test",),
    session: Any = None,
    mode: Any = "enforce",
    **lent: Any,
) -> tuple[Verdict | None, Transaction]:
    lent.setdefault("config", {"uribl_zones": ["bl.test"]})
    lent.setdefault("dns", LISTED)
    plugin = await a_plugin(Uribl, line, **lent)
    plugin.mode = mode
    message = f"{fields}Subject: x\n\n{body}"
    tx = a_transaction("a@client.test", *recipients, session=session, message=message)
    tx.put_fields_on_top()
    return await plugin.hook_data_post(tx), tx


def added(tx: Transaction) -> list[str]:
    assert tx.message is not None
    return tx.message.headers.get_all(FIELD)


async def asked(body: str, line: str = "", **lent: Any) -> list[str]:
    """The names that the list was asked for."""
    dns = FakeResolver()
    await run(line, body, dns=dns, **lent)
    return [name.removesuffix(".bl.test") for _, name in dns.asked]


# --- actions --------------------------------------------------------------------------------------


async def test_a_listed_link() -> None:
    verdict, tx = await run()
    assert verdict is None
    assert added(tx) == [DESCRIBED]
    assert tx.notes[URIBL_MATCHES] == (("spam.example", "bl.test"),)
    assert tx.session.karma == -1


async def test_a_message_without_listed_links() -> None:
    verdict, tx = await run(body="see http://ham.example/\n")
    assert (verdict, added(tx), tx.session.karma) == (None, [], 0)
    assert URIBL_MATCHES not in tx.notes


@pytest.mark.parametrize(
    ("line", "zone", "expected"),
    [
        ("action deny", "bl.test", (Decision.DENY, "5.7.1")),
        ("action denysoft", "bl.test", (Decision.DEFER, "4.7.1")),
        ("action log", "bl.test", None),
        ("", "bl.test deny", (Decision.DENY, "5.7.1")),
        ("", "bl.test 2 denysoft", (Decision.DEFER, "4.7.1")),
        ("action deny", "bl.test 2 log", None),
        ("reject 1", "bl.test", (Decision.DENY, "5.7.1")),
        ("reject=1", "bl.test", (Decision.DENY, "5.7.1")),
        ("reject 1 action log", "bl.test", None),
        ("reject 1 reject_type temp", "bl.test", (Decision.DEFER, "4.7.1")),
        ("reject 0 action deny", "bl.test", None),
        ("reject naughty", "bl.test", None),
    ],
)
async def test_actions(line: str, zone: str, expected: tuple[Decision, str] | None) -> None:
    verdict, tx = await run(line, config={"uribl_zones": [zone]})
    assert (verdict and (verdict.decision, verdict.status)) == expected
    assert verdict is None or verdict.text == DESCRIBED
    assert added(tx) == []
    assert len(tx.session.deferred_rejects) == (line == "reject naughty")


async def test_the_first_list_that_refuses_decides() -> None:
    names = {("A", f"spam.example.{zone}.test"): ["127.0.0.2"] for zone in "abc"}
    zones = ["a.test add-header", "b.test denysoft", "c.test deny"]
    verdict, tx = await run(config={"uribl_zones": zones}, dns=names)
    assert verdict is not None
    assert (verdict.decision, verdict.text) == (Decision.DEFER, "spam.example in b.test")
    assert added(tx) == ["spam.example in a.test"]


async def test_shadow_changes_nothing() -> None:
    _, tx = await run(mode="shadow")
    assert added(tx) == []


async def test_who_is_not_tested() -> None:
    dns = FakeResolver(LISTED)
    await run(session=a_session(relay_client=True), dns=dns)
    await run(recipients=("abuse@example.test", "Postmaster@example.test"), dns=dns)
    await run(config={"uribl_zones": []}, dns=dns)
    assert dns.asked == []
    await run(recipients=("abuse@example.test", "user@example.test"), dns=dns)
    assert dns.asked != []


# --- what lists say -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counting", "answers", "expected"),
    [
        ("", ["127.0.0.2"], True),
        ("2,8", ["127.0.0.10"], True),
        ("4", ["127.0.0.2"], False),
        ("4", ["127.0.0.2", "127.0.0.4"], True),
        ("-1", ["127.0.0.2"], True),
        ("0", ["127.0.0.2"], True),
        ("127.0.0.[2..4]", ["127.0.0.4"], True),
        ("127.0.0.[2..4]", ["127.0.0.5"], False),
        ("", ["127.0.0.1"], False),
        ("", ["127.255.255.254"], False),
        ("", ["192.0.2.1"], False),
        ("", dns_failure(), False),
    ],
)
async def test_which_answers_count(counting: str, answers: Any, expected: bool) -> None:
    _, tx = await run(config={"uribl_zones": [f"bl.test {counting}"]}, dns={("A", NAME): answers})
    assert bool(added(tx)) is expected


async def test_the_mask_of_the_line() -> None:
    assert added((await run("mask 4"))[1]) == []
    for line in ("mask 6", "mask 0", "mask -1"):
        assert added((await run(line))[1]) == [DESCRIBED]


@pytest.mark.parametrize(("code", "expected"), [("2", True), ("99", True), ("102", False)])
@pytest.mark.parametrize("zone", ["dbl.test", "key.dbl.test"])
async def test_honest_sites_in_a_dbl(zone: str, code: str, expected: bool) -> None:
    dns = {("A", f"spam.example.{zone}"): [f"127.0.1.{code}"]}
    _, tx = await run(config={"uribl_zones": [zone]}, dns=dns)
    assert bool(added(tx)) is expected
    _, tx = await run(config={"uribl_zones": [f"{zone} 127.0.1.[100..110]"]}, dns=dns)
    assert bool(added(tx)) is not expected


async def test_a_list_that_has_everybody() -> None:
    dns = {**LISTED, ("A", "invalid.bl.test"): ["127.0.0.2"]}
    verdict, tx = await run("action deny", dns=dns)
    assert (verdict, tx.session.karma) == (None, 0)


async def test_silence_is_no_listing() -> None:
    verdict, tx = await run("timeout 0.01 action deny", dns=FakeResolver(silent=True))
    assert (verdict, added(tx)) == (None, [])


async def test_a_list_that_is_silent_does_not_hide_what_another_says() -> None:
    class HalfSilent(FakeResolver):
        async def look_up(self, kind: Any, name: str) -> Any:
            if name.endswith(".silent.test"):
                await asyncio.Event().wait()
            return await super().look_up(kind, name)

    config = {"uribl_zones": ["silent.test", "bl.test deny"]}
    verdict, _ = await run("timeout 0.1", config=config, dns=HalfSilent(LISTED))
    assert verdict is not None
    assert verdict.text.startswith("spam.example in bl.test")


# --- what is asked for ----------------------------------------------------------------------------


async def test_names() -> None:
    text = "http://a.b.spam.com/ http://www.other.co.uk/ me@third.org\n"
    assert await asked(text) == ["spam.com", "other.co.uk", "third.org", "b.spam.com"]


async def test_at_most_so_many_names() -> None:
    text = "bare.com " + " ".join(f"http://x.a{number}.com/" for number in range(50))
    names = await asked(text, "max_domains 10")
    assert names == [f"a{number}.com" for number in range(10)]


async def test_allowed_domains() -> None:
    zones = {"uribl_zones": ["bl.test"], "uribl_whitelist_domains": ["Good.com"]}
    text = "http://www.w3.org/1999 http://a.good.com/ http://good.com/ http://notgood.com/\n"
    assert await asked(text, config=zones) == ["notgood.com"]


async def test_addresses() -> None:
    text = "http://3325256711/ http://127.0.0.2/\n"
    assert await asked(text) == ["7.100.51.198"]
    assert await asked(text, "checkip no") == []


async def test_a_dbl_is_never_asked_for_an_address() -> None:
    dns = FakeResolver()
    text = "http://198.51.100.7/ http://[2001:db8::1]/ http://spam.com/\n"
    await run(body=text, config={"uribl_zones": ["dbl.test"]}, dns=dns)
    assert dns.asked == [("A", "spam.com.dbl.test")]


async def test_a_list_of_public_suffixes(tmp_path: Path) -> None:
    (tmp_path / "suffixes").write_text("com\nblog.example\n")
    line = "public_suffix_list suffixes"
    text = "http://spam.blog.example/ bare.org"
    assert await asked(text, line, config_dir=tmp_path) == ["spam.blog.example"]
    (tmp_path / "suffixes").write_text("")
    with pytest.raises(ConfigError, match="has no public suffixes"):
        await asked(text, line, config_dir=tmp_path)


async def test_parts_in_any_encoding() -> None:
    encoded = base64.encodebytes(HTML.encode("utf-16")).decode()
    fields = "Content-Type: multipart/mixed; boundary=b\n"
    part = "Content-Type: text/html; charset=utf-16\nContent-Transfer-Encoding: base64\n"
    _, tx = await run(body=f"--b\n{part}\n{encoded}--b--\n", fields=fields)
    assert added(tx) == [DESCRIBED]


@pytest.mark.parametrize("line", ["check_headers 1", "scan-headers 1", "check-headers 1"])
async def test_header_fields(line: str) -> None:
    fields = "Subject: =?utf-8?b?aHR0cDovL3NwYW0uZXhhbXBsZQ?=\nReceived: from www.us.test\n"
    assert await asked("x\n", fields=fields) == []
    assert await asked("x\n", line, fields=fields) == ["spam.example"]


async def test_more_text_than_is_looked_at() -> None:
    text = f"http://first.com/ {'word ' * 10_000} http://last.com/\n"
    assert await asked(text, "max_text 20k") == ["first.com"]
    assert await asked(text) == ["first.com", "last.com"]


async def test_others_have_a_turn_while_a_message_is_read() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    await run(body="word " * 20_000)
    other.cancel()
    assert turns >= 100_000 // 8192


# --- the configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("bl.test refuse", "'refuse' is not 127.0.0.2"),
        ("bl.test 2 refuse", "must be ZONE [MASK,MASK...|CODES] [add-header|deny|denysoft|log]"),
        ("bl.test 2 deny now", "must be ZONE"),
        ("bl.test 127.0.0 deny", "'127.0.0' is not 127.0.0.2, or with numbers"),
    ],
)
async def test_wrong_lines(line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await run(config={"uribl_zones": ["bl.test", line]})
    assert caught.value.where == "uribl_zones:2"
    assert problem in str(caught.value)


async def test_examination(tmp_path: Path) -> None:
    dns = {("A", "test.bl.test"): ["127.0.0.2"], ("A", "invalid.all.test"): ["127.0.0.2"]}
    config = {"uribl_zones": ["bl.test deny", "all.test"]}
    plugin = await a_plugin(Uribl, config=config, dns=dns)
    found = await findings_of(plugin, FakeSystem(tmp_path))
    assert [each.severity for each in found] == [Severity.OK, Severity.ERROR]
