# SPDX-License-Identifier: MIT
from __future__ import annotations

import re

import pytest

from qpsmtpd.api import SpfQuery, check_host, parse_ip
from tests.bench.addresses import NAMED, NAMELESS, STRANGERS, source_address
from tests.bench.signed import AUTHOR, DOMAIN, INCLUDES, signed_message
from tests.bench.verifiers import (
    InMemory,
    dkimpy_and_pyspf,
    messages,
    microseconds,
    ours,
    rows,
)

KB = 1024


@pytest.mark.parametrize(("size", "signatures"), [(4 * KB, 1), (4 * KB, 5), (100 * KB, 1)])
def test_a_signed_message(size: int, signatures: int) -> None:
    message = signed_message(size, signatures)
    assert message.count(b"DKIM-Signature:") == signatures
    assert message.endswith(b"\r\n.\r\n")
    assert message.count(b"\r\n.") == 1
    unsigned = message[message.index(b"From: ") :]
    assert abs(len(unsigned) - size) < 100
    assert not re.search(rb"(?<!\r)\n", message)


@pytest.mark.parametrize(
    ("network", "result"), [(NAMED, "pass"), (NAMELESS, "fail"), ("192.0", "fail")]
)
async def test_clients_with_a_name_may_send_its_mail(network: str, result: str) -> None:
    for number in (0, STRANGERS - 1):
        client = parse_ip(source_address(number, network))
        assert client is not None
        found = await check_host(SpfQuery(client, DOMAIN), InMemory())
        assert (found.result, found.lookups) == (result, INCLUDES)


async def test_all_that_is_compared_finds_each_signature() -> None:
    own, others = ours(), dkimpy_and_pyspf()
    assert own.keys() - others.keys() == {"DMARC"}
    assert await own["DMARC"]() == await own["SPF"]() == await others["SPF"]() == ["pass"]
    for what, message in messages().items():
        passed = ["pass"] * message.count(b"DKIM-Signature:")
        assert await own[what]() == await others[what]() == passed


async def test_what_does_not_pass_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    message = signed_message(4 * KB, 1).replace(b"has words", b"had words")
    changed = {"DKIM, 4 KB": message}
    monkeypatch.setattr("tests.bench.verifiers.messages", lambda: changed)
    for checks in (ours(), dkimpy_and_pyspf()):
        with pytest.raises(ValueError, match="fail"):
            await microseconds(checks["DKIM, 4 KB"], 1e-9)


def test_rows() -> None:
    costs = {("ours", "SPF"): 40.4, ("ours", "DMARC"): 20.0, ("mailauth", "SPF"): 293.0}
    assert [row.split() for row in rows(costs)] == [
        ["us", "ours", "mailauth"],
        ["SPF", "40", "293"],
        ["DMARC", "20", "-"],
    ]


def test_the_author_is_of_the_domain() -> None:
    assert AUTHOR.endswith(f"@{DOMAIN}")
