# SPDX-License-Identifier: MIT
import pytest

from qpsmtpd.trial.envelope import (
    UNKNOWN_CLIENT,
    Given,
    attempt_of,
    parse_recipients,
    read_trace,
    with_crlf,
)

OURS = (
    "Received: from client.example (mail.client.example [192.0.2.7])\n"
    "\tby mx.example (qpsmtpd/2.0) with ESMTPS id 1.2.3.1;\n\tMon, 30 Nov 2026 10:00:00 +0000\n"
)
MESSAGE = (
    "Return-Path: <sender@client.example>\nDelivered-To: user@example.test\n"
    "Received: from mx.example (localhost [127.0.0.1])\n\tby mail.example (Postfix)\n"
    f"{OURS}"
    "Received: from laptop (dsl.example [203.0.113.9]) by client.example\n"
    "From: <sender@client.example>\nTo: list@elsewhere.example\n\n.body\n"
)


def test_the_trace_says_how_it_came() -> None:
    attempt = attempt_of("m", MESSAGE.encode(), Given())
    assert (attempt.ip, attempt.helo) == ("192.0.2.7", "client.example")
    assert (attempt.sender, attempt.recipients) == ("sender@client.example", ("user@example.test",))
    # What came later is taken off.
    assert attempt.message.startswith(b"Received: from laptop")
    assert attempt.message.endswith(b"\r\n\r\n.body\r\n")


def test_what_is_given_counts() -> None:
    given = Given(ip="198.51.100.1", helo="h", sender="", recipients=("a@b.example",), user="joe")
    attempt = attempt_of("m", MESSAGE.encode(), given)
    assert (attempt.ip, attempt.helo, attempt.sender) == ("198.51.100.1", "h", "")
    assert attempt.recipients == ("a@b.example",)
    assert attempt.message == with_crlf(MESSAGE.encode())


@pytest.mark.parametrize(
    ("value", "ip", "helo"),
    [
        ("from h.example (unknown [192.0.2.7]) by mx", "192.0.2.7", "h.example"),
        ("from [192.0.2.7] (helo=h.example) by mx with esmtp", "192.0.2.7", "h.example"),
        ("from n.example ([192.0.2.7] helo=h.example) by mx", "192.0.2.7", "h.example"),
        ("from h (n [IPv6:2001:db8::7]) by mx", "2001:db8::7", "h"),
        ("from h (192.0.2.7) by mx", "192.0.2.7", "h"),
        ("from h (n [10.0.0.1]) by mx", "", ""),
        ("from h (n [999.0.0.1]) by [192.0.2.1]", "", ""),
        ("by mx (Postfix, from userid 0)", "", ""),
    ],
)
def test_received_fields_of_others(value: str, ip: str, helo: str) -> None:
    trace = read_trace(f"Received: {value}\r\n".encode())
    assert (trace.ip, trace.helo) == (ip, helo)


def test_without_a_trace() -> None:
    attempt = attempt_of("m", b"To: Somebody <a@b.example>, c@d.example\n\nbody\n", Given())
    assert (attempt.ip, attempt.helo) == (UNKNOWN_CLIENT, f"[{UNKNOWN_CLIENT}]")
    assert (attempt.sender, attempt.recipients) == ("", ("a@b.example",))
    with pytest.raises(ValueError, match="--to"):
        attempt_of("m", b"Subject: x\n\nbody\n", Given())


def test_nothing_in_an_address_becomes_a_command() -> None:
    message = b"Return-Path: <a>\r\nDATA\x00@b.example>\r\nDelivered-To: x\x0b@y.example\r\n\r\n"
    attempt = attempt_of("m", message, Given(recipients=("a\r\nQUIT@b.example",)))
    assert attempt.recipients == ("aQUIT@b.example",)
    assert attempt.sender.isprintable()


def test_recipients_of_the_command_line() -> None:
    assert parse_recipients(["a@b.example,c@d.example", "e@f.example"]) == (
        *("a@b.example", "c@d.example", "e@f.example"),
    )
