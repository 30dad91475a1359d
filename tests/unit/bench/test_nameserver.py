# SPDX-License-Identifier: MIT
from __future__ import annotations

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.nameserver import SLOW_DOMAIN, answer_to, is_slow

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
