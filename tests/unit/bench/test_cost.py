# SPDX-License-Identifier: MIT
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.bench.cost import cpu_seconds, proportional_size

SMAPS = """\
55d0c0a00000-7ffd3a5f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               10236 kB
Pss:                2312 kB
Pss_Dirty:          1200 kB
Pss_Anon:           1200 kB
"""


@given(st.integers(min_value=0, max_value=10**15))
def test_cpu_time_is_that_of_user_and_system(microseconds: int) -> None:
    text = f"usage_usec {microseconds}\nuser_usec 1\nsystem_usec 2\n"
    assert cpu_seconds(text) == microseconds / 1_000_000


def test_memory_is_the_proportional_size_not_its_parts() -> None:
    assert proportional_size(SMAPS) == 2312 * 1024


def test_a_process_that_has_just_ended_uses_nothing() -> None:
    assert proportional_size("") == 0
