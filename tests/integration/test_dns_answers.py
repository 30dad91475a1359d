# SPDX-License-Identifier: MIT
"""What we read by hand from answers of the DNS is what dnspython reads, at length."""

from __future__ import annotations

from hypothesis import given, settings

from qpsmtpd.plugin.services import RecordType
from tests.unit.dns.oracle import answers, mutated_answers
from tests.unit.dns.test_answers import same

fuzz = settings(derandomize=True, max_examples=200)


@fuzz
@given(answers())
def test_dnspython_reads_the_same(case: tuple[bytes, RecordType]) -> None:
    same(*case)


@fuzz
@given(mutated_answers())
def test_dnspython_reads_the_same_from_a_mutated_answer(case: tuple[bytes, RecordType]) -> None:
    same(*case)
