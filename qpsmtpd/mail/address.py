# SPDX-License-Identifier: MIT
"""Mailbox addresses and the arguments of MAIL and RCPT: RFC 5321 section 4.1.2, RFC 6531, RFC 3461.

Text comes from the command line decoded as UTF-8 with surrogateescape: undecodable bytes arrive as
lone surrogates and are refused everywhere. Every failure is a `PathError` with a short fixed text.

An address keeps the text that the client wrote, for logs and the next hop; what compares it takes
its canonical parts: `Address.domain` (see mail/domain.py), and the whole as `Address.key`. The
local part belongs to the system behind us (RFC 5321 section 2.4), so it is kept as it is; but no
administrator's list means two mailboxes by upper and lower case, or by two ways to write an accent,
so in a key it is in lower case and composed (NFC).

Where real mail differs from the RFC, we accept it:

- dots in a row and at the end of an unquoted local part (`a..b@x`, `a.@x`), as some mobile
  carriers issued them, but not at the start; they are written as they came, as in the Perl version:
  quoting them would be the RFC's spelling, but the systems that own such mailboxes know them in
  this one;
- underscores in domains, and domains of one label;
- local parts up to 256 octets and paths up to 998 (a text line) instead of the 64 and 256 of RFC
  5321 section 4.5.3.1: variable envelope return paths exceed them. A domain keeps its 255 octets
  and a label its 63, since the DNS has no longer ones.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from qpsmtpd.errors import AddressError
from qpsmtpd.mail.domain import (
    LABEL,
    MAX_DOMAIN,
    Spellings,
    canonical_domain,
    is_domain,
    is_literal,
    u_label_form,
)

Where = Literal["command", "address", "parameters"]
#: What stands before the path in MAIL and in RCPT.
Keyword = Literal["FROM", "TO"]

MAX_LOCAL_PART = 256
MAX_PATH = 998

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
# What RFC 6531 adds to atext, but for the C1 controls and the two Unicode line separators.
_NON_ASCII = "\xa0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"

_COMMON_PATH = rf"<((?!\.)[.{_ATEXT}]{{1,{MAX_LOCAL_PART}}})@({LABEL}(?:\.{LABEL})*)>"
_common_path = re.compile(_COMMON_PATH).fullmatch
_common_argument: dict[Keyword, Callable[[str], re.Match[str] | None]] = {
    "FROM": re.compile(rf"(?i:from):{_COMMON_PATH}").fullmatch,
    "TO": re.compile(rf"(?i:to):{_COMMON_PATH}").fullmatch,
}
_is_plain = re.compile(rf"(?!\.)[.{_NON_ASCII}{_ATEXT}]+").fullmatch
_has_forbidden = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search
# RFC 6531 section 3.3 adds no character that a backslash may precede.
_quoted_string = re.compile(r'"((?:[^"\\]|\\[ -~])*)"').fullmatch
_quoted_mailbox = re.compile(r'("(?:[^"\\]|\\[ -~])*")@(.*)').fullmatch
_quoted_pair = re.compile(r"\\([ -~])")
_needs_backslash = re.compile(r'(["\\])')
_has_route = re.compile(r"[%@]|!.", re.DOTALL).search

# The path ends at the first ">" (without brackets: the first blank) outside a quoted string.
_bracketed_path = re.compile(r'<(?:"(?:[^"\\]|\\.)*"|[^">]++)*>', re.DOTALL).match
_bare_path = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^" \t]++)+', re.DOTALL).match
_parameter = re.compile(
    rf"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e{_NON_ASCII}]+))?"
).fullmatch
_is_xtext = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})*").fullmatch
_xtext_hex = re.compile(rb"\+([0-9A-Fa-f]{2})")
_not_xchar = re.compile(rb"[^!-*,-<>-~]")


_new = object.__new__


class PathError(AddressError):
    """An address or argument breaks the RFC; `where` tells which part, for the enhanced status."""

    def __init__(self, message: str, where: Where = "address") -> None:
        super().__init__(message)
        self.where = where


# Frozen, it would take three times as long to make one, and each message has several.
@dataclass(slots=True, unsafe_hash=True)
class Address:
    """A mailbox, which nobody changes.

    `local_part` is unquoted; `domain` is None only for the bare `<postmaster>`. It is in its
    canonical form, in whatever spelling it was given. The constructor checks nothing: text from
    outside goes through the parse functions.
    """

    local_part: str
    domain: str | None
    #: `local@domain` as the client wrote it, quoted where it must be; for SMTP and logs.
    address: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        local = self.local_part if _is_plain(self.local_part) else _quote(self.local_part)
        text = local if self.domain is None else f"{local}@{self.domain}"
        self.address = text
        if self.domain is not None:
            self.domain = canonical_domain(self.domain)

    @property
    def path(self) -> str:
        """The address in angle brackets."""
        return f"<{self.address}>"

    @property
    def written_domain(self) -> str | None:
        """The domain as the client wrote it; for the next hop, never to compare."""
        return None if self.domain is None else self.address.rpartition("@")[2]

    @property
    def unquoted(self) -> str:
        """`local@domain` as the client wrote it, never quoted, as some mail systems store it."""
        domain = self.written_domain
        return self.local_part if domain is None else f"{self.local_part}@{domain}"

    @property
    def key(self) -> str:
        """`local@domain` in the form that all comparisons use; see `address_key`."""
        local = _comparable(self.local_part)
        return local if self.domain is None else f"{local}@{self.domain}"

    @property
    def spellings(self) -> Spellings:
        """All forms of the key that regular expressions are tried on."""
        key = self.key
        if self.address.lower() == key and key.isascii() and "xn--" not in key:
            return Spellings((key,))
        written = self.unquoted
        local, at, domain = key.rpartition("@")
        canonical = (key, f"{local}{at}{u_label_form(domain)}")
        # A system that normalises characters reads the last of them.
        others = dict.fromkeys((written, unicodedata.normalize("NFKC", written)))
        return Spellings(
            tuple(dict.fromkeys(canonical)),
            tuple(other for other in others if other.lower() not in canonical),
        )

    @property
    def is_ascii(self) -> bool:
        """Whether the next hop can take the address without SMTPUTF8 (RFC 6531)."""
        return self.address.isascii()

    @property
    def has_literal(self) -> bool:
        """Whether an address literal stands in place of a domain (RFC 5321 section 4.1.3)."""
        return self.domain is not None and self.domain.startswith("[")

    @property
    def is_route(self) -> bool:
        """Whether the local part names another destination, which the next hop might follow.

        As in `user%other.example@us`, `other.example!user@us`, `"user@other.example"@us`. With
        full-width characters as well: a system that normalises reads them like the others.
        """
        local = self.local_part
        if not local.isascii():
            local = unicodedata.normalize("NFKC", local)
        return _has_route(local) is not None

    def __str__(self) -> str:
        return self.address


ReversePath = Address | None
"""Where non-delivery reports go; None is the null reverse-path `<>`."""


def parse_reverse_path(text: str, *, utf8: bool = False) -> ReversePath:
    """Parse the path of MAIL, with its brackets; `utf8` when SMTPUTF8 was given."""
    # qmail sends its double bounces from <#@[]>.
    if text in ("<>", "<#@[]>"):
        return None
    return parse_forward_path(text, utf8=utf8)


def parse_forward_path(text: str, *, utf8: bool = False) -> Address:
    """Parse the path of RCPT, with its brackets; `utf8` when the transaction has SMTPUTF8.

    A source route is dropped (RFC 5321 appendix C). `<postmaster>` needs no domain (section 4.5.1).
    """
    # Two of these run per message, so the usual shape takes one match and no further check.
    common = _common_path(text)
    if common is not None:
        local_part, domain = common.groups()
        if len(domain) <= MAX_DOMAIN:
            return _parsed(local_part, domain.lower(), text[1:-1])
    return _parse_path(text, utf8)


def parse_mailbox(text: str, *, utf8: bool = False) -> Address:
    """Parse `local@domain` without brackets."""
    _check_text(text, utf8)
    quoted = _quoted_mailbox(text)
    if quoted is not None:
        local_part, domain = _unquote(quoted[1]), quoted[2]
    else:
        local_part, at, domain = text.rpartition("@")
        if not at:
            raise PathError("domain missing in address")
        if not _is_plain(local_part):
            raise PathError("syntax error in local part")
    if len(local_part.encode()) > MAX_LOCAL_PART:
        raise PathError("local part too long")
    _check_domain(domain, literal=True)
    return Address(local_part, domain)


def address_key(text: str) -> str:
    """The key of an address that an administrator or user wrote, as `Address.key` has it.

    `@example.com` is the key of a whole domain. Takes any text.
    """
    local, at, domain = text.rpartition("@")
    if not at:
        return _comparable(text)
    return f"{_comparable(_unquote(local))}@{canonical_domain(domain)}"


def common_address(text: str, keyword: Keyword) -> Address | None:
    """The address in what follows MAIL or RCPT, if it has the usual shape and no parameters.

    Otherwise None: then `split_arguments` and the parse functions say what it is.  For what has
    that shape they come to the same, in three times the time.
    """
    common = _common_argument[keyword](text)
    if common is None:
        return None
    local_part, domain = common.groups()
    if len(domain) > MAX_DOMAIN:
        return None
    return _parsed(local_part, domain.lower(), f"{local_part}@{domain}")


def split_arguments(text: str, keyword: Keyword) -> tuple[str, dict[str, str | None]]:
    """Split what follows MAIL or RCPT into the path and the ESMTP parameters.

    The path keeps its brackets, or lacks them when the client left them out. Parameter names come
    in upper case; the value is None where the client sent no `=`. Nothing after `FROM:` is the null
    path, as in the Perl version.
    """
    start = len(keyword) + 1
    if text[:start].upper() != f"{keyword}:":
        raise PathError("syntax error in command", "command")
    rest = text[start:].strip(" \t")
    if not rest:
        if keyword == "FROM":
            return "<>", {}
        raise PathError("syntax error in address")
    match = _bracketed_path(rest) if rest[0] == "<" else _bare_path(rest)
    if match is None:
        raise PathError("syntax error in address")
    path = match[0]
    return path, _parse_parameters(rest[len(path) :]) if len(path) < len(rest) else {}


def decode_xtext(value: str) -> str:
    """Decode xtext (RFC 3461 section 4): the value of AUTH, ENVID and, after its type, ORCPT.

    Control characters are refused: none of these values may hold one, and they end up in headers.
    """
    try:
        text = xtext_octets(value).decode()
    except UnicodeDecodeError:
        raise PathError("syntax error in xtext", "parameters") from None
    if _has_forbidden(text):
        raise PathError("control character in xtext", "parameters")
    return text


def xtext_octets(value: str) -> bytes:
    """The octets that xtext stands for, whatever they are.  Raises PathError if it is not xtext."""
    if not _is_xtext(value):
        raise PathError("syntax error in xtext", "parameters")
    return _xtext_hex.sub(lambda hexchar: bytes.fromhex(hexchar[1].decode()), value.encode())


def encode_xtext(text: str) -> str:
    """Encode text as xtext (RFC 3461 section 4), non-ASCII characters as the octets of UTF-8."""
    try:
        octets = text.encode()
    except UnicodeEncodeError:
        raise PathError("text is not valid Unicode", "parameters") from None
    return _not_xchar.sub(lambda octet: b"+%02X" % octet[0][0], octets).decode("ascii")


def _parsed(local_part: str, domain: str, text: str) -> Address:
    """An address whose parts are all known: the constructor would cost as much as parsing."""
    address = _new(Address)
    address.local_part, address.domain, address.address = local_part, domain, text
    return address


def _comparable(local_part: str) -> str:
    if local_part.isascii():
        return local_part.lower()
    # Composed before and after: an accent that stands apart may keep a letter from being lowered.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", local_part).lower())


def _quote(local_part: str) -> str:
    return '"' + _needs_backslash.sub(r"\\\1", local_part) + '"'


def _unquote(local_part: str) -> str:
    """A local part without its quotes, if it has any."""
    quoted = _quoted_string(local_part)
    return _quoted_pair.sub(r"\1", quoted[1]) if quoted else local_part


def _parse_path(text: str, utf8: bool) -> Address:
    """Parse what the common shape does not cover."""
    if len(text) < 2 or text[0] != "<" or text[-1] != ">":
        raise PathError("angle brackets missing")
    _check_text(text, utf8)
    mailbox = text[1:-1]
    if mailbox.lower() == "postmaster":
        return Address("postmaster", None)
    if mailbox.startswith("@"):
        mailbox = _without_route(mailbox)
    return parse_mailbox(mailbox, utf8=utf8)


def _without_route(path: str) -> str:
    route, _, mailbox = path.partition(":")
    for hop in route.split(","):
        if not hop.startswith("@"):
            raise PathError("syntax error in source route")
        _check_domain(hop[1:], literal=False)
    return mailbox


def _check_text(text: str, utf8: bool) -> None:
    if _has_forbidden(text):
        raise PathError("control character or invalid UTF-8 in address")
    if not utf8 and not text.isascii():
        raise PathError("non-ASCII address without SMTPUTF8")
    if len(text.encode()) > MAX_PATH:
        raise PathError("path too long")


def _check_domain(domain: str, *, literal: bool) -> None:
    if len(domain.encode()) > MAX_DOMAIN:
        raise PathError("domain too long")
    if not (is_domain(domain) or (literal and is_literal(domain))):
        raise PathError("syntax error in domain")


def _parse_parameters(text: str) -> dict[str, str | None]:
    parameters: dict[str, str | None] = {}
    if text[0] not in " \t":
        raise PathError("syntax error after path", "parameters")
    for word in filter(None, text.replace("\t", " ").split(" ")):
        match = _parameter(word)
        if match is None:
            raise PathError("syntax error in parameters", "parameters")
        name = match[1].upper()
        if name in parameters:
            raise PathError("parameter given twice", "parameters")
        parameters[name] = match[2]
    return parameters
