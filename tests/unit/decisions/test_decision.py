# SPDX-License-Identifier: MIT
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.decisions.decision import END, MOST_ANSWERS, Decision, Said, outcome_of, said_in
from qpsmtpd.mail.trail import Answer
from qpsmtpd.mail.verdict import deny
from tests.unit.decisions.examples import a_decision


def test_a_text_is_the_decision() -> None:
    assert Decision.decode(a_decision().encode()) == a_decision()


def test_whatever_clients_send_is_kept() -> None:
    hostile = a_decision(helo="\x1b[2J\n\udcff\x00ü", sender="a\r\nb@\u202e.example")
    assert Decision.decode(hostile.encode()) == hostile


@given(st.text(st.characters(exclude_categories=())))
def test_no_text_can_end_its_field(text: str) -> None:
    def with_text(text: str) -> Decision:
        said = (Said("rcpt", "plugin", "decided", "deny", text, 0.5),)
        return a_decision(
            helo=text, about=text, results=text, reason=text, next_hop_id=text, trail=said
        )

    clean = text.replace(END, "?").replace("\x1f", "?")
    assert Decision.decode(with_text(text).encode()) == with_text(clean)


@pytest.mark.parametrize("text", ["", "{}", "nonsense", "\x1f" * 20 + "x", "\x1f" * 22])
def test_what_is_no_decision_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        Decision.decode(text)


def test_outcome_of() -> None:
    assert [outcome_of(code) for code in (250, 451, 550)] == ["accepted", "deferred", "refused"]


def test_of_a_long_trail_beginning_and_end_are_kept() -> None:
    trail = [Answer(f"p{number}", "rcpt", deny(reason="x" * 999)) for number in range(500)]
    said = said_in(trail)
    assert len(said) == 6 * MOST_ANSWERS
    assert (said[1], said[-5]) == ("p0", "p499")
    assert said[4] == "x" * 200
