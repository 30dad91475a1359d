# SPDX-License-Identifier: MIT
import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from qpsmtpd.explain.logfiles import about, decision_in, last_of, lines_of, rotated

STAMP = "Sun Nov 29 22:40:18 2026 host[17]: "
MESSAGE = (
    "6B0C.3E.1.1: message refused ip=192.0.2.7 name=mail.client.example helo='client.example' "
    "from='a@client.example' to='user@example.test' count=2 size=4711 plugin=dmarc next_hop_id=-"
    " seconds=0.512 message_id='<1@client.example>' reply=550 5.7.1 policy reply=x"
)
REPLY = "reply=550 5.7.1 policy reply=x"
REFUSAL = (
    "6B0C.3E.1 hook=rcpt plugin=badrcptto: refused ip=192.0.2.7 helo='a b' "
    "about='user@example.test' reply=450 4.7.1 no"
)


def test_a_message() -> None:
    found = decision_in(STAMP + MESSAGE)
    assert found is not None
    assert (found.id, found.outcome, found.plugin) == ("6B0C.3E.1.1", "refused", "dmarc")
    assert (found.sender, found.recipients, found.recipient_count, found.size) == (
        *("a@client.example", ("user@example.test",), 2, 4711),
    )
    assert (found.reply, found.next_hop_id) == ("550 5.7.1 policy reply=x", "")
    assert found.message_id == "<1@client.example>"
    assert found.time > 1_700_000_000


def test_a_refusal() -> None:
    found = decision_in(f"2026-11-29T22:40:18+0000 host qpsmtpd[17]: {REFUSAL}")
    assert found is not None
    assert (found.hook, found.plugin, found.about) == ("rcpt", "badrcptto", "user@example.test")
    assert (found.outcome, found.helo) == ("deferred", "a b")


@pytest.mark.parametrize("stamp", ["2026-11-29T22:40:18+0000 ", "2026-11-29T22:40:18.000Z "])
def test_when_it_was(stamp: str) -> None:
    found = decision_in(f"{stamp}host qpsmtpd[17]: {REFUSAL}")
    assert found is not None
    assert found.time == datetime(2026, 11, 29, 22, 40, 18, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("stamp", ["", "Nov 29 22:40:18 ", "2026-99-29T22:40:18+0000 ", "-1 "])
def test_a_time_that_nobody_knows(stamp: str) -> None:
    found = decision_in(f"{stamp}host qpsmtpd[17]: {REFUSAL}")
    assert found is not None
    assert found.time == 0.0


def test_a_refused_message_has_two_lines() -> None:
    """One of the plugin that refused it, and its own; a recipient that was refused is another."""
    of_plugin = f"6B0C.3E.1.1 hook=data_post plugin=dmarc: refused ip=192.0.2.7 {REPLY}"
    lines = (REFUSAL.replace("3E.1", "3E.1.1", 1), of_plugin, MESSAGE)
    recipient, refusal, message = (decision_in(f"{STAMP}{line}") for line in lines)
    assert recipient and refusal and message
    assert last_of((recipient, refusal, message), 9) == [recipient, message]
    assert last_of((recipient, refusal), 9) == [recipient, refusal]
    assert last_of((recipient, refusal, message), 1) == [message]


def test_a_line_of_json() -> None:
    name, _, message = REFUSAL.partition(": ")
    record = {"session": name.split()[0], "hook": "rcpt", "plugin": "badrcptto", "message": message}
    found = decision_in(json.dumps(record))
    assert found is not None
    assert (found.id, found.hook, found.plugin) == ("6B0C.3E.1", "rcpt", "badrcptto")


@pytest.mark.parametrize(
    "line",
    [
        *("", "{", "[1]", '{"message": 1}', "x: message accepted ip=", "stopping connections=0"),
        "x 6B.3.1: unrecognized command 'X 6B0C.3E.1: message accepted ip=192.0.2.9'",
        "6B.3.1: refused login 'x' \" 6B0C.3E.1: message accepted ip=192.0.2.9",
    ],
)
def test_what_is_no_decision(line: str) -> None:
    assert decision_in(line) is None


def test_nobody_forges_another_decision() -> None:
    forged = "6B0C.3E.9: message accepted ip=203.0.113.9 helo='x' reply=250"
    line = MESSAGE.replace("client.example'", f"{forged}'", 1)
    found = decision_in(STAMP + line)
    assert found is not None
    assert (found.id, found.outcome, found.ip) == ("6B0C.3E.1.1", "refused", "192.0.2.7")


def test_a_line_that_is_cut_anywhere_is_harmless() -> None:
    for length in range(len(MESSAGE)):
        decision_in(STAMP + MESSAGE[:length])
        decision_in(MESSAGE[length:])


def test_rotated_and_compressed_files(tmp_path: Path) -> None:
    file = tmp_path / "q.log"
    for age, (name, text) in enumerate([("q.log", "3"), ("q.log.1", "2")]):
        (tmp_path / name).write_text(f"{text}\n")
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "q.log.2.gz").write_bytes(gzip.compress(b"1\n\xff\n"))
    os.utime(tmp_path / "q.log.2.gz", (900, 900))
    (tmp_path / "other.log").write_text("no\n")
    lines = [line for each in rotated(file) for line in lines_of(each)]
    assert lines == ["1", "\\xff", "2", "3"]
    assert rotated(tmp_path / "missing/q.log") == []


def test_a_file_for_each_day(tmp_path: Path) -> None:
    for name in ("q-20261128.log", "q-20261129.log.gz", "other.log"):
        (tmp_path / name).touch()
    (tmp_path / "q-old.log").mkdir()
    (tmp_path / "q-other").touch()
    names = {path.name for path in rotated(tmp_path / "q-%Y%m%d.log")}
    assert names == {"q-20261128.log", "q-20261129.log.gz"}
    assert len(rotated(tmp_path / "%Y%m%d.log")) == 3
    assert len(rotated(tmp_path / "q-%Y")) == 3


def test_a_damaged_file_is_read_as_far_as_possible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = gzip.compress(b"".join(b"line %d\n" % n for n in range(10_000)))
    (tmp_path / "q.log.1.gz").write_bytes(packed[: len(packed) // 2])
    assert len(list(lines_of(tmp_path / "q.log.1.gz"))) > 100
    assert "not read to its end" in capsys.readouterr().err


def test_lines_about_a_session() -> None:
    lines = ["6B.1.1: a", "6B.1.1.2: b", "6B.1.2: c"]
    assert about(lines, ["6B.1.1.2"]) == ["6B.1.1: a", "6B.1.1.2: b"]
