# SPDX-License-Identifier: MIT
"""The test suites of the SPF project for RFC 4408 and RFC 7208.

They are in the source distribution of pyspf, which is fetched when the tests run: they have a
licence of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import yaml

from qpsmtpd.api import DnsAnswer, DnsError, RecordType
from qpsmtpd.testing import FakeResolver
from tests.conformance.source_archives import from_pypi

VERSION = "2.0.14"
#: How many tests each suite has.
SUITES = {"rfc4408": 191, "rfc7208": 203}

#: The word in a zone for a name server that does not answer.
SILENCE = "TIMEOUT"


@dataclass(frozen=True)
class Case:
    """One test: a question, the results that are right, the best first, and the explanation."""

    name: str
    client: str
    mail_from: str
    hello: str
    results: tuple[str, ...]
    explanation: str | None
    zone: dict[str, list[Any]]

    def __str__(self) -> str:
        return self.name


class ZoneResolver(FakeResolver):
    """Answers from the zone data of a suite, as its README describes them."""

    def __init__(self, zone: dict[str, list[Any]]) -> None:
        super().__init__()
        self._zone = {name.lower(): entries for name, entries in zone.items()}

    async def ptr(self, ip: str) -> list[str]:
        return list((await self.look_up("PTR", ip_address(ip).reverse_pointer)).records)

    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
        self.asked.append((kind, name))
        return self._answer(kind, name.lower().removesuffix("."), ())

    def _answer(self, kind: RecordType, name: str, aliases: tuple[str, ...]) -> DnsAnswer:
        if name in aliases:
            raise DnsError("aliases in a circle")
        entries = self._zone.get(name)
        if entries is None:
            return DnsAnswer((), False)
        records = list(self._records(kind, entries))
        if not records:
            if SILENCE in entries:
                raise DnsError("no answer")
            for alias in (entry["CNAME"] for entry in entries if "CNAME" in entry):
                return self._answer(kind, alias.lower(), (*aliases, name))
        return DnsAnswer(tuple(sorted(records)), True)

    def _records(self, kind: RecordType, entries: list[Any]) -> Iterator[Any]:
        records = [entry for entry in entries if entry != SILENCE]
        published = [entry[kind] for entry in records if kind in entry]
        if kind == "TXT" and not published:
            # An SPF record stands for a TXT record as well, unless the zone says TXT itself.
            published = [entry["SPF"] for entry in records if "SPF" in entry]
        for data in published:
            if data == SILENCE:
                raise DnsError("no answer")
            if kind == "MX":
                yield data[0], data[1].removesuffix(".")
            elif kind == "TXT" and data != "NONE":
                yield data if isinstance(data, str) else "".join(data)
            elif kind != "TXT":
                yield data.removesuffix(".")


def cases(suite: str) -> list[Case]:
    """The tests of "rfc4408" or "rfc7208"."""
    return [
        _case(name, test, scenario["zonedata"])
        for scenario in yaml.safe_load_all(_text(suite))
        for name, test in scenario["tests"].items()
    ]


def _case(name: str, test: dict[str, Any], zone: dict[str, list[Any]]) -> Case:
    results = test["result"]
    return Case(
        name,
        test["host"],
        test["mailfrom"],
        test["helo"],
        (results,) if isinstance(results, str) else tuple(results),
        test.get("explanation"),
        zone,
    )


def _text(suite: str) -> bytes:
    """The file of a suite."""
    return from_pypi("pyspf", VERSION).read(f"test/{suite}-tests.yml")
