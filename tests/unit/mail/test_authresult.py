# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/mail/authresult.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from qpsmtpd.mail.authresult import AuthResult, AuthResults

PASS = AuthResult("spf", "pass")


def test_a_result_keeps_what_it_was_given() -> None:
    result = AuthResult("dkim", "policy", "512-bit key", {"header.d": "a;b", "header.s": ""}, "x)")
    assert (result.method, result.result, result.reason) == ("dkim", "policy", "512-bit key")
    assert result.properties == (("header.d", "a;b"), ("header.s", ""))
    assert result.comment == "x)"
    assert result.get("header.d") == "a;b"
    assert result.get("header.b") is None


def test_results_are_values() -> None:
    pairs = AuthResult("dkim", "pass", properties=[("header.d", "a"), ("header.d", "b")])
    assert pairs == AuthResult("dkim", "pass", properties=(("header.d", "a"), ("header.d", "b")))
    assert len({pairs, pairs, PASS}) == 2
    assert dataclasses.replace(PASS, result="fail") == AuthResult("spf", "fail")
    with pytest.raises(dataclasses.FrozenInstanceError):
        PASS.result = "fail"  # type: ignore[misc]


@pytest.mark.parametrize("method", ["spf", "x-own", "x2/12", "a" * 64])
def test_methods(method: str) -> None:
    assert AuthResult(method, "none").method == method


@pytest.mark.parametrize(
    "method", ["", "SPF", "spf ", "s=f", "spf;", "-a", "a-", "a/", "a/b", "é", "a" * 65, None, 1]
)
def test_what_is_not_a_method(method: Any) -> None:
    with pytest.raises(ValueError, match="is not the name of a method, such as 'spf'"):
        AuthResult(method, "pass")


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("spf", "hardfail"),
        ("spf/1", "softfial"),
        ("dkim", "softfail"),
        ("dmarc", "reject"),
        ("auth", "ok"),
        ("iprev", "none"),
        ("arc", "temperror"),
        ("own", "Pass"),
        ("own", ""),
        ("own", "two words"),
        ("own", "pass;"),
        ("own", None),
    ],
)
def test_what_is_not_a_result(method: str, result: Any) -> None:
    with pytest.raises(ValueError, match=f"is not a result of {method}: it must be"):
        AuthResult(method, result)


def test_the_results_there_are_are_named() -> None:
    with pytest.raises(ValueError, match=r"'failed' is not .*: it must be one of fail, none, pass"):
        AuthResult("arc", "failed")


@pytest.mark.parametrize(
    "properties",
    [
        {"mailfrom": "a"},
        {"smtp.": "a"},
        {"smtp.mail from": "a"},
        {"smtp.MailFrom": "a"},
        {"smtp.mailfrom;": "a"},
        {"smtp.mailfrom": None},
        {"smtp.mailfrom": b"a"},
        ("smtp.mailfrom", "a"),
        "smtp.mailfrom=a",
        [("smtp.mailfrom",)],
        [["smtp.mailfrom", "a"]],
    ],
)
def test_what_is_not_a_property(properties: Any) -> None:
    with pytest.raises(ValueError, match=r"it must be|is not the name of a property"):
        AuthResult("spf", "pass", properties=properties)


@pytest.mark.parametrize("text", [None, 5, ValueError("an exception is not a text")])
@pytest.mark.parametrize("name", ["reason", "comment"])
def test_what_is_not_a_text(name: str, text: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*: it must be a string"):
        AuthResult("spf", "pass", **{name: text})


def test_a_list_of_results() -> None:
    results = AuthResults()
    results.append(PASS)
    results += [AuthResult("spf", "none")]
    results.insert(0, AuthResult("arc", "none"))
    results.extend([PASS])
    results[1] = AuthResult("spf", "fail")
    results[3:] = [AuthResult("own", "x")]
    assert [result.result for result in results] == ["none", "fail", "none", "x"]
    assert isinstance(results, AuthResults)


@pytest.mark.parametrize(
    "change",
    [
        lambda results: results.append("spf=pass"),
        lambda results: results.extend([PASS, "spf=pass"]),
        lambda results: results.insert(0, "spf=pass"),
        lambda results: results.__iadd__(["spf=pass"]),
        lambda results: results.__setitem__(0, "spf=pass"),
        lambda results: results.__setitem__(slice(1), ["spf=pass"]),
    ],
)
def test_a_list_takes_nothing_else(change: Callable[[AuthResults], Any]) -> None:
    """A plugin that still adds text fails where it does that, and not in the core."""
    results = AuthResults([PASS])
    with pytest.raises(TypeError, match="'spf=pass' is not an AuthResult"):
        change(results)
    assert [result for result in results if not isinstance(result, AuthResult)] == []
