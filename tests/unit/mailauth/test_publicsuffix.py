# SPDX-License-Identifier: MIT
"""Public suffixes, by the rules of publicsuffix.org."""

import pytest

from qpsmtpd.mailauth.publicsuffix import PublicSuffixes

LINES = """
// a comment
com
uk
co.uk
*.ck
!www.ck
// names in other scripts
公司.cn
github.io  what follows a rule is not part of it
""".splitlines()
SUFFIXES = PublicSuffixes(LINES)


@pytest.mark.parametrize(
    ("domain", "organization"),
    [
        ("com", "com"),
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("co.uk", "co.uk"),
        ("example.co.uk", "example.co.uk"),
        ("a.example.co.uk", "example.co.uk"),
        ("example.uk", "example.uk"),
        ("ck", "ck"),
        ("b.ck", "b.ck"),
        ("a.b.ck", "a.b.ck"),
        ("x.a.b.ck", "a.b.ck"),
        ("www.ck", "www.ck"),
        ("a.www.ck", "www.ck"),
        ("a.example.unknown", "example.unknown"),
        ("unknown", "unknown"),
        ("a.b.xn--55qx5d.cn", "b.xn--55qx5d.cn"),
        ("a.user.github.io", "user.github.io"),
        ("github.io", "github.io"),
    ],
)
def test_organizations(domain: str, organization: str) -> None:
    assert SUFFIXES.organizational_domain(domain) == organization


def test_number_of_rules() -> None:
    assert len(SUFFIXES) == 7
    assert not PublicSuffixes(["// nothing", "", "  "])


@pytest.mark.parametrize(
    ("domain", "expected"),
    [("a.example.com", True), ("a.b.ck", True), ("a.io", False), ("a.unknown", False)],
)
def test_which_top_level_domains_are_known(domain: str, expected: bool) -> None:
    """Of io, this list has only a domain below it."""
    assert SUFFIXES.knows(domain) is expected
