# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/mail/address.py."""

import unicodedata
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qpsmtpd.errors import AddressError
from qpsmtpd.mail.address import (
    Address,
    PathError,
    address_key,
    common_address,
    decode_xtext,
    encode_xtext,
    parse_forward_path,
    parse_mailbox,
    parse_reverse_path,
    split_arguments,
)
from qpsmtpd.mail.domain import Spellings

LONG_DOMAIN = ".".join(["d" * 63] * 3) + "." + "d" * 63

ADDRESSES = [
    ("ask@perl.example", "ask", "perl.example"),
    ("Ask@Perl.Example", "Ask", "Perl.Example"),
    ("a@localhost", "a", "localhost"),
    ("bounce+a=b.example@list.example", "bounce+a=b.example", "list.example"),
    ("!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x"),
    ("a@under_score._tcp.x-y.example", "a", "under_score._tcp.x-y.example"),
    ("a@1.2.3.4", "a", "1.2.3.4"),
    ("a@[1.2.3.4]", "a", "[1.2.3.4]"),
    ("a@[IPv6:2001:DB8::1]", "a", "[IPv6:2001:DB8::1]"),
    ("a@[ipv6:::ffff:1.2.3.4]", "a", "[ipv6:::ffff:1.2.3.4]"),
    ("a@[IPv6:1:2:3:4:5:6::]", "a", "[IPv6:1:2:3:4:5:6::]"),
    ("a@[IPv6:1:2:3:4::1.2.3.4]", "a", "[IPv6:1:2:3:4::1.2.3.4]"),
    ("a..b@x", "a..b", "x"),
    ('".a"@x', ".a", "x"),
    ("a.@x", "a.", "x"),
    ('""@x', "", "x"),
    ('"a b"@x', "a b", "x"),
    ('"a@b"@x', "a@b", "x"),
    ('"a>b"@x', "a>b", "x"),
    (r'"a\"\\b"@x', 'a"\\b', "x"),
    ("l" * 256 + "@x", "l" * 256, "x"),
    ("a@" + LONG_DOMAIN, "a", LONG_DOMAIN),
]

U_ADDRESSES = [
    ("jürgen@müller.example", "jürgen", "müller.example"),
    ("用户@例子.example", "用户", "例子.example"),
    ("a@हिन्दी.example", "a", "हिन्दी.example"),
    ("a@नी\u200cनी.example", "a", "नी\u200cनी.example"),
    ('"é è"@x', "é è", "x"),
    ("é" * 128 + "@x", "é" * 128, "x"),
    # The longest label: 63 octets as A-label.
    ("a@" + "é" * 57, "a", "é" * 57),
    ("a@straße.example", "a", "straße.example"),
]

BAD = [
    "@",
    "a",
    "abuse",
    "a@",
    "@x",
    ".a@x",
    ".@x",
    "a b@x",
    "ask @perl.example",
    " a@x",
    "a@x ",
    "a@b@x",
    "a,b@x",
    "a@x.",
    "a@.x",
    "a@x..y",
    "a@-x",
    "a@x-",
    "a@x-.y",
    "a@x y",
    "a@b.c/d",
    "user@example.com#",
    "a@" + "d" * 64,
    "a@" + LONG_DOMAIN + "d",
    "a@" + LONG_DOMAIN[:-1] + ".d",
    "a@" + ".".join(["d"] * 129),
    "l" * 257 + "@x",
    '"' + "l" * 257 + '"@x',
    '"' + r"\l" * 500 + '"@x',
    '"a@x',
    'a"@x',
    '"a"b@x',
    '"a"b"@x',
    'a"b"@x',
    '"a\\"@x',
    '"a"x',
    "a@[1.2.3]",
    "a@[1.2.3.256]",
    "a@[1.2.3.04]",
    "a@[::1]",
    "a@[IPv6:1.2.3.4]",
    "a@[IPv6:::g]",
    "a@[IPv6:fe80::1%eth0]",
    "a@[IPv6:]",
    # "::" stands for two groups or more (RFC 5321 section 4.1.3).
    "a@[IPv6:1:2:3:4:5:6:7::]",
    "a@[IPv6:::2:3:4:5:6:7:8]",
    "a@[IPv6:1:2:3::5:6:7:8]",
    "a@[IPv6:1:2:3:4:5::1.2.3.4]",
    "a@[1.2.3.4",
    "a@[x-tag:data]",
    "a\0@x",
    "a@x\r",
    "a@x\n",
    "a@x\r\nRCPT TO:<b@x>",
    '"a\r\n"@x',
    '"a\\\n"@x',
    '"a\tb"@x',
    "a\x7f@x",
]

