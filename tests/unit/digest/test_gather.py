# SPDX-License-Identifier: MIT
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.decisions.decision import Decision
from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.decisions.selection import Selection
from qpsmtpd.digest import gather as module
from qpsmtpd.digest.digest import Counts, Period
from qpsmtpd.digest.gather import gather, network_of, part_of, shape_of
from qpsmtpd.lists.hosts import parse_hosts
from tests.unit.decisions.examples import BEGIN, a_decision
from tests.unit.digest.examples import (
    DAY,
    HOSTILE,
    HOUR,
    accepted,
    book_of,
    digest_of,
    put_off,
    said,
)

TEXTS = st.text(max_size=6) | st.just(HOSTILE)
DECISIONS = st.lists(
    st.builds(
        lambda time, ip, outcome, hook, sender, about, recipients, plugin: a_decision(
            0,
            ip=ip,
            outcome=outcome,
            hook=hook,
            sender=sender,
            about=about,
            recipients=tuple(recipients),
            plugin=plugin,
        )._replace(time=BEGIN + time),
        st.integers(0, int(2 * DAY)),
        st.sampled_from(["192.0.2.7", "192.0.2.0/24", "2001:db8::1", ""]),
        st.sampled_from(["accepted", "deferred", "refused"]),
        st.sampled_from(["message", "mail", "rcpt", "connect"]),
        TEXTS,
        TEXTS,
        st.lists(TEXTS, max_size=3),
        st.sampled_from(["core", "dnsbl", "greylisting"]),
    ),
    max_size=40,
)


@given(DECISIONS, st.sampled_from(["", "dnsbl"]))
async def test_the_sums_are_those_of_the_log(decisions: list[Decision], plugin: str) -> None:
    """`qpsmtpd log` shows what the selection has, of all that the book has."""
    selection = Selection(since=BEGIN + DAY, until=BEGIN + 2 * DAY, plugin=plugin)
    book = await book_of(decisions)
    log = [d async for d in book.oldest_first(selection.since) if selection.has(d)]
    found = await gather(book, selection, now=BEGIN + 3 * DAY, host="mx", privacy=Privacy(), rows=2)
    by_outcome = Counter(decision.outcome for decision in log)
    assert found.totals._asdict() == {name: by_outcome[name] for name in found.totals._fields}  # type: ignore[index]
    assert found.totals.total == sum(each.counts.total for each in found.course)
    assert found.totals.turned_away == found.reasons.others + sum(
        reason.number for reason in found.reasons.rows
    )
    for table in (found.plugins, found.networks):
        assert table.others.total + sum(row.counts.total for row in table.rows) == len(log)
    earlier = replace(selection, since=BEGIN, until=BEGIN + DAY)
    both = [d for d in decisions if earlier.has(d) and not selection.has(d)]
    assert found.before.total == len(both)
    texts = [row.name for t in (found.senders, found.recipients, found.networks) for row in t.rows]
    assert all(text.isprintable() for text in texts)


async def test_what_accepted_messages_were() -> None:
    found = await digest_of(
        accepted(1, size=100, recipient_count=3, tls="", user="anna"),
        accepted(2, size=50),
        a_decision(3),
        accepted(-1, size=7, recipient_count=1),
    )
    assert found.traffic == (2, 5, 150, 1, 1)
    assert found.traffic_before == (1, 1, 7, 1, 0)


async def test_names() -> None:
    found = await digest_of(
        accepted(1, sender="", recipients=("a@example.test", "b@example.test", "a@example.test")),
        a_decision(2, hook="rcpt", about="c@example.test", recipients=(), sender="x@y.example"),
        put_off(3, about="z@y.example"),
        a_decision(4, hook="connect", sender="", recipients=(), ip="2001:db8::1"),
    )
    assert [row.name for row in found.senders.rows] == ["<>", "x@y.example", "z@y.example"]
    assert [row.name for row in found.recipients.rows] == [
        "a@example.test",
        "b@example.test",
        "c@example.test",
    ]
    assert [row.name for row in found.networks.rows] == ["192.0.2.0/24", "2001:db8::/64"]
    assert {row.name: row.counts for row in found.plugins.rows} == {
        "spamassassin": Counts(0, 0, 2),
        "greylisting": Counts(0, 1, 0),
        "queue/maildir": Counts(1, 0, 0),
    }


async def test_results_of_authentication() -> None:
    digest = await digest_of(
        accepted(1, results="spf=pass dmarc=pass karma=7"),
        a_decision(2, results="spf=pass dmarc=fail"),
        a_decision(3),
    )
    found = {row.name: row.counts.total for row in digest.results.rows}
    assert found == {"spf=pass": 2, "dmarc=pass": 1, "dmarc=fail": 1}


async def test_reasons_that_are_alike() -> None:
    listed = "550 5.7.1 Client host %s is listed by bl.example"
    found = await digest_of(
        *(a_decision(n, reply=listed % f"192.0.2.{n}", plugin="dnsbl") for n in range(3)),
        a_decision(-5, reply=listed % "192.0.2.9", plugin="dnsbl"),
        a_decision(5),
    )
    first, second = found.reasons.rows
    assert first[:4] == ("dnsbl", "message", "refused", "550 5.7.1 Client host … is listed by …")
    assert first[4:] == (3, 1)
    assert second.number == 1
    assert [reason.plugin for reason in found.new.reasons] == ["spamassassin"]


