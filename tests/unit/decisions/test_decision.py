# SPDX-License-Identifier: MIT
import pytest

from qpsmtpd.decisions.decision import MOST_ANSWERS, Decision, outcome_of, said_in
from qpsmtpd.mail.trail import Answer
from qpsmtpd.mail.verdict import deny
from tests.unit.decisions.examples import a_decision


def test_a_line_is_the_decision() -> None:
    assert Decision.decode(a_decision().encode()) == a_decision()


def test_whatever_clients_send_becomes_one_line_of_ascii() -> None:
    hostile = a_decision(helo="\x1b[2J\n\udcff\x00ü", sender="a\r\nb@\u202e.example")
    line = hostile.encode()
    assert line.isascii()
    assert b"\n" not in line
    assert Decision.decode(line) == hostile


@pytest.mark.parametrize("line", [b"", b"{}", b"[1,2]", b"nonsense", b"\xff"])
def test_what_is_no_decision_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        Decision.decode(line)


def test_outcome_of() -> None:
    assert [outcome_of(code) for code in (250, 451, 550)] == ["accepted", "deferred", "refused"]


def test_of_a_long_trail_beginning_and_end_are_kept() -> None:
    trail = [Answer(f"p{number}", "rcpt", deny(reason="x" * 999)) for number in range(500)]
    said = said_in(trail)
    assert len(said) == MOST_ANSWERS
    assert (said[0].plugin, said[-1].plugin) == ("p0", "p499")
    assert len(said[0].reason) == 200
