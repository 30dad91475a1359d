# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/smtp/replies.py."""

from __future__ import annotations

import re

import pytest

from qpsmtpd.mail.verdict import Decision, Verdict, accept, defer, deny
from qpsmtpd.plugin.base import HOOK_METHODS
from qpsmtpd.plugin.chain import FAULT
from qpsmtpd.smtp import replies
from qpsmtpd.smtp.datareader import DataFault
from qpsmtpd.smtp.replies import DATA_FAULTS, HOOK_REPLIES, reply_for
from qpsmtpd.smtp.reply import Reply

CLOSES = True

#: What the refusals of each hook become: codes of DENY, DENYSOFT, DENY_DISCONNECT and
#: DENYSOFT_DISCONNECT, and whether even the first two close.  "Perl" is its other behaviour.
REFUSALS: dict[str, tuple[int, int, int, int, bool]] = {
    "pre_connection": (550, 451, 550, 451, CLOSES),  # Perl, prefork: DENY with a text is 451
    "connect": (550, 450, 550, 450, CLOSES),
    "helo": (550, 450, 550, 450, False),  # Perl: a spurious 451 behind it
    "ehlo": (550, 450, 550, 450, False),
    "helo_parse": (501, 501, 501, 501, False),
    "ehlo_parse": (501, 501, 501, 501, False),
    "auth_parse": (501, 501, 501, 501, False),
    "mail_parse": (501, 501, 501, 501, False),
    "rcpt_parse": (501, 501, 501, 501, False),
    "mail_pre": (501, 501, 501, 501, False),
    "rcpt_pre": (501, 501, 501, 501, False),
    "auth": (535, 535, 535, 535, False),  # Perl: no disconnect
    "auth_plain": (535, 535, 535, 535, False),
    "auth_login": (535, 535, 535, 535, False),
    "auth_cram_md5": (535, 535, 535, 535, False),
    "auth_exchange": (535, 535, 535, 535, False),  # not in Perl
    "mail": (550, 450, 550, 421, False),
    "rcpt": (550, 450, 550, 421, False),
    "verify_recipient": (550, 450, 550, 421, False),  # not in Perl
    "data": (554, 451, 554, 421, False),  # Perl, upstream: 451 at DENYSOFT_DISCONNECT
    # Asked only for disconnecting refusals, as in Perl.
    "data_headers_end": (554, 421, 554, 421, CLOSES),
    "data_post_headers": (552, 452, 552, 452, False),  # Perl: ignored
    "received_line": (552, 452, 552, 452, False),
    "data_post": (552, 452, 552, 452, False),
    "queue_pre": (552, 452, 552, 452, False),  # Perl: illegal, an internal error
    "sign": (552, 452, 552, 452, False),  # not in Perl
    "queue": (552, 452, 552, 452, False),  # Perl: *_DISCONNECT is 451
    "vrfy": (554, 450, 554, 450, False),  # Perl: 252 but for DENY
    "noop": (500, 500, 500, 500, False),  # Perl: 250 at DENYSOFT and DENYSOFT_DISCONNECT
    "rset": (500, 500, 500, 500, False),  # not in Perl
    "help": (500, 500, 500, 500, False),  # Perl: 214 but for DENY
    "quit": (221, 221, 221, 221, False),
    "unrecognized_command": (500, 500, 521, 521, False),  # Perl: 500 at DENYSOFT_DISCONNECT
}

ACCEPTED: dict[str, tuple[int, str]] = {
    "mail": (250, "2.1.0"),
    "rcpt": (250, "2.1.5"),
    "auth": (235, "2.7.0"),
    "auth_exchange": (235, "2.7.0"),
    "queue": (250, "2.0.0"),
    "vrfy": (250, "2.5.0"),
    "noop": (250, "2.0.0"),
    "rset": (250, "2.0.0"),
    "unrecognized_command": (250, "2.0.0"),  # Perl: 500
}

VERDICTS = (deny(), defer(), deny(disconnect=True), defer(disconnect=True))


def standard_replies() -> dict[str, Reply]:
    named = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}
    accepting = {f"{hook} accepted": table.accept for hook, table in HOOK_REPLIES.items()}
    faults = {fault.name: reply for fault, reply in DATA_FAULTS.items()}
    return named | accepting | faults


