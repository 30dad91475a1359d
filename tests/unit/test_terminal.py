# SPDX-License-Identifier: MIT
"""Colours and paragraphs."""

from __future__ import annotations

import io

import pytest

from qpsmtpd.terminal import PassingLine, Percentage, fitted, indented, print_anything, styled
from qpsmtpd.testing import FakeClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_colours_on_a_terminal() -> None:
    assert styled(Terminal(), "red", "x") == "\033[1;31mx\033[0m"


def test_none_in_a_file() -> None:
    assert styled(io.StringIO(), "red", "x") == "x"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_none_when_unwanted(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert styled(Terminal(), "red", "x") == "x"


def test_an_empty_no_color_is_no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert styled(Terminal(), "bold", "x") != "x"


def test_indented() -> None:
    lines = indented("word " * 40, 4).splitlines()
    assert len(lines) > 1
    assert all(line.startswith("    word") and len(line) <= 88 for line in lines)


def test_what_an_encoding_lacks_is_printed_all_the_same() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="iso-8859-1")
    print_anything(stream)
    stream.write("Grüße…")
    stream.flush()
    assert stream.buffer.getvalue() == "Grüße\\u2026".encode("iso-8859-1")


def test_any_stream_will_do() -> None:
    print_anything(io.StringIO())


@pytest.mark.parametrize("columns", ["50", "3", "80"])
def test_a_line_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    address = "an-address-that-is-longer-than-the-terminal@" + "x" * 50
    line = f"    hook      plugin said {address} " + "word " * 40
    lines = fitted(Terminal(), line).splitlines()
    assert lines[0].startswith("    hook      plugin")
    assert all(each.startswith("      ") for each in lines[1:])
    assert all(len(each) <= max(int(columns), 40) or address in each for each in lines)
    assert " ".join(" ".join(lines).split()) == " ".join(line.split())


def test_a_line_stays_one_in_a_pipe() -> None:
    assert fitted(io.StringIO(), "word " * 99) == "word " * 99


def test_a_percentage_is_shown_of_what_takes_a_while() -> None:
    clock = FakeClock()
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        progress = Percentage(stream, "Read", clock.monotonic)
        progress.show(0.1)
        progress.clear()
        assert stream.getvalue() == ""
        clock.advance(1)
        progress.show(0.25)
        progress.show(0.26)
        clock.advance(0.5)
        progress.show(0.5)
        progress.clear()
    assert terminal.getvalue() == "\rRead: 25%\033[K\rRead: 50%\033[K\r\033[K"
    assert pipe.getvalue() == ""


def test_a_passing_line_leaves_nothing() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        line = PassingLine(stream)
        line.clear()
        line.show("longer")
        line.show("short")
        line.clear()
        line.clear()
    assert terminal.getvalue() == "\rlonger\033[K\rshort\033[K\r\033[K"
    assert pipe.getvalue() == ""
