# SPDX-License-Identifier: MIT
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.decisions.selection import Selection, meanings, parse_client
from qpsmtpd.decisions.sieve import sieve_for
from tests.unit.decisions.examples import a_decision
from tests.unit.decisions.test_selection import SELECTED

LEFT_OUT: list[dict[str, Any]] = [
    {"client": parse_client("198.51.100.8")},
    {"client": parse_client("198.0.0.0/8")},
    {"client": parse_client("2001:db8::1")},
    {"address": "nobody@example.test"},
    {"address": "@other.test"},
    {"plugin": "rcpt_ok"},
    {"outcome": "accepted"},
    {"about": "A.B.1"},
    {"text": "virus"},
    {"text": "score", "outcome": "accepted"},
]
KEY = b"key"
SPELLINGS = (
    "user@example.test",
    "USER@Example.TEST",
    "User@example.test.",
    '"user"@example.test',
    '"us\\er"@EXAMPLE.test',
    "user@\uff45xample.test",
    "user@b\xfccher.example",
    "user@xn--bcher-kva.example",
    "\xfcser@example.test",
    "user@[192.0.2.1]",
    "joe",
    "JOE",
    "",
)
CLIENTS = (
    "192.0.2.7",
    "10.1.2.3",
    "10.0.0.1",
    "10.129.3.4",
    "1.2.3.4",
    "2001:db8::7",
    "2001:db8:0:1::7",
    "2001:0:1::7",
    "::1",
    "2001::1",
    "fe80::1:2",
)


def octets(*decisions: Decision) -> bytes:
    return "\x1d".join(each.encode() for each in decisions).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("selection", SELECTED)
def test_what_is_selected_goes_through(selection: dict[str, Any]) -> None:
    sieve = sieve_for([Selection(**selection)])
    assert sieve is None or sieve(octets(a_decision()))


@pytest.mark.parametrize("selection", LEFT_OUT)
def test_most_of_the_others_do_not(selection: dict[str, Any]) -> None:
    sieve = sieve_for([Selection(**selection)])
    assert sieve is not None
    assert not sieve(octets(a_decision()))


def test_one_of_several_selections_is_enough() -> None:
    sieve = sieve_for(meanings("client.example"))
    assert sieve is not None
    assert sieve(octets(a_decision(1, sender="a@other.example"), a_decision(2)))
    assert sieve_for([Selection(address="a@b.example"), Selection()]) is None


@given(st.sampled_from(SPELLINGS), st.sampled_from(SPELLINGS), st.sampled_from(["whole", "hashed"]))
def test_addresses_in_all_spellings(wanted: str, sender: str, kept: Any) -> None:
    decision = a_decision(sender=sender, recipients=(), user="joe", message_id="")
    decision = Privacy(addresses=kept).applied(decision, KEY)
    domain = wanted.rpartition("@")[2]
    for address in (wanted, f"@{domain}"):
        never_lost(Selection(address=address, secret=KEY), decision)
        never_lost(Selection(address=address), decision)


@pytest.mark.parametrize("ip", CLIENTS)
def test_clients_and_their_networks(ip: str) -> None:
    most = ip_address(ip).max_prefixlen
    for cut in range(1, most + 1, 1 if most == 32 else 5):
        kept = Privacy("whole", "network", cut, cut).applied(a_decision(ip=ip), KEY)
        for length in (0, 7, 8, 12, 16, 24, 32, 48, most):
            network = parse_client(f"{ip}/{min(length, most)}")
            never_lost(Selection(client=network), kept)
            never_lost(Selection(client=network), a_decision(ip=ip))


@given(st.text(max_size=3), st.text(max_size=9))
def test_texts(wanted: str, reply: str) -> None:
    never_lost(Selection(text=wanted), a_decision(reply=reply, reason="K\u212a\u017f"))
    never_lost(Selection(about=wanted), a_decision(message_id=f"<{wanted}>"))


def never_lost(selection: Selection, decision: Decision) -> None:
    sieve = sieve_for([selection])
    kept = Decision.decode(decision.encode())
    if sieve is not None and selection.has(kept):
        assert sieve(octets(decision))
