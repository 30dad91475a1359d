# SPDX-License-Identifier: MIT
from typing import Any

import pytest

from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.decisions.selection import Selection, parse_client
from tests.unit.decisions.examples import BEGIN, a_decision

SELECTED: list[dict[str, Any]] = [
    {},
    {"since": BEGIN, "until": BEGIN},
    {"client": parse_client("192.0.2.7")},
    {"client": parse_client("192.0.2.0/24")},
    {"address": "sender@client.EXAMPLE"},
    {"address": "other@example.test"},
    {"address": "@example.test"},
    {"plugin": "spamassassin"},
    {"plugin": "dnsbl"},
    {"outcome": "refused"},
    {"about": "A.B.0.1"},
    {"about": "A.B.0"},
    {"about": "<1@client.example>"},
    {"about": "1@client.example"},
    {"text": "SCORE 12"},
]
OTHERS: list[dict[str, Any]] = [
    {"since": BEGIN + 1},
    {"until": BEGIN - 1},
    {"client": parse_client("192.0.2.8")},
    {"client": parse_client("2001:db8::/32")},
    {"address": "nobody@example.test"},
    {"address": "@test"},
    {"plugin": "rcpt_ok"},
    {"outcome": "accepted"},
    {"about": "A.B"},
    {"text": "virus"},
]


@pytest.mark.parametrize("selection", SELECTED)
def test_selected(selection: dict[str, Any]) -> None:
    assert Selection(**selection).has(a_decision())


@pytest.mark.parametrize("selection", OTHERS)
def test_not_selected(selection: dict[str, Any]) -> None:
    assert not Selection(**selection).has(a_decision())


def test_hashed_addresses_are_found() -> None:
    kept = Privacy(addresses="hashed").applied(a_decision(user="joe"), b"key")
    for address in ("user@example.test", "joe"):
        assert Selection(address=address, secret=b"key").has(kept)
        assert not Selection(address=address, secret=b"other").has(kept)
        assert not Selection(address=address).has(kept)


def test_a_client_of_whom_only_the_network_is_known_may_be_meant() -> None:
    kept = Privacy(clients="network").applied(a_decision(), b"")
    assert Selection(client=parse_client("192.0.2.200")).has(kept)
    assert not Selection(client=parse_client("192.0.3.7")).has(kept)
