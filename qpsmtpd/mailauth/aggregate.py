# SPDX-License-Identifier: MIT
"""What a DMARC aggregate report counts (RFC 9990): rows, and the policy that they are about.

Strangers write most of it: what is not printable ASCII becomes a question mark, and long texts are
cut.  Rows and policies travel as JSON, since they are kept in the store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Literal, Self

from qpsmtpd.mail.session import Transaction
from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.mailauth.dkim import DkimResult
from qpsmtpd.mailauth.dmarc import Discovery, DmarcResult
from qpsmtpd.mailauth.dmarcrecord import Alignment, Policy
from qpsmtpd.mailauth.results import DKIM_RESULTS, SPF_RESULT

#: What became of a message; we put none into quarantine ourselves.
Disposition = Literal["none", "pass", "quarantine", "reject"]
#: Why that is not what the policy says; "" if it is.
Override = Literal["", "local_policy", "policy_test_mode"]
Alike = Literal["pass", "fail"]

#: Signatures of one message; RFC 9990 allows a hundred.
MAX_SIGNATURES = 8
#: Octets of a text: a domain has no more.
MAX_TEXT = 253
#: Places of one domain that may ask for its reports.
MAX_URIS = 8
MAX_URI = 400

#: What can stand in the name of a file and in a header field; a domain with anything else gets no
#: reports.
_is_plain = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*").fullmatch
_is_fo = re.compile(r"[01ds](?::[01ds]){0,3}").fullmatch


@dataclass(frozen=True, slots=True)
class Row:
    """Messages that are alike.

    source: the client's address.  dkim, spf: whether these vouched for the author.
    header_from, envelope_from, envelope_to: domains; envelope_to may be left out.
    signatures: domain, selector and result of each.  spf_domain, spf_result: what SPF said; "" if
    it was not asked.
    """

    source: str
    disposition: Disposition
    dkim: Alike
    spf: Alike
    reason: Override
    header_from: str
    envelope_from: str
    envelope_to: str = ""
    signatures: tuple[tuple[str, str, str], ...] = ()
    spf_domain: str = ""
    spf_result: str = ""

    def to_json(self) -> str:
        """The same text for rows that are the same; `from_json` reads it."""
        return _to_json(astuple(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError."""
        try:
            row = cls(*json.loads(text))
            signatures = tuple((str(d), str(s), str(r)) for d, s, r in row.signatures)
            return replace(row, signatures=signatures)
        except TypeError as error:
            raise ValueError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Published:
    """The policy that a domain publishes, and where it wants reports (`rua`, one URI each)."""

    domain: str
    policy: Policy
    subdomains: Policy
    nonexistent: Policy
    dkim_alignment: Alignment
    spf_alignment: Alignment
    testing: bool
    discovery: Discovery
    failure_options: str = ""
    rua: tuple[str, ...] = ()

    def to_json(self) -> str:
        """A text that `from_json` reads."""
        return _to_json(astuple(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError."""
        try:
            published = cls(*json.loads(text))
            return replace(published, rua=tuple(map(str, published.rua)))
        except TypeError as error:
            raise ValueError(str(error)) from None


def _to_json(values: Sequence[object]) -> str:
    return json.dumps(values, separators=(",", ":"))


# --- from the results of a message ------------------------------------------------------------


def published_by(result: DmarcResult) -> Published | None:
    """The policy behind a result; None if nobody asks for reports about it.

    That is so without a record or without rua in it, and for results that are errors: the DNS did
    not say what the message is.
    """
    record = result.record
    if record is None or result.result not in ("pass", "fail") or not record.report_uris:
        return None
    if not _is_plain(result.where):
        return None
    options = record.get("fo").lower()
    return Published(
        domain=result.where,
        policy=record.policy,
        subdomains=record.subdomains,
        nonexistent=record.nonexistent,
        dkim_alignment=record.dkim_alignment,
        spf_alignment=record.spf_alignment,
        testing=record.testing,
        discovery=result.discovery,
        failure_options=options if _is_fo(options) else "",
        rua=tuple(_uris(record.get("rua"))),
    )


def _uris(text: str) -> list[str]:
    """With their limits of size, which `report_uris` leaves out."""
    uris = (uri.strip() for uri in text.split(",", MAX_URIS)[:MAX_URIS])
    return [uri for uri in uris if len(uri) <= MAX_URI]


def row_of(
    tx: Transaction, result: DmarcResult, *, refused: bool, with_recipient: bool = False
) -> Row:
    """The row that a message belongs to.

    refused: whether it is refused because of the result.  with_recipient: whether the row says to
    which domain it was sent; messages to several domains never say that.
    """
    spf, dkim = tx.notes.get(SPF_RESULT), tx.notes.get(DKIM_RESULTS)
    aligned = {method for method, _ in result.aligned}
    disposition, reason = _disposition(result, refused)
    sender = tx.reverse_path
    return Row(
        source=str(tx.session.client_address),
        disposition=disposition,
        dkim="pass" if "dkim" in aligned else "fail",
        spf="pass" if "spf" in aligned else "fail",
        reason=reason,
        header_from=_clean(result.author),
        envelope_from=_clean(sender.domain or "") if sender is not None else "",
        envelope_to=_recipient_domain(tx) if with_recipient else "",
        signatures=_signatures(dkim or (), result.author),
        spf_domain=_clean(spf.domain) if spf is not None else "",
        spf_result=spf.result if spf is not None else "",
    )


def _disposition(result: DmarcResult, refused: bool) -> tuple[Disposition, Override]:
    if result.result == "pass":
        return ("pass" if result.declared != "none" else "none"), ""
    if refused:
        return "reject", "" if result.declared == "reject" else "local_policy"
    if result.declared == "none":
        return "none", ""
    return "none", "policy_test_mode" if result.testing else "local_policy"


def _recipient_domain(tx: Transaction) -> str:
    domains = {recipient.address.domain or "" for recipient in tx.recipients}
    return _clean(domains.pop()) if len(domains) == 1 else ""


def _signatures(results: Iterable[DkimResult], author: str) -> tuple[tuple[str, str, str], ...]:
    """The signatures, those first that tell most (RFC 9990, DKIM signatures in reports)."""

    def rank(signature: DkimResult) -> tuple[bool, bool]:
        return signature.result != "pass", signature.domain != author

    # Both are required in a report.
    named = [each for each in results if each.domain and each.selector]
    return tuple(
        (_clean(each.domain), _clean(each.selector), each.result)
        for each in sorted(named, key=rank)[:MAX_SIGNATURES]
    )


def _clean(text: str) -> str:
    return printable_ascii(text, MAX_TEXT)


# --- days -------------------------------------------------------------------------------------


def day_of(seconds: float) -> str:
    """The day, in UTC, of a time in seconds since the epoch: "2026-11-29"."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def bounds_of(day: str) -> tuple[int, int]:
    """The first and the last second of a day.  Raises ValueError."""
    start = datetime.combine(date.fromisoformat(day), time(), UTC)
    begin = int(start.timestamp())
    return begin, begin + 86_399
