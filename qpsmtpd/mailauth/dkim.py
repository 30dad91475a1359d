# SPDX-License-Identifier: MIT
"""DKIM: whether domains have signed a message as it came (RFC 6376 section 6).

The signatures are in the header section, so a `Verifier` is made as soon as that is there; keys are
asked for, and the body is hashed, while the rest comes.  A DNS that does not answer is a temporary
error (temperror) and never a fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from qpsmtpd.errors import DnsError
from qpsmtpd.mail.headers import Headers
from qpsmtpd.mailauth.canonical import BodyHash, Canonicalization
from qpsmtpd.mailauth.dkimkey import DkimKeyError, Key, choose_key
from qpsmtpd.mailauth.dkimsignature import (
    Claims,
    DkimSignatureError,
    Signature,
    claims_of,
    parse_signature,
    read_tags,
)
from qpsmtpd.mailauth.signedfields import SignedFields
from qpsmtpd.plugin.services import Resolver

DkimCode = Literal["pass", "fail", "neutral", "policy", "permerror", "temperror"]

#: Signatures of one message that are looked at, from the top.
MAX_SIGNATURES = 10

_FIELD = b"dkim-signature"


@dataclass(frozen=True, slots=True)
class DkimResult:
    """What became of one signature.

    result: a word of RFC 8601 section 2.7.1; "policy" for one that is right and must not count.
    reason: why it is not pass, in fixed words.
    domain, selector: whose signature it claims to be; "" if that cannot be read.
    identity: the domain of its i=.  algorithm: such as "rsa-sha256".  b8: the first characters of
    the signature itself.  bits: the size of the key, 0 without one.
    covers: the names of the fields that it is about, in lower case.
    partial: whether it leaves out the end of the body.
    testing: whether its domain is only trying DKIM out, so that a fail means nothing.
    """

    result: DkimCode
    reason: str = ""
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    b8: str = ""
    bits: int = 0
    covers: frozenset[str] = frozenset()
    partial: bool = False
    testing: bool = False


class _Problem(NamedTuple):
    """Why there is no key, with the result of the signatures that need it."""

    result: DkimCode
    reason: str


class _NotValidError(Exception):
    """A signature that is not valid, with the result."""

    def __init__(self, result: DkimCode, reason: str) -> None:
        super().__init__(reason)
        self.result = result


class Verifier:
    """Checks the signatures of one message.

    ignored: how many signatures there are beyond those that are looked at.
    """

    def __init__(self, header: bytes, now: float, *, partial_passes: bool = False) -> None:
        """header: the header section as it came.  now: seconds since the epoch.

        partial_passes: whether a signature may leave out the end of the body (l=).
        """
        self._partial_passes = partial_passes
        self._fields = SignedFields()
        self._keys: dict[str, Key | _Problem] = {}
        self._bodies: dict[Canonicalization, BodyHash] = {}
        self._signatures: list[Signature | DkimResult] = []
        self.ignored = 0
        if _FIELD in header.lower():
            self._read(header, now)

    @property
    def needs_body(self) -> bool:
        """Whether a result depends on the body; without that, nothing else has to be called."""
        return bool(self._bodies)

    async def ask(self, resolver: Resolver) -> None:
        """Look up the keys, all at once.  Raises nothing.

        resolver: it should be a limited one, or somebody else's DNS determines how long this takes.
        """
        names = dict.fromkeys(signature.key_name for signature in self._checkable())
        if len(names) == 1:
            await self._ask(resolver, *names)
        else:
            await asyncio.gather(*(self._ask(resolver, name) for name in names))

    def update(self, block: bytes) -> None:
        """Take the next block of the body, which is as it came; it may end anywhere."""
        for body in self._bodies.values():
            body.update(block)

    def results(self) -> tuple[DkimResult, ...]:
        """What became of each signature, in their order: after the body, and after `ask`."""
        return tuple(
            signature if isinstance(signature, DkimResult) else self._result(signature)
            for signature in self._signatures
        )

    # --- the header section -----------------------------------------------------------------

    def _read(self, header: bytes, now: float) -> None:
        self._fields = SignedFields(Headers.parse(header).fields())
        found = self._fields.named(_FIELD)
        self.ignored = max(len(found) - MAX_SIGNATURES, 0)
        self._signatures = [_signature(raw, now) for raw in found[:MAX_SIGNATURES]]
        limits: dict[Canonicalization, dict[int | None, None]] = {}
        for signature in self._checkable():
            limits.setdefault(signature.body, {})[signature.length] = None
        self._bodies = {form: BodyHash(form, lengths) for form, lengths in limits.items()}

    def _checkable(self) -> Iterable[Signature]:
        return (each for each in self._signatures if isinstance(each, Signature))

    # --- keys -------------------------------------------------------------------------------

    async def _ask(self, resolver: Resolver, name: str) -> None:
        try:
            records = await resolver.txt(name)
        except DnsError:
            self._keys[name] = _Problem("temperror", "key cannot be looked up")
            return
        try:
            self._keys[name] = choose_key(records)
        except DkimKeyError as error:
            self._keys[name] = _Problem("permerror", str(error))

    def _key(self, signature: Signature) -> Key:
        """The key, if it may be that of this signature (section 6.1.2)."""
        key = self._keys[signature.key_name]
        if isinstance(key, _Problem):
            raise _NotValidError(*key)
        return key

    # --- the decision -----------------------------------------------------------------------

    def _result(self, signature: Signature) -> DkimResult:
        key: Key | None = None
        partial = False
        result: DkimCode = "pass"
        reason = ""
        try:
            key = self._key(signature)
            _check_key(signature, key)
            body = self._bodies[signature.body]
            _check_body(signature, body)
            partial = signature.length not in (None, body.length)
            assert key.verify is not None
            digest = self._fields.hash(
                signature.header, signature.names, signature.unsigned, without=signature.raw
            )
            if not key.verify(signature.data, digest):
                raise _NotValidError("fail", "signature did not verify")
            if partial and not self._partial_passes:
                raise _NotValidError("policy", "body not covered")
        except _NotValidError as error:
            result, reason = error.result, str(error)
        return DkimResult(
            result,
            reason,
            *signature.claims,
            bits=key.bits if key else 0,
            covers=frozenset(map(bytes.decode, signature.names)),
            partial=partial,
            testing=key is not None and key.testing,
        )


def _signature(raw: bytes, now: float) -> Signature | DkimResult:
    claims = Claims()
    try:
        tags = read_tags(raw)
        claims = claims_of(tags)
        return parse_signature(raw, tags, claims, now)
    except DkimSignatureError as error:
        return DkimResult(error.result, str(error), *claims)


def _check_key(signature: Signature, key: Key) -> None:
    """Whether a key may be that of a signature (section 6.1.2)."""
    if key.type != signature.key_type:
        raise _NotValidError("permerror", "key type")
    if key.strict and signature.claims.identity != signature.claims.domain:
        raise _NotValidError("permerror", "i= is not d=")
    if key.verify is None:
        raise _NotValidError("policy", "key size")


def _check_body(signature: Signature, body: BodyHash) -> None:
    digest = body.digest(signature.length)
    if signature.length is not None and signature.length > body.length:
        raise _NotValidError("permerror", "l= is beyond the body")
    if digest != signature.body_hash:
        raise _NotValidError("fail", "body hash did not verify")
