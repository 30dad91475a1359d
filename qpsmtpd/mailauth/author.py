# SPDX-License-Identifier: MIT
"""The author's domain: what DMARC is about (RFC 9989 section 5.3.1).

Readers of mail programs see one author, and who forges mail makes them see another one than we do:
by two From fields, a list of addresses, or text of which every parser makes something else.  So
From is read by the letter of RFC 5322 section 3.4 (with the groups of RFC 6854, U-labels, and of
the obsolete forms source routes and empty list elements), and what is not such a list has no author
that could be trusted.

One mistake that honest senders make is forgiven: a name that lacks its quotes, or its encoding, as
in `Company, Inc. [News] <news@example.com>`, if the address in angle brackets is the only one that
any reader can find there.

What is read is the header section as it came, in linear time.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mail.domain import LABEL, MAX_DOMAIN, canonical_domain, is_domain, is_literal

#: Octets of a From field, and addresses in it, that are looked at; none of an honest message has a
#: third of that.
MAX_FIELD = 8192
MAX_ADDRESSES = 100

_NOISE = rb"(?:[^A-Za-z:\r\n]|\r\n[ \t])*+"
#: A line that is From, or that some reader may take for it: in spite of a line break, an invisible
#: character or a dot before the colon.
_from_lines = re.compile(
    rb"\r\n(?![ \t])(" + _NOISE.join((b"", b"[Ff]", b"[Rr]", b"[Oo]", b"[Mm]", b":")) + rb")"
).finditer
_is_from = re.compile(rb"from[ \t]*:", re.IGNORECASE).fullmatch
_line_end = re.compile(rb"\r\n(?![ \t])").search

_has_control = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
_ASCII_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_ATEXT = rf"\x80-\U0010ffff{_ASCII_ATEXT}"
_token = re.compile(
    r'(?P<space>[ \t\r\n]+)|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<comment>\()|(?P<special>[<>,:;@])'
    rf"|(?P<literal>\[[^\[\]\\ \t\r\n]*\])|(?P<word>[.{_ATEXT}]+)",
    re.DOTALL,
).match
_BLANK = r"[ \t\r\n]*"
#: From as nearly all messages have it: `Name <user@example.com>`, in ASCII.
_usual = re.compile(
    rf'(?:{_BLANK}"[ !#-\[\]-~]*"{_BLANK}|[ \t\r\n.{_ASCII_ATEXT}]*)'
    rf"<[.{_ASCII_ATEXT}]+@({LABEL}(?:\.{LABEL})*)>{_BLANK}"
).fullmatch
_parentheses = re.compile(r"\\.|[()]", re.DOTALL).finditer
_unquoted_name = re.compile(
    rf'[^@<>"()\\]*<[.{_ASCII_ATEXT}]+@([^@<>"()\\ \t\r\n]+)>{_BLANK}'
).fullmatch
#: The beginning of an encoded word in which an "@" is an "@" or "=40" (RFC 2047).
_legible_word = re.compile(
    r"=\?(?:utf-8|us-ascii|iso-8859-[0-9]{1,2}|windows-125[0-9])\?q\?", re.IGNORECASE
).sub
_has_surrogate = re.compile("[\ud800-\udfff]").search


@dataclass(frozen=True, slots=True)
class Author:
    """Who a message says has written it.

    domain: the one domain of all authors, as A-labels; "" when there is none or more than one, or
    an address literal in its place.
    problem: why nobody can tell the author's domain, in fixed words.
    domains: all that were found.
    """

    domain: str = ""
    problem: str = ""
    domains: tuple[str, ...] = ()


class _NotAddressesError(QpsmtpdError):
    """The text is not a list of addresses that has one reading."""


def read_author(header: bytes) -> Author:
    """The author of a message; header is its header section as it came.  Raises nothing."""
    if header[:1] in (b" ", b"\t"):
        # It would be a part of whatever is put above it.
        return Author(problem="the header section begins with white space")
    header = b"\r\n" + header
    found = list(itertools.islice(_from_lines(header), 2))
    if not all(_is_from(line[1]) for line in found):
        return Author(problem="a line that is not From may be taken for it")
    if len(found) != 1:
        return Author(problem="more than one From field" if found else "no From field")
    start = found[0].end()
    end = _line_end(header, start)
    value = header[start : end.start() if end else len(header)]
    if len(value) > MAX_FIELD:
        return Author(problem="From is too long")
    return _author(value.decode("utf-8", "surrogateescape"))


def _author(value: str) -> Author:
    try:
        written = read_domains(value)
    except _NotAddressesError:
        return Author(problem="From is not a list of addresses")
    domains = tuple(dict.fromkeys(map(canonical_domain, written)))
    if len(domains) != 1:
        problem = "From names more than one domain" if domains else "From names nobody"
        return Author(problem=problem, domains=domains)
    return Author("" if domains[0][0] == "[" else domains[0], "", domains)


def read_domains(value: str) -> list[str]:
    """The domains of all addresses in the value of From, as they are written.

    Raises QpsmtpdError if it is not a list of addresses.
    """
    usual = _usual(value)
    if usual is not None and len(usual[1]) <= MAX_DOMAIN and "=?" not in value:
        return [usual[1]]
    if _has_control(value):
        raise _NotAddressesError("control character")
    try:
        return _Reader(value).domains()
    except _NotAddressesError:
        domain = _after_unquoted_name(value)
        if domain is None:
            raise
        return [domain]


def _after_unquoted_name(value: str) -> str | None:
    """The domain of the only address, after a name that lacks its quotes; None if it may not be.

    An encoded word may be another address; those that are let through show whether they are.
    """
    match = _unquoted_name(value)
    plain = _legible_word("", unicodedata.normalize("NFKC", value))
    if match is None or plain.count("@") + plain.count("=40") != 1 or "=?" in plain:
        return None
    return match[1] if is_domain(match[1]) else None


class _Token(NamedTuple):
    """kind: of what it is; a special character is its own kind.  "" is the end of the text."""

    kind: str
    text: str


def _tokens(text: str) -> Iterator[_Token]:
    """What the text consists of, without white space and comments."""
    at = 0
    while at < len(text):
        match = _token(text, at)
        if match is None:
            raise _NotAddressesError("syntax")
        kind = match.lastgroup or ""
        at = match.end()
        if kind == "comment":
            at = _end_of_comment(text, at)
        elif kind != "space":
            yield _Token(match[0] if kind == "special" else kind, match[0])
    yield _Token("", "")


def _end_of_comment(text: str, start: int) -> int:
    depth = 1
    for match in _parentheses(text, start):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    raise _NotAddressesError("a comment without an end")


class _Reader:
    """Reads an address-list (RFC 5322 section 3.4).

    The words of an address must not be apart from its dots: some readers would see a shorter one.
    """

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._domains: list[str] = []

    def domains(self) -> list[str]:
        self._read_list("")
        return self._domains

    @property
    def _kind(self) -> str:
        return self._tokens[self._at].kind

    def _take(self, kind: str) -> str:
        """Go on behind a token, which has to be of this kind; returns its text."""
        token = self._tokens[self._at]
        if token.kind != kind:
            raise _NotAddressesError("syntax")
        self._at += 1
        return token.text

    def _read_list(self, end: str) -> None:
        """Addresses up to the end of the text, or to that of a group."""
        while self._kind != end:
            if self._kind != ",":
                self._read_address(in_group=end == ";")
            if self._kind != end:
                self._take(",")

    def _read_address(self, *, in_group: bool) -> None:
        start = self._at
        while self._kind in ("word", "quoted"):
            self._at += 1
        if self._kind == "<":
            self._read_angle_address()
        elif self._kind == ":" and self._at > start and not in_group:
            self._take(":")
            self._read_list(";")
            self._take(";")
        else:
            # What was read is not a name, but the local part.
            self._at = start
            self._read_mailbox()

    def _read_angle_address(self) -> None:
        self._take("<")
        if self._kind in ("@", ","):
            self._read_route()
        self._read_mailbox()
        self._take(">")

    def _read_route(self) -> None:
        """A source route: `@a.example,@b.example:` (section 4.4), which means nothing any more."""
        while self._kind != ":":
            if self._kind != ",":
                self._take("@")
                self._read_domain()
            if self._kind != ":":
                self._take(",")
        self._take(":")

    def _read_mailbox(self) -> None:
        local_part = self._take(self._kind if self._kind == "quoted" else "word")
        if not _is_local_part(local_part):
            raise _NotAddressesError("local part")
        self._take("@")
        self._domains.append(self._read_domain())
        if len(self._domains) > MAX_ADDRESSES:
            raise _NotAddressesError("too many addresses")

    def _read_domain(self) -> str:
        literal = self._kind == "literal"
        text = self._take("literal" if literal else "word")
        if not (is_literal(text) if literal else is_domain(text)):
            raise _NotAddressesError("domain")
        return text


def _is_local_part(text: str) -> bool:
    """Whether no reader takes the local part for an address of its own, or decodes one in it."""
    if text.isascii():
        return "@" not in text and "=?" not in text
    plain = unicodedata.normalize("NFKC", text)
    return "@" not in plain and "=?" not in plain and not _has_surrogate(text)