U_BAD = [
    "\udcff@x",
    "a@\udcff",
    '"\ud800"@x',
    "\x85@x",
    '"\u2028"@x',
    "é" * 129 + "@x",
    "a@u\u0308.example",  # not composed (RFC 5891 section 5.3)
    "a@x\uff0eexample",  # full-width full stop
    "a@é\u3002example",  # ideographic full stop
    "a@é\u200bx",  # zero width space
    "a@é\u202ex",  # right-to-left override
    "a@é\u1680x",  # a space the normalisation keeps
    "a@é x",
    "a@é/x",
    "a@é-.x",
    "a@-é",
    "a@é.",
    "a@" + "é" * 58,
    "a@例子" * 30,
    "a@" + "".join(map(chr, range(0x4E00, 0x4E00 + 58))),
    "a@éé--é",  # as if it were an A-label of another kind (RFC 5891 section 4.2.3.1)
    "a@xn--é",
    "a@é\ufe0f",  # invisible
    "a@é\u3164",
    '"a\\é"@x',  # RFC 6531 section 3.3 adds nothing to quoted-pair
    "a@" + ".".join(["é" * 40] * 4),
]


def refused(text: str, *, utf8: bool = False) -> None:
    for parse in (parse_forward_path, parse_reverse_path):
        with pytest.raises(AddressError) as caught:
            parse(f"<{text}>", utf8=utf8)
        assert isinstance(caught.value, PathError)
        assert caught.value.where == "address"
        assert str(caught.value).isascii()
    with pytest.raises(AddressError):
        parse_mailbox(text, utf8=utf8)


@pytest.mark.parametrize(("text", "local_part", "domain"), ADDRESSES)
def test_addresses(text: str, local_part: str, domain: str) -> None:
    expected = Address(local_part, domain)
    assert parse_mailbox(text) == expected
    assert parse_forward_path(f"<{text}>") == expected
    assert parse_reverse_path(f"<{text}>") == expected
    assert expected.address == str(expected) == text
    assert expected.path == f"<{text}>"
    assert expected.is_ascii


@pytest.mark.parametrize(("text", "local_part", "domain"), U_ADDRESSES)
def test_non_ascii_addresses_need_smtputf8(text: str, local_part: str, domain: str) -> None:
    expected = Address(local_part, domain)
    assert parse_mailbox(text, utf8=True) == expected
    assert parse_forward_path(f"<{text}>", utf8=True) == expected
    assert parse_reverse_path(f"<{text}>", utf8=True) == expected
    assert expected.address == text
    assert not expected.is_ascii
    refused(text)


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("utf8", [False, True], ids=["ascii", "utf8"])
def test_bad_addresses(text: str, utf8: bool) -> None:
    refused(text, utf8=utf8)


@pytest.mark.parametrize("text", U_BAD)
def test_bad_non_ascii_addresses(text: str) -> None:
    refused(text, utf8=True)


def test_path_of_a_text_line_is_the_limit() -> None:
    route = ",".join(["@" + "d" * 60] * 15)
    padded = f"{route}:{'l' * (998 - 5 - len(route))}@x"
    assert len(f"<{padded}>") == 998
    assert parse_forward_path(f"<{padded}>").domain == "x"
    refused(padded.replace(":", ",@d:"))


