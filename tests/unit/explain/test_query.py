# SPDX-License-Identifier: MIT
import pytest

from qpsmtpd.decisions.privacy import Privacy
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.explain.query import Query, parse_query
from tests.unit.decisions.examples import a_decision

KEYS = [
    *("A.B.0.1", "A.B.0", "<1@client.example>", "1@client.example", "4711ABC"),
    *("sender@client.example", "user@example.test", "client.example", "192.0.2.7", "192.0.2.0/24"),
]


@pytest.mark.parametrize("key", KEYS)
def test_a_decision_is_found_by_every_key(key: str) -> None:
    assert parse_query([key]).means(a_decision(next_hop_id="4711ABC"))


@pytest.mark.parametrize("key", ["A.B", "2@client.example", "192.0.2.8", "other.example", "-"])
def test_and_by_no_other(key: str) -> None:
    assert not parse_query([key]).means(a_decision())


def test_hashed_addresses() -> None:
    kept = Privacy(addresses="hashed").applied(a_decision(), b"key")
    assert Query("user@example.test", secret=b"key").means(kept)
    assert not Query("user@example.test").means(kept)


def test_the_last_one() -> None:
    query = parse_query(["last", "refused", "for", "user@example.test"])
    assert query == Query("user@example.test", "refused", last=True)
    assert query.means(a_decision())
    assert not query.means(a_decision(outcome="accepted"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        *(("User@example.test", True), ("192.0.2.0/24", True), ("2001:DB8:0::1", True)),
        *(("b\u00fccher.example", True), ("xn--bcher-kva.example", True), ("4711", False)),
    ],
)
def test_lines_that_need_not_be_read(text: str, found: bool) -> None:
    assert Query(text).may_be_in("6B0C: refused about='user@example.test'") == found


@pytest.mark.parametrize("words", [["last"], ["last", "lost", "for", "x"], ["a", "b"], [""], []])
def test_what_is_no_question(words: list[str]) -> None:
    with pytest.raises(QpsmtpdError, match="last refused for"):
        parse_query(words)
