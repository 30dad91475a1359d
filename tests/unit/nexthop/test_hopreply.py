# SPDX-License-Identifier: MIT
"""What the reply of a next hop says."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.nexthop.hopreply import HopReply


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (550, "5.1.1 no", "5.1.1"),
        (550, "5.1.1", "5.1.1"),
        (550, "5.1.1no", ""),
        (550, "4.1.1 no", ""),
        (550, "no 5.1.1", ""),
        (250, "2.0.0 Ok", "2.0.0"),
        (354, "3.0.0 x", ""),
        (451, "4.1234.1 x", ""),
    ],
)
def test_status(code: int, text: str, status: str) -> None:
    assert HopReply(code, ("5.9.9 first", text)).status == status


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("2.0.0 Ok: queued as 4dJZkz0c1Nz9rXp", "4dJZkz0c1Nz9rXp"),
        ("2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 0ABC1", "0ABC1"),
        ("OK id=1vQabc-00000000123-0XyZ", "1vQabc-00000000123-0XyZ"),
        ("2.0.0 5A1B2C3D012345 Message accepted for delivery", "5A1B2C3D012345"),
        ("2.0.0 9a8b7c6d Message accepted for delivery", "9a8b7c6d"),
        ("2.0.0 <u@x.test> wKGkFBfWFWfbOQAA8ZbIXA Saved", "wKGkFBfWFWfbOQAA8ZbIXA"),
        ("2.6.0 <1@x.test> [InternalId=4711, Hostname=x] 9 bytes Queued mail", "4711"),
        ("Message Queued (9F2B-11.1)", "9F2B-11.1"),
        ("2.0.0 Message queued with id 1a2b3c.", "1a2b3c"),
        ("ok 1701234567 qp 12345", "qp 12345"),
        ("2.0.0 OK  1701234567 d2-20020a.123 - gsmtp", "d2-20020a.123"),
        ("Ok 0100018b-000000", "0100018b-000000"),
        ("2.0.0 saved", ""),
        ("2.0.0 Saved", ""),
        ("2.0.0", ""),
        ("2.0.0 Ok", ""),
        ("2.6.0 Thanks", ""),
        ("2.0.0 Message accepted for delivery", ""),
        ("OK message accepted for delivery", ""),
        ("Message queued (thanks)", ""),
        ("Queued!", ""),
        ("", ""),
    ],
)
def test_queue_id(text: str, word: str) -> None:
    assert HopReply(250, ("first", text)).queue_id == word


@pytest.mark.parametrize("shape", ["queued (", "id=", "1", "<1", "ok 1 ", "with id ", "qp "])
def test_long_replies_take_no_time_and_little_room(shape: str) -> None:
    reply = HopReply(250, (shape * 100_000,))
    began = time.process_time()
    assert len(reply.queue_id) <= 64
    assert time.process_time() - began < 1
    assert len(str(reply)) < 510


@given(st.text())
def test_queue_id_is_one_printable_word(text: str) -> None:
    word = HopReply(250, (text,)).queue_id
    assert len(word) <= 64
    assert all(" " <= c <= "~" for c in word)


@pytest.mark.parametrize("code", [421, 521])
def test_closing(code: int) -> None:
    assert HopReply(code).closing


def test_text() -> None:
    assert str(HopReply(250, ("a", "b"))) == "250 a / b"
