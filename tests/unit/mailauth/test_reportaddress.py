# SPDX-License-Identifier: MIT
"""Where reports go: URIs, and whether another organization wants them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.errors import DnsError
from qpsmtpd.mailauth.reportaddress import (
    MAX_DESTINATIONS,
    Destination,
    agreed,
    read_destination,
    read_destinations,
)
from qpsmtpd.testing import FakeResolver, Records, dns_failure


def read(uri: str) -> tuple[str, int] | None:
    found = read_destination(uri)
    return None if found is None else (found.address.address, found.limit)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mailto:a@b.test", ("a@b.test", 0)),
        (" MAILTO:a@B.test ", ("a@B.test", 0)),
        ("mailto:a@b.test!5", ("a@b.test", 5)),
        ("mailto:a@b.test!10k", ("a@b.test", 10 << 10)),
        ("mailto:a@b.test!10M", ("a@b.test", 10 << 20)),
        ("mailto:a@b.test!1g", ("a@b.test", 1 << 30)),
        ("mailto:a@b.test!1t", ("a@b.test", 1 << 40)),
        ("mailto:a%21b@b.test", ("a!b@b.test", 0)),
        ("mailto:a@b.test?subject=x", ("a@b.test", 0)),
        ("mailto:a@b.test!", None),
        ("mailto:a@b.test!x", None),
        ("mailto:a@b.test!10kb", None),
        ("https://b.test/", None),
        ("mailto:", None),
        ("mailto:postmaster", None),
        ("mailto:a@[192.0.2.1]", None),
        ("mailto:a%0d%0aBcc:x@b.test", None),
        ("mailto:a@b.test%0d%0aX:y", None),
        ("mailto:%ff@b.test", None),
        ("mailto:%c3%a9@b.test", None),
        ("mailto:a@b.test,c@d.test", None),
        ("a@b.test", None),
        ("", None),
    ],
)
def test_uris(uri: str, expected: tuple[str, int] | None) -> None:
    assert read(uri) == expected


@given(st.text(max_size=60).map(lambda text: f"mailto:{text}") | st.text(max_size=60))
def test_what_is_read_can_stand_in_a_header_field(uri: str) -> None:
    found = read_destination(uri)
    if found is not None:
        assert found.address.address.isascii()
        assert found.address.address.isprintable()
        assert found.limit >= 0


def test_each_address_once() -> None:
    uris = ["mailto:a@b.test", "https://x.test", "mailto:A@B.TEST", "mailto:c@b.test"]
    assert [str(each.address) for each in read_destinations(uris)] == ["A@B.TEST", "c@b.test"]


# --- external destinations ------------------------------------------------------------------------

DNS: Records = {
    ("TXT", "_dmarc.author.test"): ["v=DMARC1; p=none"],
    ("TXT", "author.test._report._dmarc.willing.test"): ["v=DMARC1"],
    ("TXT", "author.test._report._dmarc.spf.test"): ["v=spf1", "v=DMARC1 ;", "x"],
    ("TXT", "author.test._report._dmarc.wrong.test"): ["v=DMARC2", "vDMARC1", " v=DMARC1x"],
    ("TXT", "author.test._report._dmarc.instead.test"): [
        "v=DMARC1; rua=mailto:new@instead.test!1k"
    ],
    ("TXT", "author.test._report._dmarc.third.test"): ["v=DMARC1; rua=mailto:x@victim.test"],
    ("TXT", "author.test._report._dmarc.both.test"): [
        "v=DMARC1; rua=mailto:x@both.test,mailto:x@victim.test"
    ],
    ("TXT", "author.test._report._dmarc.odd.test"): ["v=DMARC1; rua=https://odd.test/"],
    ("TXT", "author.test._report._dmarc.silent.test"): dns_failure(),
}


async def agreed_to(*uris: str, domain: str = "author.test", dns: Records = DNS) -> list[str]:
    return [str(each.address) for each in await agreed(uris, domain, FakeResolver(dns))]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("a@author.test", ["a@author.test"]),
        ("a@mail.author.test", ["a@mail.author.test"]),
        ("a@willing.test", ["a@willing.test"]),
        ("a@spf.test", ["a@spf.test"]),
        ("a@wrong.test", []),
        ("a@unwilling.test", []),
        ("a@instead.test", ["new@instead.test"]),
        ("a@third.test", []),
        ("a@both.test", []),
        ("a@odd.test", []),
        (f"a@{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 40}.test", []),
    ],
)
async def test_external_destinations(address: str, expected: list[str]) -> None:
    assert await agreed_to(f"mailto:{address}") == expected


async def test_the_domain_itself_needs_no_question() -> None:
    resolver = FakeResolver({})
    found = await agreed(["mailto:a@author.test!7"], "author.test", resolver)
    assert [(str(each.address), each.limit) for each in found] == [("a@author.test", 7)]
    assert resolver.asked == []


async def test_above_the_policy_domain_is_the_same_organization() -> None:
    dns: Records = {
        ("TXT", "_dmarc.sub.org.test"): ["v=DMARC1; p=none"],
        ("TXT", "_dmarc.org.test"): ["v=DMARC1; p=none"],
    }
    assert await agreed_to("mailto:a@org.test", domain="sub.org.test", dns=dns) == ["a@org.test"]


async def test_a_dns_that_does_not_answer() -> None:
    with pytest.raises(DnsError):
        await agreed_to("mailto:a@willing.test", "mailto:a@silent.test")


async def test_few_destinations() -> None:
    uris = [f"mailto:{n}@author.test" for n in range(20)]
    assert await agreed_to(*uris) == [f"{n}@author.test" for n in range(MAX_DESTINATIONS)]
    assert await agreed_to("mailto:a@instead.test", "mailto:b@instead.test") == ["new@instead.test"]


def test_host() -> None:
    found = read_destination("mailto:a@B.Test")
    assert isinstance(found, Destination)
    assert found.host == "b.test"
