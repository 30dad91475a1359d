# SPDX-License-Identifier: MIT
"""arc: what mailing lists and other servers that passed a message on say of it (ARC, RFC 8617).

    arc [SEALER,SEALER...]

A server that changes a message, so that its DKIM signatures fail, can say in a signed chain of
header fields what it has found when the message came. The plugin checks the chain and writes the
result into Authentication-Results:

    arc=pass header.oldest-pass=1
    arc=pass (untrusted sealer) header.oldest-pass=0
    arc=fail reason="seal did not verify"
    arc=none

`oldest-pass` is the number of the first server after which nobody has changed the message, or 0 if
nobody has changed it at all. A chain whose keys the DNS does not give now is `fail` as well.

Nothing is refused. A valid chain says only that its sealers have said something: everybody can make
one, for any message. So it counts for other plugins only if all of its sealers are named here, as
domains as their seals have them; without a name, no chain counts.

At most 50 sets are read and 10 keys looked up, in 20 seconds. Signatures by rsa-sha1, with keys
below 1024 bits, or without From, are not valid. Relay clients, authenticated users and exempt
clients are not checked.

ARC was an experiment that its working group is ending, so this plugin is for those who get much
mail from one large forwarder. We make no seals ourselves.

Needs the Python module cryptography (python3-cryptography).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

# As in the plugin dkim: not when the first message comes.
import cryptography.hazmat.primitives.asymmetric.ed25519
import cryptography.hazmat.primitives.asymmetric.rsa  # noqa: F401

from qpsmtpd.api import (
    ARC_RESULT,
    ArcVerifier,
    Domain,
    Note,
    Plugin,
    Transaction,
    Verdict,
    arc_auth_result,
    opt,
    resolver_for,
)

#: A check under way: the keys are there when the task is done; no task if none is needed.
_Check = tuple[ArcVerifier, asyncio.Task[None] | None]


@dataclass(frozen=True, kw_only=True)
class ArcOptions:
    """Options of arc."""

    sealers: tuple[Domain, ...] = opt(
        (), positional=True, doc="The domains of sealers whose chains count."
    )


class Arc(Plugin[ArcOptions]):
    """Checks ARC chains."""

    async def start(self) -> None:
        self._check = Note[_Check](f"{self.name}.check")

    async def hook_data_headers_end(self, tx: Transaction) -> Verdict | None:
        if tx.session.auth_user or self.immune(tx.session):
            return None
        now, trusted = self.services.clock.now(), frozenset(map(str, self.options.sealers))
        verifier = ArcVerifier(tx.received_header, now, trusted=trusted)
        asking = None
        if verifier.needs_body:
            tx.tap(self, verifier.update)
            asking = tx.begin(verifier.ask(resolver_for(tx, self.services.resolver, "arc")))
        tx.notes[self._check] = verifier, asking
        return None

    async def hook_data_post_headers(self, tx: Transaction) -> Verdict | None:
        check = tx.notes.get(self._check)
        if check is None:
            return None
        verifier, asking = check
        if asking is not None:
            await asyncio.shield(asking)
        result = tx.notes[ARC_RESULT] = await verifier.result()
        if result.result != "none":
            self.log.info(
                "arc=%s sealers=%r trusted=%s why=%r",
                *(result.result, ",".join(result.sealers), "yes" if result.trusted else "no"),
                result.reason,
            )
        tx.auth_results.append(arc_auth_result(result))
        return None
