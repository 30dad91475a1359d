# SPDX-License-Identifier: MIT
"""Our SPF gives the results that the test suites for RFC 4408 and RFC 7208 want."""

from __future__ import annotations

import pytest

from qpsmtpd.mail.ip import parse_ip
from qpsmtpd.mailauth.spf import SpfQuery, SpfResult, check_host
from tests.conformance.spf_suites import SUITES, Case, ZoneResolver, cases

#: What the suites have in the place of an explanation that is the receiver's own.
OURS = "DEFAULT"


async def checked(case: Case) -> SpfResult:
    local_part, _, domain = case.mail_from.rpartition("@")
    helo = not case.mail_from
    query = SpfQuery(
        parse_ip(case.client),
        case.hello if helo else domain,
        local_part,
        "helo" if helo else "mailfrom",
        case.hello,
    )
    return await check_host(query, ZoneResolver(case.zone))


@pytest.mark.parametrize("suite", SUITES)
async def test_the_suite(suite: str) -> None:
    tests = cases(suite)
    assert len(tests) == SUITES[suite]
    differences = [
        (str(case), result) for case in tests if not fits(case, result := await checked(case))
    ]
    assert not differences


def fits(case: Case, result: SpfResult) -> bool:
    explained = result.explanation or OURS
    return result.result in case.results and case.explanation in (None, explained)
