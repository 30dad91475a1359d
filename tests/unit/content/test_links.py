# SPDX-License-Identifier: MIT
"""The links of a text: what is one, what is undone, and that pieces make no difference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.content.links import MAX_HOSTS, LinkFinder
from qpsmtpd.content.registered import DomainRules


def found_in(*pieces: str) -> list[str]:
    finder = LinkFinder(DomainRules().is_name)
    for piece in pieces:
        finder.add(piece)
    finder.end_part()
    return [str(host) for host in finder.hosts]


@pytest.mark.parametrize(
    "text",
    [
        "http://spam.example/",
        "see HTTPS://spam.example.",
        "<a href=http://spam.example>",
        '<a href="http://spam.example?x=y">',
        "<a href='//spam.example/x'>",
        "http:/spam.example",
        "http:\\\\spam.example\\x",
        "https:spam.example",
        "http:////spam.example",
        "ftp://spam.example",
        "x-unknown://spam.example",
        "(http://spam.example)",
        "htt&#112;&#x3a;//spam&period;ex&#97;mple",
        "http&colon;&sol;&sol;spam.example",
        "&#104&#116&#116&#112://spam.example",
        '<a href="ht\ntp://sp\r\nam.exa\tmple/">',
        "http%3A%2F%2Fspam.example",
        "http%253A%252F%252Fspam.example",
        "http://spam\u3002example",
        "http://user@spam.example/",
        "http://" + "x" * 1500 + "@spam.example/",
    ],
)
def test_one_link(text: str) -> None:
    assert "spam.example" in found_in(text)


def test_a_redirector() -> None:
    text = "https://redirector.example/?to=https%3A%2F%2Fspam.example%2F"
    assert found_in(text)[:2] == ["redirector.example", "spam.example"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("visit www.spam.example today", ["www.spam.example"]),
        ("visit Spam.COM.", ["spam.com"]),
        ("mail me@spam.com", ["spam.com"]),
        ("the file notes.txt and my_module.py", []),
        ("http://a.com/index.pl?x=1", ["a.com"]),
        ("version 1.2.3 of 2026.11.29", []),
        ("e.g. and i.e. this", []),
        ("C:\\dir.com\\file", []),
        ("nothing", []),
    ],
)
def test_names_that_stand_alone(text: str, expected: list[str]) -> None:
    assert found_in(text) == expected


def test_links_come_before_names() -> None:
    assert found_in("first.com http://second.com/") == ["second.com", "first.com"]


def test_addresses() -> None:
    text = "http://3325256711/ http://[2001:db8::1]/ 203.0.113.9"
    assert found_in(text) == ["198.51.100.7", "2001:db8::1"]


def test_an_end_of_a_part_ends_a_link() -> None:
    finder = LinkFinder(DomainRules().is_name)
    finder.add("http://one.exam")
    finder.end_part()
    finder.add("ple.com")
    finder.end_part()
    assert [str(host) for host in finder.hosts] == ["one.exam", "ple.com"]


def test_memory_is_bounded() -> None:
    finder = LinkFinder(DomainRules().is_name)
    for number in range(3 * MAX_HOSTS):
        finder.add(f"http://a{number}.com/ b{number}.com\n")
    finder.end_part()
    assert len(finder.hosts) <= 2 * MAX_HOSTS


@pytest.mark.parametrize("filler", ["x", "<x>", "&", "%41", "//", '="', "a."])
def test_a_link_behind_a_line_of_a_megabyte(filler: str) -> None:
    text = filler * (1_000_000 // len(filler)) + " http://spam.example/ "
    pieces = [text[start : start + 8192] for start in range(0, len(text), 8192)]
    assert "spam.example" in found_in(*pieces)


@given(st.integers(0, 20_000), st.integers(1, 5000))
def test_pieces_make_no_difference(place: int, size: int) -> None:
    text = "word " * 4000
    text = f'{text[:place]} <a href="http://spam.example/x"> {text[place:]}'
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert found_in(*pieces) == ["spam.example"]


@given(st.text(st.sampled_from("htp:/\\.a1%&#;<>\"'= \n@[]é"), max_size=100))
def test_any_text(text: str) -> None:
    for host in found_in(text):
        assert host.isascii()
        assert host == host.lower()
