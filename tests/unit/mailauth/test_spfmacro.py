# SPDX-License-Identifier: MIT
"""Macros: their grammar, and what they expand to (RFC 7208 section 7)."""

import pytest

from qpsmtpd.mailauth.spfmacro import (
    MAX_MACROS,
    SpfSyntaxError,
    as_domain,
    parse_domain_spec,
    parse_explanation,
    parse_macros,
)

#: The example of RFC 7208 section 7.4, for either kind of client.
VALUES = {
    "s": "strong-bad@email.example.com",
    "l": "strong-bad",
    "o": "email.example.com",
    "d": "email.example.com",
    "i": "192.0.2.3",
    "v": "in-addr",
    "h": "mx.example.org",
    "p": "mx.example.com",
    "c": "192.0.2.3",
    "r": "receiver.example",
    "t": "1800000000",
}


def expanded(text: str, **values: str) -> str:
    return parse_macros(text).expand({**VALUES, **values})


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ("a%%b%_c%-d", "a%b c%20d"),
        ("%{LR-}", "bad.strong"),
        ("%{S}", "strong-bad%40email.example.com"),
        ("%{d002}", "example.com"),
        (f"%{{d{'9' * 10000}}}", "email.example.com"),
        ("", ""),
    ],
)
def test_expansion(text: str, result: str) -> None:
    assert expanded(text) == result


def test_expansion_for_ipv6() -> None:
    digits = ".".join("20010DB80000000000000000CB01") + ".0.0.0.1"
    result = expanded("%{ir}.%{v}._spf.%{d2}", i=digits, v="ip6")
    assert result == ".".join(reversed(digits.split("."))) + ".ip6._spf.example.com"


def test_delimiters_are_all_of_those_given() -> None:
    assert expanded("%{l+-}", l="a+b-c.d") == "a.b.c.d"
    assert expanded("%{l1+-}", l="a+b-c.d") == "c.d"
    assert expanded("%{l1,/_=.}", l="a,b/c_d=e.f") == "f"


def test_url_escapes_are_for_all_but_unreserved_characters() -> None:
    assert expanded("%{L}", l="~a_b-c.d/é?") == "~a_b-c.d%2F%C3%A9%3F"


@pytest.mark.parametrize(
    "text",
    [
        "%",
        "100%",
        "%{",
        "%{}",
        "%{d",
        "%{x}",
        "%{d0}",
        "%{d00}",
        "%{dR2}",
        "%{d!}",
        "%(d)",
        "%a",
        "%{c}",
        "%{r}",
        "%{t}",
        "a b",
        "a\tb",
        "a\x7fb",
        "é",
        "%{d }",
    ],
)
def test_what_is_not_a_macro_string(text: str) -> None:
    with pytest.raises(SpfSyntaxError):
        parse_macros(text)


def test_explanations_may_say_more() -> None:
    text = parse_explanation("%{c} at %{t}: ask %{r}")
    assert text.expand(VALUES) == "192.0.2.3 at 1800000000: ask receiver.example"
    with pytest.raises(SpfSyntaxError):
        parse_explanation("two\nlines")


def test_the_number_of_macros_is_limited() -> None:
    parse_macros("%{d}" * MAX_MACROS)
    with pytest.raises(SpfSyntaxError):
        parse_macros("%{d}" * (MAX_MACROS + 1))


@pytest.mark.parametrize(
    "text",
    [
        "a.example",
        "a.example.",
        "%{d}",
        "a%{d}",
        "%{d}.a",
        "a.%%",
        "a.b-c",
        "a.1b",
        "a.b1",
        "x_y.a1a",
        "a..example",
        "%_",
        "a/b.example",
        "a.xn--p1ai",
        "a.1-1",
    ],
)
def test_domain_specs(text: str) -> None:
    parse_domain_spec(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example",
        "example.",
        "a.1",
        "a.123",
        "a.-b",
        "a.b-",
        "%{d}a",
        "%{d}1",
        "a.b_c",
        "a.example}",
        "a.%%_",
        "a..",
        ".",
        "a.b/",
        "{.}",
    ],
)
def test_what_is_not_a_domain_spec(text: str) -> None:
    with pytest.raises(SpfSyntaxError):
        parse_domain_spec(text)


def test_a_string_without_macros_is_known_at_once() -> None:
    assert parse_macros("a%%b").fixed == "a%b"
    assert parse_macros("a%{d}").fixed is None


def test_long_names_lose_labels_from_the_left() -> None:
    assert as_domain("a.example.") == "a.example"
    fits = ".".join(["x" * 49] * 5 + ["abc"])
    assert len(fits) == 253
    assert as_domain(fits) == fits
    assert as_domain(f"y.{fits}") == fits
    assert as_domain(f"{'y' * 40}.z.{fits}") == fits
    assert as_domain(f"z{fits}") == ".".join(["x" * 49] * 4 + ["abc"])
    assert as_domain("x" * 300) == "x" * 300
