# SPDX-License-Identifier: MIT
"""dkim: signs mail of our own users, and checks the signatures of others (DKIM).

    dkim [reject 0|1|naughty] [reject_type TYPE] [temperror accept|defer]
         [partial_body policy|pass] [canonicalization FORM]
         [more_fields NAME,NAME...] [lifetime DURATION]

Signatures of others. The result of each signature (RFC 6376) is written into
Authentication-Results, in the order of the signatures, and `dkim=none` if there are none:

    dkim=pass (2048-bit key) header.d=example.org header.s=s1
      header.a=rsa-sha256 header.b=AbCd1234

    result      a signature that
    pass        is right
    fail        is not that of this message: somebody has changed it, or
                forged the signature
    policy      may be right and does not count: rsa-sha1, a key below
                1024 or above 8192 bits, or a body to which anybody can
                have added something (`partial_body pass` lets that pass)
    permerror   is wrong itself, has expired, does not cover From, or has
                no usable key
    temperror   cannot be checked now, as the DNS does not answer

The algorithms are rsa-sha256 and ed25519-sha256 (RFC 8301, RFC 8463). At most 10 signatures are
looked at. The keys are looked up while the client still sends, and the body is hashed as it comes.

Nothing is refused unless `reject` says so: mailing lists change what they pass on, so a fail says
little about a message; what the author's domain wants is up to DMARC. With `reject 1`, a message
with a fail and without any pass is refused with 552 5.7.20, unless a signature has temperror, or
the domain says that it is only testing. `temperror defer` defers a message with a temperror and
without a pass: 452 4.4.3.

Relay clients, authenticated users and exempt clients are not checked. Its lookups about one message
are limited to 40 questions and 20 seconds. A message without a pass whose result is fail or
permerror costs its client a point of karma.

Our own signatures. Mail of relay clients and authenticated users is signed if there are keys for
its domain in the directory `dkim` of the configuration:

    dkim/example.org/202611.private  a key (PEM) with the selector 202611
    dkim/example.org/selector        the selector of the key beside it
    dkim/example.org/private         the same, named as Perl's was
    dkim/example.net                 a symbolic link to example.org,
                                     which signs for example.net

The domain is that of From, or if there is no key for it, that of the sender in the envelope; a
domain without a directory has the keys of the nearest domain above it. A message is signed with
every key of its domain, so RSA and Ed25519 go together, and a key can be replaced in steps.
`qpsmtpd dkim-key DOMAIN` makes a key and prints its record for the DNS; `--check` compares them.

A signature covers the body and the fields that readers see, and breaks when somebody adds another
field From, To, Cc, Subject, Reply-To or Content-Type. It is made when no plugin changes the message
any more, and stands on top. A next hop that rewrites header fields (local_header_rewrite_clients
and canonical_maps of Postfix, for instance) or turns 8-bit text into 7-bit breaks it. A message
that does not have exactly one From, or has a line in its header section that is not a field, is
passed on unsigned; the log says so.

The keys are read when the configuration is loaded. One that cannot be read, that everybody can
read, or that is too small (RSA below 1024 bits) is an error, and one below 2048 bits a warning.

Needs the Python module cryptography (python3-cryptography).

Differences from the Perl version: `reject` is 0 unless it is given; there it had no effect. The
policies of RFC 5617 (ADSP), which nobody publishes any more, are not looked up. A DNS that does not
answer defers a message only with `temperror defer`. No field X-DKIM-Authentication is added, and a
pass does not earn karma: everybody can sign. The author's domain signs rather than that of the
sender in the envelope, and a subdomain has the keys of the nearest domain above it, not of the
furthest. A key that cannot be used is an error; there, mail was then not signed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

# What checks signatures is imported here, before there is a first message, as that takes 100 ms and
# more; without it the plugin's line is an error.
import cryptography.hazmat.primitives.asymmetric.ed25519
import cryptography.hazmat.primitives.asymmetric.rsa  # noqa: F401

from qpsmtpd.api import (
    DKIM_RESULTS,
    AuthResult,
    DkimBodyHash,
    DkimCanonicalization,
    DkimForm,
    DkimKeyring,
    DkimResult,
    DkimSigningKey,
    DkimVerifier,
    Finding,
    Note,
    NotSignableError,
    Plugin,
    RejectMode,
    RejectOptions,
    Seconds,
    Session,
    System,
    Transaction,
    Verdict,
    check_dkim_keys,
    defer,
    dkim_auth_result,
    dkim_signatures,
    opt,
    read_author,
    read_dkim_keys,
    resolver_for,
)

TEXT_FAIL = "No DKIM signature of this message is valid"
TEXT_TEMPERROR = "DKIM key cannot be looked up now, try again later"

#: Notes of the Perl version, for plugins that were written after it: the result of all signatures
#: together, and the domains of those that passed.
DKIM_RESULT = Note[str]("dkim_result")
DKIM_PASS_DOMAINS = Note[list[str]]("dkim_pass_domains")

#: A check under way: the keys are there when the task is done; no task if none is needed.
_Check = tuple[DkimVerifier, asyncio.Task[None] | None]

#: The results in the order in which they determine that of the message, and the Perl version's
#: words for them.
_WORDS = {
    "pass": "pass",
    "temperror": "temperror",
    "fail": "fail",
    "policy": "invalid",
    "permerror": "invalid",
    "none": "none",
}
_KARMA = {"fail": -1, "permerror": -1}

#: The directory with keys of our own.
_KEYS = "dkim"

_is_name = re.compile(r"[!-9;-~]+").fullmatch


def _check_name(name: str) -> None:
    if not _is_name(name):
        raise ValueError("the name of a header field")


@dataclass(frozen=True, kw_only=True)
class DkimOptions(RejectOptions):
    """Options of dkim."""

    reject: RejectMode = opt(
        "0",
        doc="1 refuses a message whose signatures all fail; 0 only logs; naughty leaves the "
        "rejection to the plugin naughty.",
    )
    temperror: Literal["accept", "defer"] = opt(
        "accept", doc="What becomes of a message whose keys cannot be looked up now."
    )
    partial_body: Literal["policy", "pass"] = opt(
        "policy", doc="The result of a signature that leaves out the end of the body (l=)."
    )
    canonicalization: Literal[
        "relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"
    ] = opt(
        "relaxed/relaxed",
        doc="What our signatures survive, in header fields and in the body: relaxed lets blanks "
        "and the case of names change.",
    )
    more_fields: tuple[str, ...] = opt(
        (), check=_check_name, doc="Header fields that we sign beside the usual ones."
    )
    lifetime: Seconds = opt(
        Seconds(0), doc="How long our signatures are valid, at least a day or so; 0 is for ever."
    )


class Dkim(Plugin[DkimOptions]):
    """Checks DKIM signatures, and makes them."""

    async def start(self) -> None:
        self._check = Note[_Check](f"{self.name}.check")
        self._body = Note[DkimBodyHash](f"{self.name}.body")
        self._form = _form(self.options)
        config = self.services.config
        self._keys = await self.services.run_blocking(
            read_dkim_keys, config.path(_KEYS), config.warn
        )

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the daemon can read its keys, and the DNS has their records."""
        directory = self.services.config.path(_KEYS)
        async for finding in check_dkim_keys(system, directory, self.services.resolver):
            yield finding

    async def hook_data_headers_end(self, tx: Transaction) -> Verdict | None:
        if _is_ours(tx.session):
            self._prepare(tx)
        elif not self.immune(tx.session):
            self._verify(tx)
        return None

    def _prepare(self, tx: Transaction) -> None:
        """Hash the body while it comes, if the message is to be signed."""
        if _keys_for(self._keys, tx):
            body = tx.notes[self._body] = DkimBodyHash(self._form.body)
            tx.tap(self, body.update)

    def _verify(self, tx: Transaction) -> None:
        """Begin to check the signatures."""
        verifier = DkimVerifier(
            tx.received_header,
            self.services.clock.now(),
            partial_passes=self.options.partial_body == "pass",
        )
        asking = None
        if verifier.needs_body:
            tx.tap(self, verifier.update)
            asking = tx.begin(verifier.ask(resolver_for(tx, self.services.resolver, "dkim")))
        tx.notes[self._check] = verifier, asking

    async def hook_data_post_headers(self, tx: Transaction) -> Verdict | None:
        check = tx.notes.get(self._check)
        if check is None:
            return None
        verifier, asking = check
        if asking is not None:
            await asyncio.shield(asking)
        results = verifier.results()
        if verifier.ignored:
            self.log.info("signatures ignored count=%d", verifier.ignored)
        of_all = _of_all(results)
        self._tell(tx, results, of_all)
        return self._verdict(tx, results, of_all)

    async def hook_sign(self, tx: Transaction) -> Verdict | None:
        if not _is_ours(tx.session) or tx.message is None:
            return None
        keys = _keys_for(self._keys, tx)
        if not keys:
            self.log.debug("not signed: there is no key for its domain")
            return None
        digest = await self._body_hash(tx)
        now = self.services.clock.now()
        try:
            signatures = dkim_signatures(keys, tx.message.headers, digest, now, self._form)
        except NotSignableError as error:
            self.log.info("not signed: %s", error)
            return None
        for signature in signatures:
            tx.add_header("DKIM-Signature", signature)
        self.log.debug("signed d=%s count=%d", keys[0].domain, len(keys))
        return None

    async def _body_hash(self, tx: Transaction) -> bytes:
        """That of the body which is handed over; it is read again if a plugin has replaced it."""
        assert tx.message is not None
        body = tx.notes.get(self._body)
        if body is None or not tx.message.body_as_received:
            body = DkimBodyHash(self._form.body)
            async for block in tx.message.stream_body():
                body.update(block)
        return body.digest()

    def _tell(self, tx: Transaction, results: Sequence[DkimResult], of_all: str) -> None:
        """Put the results where others find them."""
        for result in results:
            level = logging.DEBUG if result.result == "pass" else logging.INFO
            if self.log.isEnabledFor(level):
                self.log.log(level, "%s", _reason(result))
        tx.auth_results.extend(map(dkim_auth_result, results))
        if not results:
            tx.auth_results.append(AuthResult("dkim", "none"))
        tx.notes[DKIM_RESULTS] = tuple(results)
        tx.notes[DKIM_RESULT] = _WORDS[of_all]
        tx.notes[DKIM_PASS_DOMAINS] = [each.domain for each in results if each.result == "pass"]
        tx.session.adjust_karma(_KARMA.get(of_all, 0))

    def _verdict(
        self, tx: Transaction, results: Sequence[DkimResult], of_all: str
    ) -> Verdict | None:
        match of_all:
            case "temperror" if self.options.temperror == "defer":
                return defer(TEXT_TEMPERROR, status="4.4.3", reason=_reasons(results))
            case "fail":
                reason = _reasons(results)
                return self.reject(tx.session, TEXT_FAIL, status="5.7.20", reason=reason)
        return None


