# SPDX-License-Identifier: MIT
"""Mailbox addresses and the arguments of MAIL and RCPT: RFC 5321 section 4.1.2, RFC 6531, RFC 3461.

Text comes from the command line decoded as UTF-8 with surrogateescape: undecodable bytes arrive as
lone surrogates and are refused everywhere. Every failure is a `PathError` with a short fixed text.

Where real mail differs from the RFC we take it:

- dots anywhere in an unquoted local part (`a..b@x`, `.a@x`, `a.@x`), as some mobile carriers issued
  them; they are printed as they came, as the Perl version did: quoting them would be the RFC's
  spelling, but the systems that own such mailboxes know them in this one;
- underscores in domains, and domains of one label;
- local parts up to 256 octets and paths up to 998 (a text line) instead of the 64 and 256 of RFC
  5321 section 4.5.3.1: variable envelope return paths exceed them. A domain keeps its 255 octets
  and a label its 63, since the DNS has no longer ones.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from qpsmtpd.errors import AddressError

Where = Literal["command", "address", "parameters"]

MAX_LOCAL_PART = 256
MAX_DOMAIN = 255
MAX_PATH = 998

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
# What RFC 6531 adds to atext, but for the C1 controls and the two Unicode line separators.
_NON_ASCII = "\xa0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"

_common_path = re.compile(rf"<([.{_ATEXT}]{{1,{MAX_LOCAL_PART}}})@({_DOMAIN})>").fullmatch
_is_plain = re.compile(rf"[.{_NON_ASCII}{_ATEXT}]+").fullmatch
_is_domain = re.compile(_DOMAIN).fullmatch
_is_u_label = re.compile(rf"(?!-)[A-Za-z0-9_{_NON_ASCII}-]{{1,63}}(?<!-)").fullmatch
_has_forbidden = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search
_quoted_mailbox = re.compile(r'"((?:[^"\\]|\\.)*)"@(.*)').fullmatch
_quoted_pair = re.compile(r"\\(.)")
_needs_backslash = re.compile(r'(["\\])')
_address_literal = re.compile(r"\[(ipv6:)?([0-9A-Fa-f:.]+)\]", re.IGNORECASE).fullmatch

# The path ends at the first ">" (without brackets: the first blank) outside a quoted string.
_bracketed_path = re.compile(r'<(?:"(?:[^"\\]|\\.)*"|[^">]++)*>', re.DOTALL).match
_bare_path = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^" \t]++)+', re.DOTALL).match
_parameter = re.compile(
    rf"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e{_NON_ASCII}]+))?"
).fullmatch
_is_xtext = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})*").fullmatch
_xtext_hex = re.compile(rb"\+([0-9A-Fa-f]{2})")
_not_xchar = re.compile(rb"[^!-*,-<>-~]")


class PathError(AddressError):
    """An address or argument breaks the RFC; `where` tells which part, for the enhanced status."""

    def __init__(self, message: str, where: Where = "address") -> None:
        super().__init__(message)
        self.where = where


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox. `local_part` is unquoted; `domain` is None only for the bare `<postmaster>`.

    The constructor checks nothing: text from outside goes through the parse functions.
    """

    local_part: str
    domain: str | None
    #: What `address` is, where the parser knows it already.
    _text: str = field(default="", compare=False, repr=False)

    @property
    def address(self) -> str:
        """`local@domain`, the local part quoted where it must be; the form for SMTP and logs."""
        if self._text:
            return self._text
        local = self.local_part if _is_plain(self.local_part) else _quote(self.local_part)
        return local if self.domain is None else f"{local}@{self.domain}"

    @property
    def path(self) -> str:
        """The address in angle brackets."""
        return f"<{self.address}>"

    @property
    def key(self) -> str:
        """Lower-cased `local@domain` for look-ups in lists and databases; never quoted."""
        if self.domain is None:
            return self.local_part.lower()
        return f"{self.local_part}@{self.domain}".lower()

    @property
    def is_ascii(self) -> bool:
        """Whether the next hop can take the address without SMTPUTF8 (RFC 6531)."""
        return self.local_part.isascii() and (self.domain is None or self.domain.isascii())

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
            return Address(local_part, domain, text[1:-1])
    return _parse_path(text, utf8)


