# SPDX-License-Identifier: MIT
"""ARC: what the mail systems that have passed a message on say of it (RFC 8617 section 5.2).

A chain says only what its sealers claim, so it means nothing unless one trusts each of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from qpsmtpd.errors import DnsError
from qpsmtpd.mail.headers import Headers
from qpsmtpd.mailauth.arcset import (
    ArcError,
    ArcSet,
    Seal,
    message_signature,
    read_sets,
)
from qpsmtpd.mailauth.canonical import BodyHash, Canonicalization
from qpsmtpd.mailauth.dkimkey import DkimKeyError, Key, Verify, choose_key
from qpsmtpd.mailauth.dkimsignature import Signature
from qpsmtpd.mailauth.signedfields import SignedFields
from qpsmtpd.plugin.services import Resolver

ArcCode = Literal["none", "pass", "fail", "temperror"]

#: Keys of one message that are looked up.
MAX_KEYS = 10

_MENTIONED = b"arc-"


@dataclass(frozen=True, slots=True)
class ArcResult:
    """What became of a chain.

    result: a word of RFC 8617 section 4.4; "temperror" if keys cannot be looked up now.
    reason: why it is not pass, in fixed words.
    sealers: the domains of its seals, the first one first; as far as they can be read.
    oldest_pass: the number of the oldest set from which on all signatures of the message are right;
    0 if that is the first, so that nobody has changed it (section 5.2).  Only if it is a pass.
    trusted: whether it is a pass, and all of its sealers are those that one trusts.
    """

    result: ArcCode
    reason: str = ""
    sealers: tuple[str, ...] = ()
    oldest_pass: int | None = None
    trusted: bool = False


class _UnknownError(Exception):
    """Nobody can say now whether the chain is valid."""


class ArcVerifier:
    """Checks the chain of one message."""

    def __init__(self, header: bytes, now: float, *, trusted: Collection[str] = ()) -> None:
        """header: the header section as it came.  now: seconds since the epoch.

        trusted: the domains of sealers that one trusts, in canonical form.
        """
        self._trusted = trusted
        self._sets: Sequence[ArcSet] = ()
        #: Those of the message, the newest first; older ones that cannot be read end the list.
        self._signatures: list[Signature] = []
        self._fields = SignedFields()
        self._keys: dict[str, Key | str | None] = {}
        self._bodies: dict[Canonicalization, BodyHash] = {}
        self._wrong = ""
        if _MENTIONED in header.lower():
            self._read(header, now)

    @property
    def needs_body(self) -> bool:
        """Whether the result depends on the body; without that, nothing else has to be called."""
        return bool(self._bodies)

    async def ask(self, resolver: Resolver) -> None:
        """Look up the keys, all at once.  Raises nothing.

        resolver: it should be a limited one, or somebody else's DNS determines how long this takes.
        """
        names = dict.fromkeys(each.key_name for each in self._checkable())
        await asyncio.gather(*(self._ask(resolver, name) for name in list(names)[:MAX_KEYS]))

    def update(self, block: bytes) -> None:
        """Take the next block of the body, which is as it came; it may end anywhere."""
        for body in self._bodies.values():
            body.update(block)

    async def result(self) -> ArcResult:
        """What became of the chain: after the body, and after `ask`.

        It lets others have a turn now and then: a chain has up to a hundred signatures.
        """
        sealers = tuple(each.seal.claims.domain for each in self._sets)
        if not (self._sets or self._wrong):
            return ArcResult("none")
        try:
            oldest_pass = await self._check()
        except ArcError as error:
            return ArcResult("fail", str(error), sealers)
        except _UnknownError as error:
            return ArcResult("temperror", str(error), sealers)
        trusted = all(sealer in self._trusted for sealer in sealers)
        return ArcResult("pass", "", sealers, oldest_pass, trusted)

    # --- the header section -----------------------------------------------------------------

    def _read(self, header: bytes, now: float) -> None:
        self._fields = SignedFields(Headers.parse(header).fields())
        try:
            self._sets = read_sets(self._fields, now)
            _check_states(self._sets)
            self._signatures = list(self._readable(now))
        except ArcError as error:
            self._wrong = str(error)
            return
        for signature in self._signatures:
            self._bodies.setdefault(signature.body, BodyHash(signature.body))

    def _readable(self, now: float) -> Iterator[Signature]:
        """The signatures of the message; only the newest one has to be there (section 5.2)."""
        for place, each in enumerate(reversed(self._sets)):
            try:
                yield message_signature(each.signature, now)
            except ArcError:
                if not place:
                    raise
                return

    def _checkable(self) -> Iterator[Seal | Signature]:
        """What needs a key, in the order of its weight."""
        if self._signatures:
            yield self._signatures[0]
            yield from (each.seal for each in reversed(self._sets))
            yield from self._signatures[1:]

    # --- keys -------------------------------------------------------------------------------

    async def _ask(self, resolver: Resolver, name: str) -> None:
        try:
            self._keys[name] = choose_key(await resolver.txt(name))
        except DnsError:
            self._keys[name] = None
        except DkimKeyError as error:
            self._keys[name] = str(error)

    def _verify(self, signed: Seal | Signature) -> Verify:
        """What checks with the key of a signature.  Raises ArcError and _UnknownError."""
        key = self._keys.get(signed.key_name, "too many keys")
        if key is None:
            raise _UnknownError("key cannot be looked up")
        if isinstance(key, str):
            raise ArcError(key)
        if key.type != signed.key_type:
            raise ArcError("key type")
        if key.verify is None:
            raise ArcError("key size")
        return key.verify

    # --- the decision -----------------------------------------------------------------------

    async def _check(self) -> int:
        """The number of the oldest set that passes.  Raises ArcError and _UnknownError."""
        if self._wrong:
            raise ArcError(self._wrong)
        self._check_message(self._signatures[0])
        await self._check_seals()
        return await self._oldest_pass()

    def _check_message(self, signature: Signature) -> None:
        verify = self._verify(signature)
        if self._bodies[signature.body].digest() != signature.body_hash:
            raise ArcError("body hash did not verify")
        digest = self._fields.hash(
            signature.header, signature.names, signature.unsigned, without=signature.raw
        )
        if not verify(signature.data, digest):
            raise ArcError("message signature did not verify")

    async def _check_seals(self) -> None:
        """Each seal covers all sets up to its own (section 5.1.1)."""
        before = hashlib.sha256()
        for each in self._sets:
            before.update(self._fields.relaxed(each.results))
            before.update(self._fields.relaxed(each.signature))
            sealed = before.copy()
            sealed.update(self._fields.relaxed(each.seal.unsigned + b"\r\n").removesuffix(b"\r\n"))
            if not self._verify(each.seal)(each.seal.data, sealed.digest()):
                raise ArcError("seal did not verify")
            before.update(self._fields.relaxed(each.seal.raw))
            await asyncio.sleep(0)

    async def _oldest_pass(self) -> int:
        oldest = len(self._sets)
        for signature in self._signatures[1:]:
            try:
                self._check_message(signature)
            except (ArcError, _UnknownError):
                return oldest
            oldest -= 1
            await asyncio.sleep(0)
        return 0 if oldest == 1 else oldest


def _check_states(sets: Sequence[ArcSet]) -> None:
    """What the seals say of the chain before them; the newest one counts most (section 5.2)."""
    if sets and sets[-1].seal.state == "fail":
        raise ArcError("the last sealer says that the chain is broken")
    for place, each in enumerate(sets):
        if each.seal.state != ("pass" if place else "none"):
            raise ArcError("wrong cv=")
