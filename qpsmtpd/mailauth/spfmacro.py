# SPDX-License-Identifier: MIT
"""Macros of SPF: strings with `%{...}` in them, read once and expanded often (RFC 7208 section 7).

A macro says which value to take (`%{d}` is the domain), and may take it apart at some characters,
reverse the parts and keep the last few: `%{ir}` of 192.0.2.3 is 3.2.0.192, `%{d2}` of a.b.example
is b.example.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mailauth.dnsnames import MAX_NAME

#: Macros in one string.  Honest ones have up to five; a name of the DNS has at most 127 labels.
MAX_MACROS = 64

_DOMAIN_LETTERS = frozenset("slodipvh")
#: Those that only explanations may have.
_EXPLANATION_LETTERS = frozenset("crt")

_find_macros = re.compile(
    r"%(?:([%_-])|\{([A-Za-z])([0-9]*)([rR]?)([-.+,/_=]*)\})", re.ASCII
).finditer
_ESCAPES = {"%": "%", "_": " ", "-": "%20"}
#: RFC 7208 section 7.1, macro-literal; the percent sign begins a macro.
_is_literal = re.compile("[!-$&-~]*").fullmatch
_is_explanation = re.compile("[ -$&-~]*").fullmatch
#: RFC 7208 section 7.1, toplabel: it is not a number.
_is_top_label = re.compile("(?![0-9]+$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?").fullmatch


class SpfSyntaxError(QpsmtpdError):
    """A record breaks the grammar of RFC 7208."""


class Macro(NamedTuple):
    """One macro: the letter of a value, and what becomes of it.

    keep: how many parts, from the right; 0 means all.  delimiters: where the parts end, "" is a
    dot.  escape: whether what is special in a URL becomes %XX (an upper-case letter).
    """

    letter: str
    keep: int
    backwards: bool
    delimiters: str
    escape: bool

    def expand(self, value: str) -> str:
        """What the macro stands for, from the value of its letter."""
        if self.keep or self.backwards or self.delimiters:
            ends = dict.fromkeys(map(ord, self.delimiters or "."), "\n")
            parts = value.translate(ends).split("\n")
            if self.backwards:
                parts.reverse()
            value = ".".join(parts[-self.keep :])
        return quote(value, safe="~", errors="replace") if self.escape else value


class MacroString(NamedTuple):
    """A string with macros.

    letters: those of all its macros, in lower case.  fixed: the text if there is no macro in it.
    """

    parts: tuple[str | Macro, ...]
    letters: frozenset[str]
    fixed: str | None

    def expand(self, values: Mapping[str, str]) -> str:
        """The text; `values` has every letter of `letters`."""
        return "".join(
            part if isinstance(part, str) else part.expand(values[part.letter])
            for part in self.parts
        )


def parse_domain_spec(text: str) -> MacroString:
    """The name in a mechanism or modifier (domain-spec).  Raises SpfSyntaxError."""
    parsed = parse_macros(text)
    ends = [found.end() for found in _find_macros(text)]
    if not ends or ends[-1] != len(text):
        _, dot, label = text.removesuffix(".").rpartition(".")
        if not dot or not _is_top_label(label):
            raise SpfSyntaxError(f"{text!r} is not a domain")
    return parsed


def parse_macros(text: str) -> MacroString:
    """A macro-string of a record.  Raises SpfSyntaxError."""
    return _parse(text, _DOMAIN_LETTERS, _is_literal)


def parse_explanation(text: str) -> MacroString:
    """The text that an explanation record has.  Raises SpfSyntaxError."""
    return _parse(text, _DOMAIN_LETTERS | _EXPLANATION_LETTERS, _is_explanation)


def as_domain(expanded: str) -> str:
    """What a domain-spec expanded to, as a name: labels are left out from the left until it fits.

    RFC 7208 section 7.3.
    """
    name = expanded.removesuffix(".")
    excess = len(name) - MAX_NAME
    return name[name.find(".", excess - 1) + 1 :] if excess > 0 else name


def _parse(text: str, letters: frozenset[str], is_literal: Callable[[str], object]) -> MacroString:
    parts: list[str | Macro] = []
    at = 0
    for count, found in enumerate(_find_macros(text)):
        parts.append(_checked_literal(text[at : found.start()], is_literal))
        escape, letter, digits, backwards, delimiters = found.groups()
        if escape:
            parts.append(_ESCAPES[escape])
        elif letter.lower() not in letters or count >= MAX_MACROS:
            raise SpfSyntaxError(f"macro {found[0]!r} is not allowed here")
        else:
            keep = _number_of_parts(digits) if digits else 0
            macro = Macro(letter.lower(), keep, bool(backwards), delimiters, letter.isupper())
            parts.append(macro)
        at = found.end()
    parts.append(_checked_literal(text[at:], is_literal))
    used = frozenset(part.letter for part in parts if isinstance(part, Macro))
    fixed = None if used else "".join(map(str, parts))
    return MacroString(tuple(filter(None, parts)), used, fixed)


def _checked_literal(text: str, is_literal: Callable[[str], object]) -> str:
    if not is_literal(text):
        raise SpfSyntaxError(f"{text!r} is not text or a macro")
    return text


def _number_of_parts(digits: str) -> int:
    """What exceeds every number of labels is one number: Python refuses to read very long ones."""
    digits = digits.lstrip("0")
    if not digits:
        raise SpfSyntaxError("a macro cannot keep 0 parts")
    return int(digits) if len(digits) <= len(str(MAX_NAME)) else MAX_NAME
