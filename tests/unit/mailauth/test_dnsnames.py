# SPDX-License-Identifier: MIT
"""Names: which ones the DNS can be asked about, and which are below which."""

import pytest

from qpsmtpd.mailauth.dnsnames import is_askable, is_at_or_below


@pytest.mark.parametrize(
    "name", ["example", "a.example", f"{'x' * 63}.example", "a b.\0.*.\n", ".".join(["x" * 49] * 5)]
)
def test_askable(name: str) -> None:
    assert is_askable(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..example",
        ".example",
        "example.",
        f"{'x' * 64}.example",
        "é.example",
        "x." * 127,
        ".".join(["x" * 50] * 5),
    ],
)
def test_not_askable(name: str) -> None:
    assert not is_askable(name)


def test_at_or_below() -> None:
    assert is_at_or_below("A.example", "a.EXAMPLE")
    assert is_at_or_below("www.a.example", "a.example")
    assert not is_at_or_below("wwwa.example", "a.example")
    assert not is_at_or_below("example", "a.example")
