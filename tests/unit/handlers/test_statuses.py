# SPDX-License-Identifier: MIT
"""What handlers say is read as one SMTP reply, or is a fault."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import Decision, Verdict, accept, defer, deny
from qpsmtpd.handlers.statuses import HandlerError, Status, read_status, verdict_of


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (["250 OK"], Status(250, "", "OK")),
        ([b"250 OK"], Status(250, "", "OK")),
        ([bytearray(b"250 OK\r\n")], Status(250, "", "OK")),
        (["250"], Status(250, "", "")),
        (["250 "], Status(250, "", "")),
        (["550 5.1.1 No such user"], Status(550, "5.1.1", "No such user")),
        (["550 5.1.1"], Status(550, "5.1.1", "")),
        (["550 5.1.1x"], Status(550, "", "5.1.1x")),
        (["550 5.1234.1 x"], Status(550, "", "5.1234.1 x")),
        (["450 Später".encode()], Status(450, "", "Später")),
        (["250-one\r\n250 two"], Status(250, "", "one\ntwo")),
        (["250-one\n250-two\n250 three\r\n"], Status(250, "", "one\ntwo\nthree")),
        (["250-one", b"250 two"], Status(250, "", "one\ntwo")),
        (["550-5.7.1 one", "550 5.7.1 two"], Status(550, "5.7.1", "one\ntwo")),
        (["550-5.7.1 one", "550 two"], Status(550, "5.7.1", "one\ntwo")),
    ],
)
def test_a_status(said: list[Any], status: Status) -> None:
    assert read_status(said) == status


@pytest.mark.parametrize(
    "said",
    [
        [],
        [""],
        [None],
        [True],
        [250],
        ["OK"],
        ["25 OK"],
        ["2500 OK"],
        ["250OK"],
        ["250\tOK"],
        [" 250 OK"],
        ["150 OK"],
        ["650 OK"],
        ["٢٥٠ OK"],
        ["250 OK", "250 OK"],
        ["250-OK"],
        ["250-OK", "550 no"],
        ["250 OK\r\n\r\n"],
        ["250 OK\r\n550 no"],
        ["250 OK\rNOOP"],
        [["250 OK"]],
        [object()],
    ],
)
def test_nonsense(said: list[Any]) -> None:
    with pytest.raises(HandlerError, match=r"^said "):
        read_status(said)


def test_hyphens_need_not_count() -> None:
    lines = ["250-one", "250 HELP", "250-two"]
    assert read_status(lines, hyphens_count=False) == Status(250, "", "one\nHELP\ntwo")
    with pytest.raises(HandlerError):
        read_status([*lines, "550 no"], hyphens_count=False)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (Status(250, "", "OK"), Verdict(Decision.ACCEPT, "OK", code=250)),
        (Status(251, "2.1.5", "x"), Verdict(Decision.ACCEPT, "x", "2.1.5", code=251)),
        (Status(450, "4.2.1", "x"), defer("x", status="4.2.1", code=450)),
        (Status(550, "", "x\ny"), deny("x\ny", code=550)),
        (Status(421, "", "x"), defer("x", disconnect=True, code=421)),
        (Status(521, "", "x"), deny("x", disconnect=True, code=521)),
    ],
)
def test_a_verdict(status: Status, verdict: Verdict) -> None:
    assert verdict_of(status) == verdict


def test_an_intermediate_reply_decides_nothing() -> None:
    with pytest.raises(HandlerError, match="said 354"):
        verdict_of(Status(354, "", "Go ahead"))


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.integers(),
            st.text(),
            st.binary(),
            st.from_regex(r"[1-6][0-9]{2}[- ].*"),
        ),
        max_size=3,
    )
)
def test_only_what_begins_with_2_accepts(said: list[Any]) -> None:
    try:
        verdict = verdict_of(read_status(said))
    except HandlerError:
        return
    first = said[0].decode("utf-8", "replace") if isinstance(said[0], bytes) else said[0]
    assert verdict.accepted is first.startswith("2")
    assert verdict != accept()
