# SPDX-License-Identifier: MIT
"""Requests of Postfix are read in whatever pieces they come; nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.fronts.policycodec import (
    MAX_REQUEST,
    BadRequestError,
    PolicyStage,
    Request,
    RequestSplitter,
    read_request,
    written,
)

BASE = b"request=smtpd_access_policy\nprotocol_state=RCPT\n"
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=20)
NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(
    lambda name: name not in ("request", "protocol_state")
)


@given(
    attributes=st.dictionaries(NAMES, VALUES, max_size=10),
    stage=st.sampled_from(PolicyStage),
    size=st.integers(1, 30),
    count=st.integers(1, 3),
)
def test_requests_come_back(
    attributes: dict[str, str], stage: PolicyStage, size: int, count: int
) -> None:
    state = stage.name.replace("_OF_", "-OF-")
    lines = [f"{name}={value}\n" for name, value in attributes.items()]
    text = f"request=smtpd_access_policy\nprotocol_state={state}\n{''.join(lines)}\n".encode()
    splitter, found = RequestSplitter(), []
    for start in range(0, count * len(text), size):
        splitter.feed((text * count)[start : start + size])
        while (request := splitter.next()) is not None:
            found.append(request)
    assert not splitter.waiting
    known = {name: value for name, value in attributes.items() if value}
    assert len(found) == count
    for request in found:
        assert request.stage is stage
        assert {k: v for k, v in request.attributes.items() if k in attributes} == known


@given(st.binary(max_size=200))
def test_nonsense_is_an_error_or_incomplete(octets: bytes) -> None:
    splitter = RequestSplitter()
    splitter.feed(octets)
    try:
        found = splitter.next()
    except BadRequestError:
        return
    assert found is None or isinstance(found, Request)


@pytest.mark.parametrize(
    "lines",
    [
        b"request=smtpd_access_policy\nprotocol_state=NOWHERE",
        b"request=other\nprotocol_state=RCPT",
        b"protocol_state=RCPT",
        BASE + b"no equals sign",
        BASE + b"a name=x",
        BASE + b"size=1\nsize=2",
        BASE + b"\n".join(b"a%d=1" % number for number in range(300)),
    ],
)
def test_what_is_not_a_request(lines: bytes) -> None:
    with pytest.raises(BadRequestError):
        read_request(lines)


def test_a_request_without_end_is_given_up() -> None:
    splitter = RequestSplitter()
    splitter.feed(BASE + b"x=" + bytes(MAX_REQUEST).replace(b"\0", b"x"))
    with pytest.raises(BadRequestError, match="too long"):
        splitter.next()


def test_an_answer_is_one_line() -> None:
    assert written("DUNNO") == b"action=DUNNO\n\n"
    assert written("550 5.7.1 no\n\naction=OK") == b"action=550 5.7.1 no??action=OK\n\n"


@pytest.mark.parametrize(("value", "number"), [("12", 12), ("", 0), ("x", 0), ("-1", 0)])
def test_numbers(value: str, number: int) -> None:
    assert read_request(BASE + f"size={value}".encode()).number("size") == number
