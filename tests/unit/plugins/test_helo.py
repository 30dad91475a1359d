# SPDX-License-Identifier: MIT
"""helo: each test in the policies it belongs to."""

from typing import Any

import pytest

from qpsmtpd.api import ConfigError, Decision, Session, Verdict
from qpsmtpd.plugins.helo import Helo
from qpsmtpd.testing import (
    FakeResolver,
    Records,
    a_plugin,
    a_session,
    a_transaction,
    dns_failure,
)

IP = "192.0.2.9"
HOST = "mail.example.com"
DNS: Records = {
    ("A", HOST): [IP],
    ("PTR", IP): [HOST],
    ("A", "alias.example.com"): [IP],
    ("A", "other.example.net"): ["198.51.100.1"],
    ("A", "good.example.net"): ["198.51.100.1", IP],
    ("A", "near.example.net"): ["192.0.2.200"],
    ("AAAA", "six.example.net"): ["2001:db8::1"],
}


async def run(
    host: str, line: str = "", *, session: Session | None = None, **lent: Any
) -> Verdict | None:
    lent.setdefault("dns", DNS)
    plugin = await a_plugin(Helo, line, **lent)
    return await plugin.hook_ehlo(session or a_session(IP), host)


async def problem(host: str, policy: str = "lenient", **more: Any) -> str:
    """The text of the refusal, "" when there is none."""
    verdict = await run(host, f"policy {policy}", **more)
    return verdict.text if verdict else ""


def shape(verdict: Verdict | None) -> tuple[Decision, str, bool] | None:
    return (verdict.decision, verdict.status, verdict.disconnect) if verdict else None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", (Decision.DENY, "5.7.1", True)),
        ("reject_type disconnect", (Decision.DENY, "5.7.1", True)),
        ("reject_type perm", (Decision.DENY, "5.7.1", False)),
        ("reject_type temp", (Decision.DEFER, "4.7.1", False)),
        ("reject 0", None),
        ("reject naughty timeout 3", None),
        ("dns_timeout 3 reject 0", None),
    ],
)
async def test_how_it_is_refused(line: str, expected: tuple[Decision, str, bool] | None) -> None:
    session = a_session(IP)
    assert shape(await run("localhost", line, session=session)) == expected
    assert session.karma == -1


def test_helo_and_ehlo_are_the_same() -> None:
    assert Helo.hook_helo is Helo.hook_ehlo


async def test_no_name() -> None:
    session = a_session(IP)
    assert await run("", "policy strict", session=session) is None
    assert session.karma == -2


async def test_the_immune_are_not_tested() -> None:
    assert await run("localhost", session=a_session(IP, relay_client=True)) is None


# --- every policy ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "host", "bad"),
    [
        (["yahoo.com"], "Yahoo.COM", True),
        (["Yahoo.com"], "yahoo.com", True),
        (["yahoo.com"], "mail.yahoo.com", False),
        (["yahoo.com"], "yahooXcom", False),
        ([r"ya.oo\.com$"], "www.yahoo.com", True),
        ([r"ya.oo\.com$"], "yoda.com", False),
        (["^nothing$", r"ya.oo\.com$"], "yahoo.com", True),
        ([r"!\."], "host-only", True),
        ([r"!\."], "host.example", False),
        ([r"YA.OO\.com$"], "yahoo.com", True),
        ([r"!\."], "host-only.", True),
        ([r"!\.$"], "host.example.", True),
        ([r"\.$"], "host.example.", True),
        (["yahoo.com"], "yahoo.com.", True),
        (["yahoo.com."], "yahoo.com", True),
        (["bücher.example"], "xn--bcher-kva.example", True),
        (["xn--bcher-kva.example"], "bÜcher.example", True),
        ([r"bücher\.example$"], "mail.XN--bcher-kva.example", True),
        ([r"^xn--bcher-kva\."], "bücher.example", True),
        ([r"!bücher\.example$"], "mail.xn--bcher-kva.example", False),
        ([], "yahoo.com", False),
    ],
)
async def test_badhelo(entries: list[str], host: str, bad: bool) -> None:
    text = await problem(host, config={"badhelo": entries})
    assert text == ("Your HELO name is not accepted here" if bad else "")


async def test_a_wrong_expression_in_badhelo() -> None:
    with pytest.raises(ConfigError, match=r"badhelo:2: '\(' is not a regular expression"):
        await run("x", config={"badhelo": ["good", "("]})