@pytest.mark.parametrize(
    ("reply", "shape"),
    [
        ("550 5.7.1 no", "550 5.7.1 no"),
        ("550 no <a@b.example>", "550 no …"),
        ("451 4.7.1 try in 300 seconds (x)", "451 4.7.1 try in … seconds (x)"),
        ("", ""),
        ("421 192.0.2.1 5 6", "421 … … …"),
    ],
)
def test_shapes(reply: str, shape: str) -> None:
    assert shape_of(reply) == shape


async def test_who_was_put_off_and_came_back() -> None:
    found = await digest_of(
        put_off(-HOUR, about="early@x.example"),
        accepted(HOUR, sender="early@x.example"),
        put_off(1),
        put_off(100),
        accepted(400),
        accepted(500),
        put_off(600, about="lost@x.example"),
        put_off(700, about="elsewhere@x.example"),
        accepted(800, sender="elsewhere@x.example", ip="198.51.100.1"),
    )
    [delays] = found.delays
    assert delays[:4] == ("greylisting", 4, 3, 2)
    assert (delays.seconds, delays.longest) == (7200 + 399, 7200)
    assert delays.classes == (0, 1, 0, 1, 0, 0)
    assert delays.mean == 7599 / 2


async def test_who_was_put_off_is_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    found = await digest_of(
        *(put_off(n, about=f"{n}@x.example") for n in range(3)),
        *(accepted(10 + n, sender=f"{n}@x.example") for n in range(3)),
    )
    assert found.delays[0][1:4] == (3, 3, 2)


async def test_slow_checks_and_faults() -> None:
    slow = said("passed", hook="data_post", plugin="rspamd", verdict="", seconds=2.5)
    fault = said("fault", plugin="rcpt_ldap", seconds=0.1)
    found = await digest_of(
        accepted(1, trail=(slow, slow, said())),
        accepted(2, trail=(slow._replace(seconds=4.0), fault)),
        accepted(-1, trail=(fault,)),
    )
    assert found.checks == (
        ("rcpt_ldap", "rcpt", 0, 0.1, 1),
        ("rspamd", "data_post", 2, 4.0, 0),
    )


async def test_what_is_new() -> None:
    found = await digest_of(
        accepted(-5, sender="a@old.example"),
        accepted(5, sender="b@old.example"),
        accepted(6, sender="c@New.example", ip="198.51.100.1"),
    )
    assert [row.name for row in found.new.sender_domains] == ["new.example"]
    assert [row.name for row in found.new.networks] == ["198.51.100.0/24"]


async def test_what_cannot_be_read_is_counted_once() -> None:
    book = await book_of([accepted(1), accepted(HOUR)])
    await book.put(0, b"damaged", 1)
    found = await gather(
        book, Selection(since=BEGIN), now=BEGIN + DAY, host="mx", privacy=Privacy()
    )
    assert (found.totals.total, found.damaged) == (1, 1)


@pytest.mark.parametrize(
    ("oldest", "whole", "comparable"),
    [(-DAY, True, True), (-1, True, False), (1, False, False), (None, False, False)],
)
async def test_what_is_kept(oldest: float | None, whole: bool, comparable: bool) -> None:
    found = await digest_of(*(() if oldest is None else (accepted(oldest),)))
    assert (found.is_whole, found.is_comparable) == (whole, comparable)


async def test_the_course() -> None:
    found = await digest_of(accepted(0), accepted(HOUR), a_decision(int(DAY)))
    assert len(found.course) == 24
    assert found.course[0].counts == found.course[1].counts == Counts(1, 0, 0)
    assert found.course[-1].counts == Counts(0, 0, 1)


@pytest.mark.parametrize(
    ("seconds", "part"), [(HOUR, 600), (DAY, HOUR), (7 * DAY, DAY), (365 * DAY, 7 * DAY)]
)
def test_parts(seconds: float, part: float) -> None:
    assert part_of(Period(0, seconds)) == part


async def test_a_period_without_a_beginning() -> None:
    found = await digest_of(accepted(1), since=-BEGIN, seconds=BEGIN + DAY)
    assert found.totals.total == 1
    assert len(found.course) == 520


@pytest.mark.parametrize(
    ("ip", "network"),
    [("192.0.2.7", "192.0.2.0/24"), ("192.0.0.0/16", "192.0.0.0/16"), ("", "-"), ("\x1b", "\\x1b")],
)
def test_networks(ip: str, network: str) -> None:
    assert network_of(ip, Privacy()) == network


async def test_only_what_is_selected() -> None:
    selected: dict[str, Any] = {"client": parse_hosts("198.51.100.0/24")}
    found = await digest_of(accepted(1), accepted(2, ip="198.51.100.9"), **selected)
    assert found.totals.total == 1
