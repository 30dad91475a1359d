# SPDX-License-Identifier: MIT
"""DKIM-Signature: the field, read into what it claims and what is needed to check it.

RFC 6376 sections 3.5 and 6.1.1; the algorithms are those of RFC 8301 and RFC 8463.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mail.domain import canonical_domain
from qpsmtpd.mailauth.canonical import Canonicalization
from qpsmtpd.mailauth.dkimkey import KeyType
from qpsmtpd.mailauth.dnsnames import is_askable, is_at_or_below
from qpsmtpd.mailauth.taglist import TagListError, items, parse_tags, without_white_space

#: Octets of a field, and names in h=: real ones have a fourth of that.
MAX_FIELD = 8192
MAX_NAMES = 200

#: Characters of b= by which readers of Authentication-Results tell signatures apart (RFC 6008).
_B_LENGTH = 8

_KEY_TYPES: dict[str, KeyType] = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}
#: Known, and never valid (RFC 8301 section 3.1).
_OF_OLD = "rsa-sha1"
_ALGORITHMS = frozenset({*_KEY_TYPES, _OF_OLD})

_CANONICALIZATIONS: dict[str, Canonicalization] = {"simple": "simple", "relaxed": "relaxed"}
_is_dns_name = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*").fullmatch
_is_field_name = re.compile(r"[!-9<-~]+").fullmatch
#: l= may have at most this many digits (RFC 6376 section 3.5).
_is_number = re.compile(r"[0-9]{1,76}").fullmatch
_is_base64 = re.compile(r"[A-Za-z0-9+/]+={0,2}").fullmatch
_value_of_b = re.compile(rb"((?:\A|;)[ \t\r\n]*+b[ \t\r\n]*+=)[^;]*+").sub


class DkimSignatureError(QpsmtpdError):
    """The signature cannot be checked, or must not count; the message is of fixed words.

    result: what that is.
    """

    def __init__(self, reason: str, result: Literal["permerror", "policy"] = "permerror") -> None:
        super().__init__(reason)
        self.result = result


class Claims(NamedTuple):
    """What a signature says about itself, as far as it can be read; texts are safe to pass on.

    domain, selector: d= and s=, as A-labels in lower case.  identity: the domain of i=.
    algorithm: a=.  b8: the first characters of b=.
    """

    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    b8: str = ""


class Signature(NamedTuple):
    """A signature that can be checked.

    names: of the fields that it covers, in lower case, in order.  length: octets of the body that
    it covers, None if all.  body_hash, data: bh= and b=.  raw: the field as it came.  unsigned: the
    field in the form that was signed: without the value of b= and without its CRLF.
    """

    claims: Claims
    key_type: KeyType
    header: Canonicalization
    body: Canonicalization
    names: tuple[bytes, ...]
    length: int | None
    body_hash: bytes
    data: bytes
    raw: bytes
    unsigned: bytes

    @property
    def key_name(self) -> str:
        """Where the key is (section 3.6.2.1)."""
        return f"{self.claims.selector}._domainkey.{self.claims.domain}"


def read_tags(raw: bytes) -> dict[str, str]:
    """The tags of a field, which is as it came.  Raises DkimSignatureError."""
    if len(raw) > MAX_FIELD:
        raise DkimSignatureError("signature too long")
    try:
        return parse_tags(raw.partition(b":")[2].decode())
    except (TagListError, UnicodeDecodeError):
        raise DkimSignatureError("signature syntax") from None


def claims_of(tags: Mapping[str, str]) -> Claims:
    """What a signature says about itself, right or wrong; what is not safe to pass on is empty."""
    domain = _dns_name(tags.get("d", ""))
    identity = tags["i"].rpartition("@")[2] if "i" in tags else domain
    algorithm = tags.get("a", "").lower()
    data = without_white_space(tags.get("b", ""))
    return Claims(
        domain,
        _dns_name(tags.get("s", "")),
        domain if identity == domain else _dns_name(identity),
        algorithm if algorithm in _ALGORITHMS else "",
        data[:_B_LENGTH] if _is_base64(data) else "",
    )


def parse_signature(raw: bytes, tags: Mapping[str, str], claims: Claims, now: float) -> Signature:
    """Read a field of which `read_tags` and `claims_of` have read the rest.

    now: seconds since the epoch.  Raises DkimSignatureError.
    """
    _check_required(tags)
    check_claims(tags, claims)
    check_times(tags, now)
    header, _, body = tags.get("c", "simple").lower().partition("/")
    try:
        canonicalizations = _CANONICALIZATIONS[header], _CANONICALIZATIONS[body or "simple"]
    except KeyError:
        raise DkimSignatureError("unknown canonicalization") from None
    return Signature(
        claims,
        key_type_of(claims),
        *canonicalizations,
        _names(tags["h"]),
        _number(tags["l"]) if "l" in tags else None,
        decoded(tags["bh"]),
        decoded(tags["b"]),
        raw,
        unsigned_form(raw),
    )


def _check_required(tags: Mapping[str, str]) -> None:
    if tags.get("v") != "1":
        raise DkimSignatureError("unknown version")
    for name in ("a", "b", "bh", "d", "h", "s"):
        if not tags.get(name):
            raise DkimSignatureError(f"no {name}=")
    if "q" in tags and "dns/txt" not in items(tags["q"].lower()):
        raise DkimSignatureError("unknown query method")


def key_type_of(claims: Claims) -> KeyType:
    """The type of the key for a known algorithm."""
    return _KEY_TYPES[claims.algorithm]


def check_claims(tags: Mapping[str, str], claims: Claims) -> None:
    """Whether there can be a key for what a signature claims.  Raises DkimSignatureError."""
    if claims.algorithm == _OF_OLD:
        raise DkimSignatureError("rsa-sha1", "policy")
    if not claims.algorithm:
        raise DkimSignatureError("unknown algorithm")
    if not claims.domain:
        raise DkimSignatureError("wrong d=")
    if not claims.selector or not is_askable(f"{claims.selector}._domainkey.{claims.domain}"):
        raise DkimSignatureError("wrong s=")
    if "@" not in tags.get("i", "@") or not is_at_or_below(claims.identity, claims.domain):
        raise DkimSignatureError("i= is not in d=")


def check_times(tags: Mapping[str, str], now: float) -> None:
    """Whether a signature is still valid.  Raises DkimSignatureError."""
    signed = _number(tags["t"]) if "t" in tags else 0
    if "x" not in tags:
        return
    expires = _number(tags["x"])
    if expires <= signed:
        raise DkimSignatureError("x= is not after t=")
    if expires < now:
        raise DkimSignatureError("signature expired")


def _names(text: str) -> tuple[bytes, ...]:
    names = items(text.lower())
    if len(names) > MAX_NAMES:
        raise DkimSignatureError("too many names in h=")
    if not all(map(_is_field_name, names)):
        raise DkimSignatureError("wrong h=")
    if "from" not in names:
        raise DkimSignatureError("From is not signed")
    return tuple(map(str.encode, names))


def _dns_name(text: str) -> str:
    """A name in canonical form; "" if it is none, whoever reads it (RFC 6376 section 3.5, d=)."""
    if not text.isascii():
        text = canonical_domain(text)
    return text.lower() if _is_dns_name(text) and is_askable(text) else ""


def _number(text: str) -> int:
    if not _is_number(text):
        raise DkimSignatureError("wrong number")
    return int(text)


def decoded(text: str) -> bytes:
    """The octets of base64 with white space in it.  Raises DkimSignatureError."""
    try:
        return base64.b64decode(without_white_space(text), validate=True)
    except (binascii.Error, ValueError):
        raise DkimSignatureError("wrong base64") from None


def unsigned_form(raw: bytes) -> bytes:
    """The field without the value of b= and without its CRLF (section 3.7)."""
    name, _, value = raw.removesuffix(b"\r\n").partition(b":")
    return name + b":" + _value_of_b(rb"\1", value)
