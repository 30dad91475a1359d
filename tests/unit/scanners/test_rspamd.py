# SPDX-License-Identifier: MIT
"""What rspamd is told, and what its answers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.headers import check_field
from qpsmtpd.mail.session import TlsInfo
from qpsmtpd.scanners.rspamd import (
    MOST_CHANGES,
    AddedField,
    RemovedField,
    RspamdAnswer,
    parse_answer,
    request_fields,
)
from qpsmtpd.scanners.wire import ScannerError
from qpsmtpd.testing import a_session, a_transaction

#: What rspamd 3.4 said to a message of ours, with less symbols.
ANSWER: dict[str, Any] = {
    "is_skipped": False,
    "score": 6.2,
    "required_score": 15.0,
    "action": "add header",
    "symbols": {
        "TO_DN_NONE": {"name": "TO_DN_NONE", "score": 0.0, "metric_score": 0.0},
        "HFILTER_HELO_IP_A": {"name": "HFILTER_HELO_IP_A", "score": 1.0, "options": ["c.example"]},
        "MIME_GOOD": {"name": "MIME_GOOD", "score": -0.1, "metric_score": -0.1},
    },
    "messages": {},
    "message-id": "1@b.example",
    "time_real": 0.0004,
}
#: And about GTUBE: that it was skipped does not mean that it may pass.
GTUBE = {
    "is_skipped": True,
    "score": 15.0,
    "required_score": 15.0,
    "action": "reject",
    "symbols": {"GTUBE": {"name": "GTUBE", "score": 0.0}},
    "messages": {"smtp_message": "Gtube pattern"},
}


def parsed(**changes: Any) -> RspamdAnswer:
    return parse_answer(json.dumps({**ANSWER, **changes}).encode())


def test_an_answer() -> None:
    assert parsed() == RspamdAnswer(
        "add header", 6.2, 15.0, symbols=("HFILTER_HELO_IP_A", "MIME_GOOD")
    )


def test_gtube() -> None:
    answer = parse_answer(json.dumps(GTUBE).encode())
    assert (answer.action, answer.words) == ("reject", "Gtube pattern")


def test_header_fields() -> None:
    answer = parsed(
        milter={
            "add_headers": {
                "X-A": "plain",
                "X-B": {"value": "one\r\n two", "order": 1},
                "X-C": [{"value": "1", "order": True}, "2", {"order": 1}, 3],
                "X Bad": "x",
                "X-Bad\r\nBcc": "x",
            },
            "remove_headers": {"X-D": 0, "X-E": [1, -1], "X-F": "all", "X-G": True},
            "change_from": "x@y.example",
            "add_rcpt": ["z@y.example"],
        }
    )
    assert answer.added == (
        AddedField("X-A", "plain"),
        AddedField("X-B", "one\n\ttwo", 1),
        AddedField("X-C", "1"),
        AddedField("X-C", "2"),
    )
    assert answer.removed == (
        RemovedField("X-D", 0),
        RemovedField("X-E", 1),
        RemovedField("X-E", -1),
    )
    assert answer.ignored == ("add_rcpt", "change_from")


@pytest.mark.parametrize("signatures", ["v=1; a=x;\r\n\tb=y", ["v=1; a=x;\r\n\tb=y"]])
def test_signatures(signatures: object) -> None:
    answer = parsed(**{"dkim-signature": signatures})
    assert answer.added == (AddedField("DKIM-Signature", "v=1; a=x;\n\tb=y"),)


def test_there_is_a_limit() -> None:
    fields = {f"X-{n}": "x" for n in range(1000)}
    answer = parsed(milter={"add_headers": fields, "remove_headers": dict.fromkeys(fields, 0)})
    assert len(answer.added) == len(answer.removed) == MOST_CHANGES


@pytest.mark.parametrize(
    "changes",
    [
        {"symbols": []},
        {"symbols": {"A": 1, "B": {"score": "x"}, "C": {"score": None}}},
        {"milter": "x"},
        {"milter": {"add_headers": [1], "remove_headers": 5}},
        {"messages": ["x"], "subject": 5},
        {"dkim-signature": {"a": 1}},
        {"required_score": "x"},
    ],
)
def test_what_does_not_fit_is_left_out(changes: dict[str, Any]) -> None:
    answer = parsed(**changes)
    assert (answer.action, answer.score) == ("add header", 6.2)
    assert (answer.added, answer.removed) == ((), ())
    assert (answer.words, answer.subject) == ("", "")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"score": ' + b"1" * 5000 + b"}", "is not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no action or no score"),
        (b'{"action": "no action"}', "no action or no score"),
        (b'{"action": "no action", "score": NaN}', "no action or no score"),
        (b'{"action": "no action", "score": 1e999}', "no action or no score"),
        (b'{"action": "no action", "score": true}', "no action or no score"),
        (b'{"action": 5, "score": 5}', "no action or no score"),
        (b'{"error": "invalid command"}', "answers 'invalid command'"),
    ],
)
def test_what_is_no_answer(content: bytes, problem: str) -> None:
    with pytest.raises(ScannerError, match=problem):
        parse_answer(content)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
_OTHERS = ("symbols", "messages", "subject", "dkim-signature", "required_score")
_NAMES = st.sampled_from(["X-A", "DKIM-Signature", "X-B"]) | st.text()


@given(
    milter=st.fixed_dictionaries(
        {},
        optional={
            "add_headers": st.dictionaries(_NAMES, _JSON, max_size=4),
            "remove_headers": st.dictionaries(_NAMES, _JSON, max_size=4),
            "else": _JSON,
        },
    ),
    rest=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(_OTHERS, _JSON),
    ),
)
def test_whatever_it_says(milter: dict[str, Any], rest: dict[str, Any]) -> None:
    answer = parsed(milter=milter, **rest)
    for field in answer.added:
        check_field(field.name, field.value)
    assert answer.words.isascii()
    assert all(symbol.isprintable() for symbol in answer.symbols)


def test_what_it_is_told() -> None:
    session = a_session("2001:db8::1", ehlo="c\r\nx", client_name=None)
    session.auth_user = "user"
    session.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    tx = a_transaction("", "a@example.test", "b@example.test", session=session)
    assert request_fields(tx, [("Password", "x"), ("Settings", "")]) == [
        ("Host", "rspamd"),
        ("IP", "2001:db8::1"),
        ("Helo", "c\r\nx"),
        ("From", "<>"),
        ("Rcpt", "a@example.test"),
        ("Rcpt", "b@example.test"),
        ("User", "user"),
        ("Queue-Id", tx.id),
        ("TLS-Version", "TLSv1.3"),
        ("TLS-Cipher", "TLS_AES_256_GCM_SHA384"),
        ("Password", "x"),
    ]
