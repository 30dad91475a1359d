# SPDX-License-Identifier: MIT
"""dkim: whether domains have signed a message, and it came as they signed it (DKIM).

    dkim [reject 0|1|naughty] [reject_type TYPE] [temperror accept|defer] [partial_body policy|pass]

The result of each signature (RFC 6376) is written into Authentication-Results, in the order of the
signatures, and `dkim=none` if there are none:

    dkim=pass (2048-bit key) header.d=example.org header.s=s1 header.a=rsa-sha256 header.b=AbCd1234

    result      a signature that
    pass        is right
    fail        is not that of this message: somebody has changed it, or forged the signature
    policy      may be right and does not count: rsa-sha1, a key below 1024 or above 8192 bits, or a
                body to which anybody can have added something (`partial_body pass` lets that pass)
    permerror   is wrong itself, has expired, does not cover From, or has no usable key
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

Needs the Python module cryptography (python3-cryptography).

Differences from the Perl version: `reject` is 0 unless it is given; there it had no effect. The
policies of RFC 5617 (ADSP), which nobody publishes any more, are not looked up. A DNS that does not
answer defers a message only with `temperror defer`. No field X-DKIM-Authentication is added, and a
pass does not earn karma: everybody can sign. Mail of relay clients is not signed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# What checks signatures is imported here, before there is a first message, as that takes 100 ms and
# more; without it the plugin's line is an error.
import cryptography.hazmat.primitives.asymmetric.ed25519
import cryptography.hazmat.primitives.asymmetric.rsa  # noqa: F401

from qpsmtpd.api import (
    DKIM_RESULTS,
    AuthResult,
    DkimResult,
    DkimVerifier,
    Note,
    Plugin,
    RejectMode,
    RejectOptions,
    Transaction,
    Verdict,
    defer,
    dkim_auth_result,
    opt,
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


class Dkim(Plugin[DkimOptions]):
    """Checks DKIM signatures."""

    async def start(self) -> None:
        self._check = Note[_Check](f"{self.name}.check")

    async def hook_data_headers_end(self, tx: Transaction) -> Verdict | None:
        if tx.session.auth_user or self.immune(tx.session):
            return None
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
        return None

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
        self._tell(tx, results)
        return self._verdict(tx, results)

    def _tell(self, tx: Transaction, results: Sequence[DkimResult]) -> None:
        """Put the results where others find them."""
        for result in results:
            level = logging.DEBUG if result.result == "pass" else logging.INFO
            self.log.log(level, "%s", _reason(result))
        tx.auth_results.extend(map(dkim_auth_result, results))
        if not results:
            tx.auth_results.append(AuthResult("dkim", "none"))
        of_all = _of_all(results)
        tx.notes[DKIM_RESULTS] = tuple(results)
        tx.notes[DKIM_RESULT] = _WORDS[of_all]
        tx.notes[DKIM_PASS_DOMAINS] = [each.domain for each in results if each.result == "pass"]
        tx.session.adjust_karma(_KARMA.get(of_all, 0))

    def _verdict(self, tx: Transaction, results: Sequence[DkimResult]) -> Verdict | None:
        reason = ", ".join(map(_reason, results))
        match _of_all(results):
            case "temperror" if self.options.temperror == "defer":
                return defer(TEXT_TEMPERROR, status="4.4.3", reason=reason)
            case "fail":
                return self.reject(tx.session, TEXT_FAIL, status="5.7.20", reason=reason)
        return None


def _of_all(results: Sequence[DkimResult]) -> str:
    """The result of all signatures together; those whose domain is testing never failed."""
    found = {each.result for each in results if not (each.testing and each.result == "fail")}
    return next((result for result in _WORDS if result in found), "none")


def _reason(result: DkimResult) -> str:
    """What the log says."""
    return f"dkim={result.result} d={result.domain!r} s={result.selector!r} why={result.reason!r}"