def _is_ours(session: Session) -> bool:
    """Whether the client's mail is that of our users."""
    return session.relay_client or bool(session.auth_user)


def _form(options: DkimOptions) -> DkimForm:
    header, _, body = options.canonicalization.partition("/")
    forms: dict[str, DkimCanonicalization] = {"relaxed": "relaxed", "simple": "simple"}
    names = tuple(name.lower() for name in options.more_fields)
    return DkimForm(forms[header], forms[body], names, int(options.lifetime))


def _keys_for(keys: DkimKeyring, tx: Transaction) -> tuple[DkimSigningKey, ...]:
    """The keys that sign a message: those of its author's domain, or else of the sender's."""
    assert tx.message is not None
    author = read_author(bytes(tx.message.headers)).domain
    sender = tx.reverse_path.domain if tx.reverse_path else None
    return keys.keys_for(author) or keys.keys_for(sender or "")


def _of_all(results: Sequence[DkimResult]) -> str:
    """The result of all signatures together; those whose domain is testing never failed."""
    found = {each.result for each in results if not (each.testing and each.result == "fail")}
    return next((result for result in _WORDS if result in found), "none")


def _reasons(results: Sequence[DkimResult]) -> str:
    return ", ".join(map(_reason, results))


def _reason(result: DkimResult) -> str:
    """What the log says."""
    return f"dkim={result.result} d={result.domain!r} s={result.selector!r} why={result.reason!r}"
