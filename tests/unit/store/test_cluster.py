# SPDX-License-Identifier: MIT
"""What the nodes of a Cluster say; tests/integration/test_store_cluster.py has a real one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.errors import StoreError
from qpsmtpd.store.cluster import SLOTS, Redirection, owners_in, redirection_in
from qpsmtpd.store.location import Address

ASKED = Address("192.0.2.1", 7000)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("MOVED 3999 192.0.2.2:7001", Redirection(3999, Address("192.0.2.2", 7001), False)),
        ("ASK 0 192.0.2.2:7001", Redirection(0, Address("192.0.2.2", 7001), True)),
        ("MOVED 1 2001:db8::1:7001", Redirection(1, Address("2001:db8::1", 7001), False)),
        ("MOVED 1 :7001", Redirection(1, Address("192.0.2.1", 7001), False)),
        ("MOVED 16384 h:1", None),
        ("MOVED x h:1", None),
        ("MOVED 1 h:", None),
        ("CLUSTERDOWN The cluster is down", None),
        ("READONLY You can't write against a read only replica.", None),
        ("", None),
    ],
)
def test_redirections(text: str, where: Redirection | None) -> None:
    assert redirection_in(text, ASKED) == where


def test_owners() -> None:
    reply = [
        [0, 1, [b"192.0.2.2", 7001, b"id", []], [b"192.0.2.9", 7009, b"replica"]],
        [2, 2, [b"", 7002, b"id"]],
        [3, 3, [None, 7003, b"id"]],
        [16383, 16383, [b"?", 7004, b"id"]],
    ]
    assert owners_in(reply, ASKED) == {
        0: Address("192.0.2.2", 7001),
        1: Address("192.0.2.2", 7001),
        2: Address("192.0.2.1", 7002),
        3: Address("192.0.2.1", 7003),
        16383: Address("192.0.2.1", 7004),
    }
    assert owners_in([], ASKED) == {}


_atoms = st.none() | st.binary(max_size=4) | st.integers(-5, SLOTS + 5) | st.floats()
_replies = st.recursive(_atoms, lambda inner: st.lists(inner, max_size=5), max_leaves=20)


@given(_replies)
def test_what_is_not_a_map_is_an_error(reply: Any) -> None:
    try:
        owners = owners_in(reply, ASKED)
    except StoreError:
        return
    assert all(0 <= slot < SLOTS and address.host for slot, address in owners.items())


@given(st.text() | st.from_regex(r"(MOVED|ASK) [0-9]{1,6} \S{0,9}:[0-9]{0,6}", fullmatch=True))
def test_any_error(text: str) -> None:
    where = redirection_in(text, ASKED)
    assert where is None or (where.slot < SLOTS and where.address.host)
