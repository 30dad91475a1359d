# SPDX-License-Identifier: MIT
import asyncio
import itertools

from qpsmtpd.dashboard.kept import Kept
from qpsmtpd.testing import FakeClock


async def test_a_value_is_found_once_in_a_while() -> None:
    found = itertools.count()
    clock = FakeClock()

    async def find() -> int:
        await asyncio.sleep(0)
        return next(found)

    kept = Kept(find, 10.0, clock)
    assert tuple(await asyncio.gather(kept.value(), kept.value())) == (0, 0)
    clock.advance(9.0)
    assert await kept.value() == 0
    clock.advance(1.0)
    assert await kept.value() == 1