@pytest.mark.parametrize(
    ("host", "ip", "bad"),
    [
        ("localhost", IP, True),
        ("LocalHost", IP, True),
        ("localhost.", IP, True),
        ("ｌｏｃａｌｈｏｓｔ", IP, True),
        ("localhost", "127.0.0.1", False),
        ("localhost.", "127.0.0.1", False),
        ("localhost", "127.5.5.5", False),
        ("localhost", "::1", False),
        ("not-localhost", IP, False),
        ("localhost.localdomain", IP, False),
    ],
)
async def test_localhost(host: str, ip: str, bad: bool) -> None:
    text = await problem(host, session=a_session(ip))
    assert text == ("You are not localhost" if bad else "")


@pytest.mark.parametrize(
    ("host", "ip", "bad"),
    [
        (f"[{IP}]", IP, False),
        ("[192.0.2.8]", IP, True),
        ("[IPv6:2001:db8::1]", "2001:db8::1", False),
        ("[IPv6:2001:db8:0:0::1]", "2001:db8::1", False),
        ("[IPv6:2001:db8::2]", "2001:db8::1", True),
        ("[ipv6:::ffff:192.0.2.9]", IP, False),
        ("[192.0.2.8].", IP, True),
        ("[127.0.0.1]", IP, True),
        ("[IPv6:::1]", IP, True),
        # Of a network that is everywhere: a client behind NAT.
        ("[192.168.1.5]", IP, False),
        ("[10.0.0.1]", IP, False),
        ("[172.31.255.255]", IP, False),
        ("[172.32.0.0]", IP, True),
        ("[100.64.0.1]", IP, False),
        ("[169.254.1.1]", IP, False),
        ("[IPv6:fd00::1]", IP, False),
        ("[IPv6:fe80::1%eth0]", IP, False),
        ("[192.168.1.5]", "2001:db8::1", False),
    ],
)
async def test_forged_literals(host: str, ip: str, bad: bool) -> None:
    text = await problem(host, session=a_session(ip))
    assert text == ("The address in your HELO is not yours" if bad else "")


@pytest.mark.parametrize(
    ("host", "bad"),
    [
        ("[0192.0.2.78]", True),
        ("[127.1]", True),
        ("[999.0.0.1]", True),
        ("[2130706433]", True),
        ("[0x7f.0.0.1]", True),
        ("[192.0.2.9.]", True),
        ("[192.0.2.9", True),
        ("192.0.2.9]", True),
        ("[192.0.2.9]:25", True),
        ("[IPv6:192.0.2]", True),
        ("[IPv6:2001:db8:::1]", True),
        ("[x]", False),
        ("[a1]", False),
        ("[", False),
    ],
)
async def test_misspelt_literals(host: str, bad: bool) -> None:
    assert await problem(host) == ("The address literal in your HELO is malformed" if bad else "")


@pytest.mark.parametrize(
    ("host", "bad"),
    [
        ("1.0.0.0", True),
        ("254.254.254.254", True),
        (IP, True),
        ("999.1.1.1", True),
        ("2001:db8::1", True),
        ("1.0.0.0.example.com", False),
        ("1.2.3", True),
        ("127.1", True),
        ("192.0.2.78.", True),
        ("0x7f.0.0.1", True),
        ("１９２．0．2．9", True),
        ("1.example", False),
        ("example.1a", False),
        ("12345", False),
    ],
)
async def test_plain_addresses(host: str, bad: bool) -> None:
    text = await problem(host)
    assert text == ("The address in your HELO lacks its brackets" if bad else "")


async def test_lenient_asks_no_dns() -> None:
    dns = FakeResolver()
    assert await problem("whatever", dns=dns) == ""
    assert dns.asked == []


# --- rfc and strict -------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["rfc", "strict"])
@pytest.mark.parametrize("host", ["mail", "mail_1.example.com", "a..com", "exämple.com", "[x]"])
async def test_names_that_are_not_fully_qualified(policy: str, host: str) -> None:
    assert await problem(host, policy) == "Your HELO name is not fully qualified"
    assert await problem(host) == ""


@pytest.mark.parametrize("policy", ["rfc", "strict"])
async def test_names_that_do_not_resolve(policy: str) -> None:
    assert await problem("absent.example.com", policy) == "Your HELO name does not resolve"


async def test_the_dns_is_asked_about_the_canonical_name() -> None:
    dns = FakeResolver(DNS)
    assert await problem("MAIL.Example.com.", "rfc", dns=dns) == ""
    assert set(dns.asked) == {("PTR", IP), ("A", HOST), ("AAAA", HOST)}


