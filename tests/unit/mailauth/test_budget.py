# SPDX-License-Identifier: MIT
"""Budgets of a message: shared by all that have one purpose."""

import pytest

from qpsmtpd.errors import DnsLimitError
from qpsmtpd.mailauth.budget import QUESTIONS, resolver_for
from qpsmtpd.testing import FakeResolver, a_transaction


async def test_a_transaction_has_one_budget_for_a_purpose() -> None:
    dns, tx = FakeResolver(), a_transaction()
    for _ in range(QUESTIONS):
        await resolver_for(tx, dns, "spf").txt("a.test")
    with pytest.raises(DnsLimitError):
        await resolver_for(tx, dns, "spf").txt("a.test")
    await resolver_for(tx, dns, "dkim").txt("a.test")
    await resolver_for(tx, dns).txt("a.test")
    await resolver_for(a_transaction(), dns, "spf").txt("a.test")
