# SPDX-License-Identifier: MIT
"""DKIM-Signature: what a field has to say, and what must not be believed (RFC 6376 section 3.5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mailauth.dkimsignature import (
    MAX_FIELD,
    MAX_NAMES,
    Claims,
    DkimSignatureError,
    Signature,
    claims_of,
    parse_signature,
    read_tags,
    unsigned_form,
)

NOW = 1_000_000_000.0
TAGS = {
    "v": "1",
    "a": "rsa-sha256",
    "d": "a.example",
    "s": "s",
    "h": "From:To",
    "bh": "AAAA",
    "b": "BBBB",
}


def field(changes: dict[str, str | None] | None = None) -> bytes:
    tags = {**TAGS, **(changes or {})}
    text = "; ".join(f"{name}={value}" for name, value in tags.items() if value is not None)
    return f"DKIM-Signature: {text}\r\n".encode()


def read(raw: bytes) -> Signature:
    tags = read_tags(raw)
    return parse_signature(raw, tags, claims_of(tags), NOW)


def problem(raw: bytes) -> str:
    with pytest.raises(DkimSignatureError) as error:
        read(raw)
    assert error.value.result == ("policy" if str(error.value) == "rsa-sha1" else "permerror")
    return str(error.value)


def test_a_signature() -> None:
    signature = read(field({"c": "relaxed", "l": "17", "x": "1000000000", "q": "x : dns/txt"}))
    assert signature.claims == Claims("a.example", "s", "a.example", "rsa-sha256", "BBBB")
    assert (signature.key_type, signature.header, signature.body) == ("rsa", "relaxed", "simple")
    assert (signature.names, signature.length) == ((b"from", b"to"), 17)
    assert (signature.body_hash, signature.data) == (b"\0\0\0", b"\x04\x10\x41")
    assert signature.key_name == "s._domainkey.a.example"


def test_what_need_not_be_there() -> None:
    signature = read(field({"a": "ed25519-sha256"}))
    assert signature.key_type == "ed25519"
    assert (signature.header, signature.body, signature.length) == ("simple", "simple", None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"v": None}, "unknown version"),
        ({"v": "2"}, "unknown version"),
        ({"v": "1.0"}, "unknown version"),
        *(({name: None}, f"no {name}=") for name in ("a", "b", "bh", "d", "h", "s")),
        *(({name: ""}, f"no {name}=") for name in ("a", "b", "bh", "d", "h", "s")),
        ({"a": "rsa-sha1"}, "rsa-sha1"),
        ({"a": "rsa-sha512"}, "unknown algorithm"),
        ({"a": "dsa-sha256"}, "unknown algorithm"),
        ({"c": "nofws"}, "unknown canonicalization"),
        ({"c": "relaxed/nofws"}, "unknown canonicalization"),
        ({"c": "relaxed/relaxed/relaxed"}, "unknown canonicalization"),
        ({"c": ""}, "unknown canonicalization"),
        ({"q": "http"}, "unknown query method"),
        ({"q": ""}, "unknown query method"),
        ({"d": "a example"}, "wrong d="),
        ({"d": "a..example"}, "wrong d="),
        ({"d": ".example"}, "wrong d="),
        ({"d": "x" * 64}, "wrong d="),
        ({"d": "a.example'b.example"}, "wrong d="),
        ({"d": "a.example(b.example"}, "wrong d="),
        ({"d": "bücher .example"}, "wrong d="),
        ({"s": "s/"}, "wrong s="),
        ({"s": "s."}, "wrong s="),
        ({"s": ".".join(["x" * 60] * 4)}, "wrong s="),
        ({"i": "a.example"}, "i= is not in d="),
        ({"i": "user@b.example"}, "i= is not in d="),
        ({"i": "user@xa.example"}, "i= is not in d="),
        ({"i": "user@example"}, "i= is not in d="),
        ({"i": "@"}, "i= is not in d="),
        ({"h": "to:subject"}, "From is not signed"),
        ({"h": "xfrom"}, "From is not signed"),
        ({"h": "from:"}, "wrong h="),
        ({"h": "from::to"}, "wrong h="),
        ({"h": "from:a b"}, "wrong h="),
        ({"h": "from:é"}, "wrong h="),
        ({"h": "from:" + "x:" * (MAX_NAMES - 1) + "y"}, "too many names in h="),
        ({"t": "-1"}, "wrong number"),
        ({"x": "soon"}, "wrong number"),
        ({"x": "²"}, "wrong number"),
        ({"x": "999999999"}, "signature expired"),
        ({"x": "2000000000", "t": "2000000000"}, "x= is not after t="),
        ({"x": "0"}, "x= is not after t="),
        ({"l": ""}, "wrong number"),
        ({"l": "1" * 77}, "wrong number"),
        ({"l": "1e3"}, "wrong number"),
        ({"b": "BBB"}, "wrong base64"),
        ({"b": "é"}, "wrong base64"),
        ({"b": "!AAA"}, "wrong base64"),
        ({"b": "AA!AA"}, "wrong base64"),
        ({"bh": "A"}, "wrong base64"),
        ({"z": "x" * MAX_FIELD}, "signature too long"),
        ({"1": "x"}, "signature syntax"),
        ({"n": "\0"}, "signature syntax"),
    ],
)
def test_what_is_wrong(changes: dict[str, str | None], why: str) -> None:
    assert problem(field(changes)) == why


@pytest.mark.parametrize(
    "raw",
    [
        b"DKIM-Signature: v=1; v=1\r\n",
        b"DKIM-Signature: v\r\n",
        b"DKIM-Signature: v=1; n=\xff\r\n",
        b"DKIM-Signature:\xc3\r\n",
    ],
)
def test_what_is_no_tag_list(raw: bytes) -> None:
    assert problem(raw) == "signature syntax"


@pytest.mark.parametrize(
    "changes",
    [
        {"t": "2000000000"},
        {"x": "1000000001", "t": "1000000000"},
        {"l": "0"},
        {"l": "9" * 76},
        {"i": "user@A.Example"},
        {"i": "a=40b@sub.A.example"},
        {"i": "@a.example"},
        {"h": "FROM : to"},
        {"h": "x:" * (MAX_NAMES - 1) + "from"},
        {"c": "Simple/Relaxed"},
        {"a": "RSA-SHA256"},
        {"d": "_x.A.example", "i": None},
        {"z": "From:x|To:y", "unknown": "1"},
        {"b": "B B\r\n\tBB", "bh": "A A\tAA"},
    ],
)
def test_what_is_right(changes: dict[str, str | None]) -> None:
    assert read(field(changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, {}),
        ({"d": "A.Example", "s": "S1"}, {"selector": "s1"}),
        (
            {"d": "bücher.example"},
            {"domain": "xn--bcher-kva.example", "identity": "xn--bcher-kva.example"},
        ),
        ({"i": "me@b.A.example"}, {"identity": "b.a.example"}),
        ({"i": "me@("}, {"identity": ""}),
        ({"d": "a'", "s": "("}, {"domain": "", "identity": "", "selector": ""}),
        ({"d": None, "s": None}, {"domain": "", "identity": "", "selector": ""}),
        ({"a": "rsa-sha1"}, {"algorithm": "rsa-sha1"}),
        ({"a": "x=pass"}, {"algorithm": ""}),
        ({"b": "<b>"}, {"b8": ""}),
        ({"b": "AB CD\r\n\tEFGHIJKL"}, {"b8": "ABCDEFGH"}),
    ],
)
def test_claims(changes: dict[str, str | None], said: dict[str, str]) -> None:
    usual = Claims("a.example", "s", "a.example", "rsa-sha256", "BBBB")
    assert claims_of(read_tags(field(changes))) == usual._replace(**said)


@pytest.mark.parametrize(
    ("value", "unsigned"),
    [
        (b" b=AA; bh=BB\r\n", b" b=; bh=BB"),
        (b" bh=BB; b=AA\r\n", b" bh=BB; b="),
        (b" bh=BB;\r\n\tb =\r\n A\r\n A ;\r\n d=x\r\n", b" bh=BB;\r\n\tb =;\r\n d=x"),
        (b"b=A=\r\n", b"b="),
        (b" bh=b=AA; n=b; b=AA;\r\n", b" bh=b=AA; n=b; b=;"),
    ],
)
def test_the_form_that_was_signed(value: bytes, unsigned: bytes) -> None:
    assert unsigned_form(b"Dkim-Signature:" + value) == b"Dkim-Signature:" + unsigned


def by_specs(value: bytes) -> bytes:
    """The same, tag by tag."""
    specs = [spec.partition(b"=") for spec in value.split(b";")]
    return b";".join(
        tag + equals + (b"" if equals and tag.strip(b" \t\r\n") == b"b" else text)
        for tag, equals, text in specs
    )


@given(st.lists(st.sampled_from([b"b", b"h", b"=", b";", b" ", b"\t", b"\r\n\t", b"\0"])))
def test_nothing_but_the_value_of_b_goes(parts: list[bytes]) -> None:
    value = b"".join(parts)
    assert unsigned_form(b"D:" + value + b"\r\n") == b"D:" + by_specs(value)


ALPHABET = st.sampled_from([*'vabdhisx =;:@.()"\\<>\r\n\t\0é', "a.example", "rsa-sha256", "from"])


@given(st.dictionaries(st.sampled_from("abdhisqtxlcz"), st.lists(ALPHABET).map("".join)))
def test_claims_are_safe_to_pass_on(changes: dict[str, str]) -> None:
    try:
        tags = read_tags(field({**changes}))
    except DkimSignatureError:
        return
    for text in claims_of(tags):
        assert text.isascii()
        assert not set(text) & set(' ;()"\\<>@\r\n\t\0')