@pytest.mark.parametrize("policy", ["rfc", "strict"])
async def test_clients_without_a_name(policy: str) -> None:
    session = a_session("192.0.2.1")
    text = await problem(HOST, policy, session=session)
    assert text == "Your IP address has no name in the DNS"


@pytest.mark.parametrize("host", [HOST, f"{HOST}.", "six.example.net", f"[{IP}]"])
async def test_good_names_by_rfc(host: str) -> None:
    dns = FakeResolver({**DNS, ("A", f"{HOST}."): [IP]})
    assert await problem(host, "rfc", dns=dns) == ""
    assert not any(name.startswith("[") for _, name in dns.asked)


@pytest.mark.parametrize("policy", ["rfc", "strict"])
@pytest.mark.parametrize(
    "failing",
    [
        {("A", "absent.example.com"): dns_failure()},
        {("AAAA", "absent.example.com"): dns_failure()},
        {("A", "absent.example.com"): [IP], ("PTR", IP): dns_failure()},
    ],
)
async def test_a_failure_of_the_dns_refuses_nobody(policy: str, failing: Records) -> None:
    dns = {("PTR", IP): ["unrelated.test"], **failing}
    assert await problem("absent.example.com", policy, dns=dns) == ""


async def test_silence_refuses_nobody() -> None:
    verdict = await run(HOST, "policy strict timeout 0.01", dns=FakeResolver(silent=True))
    assert verdict is None


async def test_literals_are_refused_by_strict() -> None:
    assert await problem(f"[{IP}]", "strict") == ("Address literals in HELO are not accepted here")


UNRELATED = "Your HELO name does not match your IP address"


@pytest.mark.parametrize(
    ("host", "ip", "name", "text", "karma"),
    [
        (HOST, IP, HOST, "", 1),
        (HOST, IP, "alias.Example.com", "", 1),
        ("MAIL.example.com.", IP, "Alias.Example.com", "", 1),
        (HOST, IP, "other.Example.com", "", 0),
        ("near.example.net", IP, "x.test", "", 0),
        ("other.example.net", IP, "good.example.net", "", 0),
        ("other.example.net", IP, "www.example.net", UNRELATED, -1),
        ("other.example.net", IP, "other.example.net", UNRELATED, -1),
        ("other.example.net", IP, "example.org", UNRELATED, -1),
        ("six.example.net", IP, "x.test", UNRELATED, -1),
        ("six.example.net", "2001:db8::ffff:1", "x.test", "", 0),
        ("six.example.net", "2001:db8::1:0:1", "x.test", UNRELATED, -1),
        ("near.example.net", "192.0.3.200", "x.test", UNRELATED, -1),
    ],
)
async def test_strict_wants_name_and_address_to_agree(
    host: str, ip: str, name: str, text: str, karma: int
) -> None:
    session = a_session(ip)
    dns = {**DNS, ("PTR", ip): [name]}
    assert await problem(host, "strict", session=session, dns=dns) == text
    assert session.karma == karma
    if text:
        assert await problem(host, "rfc", session=session, dns=dns) == ""


async def test_a_name_that_nobody_can_confirm_now_refuses_nobody() -> None:
    dns = {**DNS, ("PTR", IP): ["www.example.net"], ("A", "www.example.net"): dns_failure()}
    assert await problem("other.example.net", "strict", dns=dns) == ""


# --- the message ----------------------------------------------------------------------------


async def test_x_helo_is_ours() -> None:
    plugin = await a_plugin(Helo)
    tx = a_transaction(message="X-HELO: forged\nSubject: x\n\n", session=a_session(IP, helo=HOST))
    assert await plugin.hook_data_post(tx) is None
    assert tx.message is not None
    assert tx.message.headers.get_all("X-HELO") == [HOST]


@pytest.mark.parametrize("host", ["a\x01\tb\x7f", "\udcff.ex\u00e4mple", "x\r\nEvil: y"])
async def test_x_helo_holds_printable_ascii_only(host: str) -> None:
    tx = a_transaction(message="Subject: x\n\n", session=a_session(IP, helo=host))
    await (await a_plugin(Helo)).hook_data_post(tx)
    assert tx.message is not None
    field = tx.message.headers.get("X-HELO") or ""
    assert len(field) == len(host)
    assert field.isascii()
    assert field.isprintable()
    assert "Evil" not in tx.message.headers
