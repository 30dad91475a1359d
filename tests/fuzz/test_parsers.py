# SPDX-License-Identifier: MIT
"""Random inputs for every parser: 20,000 here, a million with `make fuzz`."""

from __future__ import annotations

import pytest

from tests.fuzz.inputs import random_input
from tests.fuzz.parsers import PARSERS, Parser
from tests.fuzz.parsing import fault_with, faults_of, shares

SEED = 1
SHARES = shares(20_000)

#: Inputs with which something went wrong once.
KEPT = [("results", "dkim=pass\u00e9".encode())]


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_nothing_breaks_a_parser(parser: Parser) -> None:
    assert not faults_of(parser, SEED, SHARES[parser.name])


@pytest.mark.parametrize(("name", "octets"), KEPT)
def test_what_went_wrong_once(name: str, octets: bytes) -> None:
    assert not fault_with(next(each for each in PARSERS if each.name == name), octets)


def test_an_input_follows_from_its_seed() -> None:
    inputs = [random_input(PARSERS[0], SEED, number) for number in range(50)]
    assert inputs == [random_input(PARSERS[0], SEED, number) for number in range(50)]
    assert len(set(inputs)) > 25


def test_faults_are_found() -> None:
    def read(octets: bytes) -> int:
        return int(octets)

    def check(_octets: bytes, result: int) -> None:
        assert result != 7

    broken = Parser("broken", read, (), (b"7", b"8"), (b"7",), (ValueError,), check)
    faults = faults_of(broken, SEED, 100)
    assert any("AssertionError" in fault and f"SEED={SEED}" in fault for fault in faults)
    assert not fault_with(broken, b"x")
    unlimited = Parser("unlimited", read, (), (b"x",), (b"x",))
    assert "ValueError" in fault_with(unlimited, b"x")
