# SPDX-License-Identifier: MIT
"""The budget of a message is shared."""

import pytest

from qpsmtpd.errors import DnsLimitError
from qpsmtpd.mailauth.budget import QUESTIONS, resolver_for
from qpsmtpd.testing import FakeResolver, a_transaction


async def test_a_transaction_has_one_budget() -> None:
    dns, tx = FakeResolver(), a_transaction()
    for _ in range(QUESTIONS):
        await resolver_for(tx, dns).txt("a.test")
    with pytest.raises(DnsLimitError):
        await resolver_for(tx, dns).txt("a.test")
    await resolver_for(a_transaction(), dns).txt("a.test")
