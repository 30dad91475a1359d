# SPDX-License-Identifier: MIT
"""How entries are kept in Redis; what the scripts do is in test_contract.py."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.errors import StoreError
from qpsmtpd.store.cluster import slot_of
from qpsmtpd.store.operation import Add, Count, Delete, Get, Increment, Operation, Page, Put, Scan
from qpsmtpd.store.redisentries import answer_of, command_of, key_of, name_of


def test_the_layout_that_is_documented() -> None:
    assert (
        key_of(b"value|greylisting|192.0.2.0/24") == b"qpsmtpd|3|value|{greylisting|192.0.2.0/24}"
    )


@given(st.binary())
def test_a_name_comes_back(rest: bytes) -> None:
    for kind in (b"value|", b"count|"):
        assert name_of(key_of(kind + rest)) == kind + rest


@given(st.binary(min_size=1), st.binary())
def test_value_and_counter_of_a_key_are_in_one_slot(scope: bytes, key: bytes) -> None:
    """Whatever braces a client writes."""
    scope = scope.replace(b"|", b"").replace(b"}", b"") + b"plugin|"
    assert slot_of(key_of(b"value|" + scope + key)) == slot_of(key_of(b"count|" + scope + key))


def test_what_is_listed_begins_as_the_names_do() -> None:
    command = command_of(Scan(b"value|karma|19[2"))
    assert command[-2:] == (b"0", rb"qpsmtpd|3|value|{karma|19\[2*")


SILLY = [b"x", b"", 7, None, [], [b"0"], [b"0", b"k"], [b"0", 1, 2], {}, [None], 1.5, True, b"\xff"]
OPERATIONS: list[Operation] = [
    Get(b"value|a"),
    Put(b"value|a", b"", 1),
    Add(b"value|a", b"", 1),
    Delete(b"value|a"),
    Increment(b"count|a", 1, 1),
    Count(b"count|a"),
    Scan(b"value|"),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: type(operation).__name__)
def test_a_reply_is_an_answer_of_the_right_kind_or_an_error(operation: Operation) -> None:
    kinds: dict[type[Operation], Any] = {
        **dict.fromkeys((Get, Add), (bytes, type(None))),
        **dict.fromkeys((Put, Delete), type(None)),
        **dict.fromkeys((Increment, Count), int),
        Scan: Page,
    }
    refused = 0
    for reply in SILLY:
        try:
            assert isinstance(answer_of(operation, reply), kinds[type(operation)])
        except StoreError:
            refused += 1
    assert refused >= len(SILLY) // 2
