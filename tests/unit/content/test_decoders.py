# SPDX-License-Identifier: MIT
"""Transfer encodings and charsets, in pieces."""

import base64
import quopri
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.content.decoders import _CHARSETS, TextDecoder, transfer_for
from qpsmtpd.content.parthead import PartHead


def decoded(octets: bytes, encoding: str, cuts: list[int] | None = None) -> bytes:
    transfer = transfer_for(encoding)
    places = [0, *sorted(cut % (len(octets) + 1) for cut in cuts or []), len(octets)]
    pieces = [transfer.feed(octets[start:end]) for start, end in pairwise(places)]
    return b"".join([*pieces, transfer.end()])


CUTS = st.lists(st.integers(0, 1000), max_size=5)


@given(st.binary(max_size=300), CUTS)
def test_base64_is_undone(octets: bytes, cuts: list[int]) -> None:
    encoded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    assert decoded(encoded, "base64", cuts) == octets


@given(st.text(max_size=300), CUTS)
def test_quoted_printable_is_undone(text: str, cuts: list[int]) -> None:
    octets = text.encode().replace(b"\r", b"").replace(b"\n", b"\r\n")
    encoded = quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    assert decoded(encoded, "quoted-printable", cuts) == octets


@given(st.binary(max_size=300), CUTS)
def test_pieces_make_no_difference_to_base64(octets: bytes, cuts: list[int]) -> None:
    assert decoded(octets, "base64", cuts) == decoded(octets, "base64")


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"aHR0cA", b"http"),
        (b"aHR0\r\n !cA==", b"http"),
        (b"aHR0cA==Oi8v", b"http://"),
        (b"aHR0c", b"htt"),
        (b"====", b""),
    ],
)
def test_base64_that_is_not_right(octets: bytes, expected: bytes) -> None:
    assert decoded(octets, "base64") == expected


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"a=2Eb=\r\nc", b"a.bc"),
        (b"a= \t\r\nc", b"ac"),
        (b"a=zz", b"a=zz"),
        (b"a=", b"a"),
    ],
)
def test_quoted_printable_that_is_not_right(octets: bytes, expected: bytes) -> None:
    assert decoded(octets, "quoted-printable") == expected


def test_a_long_line_of_quoted_printable() -> None:
    line = b"=41" * 100_000
    assert decoded(line, "quoted-printable", list(range(0, 300_000, 8191))) == b"A" * 100_000


def test_what_nobody_knows_stays() -> None:
    assert decoded(b"a=2E", "x-unknown") == decoded(b"a=2E", "8bit") == b"a=2E"


@pytest.mark.parametrize(
    ("charset", "octets"),
    [
        ("utf-8", "bücher".encode()),
        ("iso-8859-1", "bücher".encode("latin-1")),
        ("windows-1252", "bücher".encode("cp1252")),
        ("utf-16", "bücher".encode("utf-16")),
        ("utf-16", "bücher".encode("utf-16-be")),
        ("utf-16", b"\xfe\xff" + "bücher".encode("utf-16-be")),
        ("utf-16le", "bücher".encode("utf-16-le")),
    ],
)
def test_charsets(charset: str, octets: bytes) -> None:
    decoder = TextDecoder(PartHead(charset=charset))
    pieces = [decoder.feed(octets[place : place + 1]) for place in range(len(octets))]
    assert "".join([*pieces, decoder.end()]).lstrip("\ufeff") == "bücher"


def test_utf_16_without_byte_order_mark() -> None:
    decoder = TextDecoder(PartHead(charset="utf-16"))
    assert decoder.feed("http".encode("utf-16-le")) + decoder.end() == "http"


@pytest.mark.parametrize("charset", ["", "zlib", "idna", "unicode_escape", "x" * 5000, "utf-7"])
def test_other_charsets_are_read_as_utf_8(charset: str) -> None:
    decoder = TextDecoder(PartHead(charset=charset))
    assert decoder.feed("bücher\\u0041".encode() + b"\xff") + decoder.end() == "bücher\\u0041\ufffd"


def test_a_decoder_that_gives_up() -> None:
    decoder = TextDecoder(PartHead(charset="iso-2022-jp"))
    decoder.feed(b"\x1b$B0l\x1b(=0l" + b"\x1b(=" * 20)
    assert decoder.feed(b"http") + decoder.end() == "http"


@pytest.mark.parametrize("charset", sorted({*_CHARSETS, "utf-16"}))
def test_python_knows_all_charsets(charset: str) -> None:
    decoder = TextDecoder(PartHead(charset=charset))
    assert isinstance(decoder.feed(b"abc\xff\xfe\x80") + decoder.end(), str)
