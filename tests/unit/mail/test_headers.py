# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/mail/headers.py."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.headers import Headers, composed

Change = Callable[..., None]

BLOCK = (
    b"Received: from a.example\r\n\tby b.example; now\r\n"
    b"Subject:  many   words,\r\n  folded\r\n \r\n"
    b"this line is no field\r\n and goes on\r\n"
    b"X-Empty:\r\n"
    b"received: from c.example\r\n"
    b"Spaced \t: out\r\n"
    b"Caf\xc3\xa9: no ASCII name\r\n"
    b"?: odd name\r\n"
    b"X-Latin: caf\xe9\r\n"
    b"X-UTF8: caf\xc3\xa9\r\n"
)


MIXED = b"junk\r\nA: 1\r\n x\r\nB: 2\r\na : 3\r\n"


#: Of MIXED, which has three fields, two of them A.
NOT_THERE: list[tuple[Change, tuple[object, ...]]] = [
    (Headers.insert, (-1, "X", "new")),
    (Headers.insert, (4, "X", "new")),
    (Headers.replace_at, (-1, "X", "new")),
    (Headers.replace_at, (3, "X", "new")),
    (Headers.remove_at, (-1,)),
    (Headers.remove_at, (3,)),
    (Headers.replace_nth, ("A", 0, "new")),
    (Headers.replace_nth, ("A", 3, "new")),
    (Headers.remove_nth, ("A", 0)),
    (Headers.remove_nth, ("junk", 1)),
]
NOT_A_FIELD: list[tuple[Change, tuple[object, ...]]] = [
    (Headers.insert, (1, "X", "a\r\nb")),
    (Headers.replace_at, (1, "X:", "a")),
    (Headers.replace_nth, ("A", 1, "a\0")),
]


@pytest.fixture
def headers() -> Headers:
    return Headers.parse(BLOCK)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (b"", b""),
        (b"A: 1\r\n x\r\n", b""),
        (b"junk\r\nA: 1\r\n", b""),
        (b"just text\r\n", b"just text\r\n"),
        (b"just\r\n\ttext\r\n", b"just\r\n\ttext\r\n"),
        (b"A: 1\r\njust\r\ntext", b"just\r\ntext"),
    ],
)
def test_text_below_the_last_field(block: bytes, text: bytes) -> None:
    headers = Headers.parse(block)
    assert headers.text_below == text
    headers.prepend("X", "y")
    assert headers.text_below == text
    assert bytes(headers) == b"X: y\r\n" + block


def test_get_gives_the_first_value_unfolded(headers: Headers) -> None:
    assert headers.get("Received") == "from a.example\tby b.example; now"
    assert headers.get("SUBJECT") == "many   words,  folded"
    assert headers.get("x-empty") == ""
    assert headers.get("To") is None


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("name", ["Received", "SUBJECT", "x-empty", "X-UTF8", "To", "New"])
def test_peek_gives_the_same(headers: Headers, name: str, split: bool) -> None:
    if split:
        assert headers.names()
    headers.prepend("New", "field")
    peeked = headers.peek(name)
    assert peeked == (headers.get(name) or "")


def test_get_all_gives_every_value_from_the_top(headers: Headers) -> None:
    assert headers.get_all("received") == ["from a.example\tby b.example; now", "from c.example"]
    assert headers.get_all("To") == []


def test_raw_gives_the_field_as_it_stands(headers: Headers) -> None:
    assert headers.raw("x-latin") == [b"X-Latin: caf\xe9\r\n"]
    assert headers.raw("Subject") == [b"Subject:  many   words,\r\n  folded\r\n \r\n"]


def test_names_are_as_spelled_and_without_junk(headers: Headers) -> None:
    names = "Received Subject X-Empty received Spaced ? X-Latin X-UTF8"
    assert headers.names() == names.split()


