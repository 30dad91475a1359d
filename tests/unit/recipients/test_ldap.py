# SPDX-License-Identifier: MIT
"""Filters of recipients: what stands in them is never part of the filter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import parse_filter

from qpsmtpd.recipients import TableKey
from qpsmtpd.recipients.ldap import check_filter, filled


@pytest.mark.parametrize("text", ["(mail=%s)", "(&(uid=%u)(|(dc=%d)(x=1)))", "(m=%s%%)"])
def test_filters(text: str) -> None:
    check_filter(text)


@pytest.mark.parametrize("text", ["", "mail=%s", "(mail=x)", "(mail=%s", "(a=%s))", "()%s"])
def test_wrong_filters(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 4515"):
        check_filter(text)


def test_filled() -> None:
    key = TableKey("a*)(uid=\\", "example.test")
    assert filled("(|(mail=%s)(u=%u)(d=%d))", key) == (
        r"(|(mail=a\2a\29\28uid=\5c@example.test)(u=a\2a\29\28uid=\5c)(d=example.test))"
    )


@given(st.text())
def test_no_address_changes_the_filter(user: str) -> None:
    text = filled("(mail=%s)", TableKey(user.encode("utf-8", "replace").decode(), "example.test"))
    assert (text.count("("), text.count(")"), text.count("*"), text.count("\0")) == (1, 1, 0, 0)
    found = parse_filter(text, None, False, False, None, False)
    assert found.elements[0].assertion["attr"] == "mail"
