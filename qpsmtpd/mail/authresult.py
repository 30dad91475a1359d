# SPDX-License-Identifier: MIT
"""AuthResult: what one method of authentication found about a client or a message (RFC 8601).

A value that says what was found, not how it is written: texts are kept as they are, so that one
plugin can read what another found. smtp/trace.py writes them into Authentication-Results, and
there makes harmless what a client or its DNS had a hand in.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, SupportsIndex

_LONGEST_WORD = 64
_WORD = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_is_result = re.compile(_WORD).fullmatch
_is_method = re.compile(rf"{_WORD}(?:/[0-9]+)?").fullmatch
_is_property = re.compile(rf"{_WORD}\.{_WORD}").fullmatch

_ERRORS = ("temperror", "permerror")

#: The results of the methods that are known here: RFC 8601 section 2.7, RFC 7489 section 11.2,
#: RFC 8617 section 4.4. Those of others may be any word.
_RESULTS: dict[str, frozenset[str]] = {
    "arc": frozenset({"none", "pass", "fail"}),
    "auth": frozenset({"none", "pass", "fail", *_ERRORS}),
    "dkim": frozenset({"none", "pass", "fail", "policy", "neutral", *_ERRORS}),
    "dmarc": frozenset({"none", "pass", "fail", *_ERRORS}),
    "iprev": frozenset({"pass", "fail", *_ERRORS}),
    "spf": frozenset({"none", "pass", "fail", "softfail", "policy", "neutral", *_ERRORS}),
}


@dataclass(frozen=True, slots=True, init=False)
class AuthResult:
    """What one method found: `AuthResult("spf", "fail", properties={"smtp.mailfrom": domain})`.

    A message with several DKIM signatures has a result for each.

    method: the method, in lower case, such as "dkim"; with its version where it is not 1 ("x/2").
    result: a word of that method, such as "pass" or "temperror".
    reason: why, for humans.
    properties: what was checked, as pairs: ("header.d", "example.com").
    comment: stands in parentheses after the result.
    """

    method: str
    result: str
    reason: str
    properties: tuple[tuple[str, str], ...]
    comment: str

    def __init__(
        self,
        method: str,
        result: str,
        reason: str = "",
        properties: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        comment: str = "",
    ) -> None:
        """Raises ValueError for words and texts that cannot be part of a result."""
        _check_words(method, result)
        _check_text("reason", reason)
        _check_text("comment", comment)
        pairs = properties.items() if isinstance(properties, Mapping) else properties
        object.__setattr__(self, "method", method)
        object.__setattr__(self, "result", result)
        object.__setattr__(self, "reason", reason)
        object.__setattr__(self, "properties", tuple(map(_checked_property, pairs)))
        object.__setattr__(self, "comment", comment)

    def get(self, name: str) -> str | None:
        """The value of a property, None without it."""
        return next((value for key, value in self.properties if key == name), None)


class AuthResults(list[AuthResult]):
    """Results in the order in which they are written.

    It accepts nothing else: a plugin that adds a string fails right there.
    """

    __slots__ = ()

    def append(self, result: AuthResult) -> None:
        super().append(_checked(result))

    def extend(self, results: Iterable[AuthResult]) -> None:
        super().extend(map(_checked, results))

    def insert(self, index: SupportsIndex, result: AuthResult) -> None:
        super().insert(index, _checked(result))

    def __iadd__(self, results: Iterable[AuthResult]) -> Self:  # type: ignore[misc, override]
        self.extend(results)
        return self

    def __setitem__(self, place: Any, value: Any) -> None:
        many = isinstance(place, slice)
        super().__setitem__(place, list(map(_checked, value)) if many else _checked(value))


def _checked(result: AuthResult) -> AuthResult:
    if not isinstance(result, AuthResult):
        raise TypeError(f"{result!r} is not an AuthResult")
    return result


@functools.lru_cache(maxsize=256)
def _check_words(method: str, result: str) -> None:
    if not _is_word(_is_method, method):
        raise ValueError(f"{method!r} is not the name of a method, such as 'spf'")
    known = _RESULTS.get(method.partition("/")[0])
    if not _is_word(_is_result, result) or (known is not None and result not in known):
        wanted = "a word" if known is None else f"one of {', '.join(sorted(known))}"
        raise ValueError(f"{result!r} is not a result of {method}: it must be {wanted}")


def _checked_property(pair: tuple[str, str]) -> tuple[str, str]:
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise ValueError(f"{pair!r} is not a property: it must be ('smtp.mailfrom', 'text')")
    name, value = pair
    _check_property_name(name)
    if value.__class__ is not str:
        _check_text(name, value)
    return pair


@functools.lru_cache(maxsize=256)
def _check_property_name(name: str) -> None:
    if not _is_word(_is_property, name):
        raise ValueError(f"{name!r} is not the name of a property, such as 'smtp.mailfrom'")


def _is_word(matches: Any, text: object) -> bool:
    return isinstance(text, str) and len(text) <= _LONGEST_WORD and bool(matches(text))


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{name} is {text!r}: it must be a string")