def test_fields_are_as_they_stand(headers: Headers) -> None:
    fields = headers.fields()
    assert [field.name for field in fields] == headers.names()
    assert fields[1].key == b"subject"
    assert fields[1].raw == b"Subject:  many   words,\r\n  folded\r\n \r\n"
    assert fields[1].value == "many   words,  folded"


def test_blank_before_the_colon_does_not_hide_a_field(headers: Headers) -> None:
    assert headers.get("Spaced") == "out"


def test_contains_and_count(headers: Headers) -> None:
    assert "RECEIVED" in headers
    assert "To" not in headers
    assert headers.count("Received") == 2
    assert headers.count("To") == 0


@pytest.mark.parametrize("name", ["", "this line is no field", "Café", "\udc80", "caf?"])
def test_lines_that_are_no_field_cannot_be_looked_up(headers: Headers, name: str) -> None:
    assert headers.get(name) is None
    assert name not in headers
    assert headers.remove(name) == 0


def test_look_up_for_what_was_prepended_only(headers: Headers) -> None:
    headers.prepend("To", "a@b")
    headers.prepend("To", "c@d")
    assert headers.get_all("TO") == ["c@d", "a@b"]
    assert headers.remove("to") == 2
    assert bytes(headers) == BLOCK


def test_name_inside_of_a_value_is_no_field(headers: Headers) -> None:
    assert "from a.example" not in headers
    assert headers.get("folded") is None
    assert headers.rename("words", "X") == 0
    assert bytes(headers) == BLOCK


def test_values_are_utf8_with_surrogate_escapes(headers: Headers) -> None:
    assert headers.get("X-UTF8") == "café"
    assert headers.get("X-Latin") == "caf\udce9"


def test_unchanged_headers_are_the_same_bytes_after_a_look_up(headers: Headers) -> None:
    headers.get("Subject")
    assert bytes(headers) == BLOCK


