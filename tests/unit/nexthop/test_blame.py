# SPDX-License-Identifier: MIT
"""Refusals as servers word them: about us, or about the message."""

from __future__ import annotations

import time

import pytest

from qpsmtpd.nexthop.blame import Step, as_temporary, concerns_us
from qpsmtpd.nexthop.hopreply import HopReply

SENDER, RECIPIENT = "from@relay.example", "relay@to.example"


def judged(step: Step, text: str, addresses: tuple[str, ...] = (SENDER, RECIPIENT)) -> bool:
    code, _, rest = text.partition(" ")
    return concerns_us(HopReply(int(code), tuple(rest.split("\n"))), step, addresses)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        # Postfix; with smtpd_delay_reject it says everything at RCPT.
        ("RCPT", "504 5.5.2 <mx>: Helo command rejected: need fully-qualified hostname"),
        ("RCPT", "550 5.7.1 <mx>: Helo command rejected: Host not found"),
        ("RCPT", "550 5.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]"),
        ("RCPT", "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied"),
        ("RCPT", "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using bl.example"),
        ("RCPT", f"554 5.7.1 <{RECIPIENT}>: Relay access denied"),
        ("RCPT", f"553 5.7.1 <{SENDER}>: Sender address rejected: not logged in"),
        ("RCPT", f"553 5.7.1 <{SENDER}>: Sender address rejected: not owned by user mx"),
        ("MAIL", "530 5.7.0 Must issue a STARTTLS command first"),
        ("DATA", "554 5.7.1 <DATA>: Client host rejected: Improper use of SMTP command pipelining"),
        # Exim
        ("RCPT", "550 relay not permitted"),
        ("MAIL", "550 Administrative prohibition"),
        ("MAIL", "503 AUTH command used when not advertised"),
        # Sendmail, Exchange, others
        ("RCPT", f"550 5.7.1 <{RECIPIENT}>... Relaying denied"),
        ("RCPT", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain"),
        ("RCPT", "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
        ("MAIL", "530 5.7.57 SMTP; Client was not authenticated"),
        ("MAIL", "550 5.7.1 go away"),
        ("MAIL", "554 no"),
        ("MAIL", "535 5.7.8 wrong"),
        ("MAIL", "555 5.5.4 Unsupported option"),
        ("RCPT", "550 5.7.23 SPF validation failed"),
        ("message", "554 5.3.5 Local configuration error"),
        ("message", "550 5.7.25 no reverse name"),
        ("message", "530 5.7.0 Authentication required"),
        ("RCPT", "521 5.3.2 does not accept mail"),
    ],
)
def test_about_us(step: Step, text: str) -> None:
    assert judged(step, text)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ("RCPT", f"550 5.1.1 <{RECIPIENT}>: User unknown in relay recipient table"),
        ("RCPT", f"554 5.7.1 <{SENDER}>: Sender address rejected: Access denied"),
        ("RCPT", f"554 5.7.1 <{RECIPIENT}>: Recipient address rejected: Access denied"),
        ("RCPT", f"504 5.5.2 <{SENDER}>: Sender address rejected: need fully-qualified address"),
        ("MAIL", f"504 5.5.2 <{SENDER.upper()}>: Sender address rejected: need a domain"),
        ("RCPT", f"550 Unknown user {RECIPIENT}"),
        ("RCPT", "550 Unrouteable address"),
        ("RCPT", "550 5.4.1 Recipient address rejected: Access denied"),
        ("RCPT", "550 5.2.1 disabled"),
        ("RCPT", "550 5.7.1 not you, user"),
        ("RCPT", "550 Verification failed\nSender verify failed"),
        ("MAIL", f"550 <{SENDER}> is not welcome"),
        ("MAIL", "550 5.1.8 Domain of sender does not exist"),
        ("MAIL", "501 5.1.7 Bad sender address syntax"),
        ("MAIL", "552 5.3.4 Message size exceeds fixed limit"),
        ("MAIL", "552 too big"),
        ("MAIL", "553 no such mailbox name"),
        ("DATA", "550 5.7.1 Multi-recipient bounce"),
        ("DATA", "554 no valid recipients"),
        ("message", "550 5.7.1 This is spam; see the relay of authentication"),
        ("message", "550 5.7.26 DMARC"),
        ("message", "554 5.4.0 Error: too many hops"),
        ("message", "500 5.5.2 Line too long"),
        ("message", "554 no"),
    ],
)
def test_about_the_message(step: Step, text: str) -> None:
    assert not judged(step, text)


def test_null_sender() -> None:
    assert judged("MAIL", "550 5.7.1 no", ("", ""))
    assert not judged("MAIL", "550 5.7.1 no null sender here", ("", ""))


def test_what_the_client_is_told() -> None:
    reply = as_temporary(HopReply(530, ("5.7.0 log in",)))
    assert (reply.code, reply.status) == (451, "4.3.5")
    assert "log in" in str(reply)


@pytest.mark.parametrize("shape", ["<", "relay ", "relay a", "authenticat", "\\", "to ", "5."])
def test_linear(shape: str) -> None:
    """Hundred times as much takes hundred times as long, and no ten thousand times."""
    began = time.process_time()
    concerns_us(HopReply(550, (shape * (100_000 // len(shape)),)), "RCPT", (SENDER, RECIPIENT))
    assert time.process_time() - began < 2
