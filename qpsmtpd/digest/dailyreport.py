# SPDX-License-Identifier: MIT
"""The sections of a digest."""

from __future__ import annotations

from collections.abc import Iterator

from qpsmtpd.digest.digest import (
    DELAY_BOUNDS,
    SLOW,
    Counts,
    Digest,
    Reason,
    Row,
    Table,
)
from qpsmtpd.digest.sections import (
    Column,
    Report,
    Section,
    numbers,
    shown_duration,
    shown_moment,
    shown_share,
    shown_size,
    trend,
    zone_at,
)

_OTHERS = "(others)"
_TREND = numbers("before", "trend")
_OUTCOMES = numbers("accepted", "deferred", "refused")


def daily(digest: Digest) -> Report:
    """The report of a period."""
    since, until = map(shown_moment, digest.period)
    sections = (
        _summary(digest),
        _course(digest),
        _reasons(digest),
        _table(digest, "plugins", "Who decided", "plugin", digest.plugins),
        _table(digest, "networks", "Networks of clients", "network", digest.networks),
        _table(digest, "senders", "Senders", "sender", digest.senders),
        _table(digest, "recipients", "Recipients", "recipient", digest.recipients),
        _table(digest, "results", "Authentication and allowlists", "result", digest.results),
        _delays(digest),
        _checks(digest),
        _new(digest),
    )
    return Report(
        f"qpsmtpd at {digest.host}",
        f"{since} to {until} {zone_at(digest.period.until)}",
        tuple(filter(None, sections)),
    )


# --- the sums -----------------------------------------------------------------------------------


def _summary(digest: Digest) -> Section:
    now, before = digest.totals, digest.before
    traffic, earlier = digest.traffic, digest.traffic_before
    pairs = [
        ("accepted", now.accepted, before.accepted),
        ("deferred", now.deferred, before.deferred),
        ("refused", now.refused, before.refused),
        ("all", now.total, before.total),
        ("recipients of accepted messages", traffic.recipients, earlier.recipients),
        ("accepted by TLS", traffic.encrypted, earlier.encrypted),
        ("accepted from users who had logged in", traffic.logged_in, earlier.logged_in),
    ]
    rows = [(name, str(one), *_compared(digest, one, other)) for name, one, other in pairs]
    sizes = shown_size(traffic.size), shown_size(earlier.size)
    change = trend(traffic.size, earlier.size)
    rows.append(("size of accepted messages", sizes[0], *_known(digest, sizes[1], change)))
    columns = (Column("decisions"), Column("number", number=True), *_trend(digest))
    return Section("summary", "Decisions", tuple(_reservations(digest)), (), columns, tuple(rows))


def _reservations(digest: Digest) -> Iterator[str]:
    """What the reader has to know about the sums."""
    if digest.oldest is None:
        yield "Nothing is kept in the store."
    elif not digest.is_whole:
        yield (
            f"Nothing older than {shown_moment(digest.oldest)} is kept, so what came before that "
            "is not in the sums."
        )
    elif not digest.is_comparable:
        yield (
            f"There is no trend, as nothing older than {shown_moment(digest.oldest)} is kept "
            "(decisions_days and decisions_size say how much is)."
        )
    if digest.damaged:
        yield f"{digest.damaged} entries of the store cannot be read and are not in the sums."


def _trend(digest: Digest) -> tuple[Column, ...]:
    return _TREND if digest.is_comparable else ()


def _compared(digest: Digest, now: int, before: int) -> tuple[str, ...]:
    return _known(digest, str(before), trend(now, before))


def _known(digest: Digest, before: str, change: str) -> tuple[str, ...]:
    """The columns about the period before, if anything is known of it."""
    return (before, change) if digest.is_comparable else ()


def _course(digest: Digest) -> Section | None:
    if not digest.totals.total:
        return None
    rows = tuple((shown_moment(each.begin), *_numbers(each.counts)) for each in digest.course)
    return Section("course", "Course", (), (), (Column("from"), *_OUTCOMES), rows)


