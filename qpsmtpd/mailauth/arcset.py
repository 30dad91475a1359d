# SPDX-License-Identifier: MIT
"""The fields of an ARC chain: sets of three, numbered from 1 (RFC 8617 sections 4.1 and 4.2).

ARC-Authentication-Results    what a mail system has found when the message came
ARC-Message-Signature         its signature of the message as it passed it on
ARC-Seal                      its signature of the chain up to there
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qpsmtpd.mailauth.dkimkey import KeyType
from qpsmtpd.mailauth.dkimsignature import (
    Claims,
    DkimSignatureError,
    Signature,
    check_claims,
    check_times,
    claims_of,
    decoded,
    key_type_of,
    parse_signature,
    read_tags,
    unsigned_form,
)
from qpsmtpd.mailauth.signedfields import SignedFields
from qpsmtpd.mailauth.taglist import items

#: RFC 8617 section 4.2.1.
MAX_SETS = 50

RESULTS = b"arc-authentication-results"
SIGNATURE = b"arc-message-signature"
SEAL = b"arc-seal"

_is_instance = re.compile(r"[1-9][0-9]?").fullmatch
#: The number comes first; the rest is for people and filters.
_results_begin = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([1-9][0-9]?)[ \t\r\n]*;").match


@dataclass(frozen=True, slots=True)
class Seal:
    """An ARC-Seal that can be checked.

    state: what it says of the chain before it (cv=).  The others are as in `Signature`.
    """

    claims: Claims
    key_type: KeyType
    state: str
    data: bytes
    raw: bytes
    unsigned: bytes

    @property
    def key_name(self) -> str:
        """Where the key is."""
        return f"{self.claims.selector}._domainkey.{self.claims.domain}"


@dataclass(frozen=True, slots=True)
class ArcSet:
    """One set of the chain.  signature, seal: the fields as they came; see `message_signature`."""

    results: bytes
    signature: bytes
    seal: Seal


class ArcError(Exception):
    """The chain is not valid; the message is of fixed words."""


def read_sets(fields: SignedFields, now: float) -> Sequence[ArcSet]:
    """The sets of a message in the order of their numbers; none if there is no chain.

    Raises ArcError if there is not one field of each kind for each number from 1 on.
    """
    kinds = [fields.named(name) for name in (RESULTS, SIGNATURE, SEAL)]
    count = len(kinds[0])
    if any(len(kind) != count for kind in kinds):
        raise ArcError("a set is not complete")
    if count > MAX_SETS:
        raise ArcError("too many sets")
    results, signatures, seals = (
        _in_order(kind, instance)
        for kind, instance in zip(kinds, (_instance_of_results, _instance, _instance), strict=True)
    )
    return [
        ArcSet(found, signature, _seal(seal, now))
        for found, signature, seal in zip(results, signatures, seals, strict=True)
    ]


def message_signature(raw: bytes, now: float) -> Signature:
    """Read an ARC-Message-Signature; it has to cover From.  Raises ArcError."""
    tags = dict(_tags(raw))
    del tags["i"]  # which is the user in DKIM
    tags["v"] = "1"
    if "h" in tags:
        tags["h"] = ":".join(filter(None, items(tags["h"])))
    try:
        signature = parse_signature(raw, tags, claims_of(tags), now)
    except DkimSignatureError as error:
        raise ArcError(str(error)) from None
    if SEAL in signature.names:
        raise ArcError("h= names ARC-Seal")
    if signature.length is not None:
        raise ArcError("body not covered")
    return signature


def _in_order(raws: Sequence[bytes], instance: object) -> list[bytes]:
    assert callable(instance)
    numbered = {instance(raw): raw for raw in raws}
    if set(numbered) != set(range(1, len(raws) + 1)):
        raise ArcError("sets are not numbered from 1 on")
    return [numbered[number] for number in sorted(numbered)]


def _instance_of_results(raw: bytes) -> int:
    match = _results_begin(raw, raw.index(b":") + 1)
    if match is None:
        raise ArcError("wrong i=")
    return int(match[1])


def _instance(raw: bytes) -> int:
    text = _tags(raw).get("i", "")
    if not _is_instance(text):
        raise ArcError("wrong i=")
    return int(text)


def _tags(raw: bytes) -> Mapping[str, str]:
    try:
        return read_tags(raw)
    except DkimSignatureError as error:
        raise ArcError(str(error)) from None


def _seal(raw: bytes, now: float) -> Seal:
    tags = dict(_tags(raw))
    del tags["i"]
    if "h" in tags:
        raise ArcError("h= in a seal")
    for name in ("a", "b", "cv", "d", "s"):
        if not tags.get(name):
            raise ArcError(f"no {name}=")
    claims = claims_of(tags)
    try:
        check_claims(tags, claims)
        check_times(tags, now)
        data = decoded(tags["b"])
    except DkimSignatureError as error:
        raise ArcError(str(error)) from None
    return Seal(claims, key_type_of(claims), tags["cv"], data, raw, unsigned_form(raw))
