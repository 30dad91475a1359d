# SPDX-License-Identifier: MIT
from collections import Counter
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.decisions.decision import Outcome
from qpsmtpd.digest.digest import Counts
from qpsmtpd.digest.tally import Tally

OUTCOMES: list[Outcome] = ["accepted", "deferred", "refused"]
ADDED = st.lists(
    st.tuples(
        st.sampled_from(["sender", "network"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=2),
        st.sampled_from(OUTCOMES),
        st.booleans(),
    )
)


@given(ADDED, st.integers(1, 5), st.integers(0, 4))
def test_it_counts_exactly_however_little_it_holds(
    added: list[tuple[str, str, Outcome, bool]], most: int, rows: int
) -> None:
    now: Counter[str] = Counter()
    before: Counter[str] = Counter()
    with closing(Tally(most)) as tally:
        for kind, name, outcome, recent in added:
            tally.add([(kind, name)], outcome, recent=recent)
            if kind == "sender":
                (now if recent else before)[name] += 1
        table, new = tally.table("sender", rows), tally.new("sender", 100)
    wanted = sorted(now, key=lambda name: (-now[name], name.encode()))
    assert [row.name for row in table.rows] == wanted[:rows]
    assert [row.counts.total for row in table.rows] == [now[name] for name in wanted[:rows]]
    assert [row.before for row in table.rows] == [before[name] for name in wanted[:rows]]
    assert table.names == len(now)
    assert table.others.total == sum(now.values()) - sum(row.counts.total for row in table.rows)
    assert {row.name for row in new} == set(now) - set(before)


def test_outcomes_are_kept_apart() -> None:
    with closing(Tally()) as tally:
        for outcome in (*OUTCOMES, "refused"):
            tally.add([("sender", "a")], outcome, recent=True)
        assert tally.table("sender", 1).rows[0].counts == Counts(1, 1, 2)
        assert tally.table("network", 1) == ((), Counts(), 0)
