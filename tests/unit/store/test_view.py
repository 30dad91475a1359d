# SPDX-License-Identifier: MIT
"""The names that keys become; everything else is in test_contract.py."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.store.operation import Operation
from qpsmtpd.store.view import StoreClient


async def names_of(scope: str, key: str) -> list[bytes]:
    """The names that two operations with this key are about."""
    asked: list[Operation] = []

    async def ask(operation: Operation) -> Any:
        asked.append(operation)

    store = StoreClient(ask).scoped(scope)
    await store.get(key)
    await store.count(key)
    return [operation.name for operation in asked]


async def test_names() -> None:
    assert await names_of("rate_limit:1", "a|b") == [
        b"value|rate_limit:1|a|b",
        b"count|rate_limit:1|a|b",
    ]


texts = st.text(st.characters(), max_size=9)  # surrogates as well
scopes = st.text(st.characters(exclude_characters="|"), max_size=9)


@given(scopes, texts, scopes, texts)
async def test_no_two_names_are_the_same(one: str, key: str, other: str, other_key: str) -> None:
    same = set(await names_of(one, key)) & set(await names_of(other, other_key))
    assert bool(same) == ((one, key) == (other, other_key))