def _numbers(counts: Counts) -> tuple[str, ...]:
    return tuple(map(str, counts))


# --- who and why --------------------------------------------------------------------------------


def _reasons(digest: Digest) -> Section:
    found = digest.reasons
    rows = [_reason(digest, reason) for reason in found.rows]
    if found.others:
        kinds = found.kinds - len(found.rows)
        blank = ("",) * len(_trend(digest))
        rows.append((str(found.others), *blank, _OTHERS, "", "", f"{kinds} other reasons"))
    columns = (
        *numbers("number"),
        *_trend(digest),
        *(Column("plugin"), Column("hook"), Column("outcome"), Column("reply")),
    )
    return Section("reasons", "Why mail was not accepted", (), (), columns, tuple(rows))


def _reason(digest: Digest, reason: Reason) -> tuple[str, ...]:
    compared = _compared(digest, reason.number, reason.before)
    what = (reason.plugin, reason.hook, reason.outcome, reason.reply)
    return (str(reason.number), *compared, *what)


def _table(digest: Digest, key: str, title: str, name: str, table: Table) -> Section:
    rows = [_row(digest, row) for row in table.rows]
    if table.others.total:
        others = f"{_OTHERS}: {table.names - len(table.rows)}"
        rows.append((others, *_numbers(table.others), *("",) * len(_trend(digest))))
    columns = (Column(name), *_OUTCOMES, *_trend(digest))
    return Section(key, title, (), (), columns, tuple(rows))


def _row(digest: Digest, row: Row) -> tuple[str, ...]:
    return (row.name, *_numbers(row.counts), *_compared(digest, row.counts.total, row.before))


# --- delays and checks --------------------------------------------------------------------------


def _delays(digest: Digest) -> Section:
    rows = tuple(
        (
            each.plugin,
            str(each.put_off),
            str(each.senders),
            str(each.came_back),
            shown_duration(each.mean) if each.came_back else "-",
            shown_duration(each.longest) if each.came_back else "-",
            *map(str, each.classes),
        )
        for each in digest.delays
    )
    bounds = [f"≤ {shown_duration(bound)}" for bound in DELAY_BOUNDS]
    columns = (
        Column("by"),
        *numbers("put off", "senders", "came back", "mean", "longest", *bounds, "more"),
    )
    text = (
        "A sender is known again by its address and the network of the client: one that came "
        "back from elsewhere counts as not come back."
    )
    return Section("delays", "Mail that was put off", (text,) if rows else (), (), columns, rows)


def _checks(digest: Digest) -> Section:
    total = digest.totals.total
    rows = tuple(
        (
            each.plugin,
            each.hook,
            str(each.slow),
            shown_share(each.slow, total),
            shown_duration(each.longest),
            str(each.faults),
        )
        for each in digest.checks
    )
    columns = (
        *(Column("plugin"), Column("hook")),
        *numbers("slow", "share", "longest", "failed"),
    )
    text = (
        f"Decisions for which a check took {SLOW:.0f} s or more, or failed. What was found out "
        "about a session counts for each of its messages."
    )
    return Section(
        "checks", "Slow checks, and those that failed", (text,) if rows else (), (), columns, rows
    )


def _new(digest: Digest) -> Section:
    """What was not there in the period before; nothing if nobody knows what was."""
    if not digest.is_comparable:
        return Section("new", "New")
    rows = [
        *(("network", row.name, str(row.counts.total)) for row in digest.new.networks),
        *(("sender domain", row.name, str(row.counts.total)) for row in digest.new.sender_domains),
        *(
            ("reason", f"{reason.plugin}: {reason.reply}", str(reason.number))
            for reason in digest.new.reasons
        ),
    ]
    columns = (Column("kind"), Column("what"), *numbers("decisions"))
    return Section("new", "Not seen in the period before", (), (), columns, tuple(rows))
