# SPDX-License-Identifier: MIT
from __future__ import annotations

import dns.message
import dns.rcode
import pytest

from tests.bench.lookups import TEXT, a_name, answer


@pytest.mark.parametrize("edns", [False, True])
def test_every_name_has_the_text(edns: bool) -> None:
    query = dns.message.make_query(a_name(), "TXT", use_edns=edns)
    response = dns.message.from_wire(answer(query.to_wire()))
    assert query.is_response(response)
    assert response.rcode() == dns.rcode.NOERROR
    (rrset,) = response.answer
    (rdata,) = rrset
    assert rdata.strings == (TEXT,)


def test_no_name_was_looked_up_before() -> None:
    assert len({a_name() for _ in range(10)}) == 10