@pytest.mark.parametrize("text", ['"plain"@x', r'"\p\l\a\i\n"@x'])
def test_needless_quotes_are_dropped(text: str) -> None:
    assert parse_mailbox(text) == Address("plain", "x")
    assert parse_mailbox(text).address == "plain@x"


def test_needless_backslashes_are_dropped() -> None:
    assert parse_mailbox(r'"foo\ bar"@x').address == '"foo bar"@x'


@pytest.mark.parametrize("text", ["<>", "<#@[]>"])
def test_null_reverse_path(text: str) -> None:
    assert parse_reverse_path(text) is None
    with pytest.raises(AddressError):
        parse_forward_path(text)


def test_empty_mailbox() -> None:
    with pytest.raises(AddressError):
        parse_mailbox("")


@pytest.mark.parametrize("text", ["<postmaster>", "<PostMaster>"])
def test_bare_postmaster_needs_no_domain(text: str) -> None:
    address = parse_forward_path(text)
    assert address == parse_reverse_path(text) == Address("postmaster", None)
    assert (address.address, address.path) == ("postmaster", "<postmaster>")
    assert address.is_ascii


@pytest.mark.parametrize(
    "text", ["", "a@b", "<a@bb", "aa@b>", "aa@bb", "<", ">", "<<a@b>>", "x<a@b>", "<a@b>x"]
)
def test_path_needs_its_brackets(text: str) -> None:
    for parse in (parse_forward_path, parse_reverse_path):
        with pytest.raises(AddressError):
            parse(text)


@pytest.mark.parametrize("text", ["<@a:u@c>", "<@a,@b.example:u@c>", "<@x_y:u@c>"])
def test_source_route_is_dropped(text: str) -> None:
    assert parse_forward_path(text) == parse_reverse_path(text) == Address("u", "c")


@pytest.mark.parametrize(
    "text",
    [
        "<@a>",
        "<@a:>",
        "<@:u@c>",
        "<@a,b:u@c>",
        "<@a,:u@c>",
        "<@a,xb:u@c>",
        "<@a b:u@c>",
        "<@a:@b:u@c>",
        # An address literal is no Domain (RFC 5321 section 4.1.2).
        "<@[192.0.2.1]:u@c>",
        "<@a,@[192.0.2.1]:u@c>",
        "<@[IPv6:2001:db8::1]:u@c>",
    ],
)
def test_bad_source_route(text: str) -> None:
    with pytest.raises(AddressError):
        parse_forward_path(text)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("a@Perl.Example", "perl.example"),
        ("a@MÜLLER.example", "xn--mller-kva.example"),
        ("a@xn--mller-KVA.example", "xn--mller-kva.example"),
        ("a@[IPv6:2001:DB8:0::1]", "[ipv6:2001:db8::1]"),
        ("a@[ipv6:::ffff:192.0.2.1]", "[192.0.2.1]"),
        ("@other.example:a@Perl.Example", "perl.example"),
    ],
)
def test_the_domain_is_canonical_and_the_text_is_kept(text: str, domain: str) -> None:
    address = parse_forward_path(f"<{text}>", utf8=True)
    written = text.rpartition("@")[2]
    assert address.domain == domain
    assert address.written_domain == written
    assert (address.address, address.path) == (f"a@{written}", f"<a@{written}>")
    assert address == Address("a", domain) == Address("a", written)
    assert hash(address) == hash(Address("a", domain))
    assert address.has_literal == domain.startswith("[")


def test_another_local_part_in_place_of_the_one_that_was_parsed() -> None:
    address = replace(parse_forward_path("<a@Perl.Example>"), local_part="b c")
    assert address.address == '"b c"@perl.example'


