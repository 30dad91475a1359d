# SPDX-License-Identifier: MIT
"""Which part of a domain somebody has registered."""

import pytest

from qpsmtpd.content.registered import DomainRules, with_parents
from qpsmtpd.mailauth.publicsuffix import PublicSuffixes

LISTED = DomainRules(PublicSuffixes(["com", "example", "co.uk", "blog.example"]))


@pytest.mark.parametrize(
    ("domain", "registered"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("a.example.co.uk", "example.co.uk"),
        ("a.example.com.br", "example.com.br"),
        ("a.example.ca", "example.ca"),
        ("co.uk", "co.uk"),
        ("a.co.info", "co.info"),
    ],
)
def test_without_a_list(domain: str, registered: str) -> None:
    assert DomainRules().registered(domain) == registered


def test_with_a_list() -> None:
    assert LISTED.registered("a.spam.blog.example") == "spam.blog.example"
    assert LISTED.registered("a.b.com.br") == "com.br"


def test_names() -> None:
    names = ["a.com", "a.example", "a.fr", "a.xyz", "a.html"]
    assert [DomainRules().is_name(name) for name in names] == [True, False, True, True, False]
    assert [LISTED.is_name(name) for name in names] == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("domain", "below"),
    [
        ("a.b.example.com", "b.example.com"),
        ("b.example.co.uk", "b.example.co.uk"),
        ("www.example.com", ""),
        ("example.com", ""),
    ],
)
def test_one_label_below(domain: str, below: str) -> None:
    assert DomainRules().one_below(domain) == below


def test_parents() -> None:
    assert list(with_parents("a.b.com")) == ["a.b.com", "b.com", "com"]
