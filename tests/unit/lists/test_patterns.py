# SPDX-License-Identifier: MIT
"""What refuses is found in every spelling, what admits in the canonical ones."""

from __future__ import annotations

import pytest

from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.patterns import Pattern, compile_pattern
from qpsmtpd.mail.address import Address
from qpsmtpd.mail.domain import Spellings, domain_spellings

A_LABEL = domain_spellings("XN--bcher-kva.Example.")
U_LABEL = domain_spellings("BU\u0308CHER.example")


@pytest.mark.parametrize("name", [A_LABEL, U_LABEL])
@pytest.mark.parametrize(
    "word",
    [r"bücher\.example$", r"/BÜCHER\.EXAMPLE$/", "bu\u0308cher", r"^xn--bcher-kva\.", "ex.mple"],
)
def test_canonical_spellings(word: str, name: Spellings) -> None:
    assert Pattern(word, "file:1").refuses(name)
    assert Pattern(word, "file:1").admits(name)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        (r"\.$", A_LABEL),
        ("%", Address("user\uff05other.example", "example.com").spellings),
        ("@.*@", Address("user\uff20other.example", "example.com").spellings),
        ("２", domain_spellings("mx２.example")),
    ],
)
def test_what_only_the_client_wrote_is_never_admitted(word: str, name: Spellings) -> None:
    assert Pattern(word, "file:1").refuses(name)
    assert not Pattern(word, "file:1").admits(name)


@pytest.mark.parametrize("word", ["^example", r"xn--bcher\.", "buecher", "$x"])
def test_what_is_not_there(word: str) -> None:
    assert not Pattern(word, "file:1").refuses(A_LABEL)
    assert not Pattern(word, "file:1").admits(A_LABEL)


@pytest.mark.parametrize(
    ("word", "found", "not_found"),
    [
        ("^[[:alpha:]]+@", "abc@x", "ab1@x"),
        ("^[[:alpha:][:digit:]._-]+@", "a.b1@x", "a+b@x"),
        ("^[^[:digit:]]+@", "abc@x", "ab1@x"),
        ("[[:punct:]]{2}@", "a][@x", "a1]@x"),
        (r"@x\z", "a@x", "a@xy"),
        (r"^[:al]+@", "a:l@x", "abc@x"),
        (r"^\[[[:alpha:]]+@", "[a@x", "a@x"),
        (r"\\z", r"\z", "z"),
    ],
)
def test_what_perl_writes_in_another_way(word: str, found: str, not_found: str) -> None:
    search = compile_pattern(word, "file:1").search
    assert search(found)
    assert not search(not_found)


@pytest.mark.parametrize("word", ["(", "[[:^alpha:]]", "[[:nonsense:]]", "*"])
def test_wrong_expressions(word: str) -> None:
    with pytest.raises(ConfigError, match=r"file:1: .* is not a regular expression"):
        Pattern(word, "file:1")