def test_key_is_canonical_and_never_quoted() -> None:
    assert Address("Foo Bar", "Example.COM.").key == "foo bar@example.com"
    assert Address("E\u0301", "BÜCHER.example").key == "\xe9@xn--bcher-kva.example"
    assert Address("Postmaster", None).key == "postmaster"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("User@Example.COM.", "user@example.com"),
        ("@Bücher.example", "@xn--bcher-kva.example"),
        ('"Foo Bar"@x', "foo bar@x"),
        (r'"a\"b"@x', 'a"b@x'),
        ('"open@x', '"open@x'),
        ("a@b@x", "a@b@x"),
        ("User", "user"),
        ("\udcff@\udcff", "\udcff@xn--1c0c"),
        ("", ""),
    ],
)
def test_address_key(text: str, key: str) -> None:
    assert address_key(text) == key
    assert address_key(key) == key


def test_unquoted() -> None:
    assert Address("a@b", "Example.COM").unquoted == "a@b@Example.COM"
    assert Address("postmaster", None).unquoted == "postmaster"


@pytest.mark.parametrize(
    ("address", "canonical", "written"),
    [
        (Address("User", "Example.com"), ["user@example.com"], []),
        (Address("Postmaster", None), ["postmaster"], []),
        (
            Address("u", "BÜCHER.example"),
            ["u@xn--bcher-kva.example", "u@bücher.example"],
            [],
        ),
        (
            Address("u", "xn--bcher-kva.example"),
            ["u@xn--bcher-kva.example", "u@bücher.example"],
            [],
        ),
        (Address("u", "x.example."), ["u@x.example"], ["u@x.example."]),
        (Address("u％x", "y"), ["u％x@y"], ["u%x@y"]),
        (Address("u", "[IPv6:1:0::2]"), ["u@[ipv6:1::2]"], ["u@[IPv6:1:0::2]"]),
    ],
)
def test_spellings(address: Address, canonical: list[str], written: list[str]) -> None:
    assert address.spellings == Spellings(tuple(canonical), tuple(written))


@pytest.mark.parametrize(
    "local_part", ["a%b", "a@b", "a!b", "!b", "a％b", "a＠b", "a！b", "a‼", "℅%"]
)
def test_routes(local_part: str) -> None:
    assert Address(local_part, "x").is_route


@pytest.mark.parametrize("local_part", ["a", "wow!", "wow！", "a+b", "é", "", "℅"])
def test_what_is_not_a_route(local_part: str) -> None:
    assert not Address(local_part, "x").is_route


Split = tuple[str, dict[str, str | None]]
Keyword = Literal["FROM", "TO"]


@pytest.mark.parametrize(
    ("text", "keyword", "expected"),
    [
        ("FROM:<a@b>", "FROM", ("<a@b>", {})),
        ("from:<a@b>", "FROM", ("<a@b>", {})),
        ("FROM: \t<a@b> \t", "FROM", ("<a@b>", {})),
        ("TO:<a@b>", "TO", ("<a@b>", {})),
        ("FROM:", "FROM", ("<>", {})),
        ("FROM:   ", "FROM", ("<>", {})),
        ("FROM:<>", "FROM", ("<>", {})),
        ("FROM:a@b", "FROM", ("a@b", {})),
        ("FROM:a@b SIZE=1", "FROM", ("a@b", {"SIZE": "1"})),
        ('TO:"a b"@c X', "TO", ('"a b"@c', {"X": None})),
        ("TO:0", "TO", ("0", {})),
        ("FROM:<a@b> SIZE=1230 FLAG", "FROM", ("<a@b>", {"SIZE": "1230", "FLAG": None})),
        (
            "FROM:<a@b>\tsize=1 \t body=8bitmime",
            "FROM",
            ("<a@b>", {"SIZE": "1", "BODY": "8bitmime"}),
        ),
        ("FROM:<a@b> AUTH=<>", "FROM", ("<a@b>", {"AUTH": "<>"})),
        ("FROM:<a@b> AUTH=c+3Dd@e", "FROM", ("<a@b>", {"AUTH": "c+3Dd@e"})),
        ("TO:<a@b> ORCPT=rfc822;c@d", "TO", ("<a@b>", {"ORCPT": "rfc822;c@d"})),
        ("TO:<a@b> ORCPT=utf-8;é@d", "TO", ("<a@b>", {"ORCPT": "utf-8;é@d"})),
        ("FROM:<a b@c> SIZE=1", "FROM", ("<a b@c>", {"SIZE": "1"})),
        ('FROM:<"a> SIZE=2 \\" b"@c> SIZE=1', "FROM", ('<"a> SIZE=2 \\" b"@c>', {"SIZE": "1"})),
        ("TO:<@a,@b:c@d>", "TO", ("<@a,@b:c@d>", {})),
        ("TO:<a\r\n@b>", "TO", ("<a\r\n@b>", {})),
    ],
)
def test_split_arguments(text: str, keyword: Keyword, expected: Split) -> None:
    assert split_arguments(text, keyword) == expected


