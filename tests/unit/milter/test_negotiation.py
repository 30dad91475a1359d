# SPDX-License-Identifier: MIT
"""What both sides agree on."""

from __future__ import annotations

import pytest

from qpsmtpd.milter.negotiation import NegotiationError, Stage, Step, agree, offer
from qpsmtpd.milter.packets import (
    Body,
    Connect,
    Data,
    EndOfMessage,
    Header,
    Negotiate,
    Rcpt,
    Unknown,
)


def test_what_is_offered_grows_with_the_version() -> None:
    steps = [offer(version).steps for version in range(2, 7)]
    assert steps == [0x7F, 0x17F, 0x37F, 0x37F, 0x1FFFFF]
    assert offer(2).actions == 0x3F
    assert offer(6).actions == 0x1FF


@pytest.mark.parametrize(
    ("version", "unknown", "data"),
    [(2, False, False), (3, True, False), (4, True, True), (6, True, True)],
)
def test_an_old_milter_is_not_told_of_what_came_later(
    version: int, unknown: bool, data: bool
) -> None:
    agreement = agree(offer(), Negotiate(version, 0, 0))
    assert agreement.hears(Unknown) is unknown
    assert agreement.hears(Data) is data
    assert agreement.hears(Rcpt)


def test_steps_are_left_out_or_not_answered() -> None:
    steps = Step.NO_CONNECT | Step.NO_BODY | Step.MUTE_HEADERS | Step.MUTE_RCPT
    agreement = agree(offer(), Negotiate(6, 0, steps))
    assert not agreement.hears(Connect)
    assert not agreement.hears(Body)
    assert agreement.hears(Header)
    assert not agreement.answers(Header)
    assert not agreement.answers(Rcpt)
    assert agreement.hears(EndOfMessage)
    assert agreement.answers(EndOfMessage)


def test_macros_that_were_chosen() -> None:
    wanted = ((2, b"i {mail_addr}, j"), (99, b"x"), (6, b""))
    agreement = agree(offer(), Negotiate(6, 0x100, 0, wanted))
    assert agreement.macros == {Stage.MAIL: ("i", "{mail_addr}", "j"), Stage.END_OF_HEADERS: ()}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Negotiate(7, 0, 0), "version 7"),
        (Negotiate(1, 0, 0), "version 1"),
        (Negotiate(6, 0x200, 0), "actions"),
        (Negotiate(6, 0, 0x10000000), "steps"),
    ],
)
def test_what_was_not_offered(answer: Negotiate, text: str) -> None:
    with pytest.raises(NegotiationError, match=text):
        agree(offer(), answer)


def test_a_lower_version_is_all_that_is_offered() -> None:
    with pytest.raises(NegotiationError, match="version 6"):
        agree(offer(2), Negotiate(6, 0, 0))
