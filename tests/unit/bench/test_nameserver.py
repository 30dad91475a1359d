# SPDX-License-Identifier: MIT
from __future__ import annotations

import dns.message
import dns.rcode
import dns.reversename
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.addresses import NAMED, STRANGERS, source_address
from tests.bench.nameserver import (
    EXCHANGE,
    LIST_DOMAIN,
    LISTED_AS,
    REASON,
    SLOW_DOMAIN,
    answer_to,
    is_slow,
    name_of,
)
from tests.bench.signed import DOMAIN, texts

OCTETS = st.integers(min_value=0, max_value=255)
LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=30)
NAMES = st.lists(LABELS, min_size=1, max_size=6).map(".".join)


@given(name=NAMES, kind=st.sampled_from(("A", "AAAA", "PTR", "TXT")), edns=st.booleans())
def test_the_answer_is_that_there_is_no_such_name(name: str, kind: str, edns: bool) -> None:
    query = dns.message.make_query(name, kind, use_edns=edns)
    answer = dns.message.from_wire(answer_to(query.to_wire()))
    assert query.is_response(answer)
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.question == query.question
    assert len(answer.authority) == 1


def answered(name: str, kind: str) -> tuple[dns.rcode.Rcode, list[str]]:
    query = dns.message.make_query(name, kind, use_edns=True)
    answer = dns.message.from_wire(answer_to(query.to_wire()))
    assert query.is_response(answer)
    assert len(answer.authority) == (not answer.answer)
    return answer.rcode(), [str(record) for rrset in answer.answer for record in rrset]


@given(number=st.integers(min_value=0, max_value=STRANGERS - 1))
def test_an_address_has_a_name_that_has_this_address(number: int) -> None:
    address = source_address(number, NAMED)
    pointer = dns.reversename.from_address(address).to_text()
    code, (name,) = answered(pointer, "PTR")
    assert code == dns.rcode.NOERROR
    assert answered(name, "A") == (dns.rcode.NOERROR, [address])
    assert answered(name.upper(), "AAAA") == (dns.rcode.NOERROR, [])


@pytest.mark.parametrize("address", ["127.0.0.1", "198.18.1.2", "19.198.1.2", "198.1.19.2"])
def test_other_addresses_have_no_name(address: str) -> None:
    pointer = dns.reversename.from_address(address).to_text()
    assert answered(pointer, "PTR") == (dns.rcode.NXDOMAIN, [])


@given(octets=st.tuples(OCTETS, OCTETS, OCTETS, OCTETS).filter(lambda o: o != (1, 0, 0, 127)))
def test_the_list_has_everybody_and_says_why(octets: tuple[int, ...]) -> None:
    name = f"{'.'.join(map(str, octets))}.a.{LIST_DOMAIN}"
    assert answered(name, "A") == (dns.rcode.NOERROR, [LISTED_AS])
    code, (text,) = answered(name, "TXT")
    assert code == dns.rcode.NOERROR
    assert text == f'"{REASON.decode()}"'


def test_the_list_has_not_those_who_wait_for_the_server_to_start() -> None:
    for kind in ("A", "TXT"):
        assert answered(f"1.0.0.127.a.{LIST_DOMAIN}", kind) == (dns.rcode.NXDOMAIN, [])


def test_the_domain_of_signed_messages_has_its_texts() -> None:
    for name, text in texts().items():
        code, (found,) = answered(name, "TXT")
        assert code == dns.rcode.NOERROR
        assert found.replace('" "', "") == f'"{text}"'
        assert answered(name.upper(), "AAAA") == (dns.rcode.NOERROR, [])
        # More than that would be for TCP, where nobody listens (RFC 1035 section 4.2.1).
        assert len(answer_to(dns.message.make_query(name, "TXT").to_wire())) <= 512
    assert answered(f"other._domainkey.{DOMAIN}", "TXT") == (dns.rcode.NXDOMAIN, [])


@pytest.mark.parametrize("domain", [DOMAIN, f"d17.{DOMAIN}", f"d12345.{DOMAIN}"])
def test_domains_that_send_mail_have_a_mail_server(domain: str) -> None:
    assert answered(domain, "TXT")[1][0].startswith('"v=spf1 include:')
    _, (exchange,) = answered(domain, "MX")
    assert exchange == f"10 mx.{domain}."
    assert answered(f"mx.{domain}", "A") == (dns.rcode.NOERROR, [EXCHANGE])


def test_questions_for_people() -> None:
    query = dns.message.make_query(f"d17.{DOMAIN}", "MX", use_edns=True).to_wire()
    assert name_of(query) == f"d17.{DOMAIN} MX"


@pytest.mark.parametrize(
    ("name", "slow"),
    [
        (SLOW_DOMAIN, True),
        (f"1.2.3.127.a.{SLOW_DOMAIN}".upper(), True),
        (f"not{SLOW_DOMAIN}", False),
        (f"{SLOW_DOMAIN}.example", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("edns", [False, True])
def test_names_of_block_lists_are_answered_late(name: str, slow: bool, edns: bool) -> None:
    query = dns.message.make_query(name or ".", "A", use_edns=edns)
    assert is_slow(query.to_wire()) is slow