@pytest.mark.parametrize(
    ("text", "keyword", "where"),
    [
        ("", "FROM", "command"),
        ("FROM", "FROM", "command"),
        ("FROM <a@b>", "FROM", "command"),
        ("FROM :<a@b>", "FROM", "command"),
        ("<a@b>", "FROM", "command"),
        ("TO:<a@b>", "FROM", "command"),
        ("FROM:<a@b>", "TO", "command"),
        ("TO:", "TO", "address"),
        ("TO: \t", "TO", "address"),
        ("TO:<a@b", "TO", "address"),
        ('TO:<"a@b>', "TO", "address"),
        ('TO:"a@b', "TO", "address"),
        ("FROM:<a@b>SIZE=1", "FROM", "parameters"),
        ("FROM:<a@b>>", "FROM", "parameters"),
        ('FROM:a"b', "FROM", "parameters"),
        ("FROM:<a@b> SIZE=", "FROM", "parameters"),
        ("FROM:<a@b> =1", "FROM", "parameters"),
        ("FROM:<a@b> A=b=c", "FROM", "parameters"),
        ("FROM:<a@b> -x", "FROM", "parameters"),
        ("FROM:<a@b> x@y", "FROM", "parameters"),
        ("FROM:<a@b> é=1", "FROM", "parameters"),
        ("FROM:<a@b> X=\x00", "FROM", "parameters"),
        ("FROM:<a@b> X=\udcff", "FROM", "parameters"),
        ("FROM:<a@b> X=1\n", "FROM", "parameters"),
        ("FROM:<a@b>\nX=1", "FROM", "parameters"),
        ("FROM:<a@b> SIZE=1 size=1", "FROM", "parameters"),
        ("FROM:<a@b> X X", "FROM", "parameters"),
    ],
)
def test_bad_arguments(text: str, keyword: Keyword, where: str) -> None:
    with pytest.raises(PathError) as caught:
        split_arguments(text, keyword)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("xtext", "text"),
    [("", ""), ("a@b", "a@b"), ("c+3Dd+2Be", "c=d+e"), ("a+20b", "a b"), ("+C3+A9", "é")],
)
def test_xtext(xtext: str, text: str) -> None:
    assert decode_xtext(xtext) == text
    assert encode_xtext(text) == xtext


def test_xtext_with_lower_case_hexadecimals_is_understood() -> None:
    assert decode_xtext("c+3dd") == "c=d"


@pytest.mark.parametrize(
    "xtext", ["+", "+3", "+3G", "a=b", "a b", "é", "+E9", "+0D+0A", "+00", "a\n"]
)
def test_bad_xtext(xtext: str) -> None:
    with pytest.raises(PathError) as caught:
        decode_xtext(xtext)
    assert caught.value.where == "parameters"


def test_text_that_is_no_unicode_has_no_xtext() -> None:
    with pytest.raises(PathError):
        encode_xtext("\udcff")


def is_clean(text: str) -> bool:
    return not any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text
    )


nasty = st.text(alphabet=st.sampled_from('a."\\ <>@,:;[]=+-_é\u200b\x00\t\r\n\x7f\x85\udcff\u2028'))
any_text = st.one_of(st.text(), nasty, st.text(alphabet=st.characters()))
local_parts = st.text(
    alphabet=st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60
)
domains = st.sampled_from([domain for _, _, domain in ADDRESSES + U_ADDRESSES])


