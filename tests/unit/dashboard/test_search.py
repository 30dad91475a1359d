# SPDX-License-Identifier: MIT
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.dashboard.search import MOST_TEXT, Moment, Search, parse_moment, parse_search
from tests.unit.decisions.examples import BEGIN, a_decision


def test_what_an_address_says() -> None:
    search = parse_search(
        {
            "q": " x@example.test ",
            "outcome": "refused",
            "plugin": "dnsbl",
            "in": "day",
            "until": "1",
        }
    )
    assert search == Search(
        text="x@example.test", outcome="refused", plugin="dnsbl", period="day", until=Moment(1)
    )
    assert parse_search({}) == Search()
    assert parse_search({"unknown": "x", "until": "", "q": ""}) == Search()


@pytest.mark.parametrize(
    "parameters",
    [
        {"outcome": "lost"},
        {"in": "year"},
        {"until": "yesterday"},
        {"until": "-1"},
        {"until": "1" * 17},
        {"until": "\N{SUPERSCRIPT TWO}"},
        {"q": "x" * (MOST_TEXT + 1)},
        {"plugin": "x" * (MOST_TEXT + 1)},
    ],
)
def test_what_makes_no_sense(parameters: Mapping[str, str]) -> None:
    with pytest.raises(ValueError, match=" "):
        parse_search(parameters)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", True),
        ("192.0.2.0/24", True),
        ("192.0.3.0/24", False),
        ("user@EXAMPLE.test", True),
        ("client.example", True),
        ("A.B.0", True),
        ("1@client.example", True),
        ("score 12", True),
        ("score 13", False),
    ],
)
def test_a_text_may_mean_anything(text: str, *, found: bool) -> None:
    selections = Search(text=text).selections(BEGIN)
    assert any(each.has(a_decision()) for each in selections) is found


def test_all_has_to_be_right() -> None:
    def has(**wanted: str) -> bool:
        selections = Search(text="192.0.2.7", **wanted).selections(BEGIN + 7200)  # type: ignore[arg-type]
        return any(each.has(a_decision()) for each in selections)

    assert has(outcome="refused", plugin="dnsbl", period="day")
    assert not has(outcome="accepted")
    assert not has(plugin="karma")
    assert not has(period="hour")


@given(
    st.dictionaries(st.sampled_from(["q", "outcome", "plugin", "in", "until"]), st.text(max_size=9))
)
def test_any_address(parameters: Mapping[str, str]) -> None:
    try:
        search = parse_search(parameters)
    except ValueError:
        return
    any(each.has(a_decision()) for each in search.selections(BEGIN))
    again = parse_search(dict(parse_qsl(urlencode(search.parameters))))
    assert again == parse_search({**search.parameters})


@given(st.integers(0, 10**15))
def test_moments_are_those_of_decisions(ticks: int) -> None:
    decision = a_decision()._replace(time=ticks / 10_000)
    decision = type(decision).decode(decision.encode())
    moment = parse_moment(str(Moment.of(decision.time).ticks))
    assert moment.time == decision.time
