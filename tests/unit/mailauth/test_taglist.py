# SPDX-License-Identifier: MIT
"""Tag lists (RFC 6376 section 3.2)."""

import pytest

from qpsmtpd.mailauth.taglist import (
    MAX_TAGS,
    TagListError,
    items,
    parse_tags,
    without_white_space,
)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", {}),
        (" \r\n\t", {}),
        ("v=1", {"v": "1"}),
        ("v=1;", {"v": "1"}),
        (" v = 1 ;\r\n\ta1_B\t=  x y\r\n z ; ", {"v": "1", "a1_B": "x y\r\n z"}),
        ("n==a=b;p=", {"n": "=a=b", "p": ""}),
        ("a=1;A=2", {"a": "1", "A": "2"}),
        ("i=é@a.example", {"i": "é@a.example"}),
    ],
)
def test_tag_lists(text: str, tags: dict[str, str]) -> None:
    assert parse_tags(text) == tags
    assert list(parse_tags(text)) == list(tags)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("v", "not a tag list"),
        ("=1", "not a tag list"),
        ("1v=1", "not a tag list"),
        ("_v=1", "not a tag list"),
        ("a b=1", "not a tag list"),
        ("a-b=1", "not a tag list"),
        ("é=1", "not a tag list"),
        ("a=1;;b=2", "not a tag list"),
        (";", "not a tag list"),
        ("a=\x00", "not a tag list"),
        ("a=x\x7f", "not a tag list"),
        ("a=\x0b1", "not a tag list"),
        ("a=1; a=1", "a tag occurs twice"),
        ("".join(f"a{number}=;" for number in range(MAX_TAGS + 1)), "too many tags"),
    ],
)
def test_other_texts(text: str, problem: str) -> None:
    with pytest.raises(TagListError, match=f"^{problem}$"):
        parse_tags(text)


def test_many_tags() -> None:
    assert len(parse_tags(";".join(f"a{number}=" for number in range(MAX_TAGS)))) == MAX_TAGS


def test_values() -> None:
    assert without_white_space("a b\r\n\tc") == "abc"
    assert without_white_space("abc") == "abc"
    assert items("a : b\r\n :c") == ["a", "b", "c"]
    assert items("") == [""]