@given(local_parts, domains)
@example('"', "x")
@example("\\", "x")
def test_every_address_parses_back(local_part: str, domain: str) -> None:
    address = Address(local_part, domain)
    assert parse_mailbox(address.address, utf8=True) == address
    assert parse_forward_path(address.path, utf8=True) == address
    assert parse_reverse_path(address.path, utf8=True) == address
    assert (address.written_domain, address.unquoted) == (domain, f"{local_part}@{domain}")
    assert address_key(address.address) == address.key
    if address.is_ascii:
        assert parse_forward_path(address.path) == address
    assert split_arguments(f"TO:{address.path} X=1", "TO") == (address.path, {"X": "1"})


@given(any_text, st.booleans())
def test_any_text_is_a_clean_address_or_an_address_error(text: str, utf8: bool) -> None:
    for candidate in (text, f"<{text}>", f"<{text}@example.com>", f"<a@{text}>", f'<"{text}"@x>'):
        for parse in (parse_mailbox, parse_forward_path, parse_reverse_path):
            try:
                address = parse(candidate, utf8=utf8)
            except AddressError:
                continue
            if address is not None:
                assert is_clean(address.address)
                assert utf8 or address.is_ascii
                assert parse_forward_path(address.path, utf8=utf8) == address


@given(any_text, any_text)
def test_any_text_has_a_key_and_spellings(local_part: str, domain: str) -> None:
    address = Address(local_part, domain)
    assert address.spellings.canonical[0] == address.key
    assert address.is_route in (True, False)
    if '"' not in local_part:
        assert address_key(address_key(local_part)) == address_key(local_part)


@given(any_text, st.sampled_from(["FROM", "TO"]))
def test_any_arguments_are_split_or_an_address_error(text: str, keyword: Keyword) -> None:
    for candidate in (text, f"{keyword}:{text}", f"{keyword}:<a@b> {text}"):
        try:
            _, parameters = split_arguments(candidate, keyword)
        except AddressError:
            continue
        for name, value in parameters.items():
            assert name.isascii()
            assert value is None or is_clean(value)


near_paths = st.builds(
    "{}{}<{}@{}>{}".format,
    st.sampled_from(["FROM:", "from:", "To:", "TO: ", "TO", "ſROM:"]),
    st.sampled_from(["", " "]),
    st.one_of(local_parts, st.text('a.B+-"@>', max_size=6), st.sampled_from(["a", "x" * 257])),
    st.one_of(domains, st.sampled_from([LONG_DOMAIN, f"{LONG_DOMAIN}.d", "B.example", "b..c"])),
    st.sampled_from(["", " ", " X=1", ">", "\n"]),
)


@given(st.one_of(near_paths, any_text), st.sampled_from(["FROM", "TO"]))
@example("FROM:<Ask@Perl.Example>", "FROM")
def test_the_short_way_comes_to_the_same(text: str, keyword: Keyword) -> None:
    address = common_address(text, keyword)
    if address is None:
        return
    path, parameters = split_arguments(text, keyword)
    long = parse_forward_path(path, utf8=True)
    assert (long, long.address, parameters) == (address, address.address, {})
    assert path.isascii()


@pytest.mark.parametrize("text", ["FROM:<a@b.example>", "from:<A.b+c=d@B.Example>"])
def test_the_usual_goes_the_short_way(text: str) -> None:
    assert common_address(text, "FROM") is not None
    assert common_address(text, "TO") is None


@given(local_parts)
def test_xtext_round_trip(text: str) -> None:
    assert decode_xtext(encode_xtext(text)) == text


@given(any_text)
def test_any_xtext_is_clean_or_an_address_error(text: str) -> None:
    for code in (decode_xtext, encode_xtext):
        try:
            assert is_clean(code(text))
        except AddressError:
            continue
