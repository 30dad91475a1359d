# SPDX-License-Identifier: MIT
"""Good and bad messages of all kinds, with the clients that send them and the DNS about both.

What a kind is about is the same in all of its messages; what they are written in, signed with and
sent from is not.  Nothing is drawn by lot.
"""

from __future__ import annotations

import functools

from tests.integration.mixed.bad_mail import BAD
from tests.integration.mixed.good_mail import GOOD
from tests.integration.mixed.world import Case, Sample, World


@functools.cache
def mixed_mail() -> tuple[tuple[Sample, ...], World]:
    """500 samples, 300 of them good, and the DNS about them."""
    world = World()
    samples = [
        make(Case(world, kind, row, number, good=makers is GOOD))
        for makers, each in ((GOOD, 12), (BAD, 10))
        for row, (kind, make) in enumerate(makers.items())
        for number in range(each)
    ]
    return tuple(samples), world
