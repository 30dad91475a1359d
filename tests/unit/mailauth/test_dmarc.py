# SPDX-License-Identifier: MIT
"""DMARC: the cases of dmarc_vectors.txt, and what is true of all walks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.errors import DnsLimitError
from qpsmtpd.mailauth.dkim import DkimResult
from qpsmtpd.mailauth.dmarc import (
    MAX_LABELS,
    DmarcResult,
    Evaluation,
    Identifier,
    Method,
    identifiers_of,
    walk,
)
from qpsmtpd.mailauth.publicsuffix import PublicSuffixes
from qpsmtpd.mailauth.spf import SpfCode, SpfResult
from qpsmtpd.testing import FakeResolver, Records, dns_failure

FILE = Path(__file__).with_name("dmarc_vectors.txt")
SUFFIXES = PublicSuffixes(["com", "uk", "co.uk", "*.ck", "!www.ck"])
FAILURE = "SERVFAIL"


@dataclass
class Vector:
    """A case of the file; the facts that it does not state are not compared."""

    name: str
    records: dict[tuple[str, str], Any] = field(default_factory=dict)
    identifiers: list[Identifier] = field(default_factory=list)
    author: str = ""
    suffixes: PublicSuffixes | None = None
    result: str = ""
    expected: dict[str, str] = field(default_factory=dict)
    aligned: str = ""
    asks: list[str] = field(default_factory=list)

    def read(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        match word:
            case "record":
                name, _, text = rest.partition(": ")
                self._add(("TXT", f"_dmarc.{name}"), text)
            case "address":
                name, _, text = rest.partition(": ")
                self._add(("A", name), text or "192.0.2.1")
            case "spf" | "dkim":
                method: Method = "spf" if word == "spf" else "dkim"
                self.identifiers.append(Identifier(method, rest.rstrip("?"), rest[-1] != "?"))
            case "from":
                self.author = rest
            case "list":
                self.suffixes = SUFFIXES
            case "result":
                self.result, self.expected["policy"] = rest.split()
            case "declared" | "at" | "org":
                self.expected[word] = rest
            case "aligned":
                self.aligned = rest
            case "asks":
                self.asks = rest.split()
            case _:
                raise AssertionError(line)

    def _add(self, key: tuple[str, str], text: str) -> None:
        if text == FAILURE:
            self.records[key] = dns_failure()
        else:
            self.records.setdefault(key, []).append(text)


def vectors() -> Iterator[Vector]:
    vector = None
    for line in FILE.read_text().splitlines():
        if line.startswith("    "):
            assert vector is not None
            vector.read(line[4:])
        elif line and line[0] not in "#=":
            if vector is not None:
                yield vector
            vector = Vector(line)
    assert vector is not None
    yield vector


VECTORS = list(vectors())


async def evaluated(
    author: str,
    identifiers: list[Identifier],
    resolver: FakeResolver,
    suffixes: PublicSuffixes | None = None,
) -> DmarcResult:
    evaluation = Evaluation(author, resolver, suffixes)
    await evaluation.discover()
    return await evaluation.result(identifiers)


def asked(resolver: FakeResolver) -> list[str]:
    """The questions as the file has them."""
    return [
        name.removeprefix("_dmarc.") if kind == "TXT" else f"{kind}:{name}"
        for kind, name in resolver.asked
    ]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
async def test_vector(vector: Vector) -> None:
    resolver = FakeResolver(vector.records)
    result = await evaluated(vector.author, vector.identifiers, resolver, vector.suffixes)
    facts = {
        "policy": result.policy,
        "declared": result.declared,
        "at": result.where,
        "org": result.org_domain,
    }
    assert result.result == vector.result
    assert facts | vector.expected == facts
    assert [method for method, _ in result.aligned] == vector.aligned.split()
    assert asked(resolver) == vector.asks
    assert result.author == vector.author
    assert (result.record is None) == (result.result == "none" or not result.where)
    assert bool(result.reason) == (result.result == "temperror")
    assert result.discovery == ("psl" if vector.suffixes else "treewalk")
    assert result.testing == (result.record is not None and "t=y" in repr(vector.records))


def test_there_are_many_vectors() -> None:
    assert len(VECTORS) >= 80
    assert len({vector.name for vector in VECTORS}) == len(VECTORS)


# --- identifiers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "certain"),
    [
        ("pass", True),
        ("temperror", False),
        *((result, None) for result in ("none", "neutral", "fail", "softfail", "permerror")),
    ],
)
def test_identifier_of_spf(result: SpfCode, certain: bool | None) -> None:
    found = identifiers_of(SpfResult(result, "helo", "mx.example"), ())
    assert found == ([] if certain is None else [Identifier("spf", "mx.example", certain)])


def test_identifiers_of_signatures() -> None:
    signatures = [
        DkimResult("pass", domain="a.example"),
        DkimResult("fail", domain="b.example"),
        DkimResult("policy", domain="c.example", partial=True),
        DkimResult("temperror", domain="d.example"),
        DkimResult("permerror"),
    ]
    assert identifiers_of(None, signatures) == [
        Identifier("dkim", "a.example"),
        Identifier("dkim", "d.example", certain=False),
    ]


# --- limits ---------------------------------------------------------------------------------------

_NAMES = st.lists(st.sampled_from(["a", "b", "mail"]), min_size=1, max_size=120).map(".".join)


@given(domain=_NAMES)
def test_walks_are_short(domain: str) -> None:
    names = list(walk(domain))
    assert names[0] == domain
    assert len(names) == min(domain.count(".") + 1, MAX_LABELS)
    assert all(domain.endswith(name) for name in names)
    lengths = [name.count(".") + 1 for name in names[1:]]
    assert lengths == list(range(len(names) - 1, 0, -1))


async def test_many_signatures_cost_a_walk_only_if_they_could_align() -> None:
    records: Records = {("TXT", "_dmarc.example.com"): ["v=DMARC1; p=reject"]}
    resolver = FakeResolver(records)
    others = [Identifier("dkim", f"a{n}.b.c.d.attack.com") for n in range(10)]
    assert (await evaluated("example.com", others, resolver)).result == "fail"
    assert asked(resolver) == ["example.com", "com"]


async def test_a_limit_is_a_failure() -> None:
    """What could align and cannot be asked about any more is unknown."""

    class Spent(FakeResolver):
        async def txt(self, name: str) -> list[str]:
            if len(self.asked) == 2:
                raise DnsLimitError("no more")
            return await super().txt(name)

    resolver = Spent({("TXT", "_dmarc.example.com"): ["v=DMARC1; p=reject"]})
    names = [Identifier("dkim", "mail.example.com"), Identifier("dkim", "x.example.com")]
    assert (await evaluated("example.com", names, resolver)).result == "temperror"