# --- the table --------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", REFUSALS)
@pytest.mark.parametrize("number", range(4))
def test_refusals(hook: str, number: int) -> None:
    verdict, closes = VERDICTS[number], REFUSALS[hook][4]
    reply = reply_for(hook, verdict)
    assert reply.code == REFUSALS[hook][number]
    assert reply.disconnect is (verdict.disconnect or closes)
    assert reply.status[0] == str(reply.code)[0]
    assert reply.text
    assert len(reply.octets) <= 512


def test_the_table_is_complete() -> None:
    assert set(HOOK_REPLIES) == set(REFUSALS)
    assert {f"hook_{hook}" for hook in HOOK_REPLIES} <= set(HOOK_METHODS)


@pytest.mark.parametrize("hook", ACCEPTED)
def test_accepted(hook: str) -> None:
    reply = reply_for(hook, accept())
    assert (reply.code, reply.status) == ACCEPTED[hook]
    assert not reply.disconnect


@pytest.mark.parametrize(
    ("verdict", "code", "status", "text"),
    [
        (accept("queued as 1"), 250, "2.0.0", "queued as 1"),
        (accept(status="2.6.0"), 250, "2.6.0", "Message accepted"),
        (accept("fine", status="x.6.0"), 250, "2.6.0", "fine"),
        (Verdict(Decision.ACCEPT, code=251), 251, "2.0.0", "Message accepted"),
        (deny("spam"), 552, "5.7.1", "spam"),
        (deny(), 552, "5.7.1", "Message refused"),
        (deny("spam", status="5.6.0"), 552, "5.6.0", "spam"),
        (deny("spam", status="4.6.0"), 552, "5.6.0", "spam"),
        (deny("spam", code=554), 554, "5.7.1", "spam"),
        (defer(), 452, "4.7.1", "Message refused for now, please try again later"),
        (defer("later", status="5.3.1", code=450), 450, "4.3.1", "later"),
    ],
)
def test_what_the_plugin_says_counts(verdict: Verdict, code: int, status: str, text: str) -> None:
    assert reply_for("data_post", verdict) == Reply(code, status, text)


@pytest.mark.parametrize("hook", HOOK_REPLIES)
def test_a_fault_is_a_451_everywhere(hook: str) -> None:
    reply = reply_for(hook, FAULT)
    assert (reply.code, reply.status) == (451, "4.3.0")
    assert reply.disconnect is REFUSALS[hook][4]


def test_a_refusal_to_authenticate_tells_nothing() -> None:
    """Whether the user exists is nobody's business."""
    assert reply_for("auth", deny()) == replies.AUTH_FAILED
    assert reply_for("auth", defer()) == replies.AUTH_FAILED


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("hook", HOOK_REPLIES)
def test_no_refusal_takes_anything(hook: str, verdict: Verdict) -> None:
    assert reply_for(hook, verdict).positive is (hook == "quit")


# --- the standard replies ---------------------------------------------------------------------


@pytest.mark.parametrize(("name", "reply"), standard_replies().items(), ids=standard_replies())
def test_standard_replies(name: str, reply: Reply) -> None:
    """RFC 2034 section 4: a status of the class of the code in every 2xx, 4xx and 5xx."""
    if 300 <= reply.code < 400:
        assert reply.status == ""
    else:
        assert re.fullmatch(rf"{reply.code // 100}\.\d{{1,3}}\.\d{{1,3}}", reply.status)
    assert reply.text.isascii()
    assert reply.text.isprintable()
    wire = reply.octets
    assert wire.count(b"\r\n") == 1
    assert len(wire) <= 512
    assert not reply.text.endswith(".")


@pytest.mark.parametrize(("name", "reply"), standard_replies().items(), ids=standard_replies())
def test_421_closes(name: str, reply: Reply) -> None:
    """RFC 5321 section 3.8: after a 421 the connection is closed."""
    assert reply.disconnect or reply.code != 421


def test_a_421_of_a_plugin_closes() -> None:
    assert reply_for("data_post", defer(code=421)).disconnect


def test_every_fault_of_a_message_has_a_reply() -> None:
    assert set(DATA_FAULTS) == set(DataFault)
    assert not any(reply.positive for reply in DATA_FAULTS.values())


def test_every_decision_has_a_reply() -> None:
    for decision in Decision:
        assert reply_for("queue", Verdict(decision)).positive is (decision is Decision.ACCEPT)