@pytest.mark.parametrize("looked_up", [False, True], ids=["unsplit", "split"])
@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["", "blank line"])
class TestChanges:
    """Each change, before and after the block was split, with and without the blank line."""

    def start(self, block: bytes, end: bytes, looked_up: bool) -> Headers:
        headers = Headers.parse(block + end)
        if looked_up:
            headers.names()
        return headers

    def test_prepend(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(BLOCK, end, looked_up)
        headers.prepend("X-One", "1")
        headers.prepend("X-Two", "2")
        assert bytes(headers) == b"X-Two: 2\r\nX-One: 1\r\n" + BLOCK + end
        assert headers.names()[:3] == ["X-Two", "X-One", "Received"]
        assert headers.get("x-one") == "1"
        assert bytes(headers) == b"X-Two: 2\r\nX-One: 1\r\n" + BLOCK + end

    def test_append(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(BLOCK, end, looked_up)
        headers.append("X-Last", "z")
        assert bytes(headers) == BLOCK + b"X-Last: z\r\n" + end
        assert headers.get("X-Last") == "z"

    def test_into_an_empty_section(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(b"", end, looked_up)
        headers.append("B", "2")
        headers.prepend("A", "1")
        assert bytes(headers) == b"A: 1\r\nB: 2\r\n" + end

    def test_prepend_to_an_empty_section(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(b"", end, looked_up)
        headers.prepend("A", "1")
        assert bytes(headers) == b"A: 1\r\n" + end

    def test_remove(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(b"A: 1\r\n x\r\nB: 2\r\na : 3\r\njunk\r\n", end, looked_up)
        assert headers.remove("A") == 2
        assert bytes(headers) == b"B: 2\r\njunk\r\n" + end
        assert headers.remove("A") == 0

    def test_replace(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(b"A: 1\r\nb: 2\r\n x\r\nC: 3\r\nB: 4\r\n", end, looked_up)
        headers.replace("B", "new")
        assert bytes(headers) == b"A: 1\r\nB: new\r\nC: 3\r\n" + end

    def test_replace_of_none_appends(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(b"A: 1\r\n", end, looked_up)
        headers.replace("B", "new")
        assert bytes(headers) == b"A: 1\r\nB: new\r\n" + end

    def test_rename(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(b"A: 1\r\n x\r\nB: a: 2\r\na \t:3\r\n", end, looked_up)
        assert headers.rename("a", "Old-A") == 2
        assert bytes(headers) == b"Old-A: 1\r\n x\r\nB: a: 2\r\nOld-A \t:3\r\n" + end
        assert headers.get_all("old-a") == ["1 x", "3"]
        assert headers.rename("a", "Old-A") == 0

    @pytest.mark.parametrize(
        ("index", "block"),
        [
            (0, b"X: new\r\njunk\r\nA: 1\r\n x\r\nB: 2\r\na : 3\r\n"),
            (1, b"junk\r\nA: 1\r\n x\r\nX: new\r\nB: 2\r\na : 3\r\n"),
            (2, b"junk\r\nA: 1\r\n x\r\nB: 2\r\nX: new\r\na : 3\r\n"),
            (3, b"junk\r\nA: 1\r\n x\r\nB: 2\r\na : 3\r\nX: new\r\n"),
        ],
    )
    def test_insert(self, end: bytes, looked_up: bool, index: int, block: bytes) -> None:
        headers = self.start(MIXED, end, looked_up)
        headers.insert(index, "X", "new")
        assert bytes(headers) == block + end

    def test_what_is_text(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(b"A: 1\r\n x\r\njunk\r\nB: 2\r\n", end, looked_up)
        assert [field.raw for field in headers.before_text()] == [b"A: 1\r\n x\r\n"]
        assert headers.text_after_fields() == b"junk\r\nB: 2\r\n"
        headers.insert(1, "X", "new")
        assert bytes(headers) == b"A: 1\r\n x\r\nX: new\r\njunk\r\nB: 2\r\n" + end
        headers.drop_text()
        assert bytes(headers) == b"A: 1\r\n x\r\nX: new\r\n" + end
        assert headers.text_after_fields() == b""

    def test_replace_at_and_remove_at(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(MIXED, end, looked_up)
        headers.replace_at(1, "X", "new\r\n\tfolded")
        headers.remove_at(0)
        assert bytes(headers) == b"junk\r\nX: new\r\n\tfolded\r\na : 3\r\n" + end

    def test_replace_nth_and_remove_nth(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(MIXED, end, looked_up)
        headers.replace_nth("A", 2, "new")
        assert bytes(headers) == b"junk\r\nA: 1\r\n x\r\nB: 2\r\nA: new\r\n" + end
        headers.remove_nth("a", 1)
        assert bytes(headers) == b"junk\r\nB: 2\r\nA: new\r\n" + end
        headers.remove_nth("a", 1)
        assert "A" not in headers

    def test_what_is_not_there(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(MIXED, end, looked_up)
        for change, arguments in NOT_THERE:
            with pytest.raises(IndexError, match="there is no header field"):
                change(headers, *arguments)
        assert bytes(headers) == MIXED + end

    def test_what_cannot_be_a_field(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(MIXED, end, looked_up)
        for change, arguments in NOT_A_FIELD:
            with pytest.raises(ValueError, match="is not a"):
                change(headers, *arguments)
        assert bytes(headers) == MIXED + end

    def test_remove_where(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(MIXED, end, looked_up)
        asked: list[bytes] = []

        def unwanted(raw: bytes) -> bool:
            asked.append(raw)
            return not raw.startswith(b"B")

        assert headers.remove_where(unwanted, mentioning="nowhere") == 0
        assert asked == []
        assert headers.remove_where(unwanted, mentioning="JUNK") == 1
        assert headers.remove_where(unwanted, mentioning=": ") == 2
        assert asked == [b"junk\r\n", b"A: 1\r\n x\r\n", b"B: 2\r\n", b"a : 3\r\n"]
        assert bytes(headers) == b"B: 2\r\n" + end

    def test_remove_where_of_what_was_prepended(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(MIXED, end, looked_up)
        headers.prepend("X-Top", "1")
        assert headers.remove_where(lambda _: True, mentioning="x-top") == 1
        assert bytes(headers) == MIXED + end

    def test_leading_white_space_does_not_continue_our_field(
        self, end: bytes, looked_up: bool
    ) -> None:
        headers = self.start(b"\tforged=pass\r\n more\r\nA: 1\r\n", end, looked_up)
        headers.prepend("Results", "real=fail")
        headers.prepend("Received", "r")
        top = b"Received: r\r\nResults: real=fail\r\n"
        assert bytes(headers) == top + b"X-Unparsed:\tforged=pass\r\n more\r\nA: 1\r\n" + end
        assert headers.get("Results") == "real=fail"

    @pytest.mark.parametrize("word", [b"From", b">From"])
    def test_mbox_separator_is_renamed_below_our_field(
        self, end: bytes, looked_up: bool, word: bytes
    ) -> None:
        headers = self.start(word + b" a@b Mon Jan  1 10:00:00 2024\r\nA: 1\r\n", end, looked_up)
        headers.prepend("Received", "r")
        renamed = b"Mail-From: a@b Mon Jan  1 10:00:00 2024\r\n"
        assert bytes(headers) == b"Received: r\r\n" + renamed + b"A: 1\r\n" + end

    def test_from_field_with_a_blank_is_no_mbox_separator(
        self, end: bytes, looked_up: bool
    ) -> None:
        headers = self.start(b"From : a@b\r\n", end, looked_up)
        headers.prepend("Received", "r")
        assert bytes(headers) == b"Received: r\r\nFrom : a@b\r\n" + end

    def test_several_fields_go_on_top_in_their_order(self, end: bytes, looked_up: bool) -> None:
        headers = self.start(b"\tx\r\n", end, looked_up)
        headers.put_on_top(composed("A", "1"), composed("B", "2"))
        headers.put_on_top(composed("C", "3"))
        assert bytes(headers) == b"C: 3\r\nA: 1\r\nB: 2\r\nX-Unparsed:\tx\r\n" + end


@pytest.mark.parametrize("looked_up", [False, True])
def test_first_lines_stay_when_nothing_is_prepended(looked_up: bool) -> None:
    headers = Headers.parse(b"From a@b Mon\r\nA: 1\r\n")
    assert not looked_up or headers.get("A") == "1"
    headers.put_on_top()
    headers.append("B", "2")
    assert bytes(headers) == b"From a@b Mon\r\nA: 1\r\nB: 2\r\n"


def test_append_ends_an_unended_line() -> None:
    headers = Headers.parse(b"A: 1")
    headers.append("B", "2")
    assert bytes(headers) == b"A: 1\r\nB: 2\r\n"
    assert [headers.get(name) for name in ("A", "B")] == ["1", "2"]
    assert headers.raw("A") == [b"A: 1\r\n"]


@pytest.mark.parametrize("fold", ["\r\n\t", "\n ", "\n \t"])
def test_folded_values_are_taken(fold: str) -> None:
    headers = Headers.parse(b"")
    headers.prepend("A", f"1{fold}2")
    assert bytes(headers) == b"A: 1\r\n" + fold.lstrip("\r\n").encode() + b"2\r\n"
    assert headers.get("A") == f"1{fold}2".replace("\r", "").replace("\n", "")


def test_non_ascii_values_are_written_as_they_are_read(headers: Headers) -> None:
    headers.append("X-Copy", f"{headers.get('X-Latin')} {headers.get('X-UTF8')}")
    assert headers.raw("X-Copy") == [b"X-Copy: caf\xe9 caf\xc3\xa9\r\n"]


BAD_VALUES = ["a\r\nB: 2", "a\nB: 2", "a\r", "a\n", "a\r\n", "a\rb", "\r\n\r\n b", "a\n \nb"]
BAD_VALUES += ["a\n ", "a\n \n b", "a\0b", "a\x1bb", "a\x7f", "\ud800"]


@pytest.mark.parametrize("change", [Headers.prepend, Headers.append, Headers.replace])
@pytest.mark.parametrize("value", BAD_VALUES)
def test_value_that_breaks_out_of_the_field_is_refused(change: Change, value: str) -> None:
    headers = Headers.parse(b"A: 1\r\n")
    with pytest.raises(ValueError):
        change(headers, "A", value)
    assert bytes(headers) == b"A: 1\r\n"


@pytest.mark.parametrize("name", ["", "A:", "A B", "A\r\nB", "A\n", "Ä", " A", "\x7f"])
def test_bad_name_is_refused(name: str) -> None:
    headers = Headers.parse(b"A: 1\r\n")
    for change in (headers.prepend, headers.append, headers.replace):
        with pytest.raises(ValueError):
            change(name, "value")
    with pytest.raises(ValueError):
        headers.rename("A", name)
    assert bytes(headers) == b"A: 1\r\n"


pieces = st.sampled_from([b"A", b":", b" ", b"\t", b"From ", b"x", b"\xe9", b"\r\n", b"\r\n"])
lines = st.one_of(
    st.lists(pieces).map(b"".join),
    st.lists(st.binary().map(lambda line: re.sub(rb"[\r\n\0]", b"", line) + b"\r\n")).map(b"".join),
)
names = st.sampled_from(["A", "From", "x", "Received", "", "é", "Mail-From"])


@given(lines, st.lists(names))
def test_any_block_is_kept_and_can_be_read(block: bytes, asked: list[str]) -> None:
    headers = Headers.parse(block)
    for name in asked:
        assert (headers.get(name) is not None) == (name in headers) == bool(headers.raw(name))
        assert len(headers.get_all(name)) == headers.count(name)
    assert bytes(headers) == block
    assert all(headers.count(name) for name in headers.names())


@given(lines, st.booleans())
def test_prepended_field_stands_alone(block: bytes, looked_up: bool) -> None:
    headers = Headers.parse(block)
    if looked_up:
        headers.names()
    headers.prepend("Received", "ours")
    again = Headers.parse(bytes(headers))
    assert again.raw("Received") == [b"Received: ours\r\n"]
    assert again.names() == headers.names()


FIELDS = [b"A: 1\r\n", b"a : 2\r\n x\r\n", b"b:3\r\n"]
JUNK = b"junk\r\n x\r\n"
CHANGES = st.sampled_from([Headers.insert, Headers.replace_at, Headers.remove_at])


@given(
    st.lists(st.sampled_from([*FIELDS, JUNK])),
    st.lists(st.tuples(CHANGES, st.integers(0, 9)), max_size=9),
)
def test_changes_by_position(block: list[bytes], changes: list[tuple[Change, int]]) -> None:
    """The fields change as a list does; what is not a field stays."""
    headers = Headers.parse(b"".join(block))
    fields = [piece for piece in block if piece != JUNK]
    for change, index in changes:
        if index > len(fields) - (change is not Headers.insert):
            continue
        place = slice(index, index + (change is not Headers.insert))
        if change is Headers.remove_at:
            headers.remove_at(index)
            fields[place] = []
        else:
            change(headers, index, "X", "new")
            fields[place] = [b"X: new\r\n"]
    assert [field.raw for field in headers.fields()] == fields
    assert bytes(headers).count(JUNK) == block.count(JUNK)


@given(st.text(alphabet=st.sampled_from("A:\r\n\t é\0\x85\u2028\udcff")))
def test_value_is_refused_or_one_field(value: str) -> None:
    headers = Headers.parse(b"B: 2\r\n")
    try:
        headers.prepend("A", value)
    except ValueError:
        assert bytes(headers) == b"B: 2\r\n"
    else:
        again = Headers.parse(bytes(headers))
        assert again.names() == ["A", "B"]
        assert again.raw("B") == [b"B: 2\r\n"]
