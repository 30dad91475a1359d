# SPDX-License-Identifier: MIT
"""Finds the parts of messages, however they are nested, and whatever is wrong with them."""

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.content.mimereader import MAX_DEPTH, MAX_HEAD, MAX_PARTS, MimeReader
from qpsmtpd.testing import a_message


class Texts:
    """Keeps the text of each part."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._text = ""

    def add(self, text: str) -> None:
        self._text += text

    def end_part(self) -> None:
        self.parts.append(self._text)
        self._text = ""


def read(message: str | bytes, cuts: list[int] | None = None) -> Texts:
    sink = Texts()
    parsed = a_message(message)
    body = (parsed.body.in_memory or b"").removeprefix(b"\r\n")
    reader = MimeReader(parsed.headers, sink)
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts or []), len(body)]
    for start, end in pairwise(places):
        reader.feed(body[start:end])
    reader.close()
    return sink


def parts(message: str) -> list[str]:
    return [text for part in read(message).parts if (text := part.strip())]


NESTED = """Content-Type: multipart/mixed; boundary="out er"

preamble
--out er
Content-Type: multipart/alternative; boundary=inner

--inner

plain
--inner
Content-Type: text/html
Content-Transfer-Encoding: base64

aHRt
bA==
--inner--
between
--out er  \t
Content-Type: image/png

not text
--not a boundary
--out er
Content-Type: message/rfc822

Subject: attached
Content-Type: multipart/mixed; boundary=third

--third
Content-Transfer-Encoding: quoted-printable

third=20=
part
--out er--
epilogue
"""


def test_nested_parts() -> None:
    expected = ["preamble", "plain", "html", "between", "third part", "epilogue"]
    assert parts(NESTED) == expected


@given(st.lists(st.integers(0, 1000), max_size=8))
def test_blocks_end_anywhere(cuts: list[int]) -> None:
    assert read(NESTED, cuts).parts == read(NESTED).parts


def test_without_mime() -> None:
    assert parts("Subject: x\n\n--hello\n--\n") == ["--hello\r\n--"]


def test_a_boundary_that_never_comes() -> None:
    message = "Content-Type: multipart/mixed; boundary=b\n\ntext\n--other\nmore\n"
    assert parts(message) == ["text\r\n--other\r\nmore"]


def test_a_part_without_body() -> None:
    message = "Content-Type: multipart/mixed; boundary=b\n\n--b\nX: y\n--b\n\ntext\n"
    assert parts(message) == ["text"]


def test_a_header_section_that_does_not_end_is_text() -> None:
    long = "no field\n" * (MAX_HEAD // 8)
    message = f"Content-Type: multipart/mixed; boundary=b\n\n--b\n{long}http://x.test/\n"
    assert parts(message)[-1].endswith("http://x.test/")


def test_a_long_line_in_a_header_section() -> None:
    message = f"Content-Type: multipart/mixed; boundary=b\n\n--b\nX: {'y' * 100_000}\n\ntext\n"
    assert read(message, list(range(0, 100_000, 8000))).parts[-1].endswith("text\r\n")


def test_beyond_so_many_parts_all_is_text() -> None:
    message = "Content-Type: multipart/mixed; boundary=b\n\n" + "--b\n\nx\n" * 100_000
    found = read(message)
    assert len(found.parts) <= MAX_PARTS + 2
    assert found.parts[-1].count("--b") > 90_000


def test_messages_in_messages() -> None:
    message = "Content-Type: message/rfc822\n\n" * 5000 + "\ntext\n"
    found = read(message)
    assert found.parts[-1].endswith("text\r\n")


def test_deeper_multiparts_are_text() -> None:
    levels = range(MAX_DEPTH + 10)
    message = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in levels)
    found = read(message + "\nhttp://deep.test/\n")
    assert "http://deep.test/" in found.parts[-1]


def test_a_block_that_begins_within_a_line() -> None:
    """What looks like a delimiter there is none."""
    message = f"Content-Type: multipart/mixed; boundary=b\n\n{'x' * 1000}--b\nmore\n"
    assert read(message, [1000]).parts == read(message).parts


def test_what_reading_costs() -> None:
    """A part that is not text costs nothing but its delimiters."""
    body = base64.encodebytes(bytes(300_000)).decode()
    sink = Texts()
    message = a_message(f"Content-Type: image/png\n\n{body}")
    reader = MimeReader(message.headers, sink)
    reader.feed(message.body.in_memory or b"")
    assert reader.spent == 0

    message = a_message(f"Content-Type: text/plain\n\n{body}")
    reader = MimeReader(message.headers, sink)
    reader.feed(message.body.in_memory or b"")
    assert reader.spent >= 300_000


_LINES = st.sampled_from(
    [
        *("--a", "--b", "--a--", "--b--", "", "text", "--", "-- a"),
        "Content-Type: multipart/x; boundary=a",
        "Content-Type: multipart/x; boundary=b",
        "Content-Type: message/rfc822",
    ]
)


@given(st.lists(_LINES, max_size=30), st.lists(st.integers(0, 1000), max_size=4))
def test_any_lines_in_any_blocks(lines: list[str], cuts: list[int]) -> None:
    message = "\n".join(["Content-Type: multipart/mixed; boundary=a", "", *lines, ""])
    found = read(message, cuts)
    assert found.parts == read(message).parts
    assert sum(map(len, found.parts)) <= 2 * len(message)


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_a_multipart_has_no_encoding(encoding: str) -> None:
    fields = f"Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: {encoding}\n"
    assert parts(f"{fields}\n--b\n\nplain=20text\n--b--\n") == ["plain=20text"]