def parse_mailbox(text: str, *, utf8: bool = False) -> Address:
    """Parse `local@domain` without brackets."""
    _check_text(text, utf8)
    quoted = _quoted_mailbox(text)
    if quoted is not None:
        local_part = _quoted_pair.sub(r"\1", quoted[1])
        domain = quoted[2]
    else:
        local_part, at, domain = text.rpartition("@")
        if not at:
            raise PathError("domain missing in address")
        if not _is_plain(local_part):
            raise PathError("syntax error in local part")
    if len(local_part.encode()) > MAX_LOCAL_PART:
        raise PathError("local part too long")
    _check_domain(domain)
    return Address(local_part, domain)


def split_arguments(text: str, keyword: Literal["FROM", "TO"]) -> tuple[str, dict[str, str | None]]:
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
    if not _is_xtext(value):
        raise PathError("syntax error in xtext", "parameters")
    octets = _xtext_hex.sub(lambda hexchar: bytes.fromhex(hexchar[1].decode()), value.encode())
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise PathError("syntax error in xtext", "parameters") from None
    if _has_forbidden(text):
        raise PathError("control character in xtext", "parameters")
    return text


def encode_xtext(text: str) -> str:
    """Encode text as xtext (RFC 3461 section 4), non-ASCII characters as the octets of UTF-8."""
    try:
        octets = text.encode()
    except UnicodeEncodeError:
        raise PathError("text is not valid Unicode", "parameters") from None
    return _not_xchar.sub(lambda octet: b"+%02X" % octet[0][0], octets).decode("ascii")


def _quote(local_part: str) -> str:
    return '"' + _needs_backslash.sub(r"\\\1", local_part) + '"'


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
        _check_domain(hop[1:])
    return mailbox


def _check_text(text: str, utf8: bool) -> None:
    if _has_forbidden(text):
        raise PathError("control character or invalid UTF-8 in address")
    if not utf8 and not text.isascii():
        raise PathError("non-ASCII address without SMTPUTF8")
    if len(text.encode()) > MAX_PATH:
        raise PathError("path too long")


def _check_domain(domain: str) -> None:
    if len(domain.encode()) > MAX_DOMAIN:
        raise PathError("domain too long")
    if not (_is_domain(domain) or _is_literal(domain) or _is_u_domain(domain)):
        raise PathError("syntax error in domain")


def _is_literal(domain: str) -> bool:
    """Whether this is an IPv4 or IPv6 address literal (RFC 5321 section 4.1.3)."""
    literal = _address_literal(domain)
    if literal is None:
        return False
    try:
        _ = IPv6Address(literal[2]) if literal[1] else IPv4Address(literal[2])
    except ValueError:
        return False
    return True


def _is_u_domain(domain: str) -> bool:
    """Whether this is a domain with U-labels (RFC 6531 section 3.2, RFC 5891 section 4).

    Only what keeps its meaning on the way through the DNS: compatibility characters (a full-width
    dot becomes a real one there), invisible ones and spaces would let one name pass for another.
    """
    if domain.isascii() or unicodedata.normalize("NFKC", domain) != domain:
        return False
    return all(map(_is_u_label, domain.split("."))) and all(map(_may_be_in_label, domain))


def _may_be_in_label(character: str) -> bool:
    # Scripts of India and Iran need the two joiners; the ideographic full stop separates labels.
    if character in "\u200c\u200d":
        return True
    return character != "\u3002" and unicodedata.category(character)[0] not in "CZ"


def _parse_parameters(text: str) -> dict[str, str | None]:
    parameters: dict[str, str | None] = {}
    if text[0] not in " \t":
        raise PathError("syntax error after path", "parameters")
    for word in text.replace("\t", " ").split(" "):
        if not word:
            continue
        match = _parameter(word)
        if match is None:
            raise PathError("syntax error in parameters", "parameters")
        name = match[1].upper()
        if name in parameters:
            raise PathError("parameter given twice", "parameters")
        parameters[name] = match[2]
    return parameters
