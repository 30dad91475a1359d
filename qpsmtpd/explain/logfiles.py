# SPDX-License-Identifier: MIT
"""Decisions in the log: files, those that were rotated and compressed as well, and the journal.

What is in a log may be cut in the middle, of another version, or written by a stranger to deceive:
a line that does not look like ours is skipped, and a field that is missing stays empty.
"""

from __future__ import annotations

import ast
import glob
import gzip
import json
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from qpsmtpd.decisions.decision import Decision, Outcome, outcome_of

#: What follows the ids in our lines about messages, and about what was refused before.
_MESSAGES = (": message accepted ip=", ": message refused ip=")
_REFUSAL = ": refused ip="
#: A longer line is not ours; the rest of it is thrown away.
_MOST_LINE = 64 << 10

_id = re.compile(r"[0-9A-F]{1,16}\.[0-9A-F]{1,16}\.[0-9A-F]{1,16}(?:\.[0-9]{1,9})?")
#: What logging/file writes by default; the journal and logging/json write times of ISO 8601.
_STAMP = "%a %b %d %H:%M:%S %Y"
_STAMP_LENGTH = 24
#: Digits of a number.
_MOST_DIGITS = 20


def rotated(file: Path) -> list[Path]:
    """A log file and what it was before (FILE.1, FILE.2.gz, FILE-20261129), the oldest first.

    In its name, a letter behind a % stands for anything (%Y%m%d.log).
    """
    name = glob.escape(str(file.relative_to(file.anchor)))
    pattern = re.sub(r"\*+", "*", re.sub("%.", "*", name) + "*")
    with suppress(OSError):
        found = filter(Path.is_file, Path(file.anchor).glob(pattern))
        return sorted(found, key=lambda path: path.stat().st_mtime)
    return []


def lines_of(file: Path) -> Iterator[str]:
    """The lines of a log file, compressed or not; damage ends it, with a word on stderr."""
    try:
        with file.open("rb") as raw:
            packed = raw.peek(2).startswith(b"\x1f\x8b")
            stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            while line := stream.readline(_MOST_LINE):
                yield line.decode("utf-8", "backslashreplace").rstrip("\r\n")
    except (OSError, EOFError, zlib.error) as error:
        text = getattr(error, "strerror", None) or error
        print(f"qpsmtpd: {file}: not read to its end: {text}", file=sys.stderr)


def lines_of_journal(unit: str) -> Iterator[str]:
    """What the journal has of a unit; nothing if there is no journal."""
    words = ["journalctl", "--no-pager", "--quiet", "--output=short-iso", f"--unit={unit}"]
    try:
        with subprocess.Popen(  # noqa: S603 (fixed words)
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as journal:
            assert journal.stdout is not None
            for line in journal.stdout:
                yield line[:_MOST_LINE].decode("utf-8", "backslashreplace").rstrip("\r\n")
    except OSError:
        return


def about(lines: Iterable[str], ids: Iterable[str]) -> list[str]:
    """The lines of these sessions."""
    sessions = {".".join(each.split(".")[:3]) for each in ids}
    return [line for line in lines if any(session in line for session in sessions)]


def decision_in(line: str) -> Decision | None:
    """The decision that a line tells; None if it is about something else."""
    if line.startswith("{"):
        line = _of_json(line)
    for mark in (*_MESSAGES, _REFUSAL):
        before, found, after = line.partition(mark)
        # What clients say is quoted: behind a quote, a line may look like anything.
        if not found or "'" in before or '"' in before:
            continue
        if (identity := _identity(before)) is not None:
            return _decision(before, identity, mark, f"ip={after}")
    return None


def last_of(decisions: Iterable[Decision], most: int) -> list[Decision]:
    """The last ones; of the two lines about a message that a plugin refused only the second."""
    found: list[Decision] = []
    for decision in decisions:
        if decision.hook == "message":
            found = [each for each in found if not _is_same(each, decision)]
        found = [*found, decision][-most:]
    return found


def _is_same(refusal: Decision, message: Decision) -> bool:
    return (refusal.id, refusal.plugin, refusal.reply) == (
        message.id,
        message.plugin,
        message.reply,
    )


def _of_json(line: str) -> str:
    """A line of logging/json as logging/file writes it."""
    try:
        record = json.loads(line)
        words = [str(record.get("time", "")), str(record.get("transaction") or record["session"])]
        words += [f"{name}={record[name]}" for name in ("hook", "plugin") if name in record]
        return f"{' '.join(words)}: {record['message']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _identity(before: str) -> tuple[str, dict[str, str]] | None:
    """The id, and hook and plugin, at the end of what stands before the message."""
    words = before.split()
    more: dict[str, str] = {}
    while words and "=" in words[-1]:
        name, _, value = words.pop().partition("=")
        more[name] = value
    if not words or not _id.fullmatch(words[-1]):
        return None
    return words[-1], more


def _decision(
    before: str, identity: tuple[str, dict[str, str]], mark: str, text: str
) -> Decision | None:
    name, more = identity
    values = _values(text)
    reply = values.get("reply", "")
    is_message = mark in _MESSAGES
    accepted = mark == _MESSAGES[0]
    recipient = values.get("to", "")
    return Decision(
        time=_time(before),
        id=name,
        outcome=_outcome(reply, accepted=accepted),
        hook="message" if is_message else more.get("hook", ""),
        plugin=values.get("plugin", "") if is_message else more.get("plugin", ""),
        reply=reply,
        reason="",
        ip=values.get("ip", ""),
        name=values.get("name", "").strip("-"),
        helo=values.get("helo", ""),
        tls="",
        user="",
        sender=values.get("from", ""),
        about=values.get("about", ""),
        results="",
        recipients=(recipient,) if recipient else (),
        recipient_count=_number(values.get("count", "")),
        size=_number(values.get("size", "")),
        seconds=0.0,
        message_id=values.get("message_id", ""),
        next_hop_id=values.get("next_hop_id", "").strip("-"),
        trail=(),
    )


def _outcome(reply: str, *, accepted: bool) -> Outcome:
    if accepted:
        return "accepted"
    return outcome_of(int(reply[:3])) if reply[:3].isdecimal() else "refused"


def _values(text: str) -> dict[str, str]:
    """`name=value` pairs, values perhaps quoted as Python does; the reply is the rest."""
    found: dict[str, str] = {}
    while text:
        name, equals, rest = text.lstrip().partition("=")
        if not equals or " " in name:
            break
        if name == "reply":
            found[name] = rest
            break
        value, text = _quoted(rest) if rest[:1] in ("'", '"') else _bare(rest)
        # The first one counts: what a client says stands behind what we say.
        found.setdefault(name, value)
    return found


def _bare(text: str) -> tuple[str, str]:
    value, _, rest = text.partition(" ")
    return value, rest


def _quoted(text: str) -> tuple[str, str]:
    """The value of a Python literal at the beginning, and the rest; all of it if it is cut."""
    end = 1
    while end < len(text) and text[end] != text[0]:
        end += 2 if text[end] == "\\" else 1
    try:
        return str(ast.literal_eval(text[: end + 1])), text[end + 1 :]
    except (ValueError, SyntaxError):
        return text[1:], ""


def _time(before: str) -> float:
    """When the line was written, if its stamp is one that we know; else 0."""
    with suppress(ValueError, OverflowError):
        return time.mktime(time.strptime(before[:_STAMP_LENGTH], _STAMP))
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(before.partition(" ")[0]).timestamp()
    return 0.0


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _MOST_DIGITS else 0
