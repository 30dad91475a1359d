# SPDX-License-Identifier: MIT
"""Replies that a milter chooses stay refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.verdict import Decision, Verdict, defer, deny
from qpsmtpd.milter.packets import (
    Accept,
    Continue,
    Packet,
    Reject,
    ReplyCode,
    Shutdown,
    Tempfail,
)
from qpsmtpd.milter.verdicts import UNAVAILABLE, refusal


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Continue(), None),
        (Accept(), None),
        (Reject(), deny(status="5.7.1")),
        (Tempfail(), defer(status="4.7.1")),
        (Shutdown(), defer(status="4.7.1", code=421, disconnect=True)),
        (ReplyCode(b"550 5.7.1 Go away"), deny("Go away", status="5.7.1", code=550)),
        (ReplyCode(b"451 Later"), defer("Later", code=451)),
        (ReplyCode(b"554"), deny("", code=554)),
        (ReplyCode(b"554 5.7.1"), deny("", status="5.7.1", code=554)),
        (ReplyCode(b"421 4.3.2 bye"), defer("bye", status="4.3.2", code=421, disconnect=True)),
        (ReplyCode(b"550-5.7.1 a\r\n550 5.7.1 b"), deny("a\nb", status="5.7.1", code=550)),
        (ReplyCode(b"550 5.7.1 100%% spam%"), deny("100% spam", status="5.7.1", code=550)),
        (ReplyCode(b"550 4.7.1 mixed"), deny("mixed", code=550)),
        (ReplyCode(b"550 5.7.1 caf\xe9"), deny("caf?", status="5.7.1", code=550)),
        (ReplyCode(b"250 2.0.0 OK"), UNAVAILABLE),
        (ReplyCode(b"354 go on"), UNAVAILABLE),
        (ReplyCode(b"550x"), UNAVAILABLE),
        (ReplyCode(b"55"), UNAVAILABLE),
        (ReplyCode(b""), UNAVAILABLE),
        (ReplyCode(b"550 a\r\n250 b"), UNAVAILABLE),
        (ReplyCode(b"550 a\r\n551 b"), UNAVAILABLE),
    ],
)
def test_verdicts(answer: Packet, verdict: Verdict | None) -> None:
    assert refusal(answer) == verdict  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_never_anything_but_a_refusal(text: bytes) -> None:
    verdict = refusal(ReplyCode(text))
    assert verdict is not None
    assert verdict.decision is not Decision.ACCEPT
    assert 400 <= verdict.code <= 599
    assert (verdict.code >= 500) is (verdict.decision is Decision.DENY)
