# SPDX-License-Identifier: MIT
"""The XML of a DMARC aggregate report (RFC 9990 appendix A), and its names.

Where that schema leaves the order of elements open, it is the one of RFC 7489 appendix C, for
readers that know only this.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.mailauth.aggregate import Published, Row, bounds_of

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"

_DKIM_RESULTS = frozenset({"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"})


@dataclass(frozen=True)
class Report:
    """A report about one domain and one day.

    organization: the domain of whoever reports; email: an address where a person reads.
    generator: the program, with its version.
    """

    organization: str
    email: str
    generator: str
    day: str
    published: Published
    rows: tuple[tuple[Row, int], ...]

    @property
    def domain(self) -> str:
        """The domain that it is about."""
        return self.published.domain

    @property
    def id(self) -> str:
        """The same for everybody who makes this report again: its reader knows a duplicate by it.

        It is made of letters and digits, as a file name wants it.
        """
        text = f"{self.organization}\0{self.domain}\0{self.day}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def file_name(self) -> str:
        """The name of the attachment (RFC 9990, Email)."""
        begin, end = bounds_of(self.day)
        return f"{self.organization}!{self.domain}!{begin}!{end}!{self.id}.xml.gz"

    @property
    def subject(self) -> str:
        """The subject of the mail (RFC 9990, Email)."""
        return f"Report Domain: {self.domain} Submitter: {self.organization} Report-ID: <{self.id}>"

    def xml(self) -> bytes:
        """The report itself."""
        root = Element("feedback", {"xmlns": NAMESPACE})
        _add(root, "version", "1.0")
        self._metadata(SubElement(root, "report_metadata"))
        _policy(SubElement(root, "policy_published"), self.published)
        for row, count in self.rows:
            _record(SubElement(root, "record"), row, count)
        ElementTree.indent(root)
        text: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
        return text + b"\n"

    def compressed(self) -> bytes:
        """The same octets whoever makes them, and whenever."""
        return gzip.compress(self.xml(), mtime=0)

    def _metadata(self, parent: Element) -> None:
        begin, end = bounds_of(self.day)
        _add(parent, "org_name", self.organization)
        _add(parent, "email", self.email)
        _add(parent, "report_id", self.id)
        span = SubElement(parent, "date_range")
        _add(span, "begin", str(begin))
        _add(span, "end", str(end))
        _add(parent, "generator", self.generator)


def _policy(parent: Element, published: Published) -> None:
    _add(parent, "domain", published.domain)
    _add(parent, "adkim", published.dkim_alignment)
    _add(parent, "aspf", published.spf_alignment)
    _add(parent, "p", published.policy)
    _add(parent, "sp", published.subdomains)
    _add(parent, "np", published.nonexistent)
    if published.failure_options:
        _add(parent, "fo", published.failure_options)
    _add(parent, "testing", "y" if published.testing else "n")
    _add(parent, "discovery_method", published.discovery)


def _record(parent: Element, row: Row, count: int) -> None:
    _row(SubElement(parent, "row"), row, count)
    identifiers = SubElement(parent, "identifiers")
    if row.envelope_to:
        _add(identifiers, "envelope_to", row.envelope_to)
    # Empty for the null reverse-path.
    _add(identifiers, "envelope_from", row.envelope_from)
    _add(identifiers, "header_from", row.header_from)
    _results(SubElement(parent, "auth_results"), row)


def _row(parent: Element, row: Row, count: int) -> None:
    _add(parent, "source_ip", row.source)
    _add(parent, "count", str(count))
    evaluated = SubElement(parent, "policy_evaluated")
    _add(evaluated, "disposition", row.disposition)
    _add(evaluated, "dkim", row.dkim)
    _add(evaluated, "spf", row.spf)
    if row.reason:
        _add(SubElement(evaluated, "reason"), "type", row.reason)


def _results(parent: Element, row: Row) -> None:
    for domain, selector, result in row.signatures:
        dkim = SubElement(parent, "dkim")
        _add(dkim, "domain", domain)
        _add(dkim, "selector", selector)
        _add(dkim, "result", result if result in _DKIM_RESULTS else "neutral")
    if row.spf_result:
        spf = SubElement(parent, "spf")
        _add(spf, "domain", row.spf_domain)
        # A null reverse-path stands for postmaster at the name of HELO (RFC 7208 section 2.4).
        _add(spf, "scope", "mfrom")
        _add(spf, "result", row.spf_result)


def _add(parent: Element, name: str, text: str) -> None:
    # What comes from the store need not be clean either, and XML cannot hold control characters.
    SubElement(parent, name).text = printable_ascii(text)


def total(rows: Iterable[tuple[Row, int]]) -> int:
    """How many messages these rows stand for."""
    return sum(count for _, count in rows)
