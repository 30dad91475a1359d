# SPDX-License-Identifier: MIT
"""dnslist.py: names to ask about, and what answers mean."""

import asyncio
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.lists.dnslists import DnsList, are_codes, reversed_address
from qpsmtpd.testing import FakeClock, FakeResolver, Records, dns_failure

RECORDS: Records = {
    ("A", "listed.bl.test"): ["127.0.0.2", "127.0.0.4"],
    ("TXT", "listed.bl.test"): ["sp\u00e4m\r\n550 " + "x" * 500, "more"],
    ("A", "closed.bl.test"): ["127.0.0.1"],
    ("A", "refused.bl.test"): ["127.255.255.254"],
    ("A", "wildcard.bl.test"): ["192.0.2.1"],
    ("A", "mixed.bl.test"): ["127.0.0.2", "192.0.2.1"],
    ("A", "broken.bl.test"): dns_failure(),
    ("TXT", "broken.bl.test"): dns_failure(),
}


def a_list(clock: FakeClock | None = None) -> DnsList:
    return DnsList("BL.test.", FakeResolver(RECORDS), clock or FakeClock())


def test_ipv4_is_reversed_by_octets() -> None:
    assert reversed_address("127.0.0.2") == "2.0.0.127"
    assert reversed_address("::ffff:127.0.0.2") == "2.0.0.127"


def test_ipv6_is_reversed_by_nibbles() -> None:
    # The example of RFC 5782 section 2.4.
    assert reversed_address("2001:db8:1:2:3:4:567:89ab") == (
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2"
    )


@given(st.ip_addresses(v=6))
def test_every_ipv6_address_has_32_nibbles(address: ipaddress.IPv6Address) -> None:
    if address.ipv4_mapped is None:
        nibbles = reversed_address(str(address)).split(".")
        assert int("".join(reversed(nibbles)), 16) == int(address)
        assert len(nibbles) == 32


def test_no_address() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        reversed_address("example.com")


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("127.0.0.2", True),
        ("127.0.0.0", True),
        ("127.255.254.255", True),
        ("127.0.1.2", True),
        ("127.0.0.1", False),
        ("127.255.255.0", False),
        ("127.255.255.255", False),
        ("128.0.0.2", False),
        ("126.255.255.255", False),
        ("10.0.0.1", False),
    ],
)
def test_codes(address: str, code: bool) -> None:
    assert are_codes([address]) is code
    assert are_codes(["127.0.0.9", address]) is code


async def test_a_listing() -> None:
    assert await a_list().codes("listed") == ["127.0.0.2", "127.0.0.4"]
    assert await a_list().codes("absent") == []


@pytest.mark.parametrize("entry", ["LISTED", "xn--bcher-kva", "BÜCHER", "bu\u0308cher"])
async def test_a_list_is_asked_about_the_canonical_form(entry: str) -> None:
    resolver = FakeResolver()
    asked = DnsList(".Bücher.TEST.", resolver, FakeClock())
    assert await asked.codes(entry) == []
    assert await asked.reason(entry) == ""
    name = f"{'listed' if entry == 'LISTED' else 'xn--bcher-kva'}.xn--bcher-kva.test"
    assert resolver.asked == [("A", name), ("TXT", name)]


async def test_the_reason_is_one_short_line_of_ascii() -> None:
    reason = await a_list().reason("listed")
    assert reason.startswith("sp?m??550 xxx")
    assert len(reason) == 200
    assert await a_list().reason("absent") == ""
    assert await a_list().reason("broken") == ""


@pytest.mark.parametrize("entry", ["closed", "refused", "wildcard", "mixed"])
async def test_a_list_in_error_lists_nobody_and_is_logged_once_an_hour(
    entry: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    bad = a_list(clock)
    for seconds in (0, 3599, 1):
        clock.advance(seconds)
        assert await bad.codes(entry) == []
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "list=bl.test" in caplog.text


# --- lists that are down ------------------------------------------------------------------------


async def test_a_list_that_fails_is_left_alone_until_it_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    resolver = FakeResolver({("A", "broken.bl.test"): dns_failure()})
    found = DnsList("bl.test", resolver, clock)
    for _ in range(5):
        assert await found.codes("broken") == []
    assert len(resolver.asked) == 3
    clock.advance(1)
    assert await found.codes("broken") == await found.codes("other") == []
    assert len(resolver.asked) == 4
    clock.advance(2)
    resolver.records["A", "listed.bl.test"] = ["127.0.0.2"]
    assert await found.codes("listed") == await found.codes("listed") == ["127.0.0.2"]
    down, up = [record.getMessage() for record in caplog.records]
    assert down.startswith("DNS list down: bl.test: ")
    assert up.startswith("DNS list up again: bl.test seconds=3 ")


async def test_failures_in_between_are_none() -> None:
    resolver = FakeResolver({("A", "broken.bl.test"): dns_failure()})
    found = DnsList("bl.test", resolver, FakeClock())
    for _ in range(4):
        for entry in ("broken", "broken", "good"):
            assert await found.codes(entry) == []
    assert len(resolver.asked) == 12


@pytest.mark.parametrize(("seconds", "asked"), [(4, 4), (5, 3)])
async def test_clients_that_have_waited_in_vain(seconds: int, asked: int) -> None:
    """Those that leave soon say nothing about the list."""
    clock, resolver = FakeClock(), FakeResolver(silent=True)
    found = DnsList("bl.test", resolver, clock)
    for _ in range(4):
        waiting = asyncio.ensure_future(found.codes("listed"))
        await asyncio.sleep(0)
        clock.advance(seconds)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        clock.advance(-seconds)
    assert len(resolver.asked) == asked


# --- lists that have everybody ------------------------------------------------------------------


async def test_a_list_that_has_what_it_must_not_have() -> None:
    clock = FakeClock()
    resolver = FakeResolver({("A", f"{n}.bl.test"): ["127.0.0.2"] for n in ("listed", "never")})
    found = DnsList("bl.test", resolver, clock, unlisted="never")
    assert await found.codes("listed") == []
    assert await found.codes("listed") == []
    assert len(resolver.asked) == 2
    clock.advance(3600)
    del resolver.records["A", "never.bl.test"]
    assert await found.codes("listed") == ["127.0.0.2"]
    assert await found.codes("listed") == ["127.0.0.2"]
    # What it has not is not a reason to ask.
    assert await found.codes("other") == []
    assert resolver.asked[2:] == [
        ("A", "listed.bl.test"),
        ("A", "never.bl.test"),
        ("A", "listed.bl.test"),
        ("A", "other.bl.test"),
    ]


async def test_a_list_that_does_not_say_what_it_must_not_have() -> None:
    records: Records = {
        ("A", "listed.bl.test"): ["127.0.0.2"],
        ("A", "never.bl.test"): dns_failure(),
    }
    found = DnsList("bl.test", FakeResolver(records), FakeClock(), unlisted="never")
    assert await found.codes("listed") == []
