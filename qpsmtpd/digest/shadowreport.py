# SPDX-License-Identifier: MIT
"""The sections of a shadow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qpsmtpd.decisions.output import shown_time
from qpsmtpd.digest.sections import (
    Column,
    Report,
    Section,
    numbers,
    shown_moment,
    shown_share,
    zone_at,
)
from qpsmtpd.digest.shadow import KNOWN, Difference, Example, Level, Objection, Shadow

_RESTRAINTS = {"shadow": "mode=shadow", "tag": "mode=tag", "tolerated": "reject 0"}

_MEANING = (
    "Accepted messages that would have been refused or deferred, if these lines did more than "
    "they do. What speaks for a message does not prove that it is wanted: its user had logged in; "
    "DMARC passed, so its author is genuine; its client or its sender is on an allowlist; "
    "its client has good karma; its sender had been deferred in this period, "
    f"and came back; its sender was known from {KNOWN} or more messages from the same network "
    "without an objection; plugins that look at whole messages, such as scanners, had none."
)
_NOTHING = (
    "No line with mode=shadow, mode=tag or `reject 0` objected to a message. Add mode=shadow to a "
    "line whose effect you want to know, and look again in some days."
)
_UNKNOWN = "never asked: unknown"


def shadow_report(shadow: Shadow) -> Report:
    """What would have been refused, and how to find out more."""
    since, until = map(shown_moment, shadow.period)
    sections = (
        _objections(shadow),
        _examples(shadow),
        *(_level(level, shadow) for level in shadow.levels),
        _to_try(shadow),
        _to_add(shadow),
    )
    title = f"What qpsmtpd at {shadow.host} would have refused"
    return Report(
        title, f"{since} to {until} {zone_at(shadow.period.until)}", tuple(filter(None, sections))
    )


# --- what lines that refuse nothing have said ---------------------------------------------------


def _objections(shadow: Shadow) -> Section:
    rows = tuple(_objection(each, shadow.accepted) for each in shadow.objections)
    paragraphs = [*_reservations(shadow), _MEANING if rows else _NOTHING]
    columns = (
        *(Column("plugin"), Column("hook"), Column("line")),
        *numbers("accepted", "share", "speaks for", "refused anyway"),
        Column("what speaks for them"),
    )
    return Section("objections", "Lines that refuse nothing", tuple(paragraphs), (), columns, rows)


def _reservations(shadow: Shadow) -> Iterator[str]:
    yield f"{shadow.decisions} decisions, {shadow.accepted} accepted messages."
    if shadow.oldest is None or shadow.oldest > shadow.period.since:
        since = "" if shadow.oldest is None else f" older than {shown_moment(shadow.oldest)}"
        yield f"Nothing{since} is kept in the store."
    if shadow.damaged:
        yield f"{shadow.damaged} entries of the store cannot be read."


def _objection(each: Objection, accepted: int) -> tuple[str, ...]:
    hints = ", ".join(f"{hint}: {count}" for hint, count in each.hints)
    return (
        *(each.plugin, each.hook, _RESTRAINTS[each.restraint]),
        *(str(each.accepted), shown_share(each.accepted, accepted), str(each.hinted)),
        str(each.anyway),
        hints,
    )


def _examples(shadow: Shadow) -> Section:
    rows = tuple(
        _example(each.plugin, example) for each in shadow.objections for example in each.examples
    )
    columns = tuple(map(Column, ("plugin", "time", "id", "from", "to", "speaks for it", "reason")))
    text = "The last ones of each line; `qpsmtpd explain ID` tells the whole story."
    return Section("examples", "Examples", (text,) if rows else (), (), columns, rows)


def _example(plugin: str, example: Example) -> tuple[str, ...]:
    hints = [
        f"looked at by {', '.join(example.others)}" if hint == "looked at" else hint
        for hint in example.hints
    ]
    return (
        *(plugin, shown_time(example.time), example.id, example.sender, example.recipient),
        *(", ".join(hints) or "-", f"{example.ip}: {example.reason}"),
    )


# --- the graded chains --------------------------------------------------------------------------


def _level(level: Level, shadow: Shadow) -> Section:
    rows = tuple(_difference(each) for each in level.differences)
    columns = (Column("line"), Column("present"), Column("known of it"))
    present = f"the present configuration ({shadow.present or 'filters of your own'})"
    text = f"Lines of {level.path} that {present} has not, or has with other arguments."
    nothing = f"All lines of {level.path} are in {present}."
    title = f"The level {level.name}"
    return Section(f"level-{level.name}", title, (text if rows else nothing,), (), columns, rows)


def _difference(each: Difference) -> tuple[str, str, str]:
    if not each.present:
        return each.line, "-", _UNKNOWN
    if not each.objections:
        return each.line, each.present, "the present line said nothing: unknown"
    parts = (
        f"{one.accepted} accepted at {one.hook} ({one.hinted} with something that speaks for them)"
        for one in each.objections
    )
    return each.line, each.present, f"the present line objected to {'; '.join(parts)}"


def _to_try(shadow: Shadow) -> Section:
    """How to find out on stored mail what the decisions do not tell."""
    if not shadow.levels:
        return Section("try", "")
    name, path, _ = shadow.levels[0]
    text = (
        "Only checks that were asked can have an answer, and with other arguments they may give "
        "another one. To find out about the others, have a copy of the configuration with the next "
        "level judge mail that you have:"
    )
    lines = (
        f"cp -a {shadow.directory} /tmp/{name}",
        _edit(shadow, Path(path), name),
        f"qpsmtpd try --compare /tmp/{name} MAILDIR",
    )
    return Section("try", "What is not known, tried on mail that you have", (text,), lines)


def _edit(shadow: Shadow, chain: Path, name: str) -> str:
    """The command that puts another chain in place of the filters that the copy has."""
    if not shadow.present:
        return f"editor /tmp/{name}/plugins  # in place of your filters: $include {chain}"
    included = f"{shadow.directory}/debian-protection", chain.with_name(shadow.present)
    exchange = "; ".join(f"s|{path}$|{chain}|" for path in included)
    return f"sed -i '{exchange}' /tmp/{name}/plugins"


def _to_add(shadow: Shadow) -> Section:
    """How to find out on real mail."""
    if not shadow.levels:
        return Section("add", "")
    differences = shadow.levels[0].differences
    lines = tuple(f"{each.line} mode=shadow" for each in differences if not each.present)
    if not lines:
        return Section("add", "")
    text = (
        "These lines in the file plugins, above the $include, judge without an effect; look at "
        "this report again after some days:"
    )
    return Section("add", "What is not known, watched for some days", (text,), lines)
