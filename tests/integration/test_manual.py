# SPDX-License-Identifier: MIT
"""The manual pages as people see them: man(1) shows each paragraph that was written, whole.

Every page is rendered on 80 columns.  What is expected is taken down while the pages are made, from
the docstrings and texts that they are made of, by rules that are this file's own: what a paragraph
is, an item of a list, and an example.
"""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpsmtpd.config.pluginfinder import shipped_plugins
from qpsmtpd.manpages import pages, parts
from qpsmtpd.manpages.pluginpages import page_name
from qpsmtpd.manpages.roff import Page

pytestmark = pytest.mark.skipif(not shutil.which("man"), reason="needs the program man")

#: The width of a terminal that always has to do.
COLUMNS = 80
_BEGINS_ITEM = re.compile(r"(?:-|\d+\.|[a-z_][a-z_0-9]*(?:, [a-z_][a-z_0-9]*)*:) ")
#: Between two items of a list; short ones may share a line.
_BETWEEN_ITEMS = re.compile(rf"\n(?={_BEGINS_ITEM.pattern})|(?<=\.)  (?=[a-z_0-9, ]+: )")
#: A line of a file or a command, which cannot go on in the next; none of a table or a synopsis.
_UNBREAKABLE = re.compile(r" *(?!.*\S  |.*\[)\S.*")

#: A paragraph, an item or a heading is its words, wherever its lines end; what blank lines separate
#: in an example is its lines, without what all of them are indented by.
Block = tuple[str, ...]


class RecordedPage(Page):
    """Takes down what it is made of."""

    def __init__(self, name: str, section: int, summary: str, version: str, date: str = "") -> None:
        self.expected: list[Block] = []
        self._inside = False
        super().__init__(name, section, summary, version, date)
        self.expected.append(_words(f"{name} - {summary}"))

    def heading(self, text: str) -> None:
        with self._made_of([_words(text.upper())]):
            super().heading(text)

    def subheading(self, text: str) -> None:
        with self._made_of([_words(text)]):
            super().subheading(text)

    def prose(self, text: str) -> None:
        with self._made_of(_blocks(text)):
            super().prose(text)

    def paragraph(self, text: str) -> None:
        with self._made_of([_words(text)]):
            super().paragraph(text)

    def synopsis(self, usage: str) -> None:
        with self._made_of([_words(usage)]):
            super().synopsis(usage)

    def example(self, text: str) -> None:
        with self._made_of(_chunks(text)):
            super().example(text)

    def term(self, term: str, text: str, value: str = "") -> None:
        first, *others = re.split(r"\n\s*\n", text, maxsplit=1)
        with self._made_of([_words(f"{term} {value} {first}"), *_blocks("".join(others))]):
            super().term(term, text, value)

    def table(self, rows: Mapping[str, str]) -> None:
        words = _words(" ".join(f"{term} {text}" for term, text in rows.items()))
        with self._made_of([words]):
            super().table(rows)

    @contextmanager
    def _made_of(self, blocks: Sequence[Block]) -> Iterator[None]:
        outermost, self._inside = not self._inside, True
        self.expected += blocks if outermost else []
        yield
        self._inside = not outermost


def _blocks(text: str) -> list[Block]:
    """What a docstring is expected to look like."""
    found: list[Block] = []
    for chunk in re.split(r"\n\s*\n", text.strip("\n")):
        if chunk.startswith("    "):
            found += _chunks(chunk)
        elif _BEGINS_ITEM.match(chunk):
            found += [_words(_item(item)) for item in _BETWEEN_ITEMS.split(chunk)]
        elif chunk.strip():
            found.append(_words(chunk))
    return found


def _item(text: str) -> str:
    mark, _, rest = text.partition(" ")
    return f"• {rest}" if mark == "-" else re.sub(r"^([a-z_0-9, ]+): ", r"\1 ", text)


def _chunks(example: str) -> list[Block]:
    return [
        tuple(textwrap.dedent(_ascii(chunk)).split("\n"))
        for chunk in re.split(r"\n(?:\s*\n)+", example)
    ]


def _words(text: str) -> Block:
    unmarked = re.sub(r"`([^`]+)`|\*\*([^*]+)\*\*", r"\1\2", text)
    return tuple(_ascii(unmarked).split())


def _ascii(text: str) -> str:
    return text.replace("…", "...")


@pytest.fixture(scope="module")
def recorded() -> list[RecordedPage]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "Page", RecordedPage)
        made = pages.pages()
    assert all(isinstance(page, RecordedPage) for page in made)
    return [page for page in made if isinstance(page, RecordedPage)]


@pytest.fixture(scope="module")
def shown(recorded: Sequence[Page], tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The lines of each page, without header and footer; man(1) has no complaints."""
    directory = tmp_path_factory.mktemp("man")
    files = [directory / page.file_name for page in recorded]
    for page, file in zip(recorded, files, strict=True):
        file.write_text(str(page), encoding="ascii")
    return [_rendered(file) for file in files]


def _rendered(file: Path) -> list[str]:
    # As lintian does it, but for -Z, with which nothing is shown.
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(file)],
        env={
            "LC_ALL": "C.UTF-8",
            "MANROFFSEQ": "",
            "MANWIDTH": str(COLUMNS),
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [line.rstrip() for line in done.stdout.strip("\n").split("\n")[1:-1]]


def _blocks_shown(lines: Sequence[str]) -> Iterator[list[str]]:
    """Lines that belong together; a heading stands alone, as it is indented less than all else."""
    block: list[str] = []
    for line in [*lines, ""]:
        is_heading = bool(re.match(r"(?: {3})?\S", line))
        if block and (is_heading or not line):
            yield block
            block = []
        if is_heading:
            yield [line]
        elif line:
            block.append(line)


def _words_shown(block: Sequence[str]) -> Block:
    # Many choices may go over the end of a line.
    return tuple(re.sub(r"(?<=\S)\|\n\s+", "|", "\n".join(block)).split())


def test_every_paragraph_is_shown_whole(
    recorded: Sequence[RecordedPage], shown: Sequence[Sequence[str]]
) -> None:
    for page, lines in zip(recorded, shown, strict=True):
        blocks = list(_blocks_shown(lines))
        for block, expected in zip(blocks, page.expected, strict=False):
            as_lines = tuple(textwrap.dedent("\n".join(block)).split("\n"))
            assert expected in (as_lines, _words_shown(block)), page.title
        assert len(blocks) == len(page.expected), page.title


def test_every_line_fits(recorded: Sequence[RecordedPage], shown: Sequence[Sequence[str]]) -> None:
    wide = {
        f"{page.title}: {line}"
        for page, lines in zip(recorded, shown, strict=True)
        for line in lines
        if len(line) > COLUMNS and not _UNBREAKABLE.fullmatch(line)
    }
    assert wide == set()


def test_the_manual_of_a_plugin_is_its_docstring(recorded: Sequence[RecordedPage]) -> None:
    made_of = {page.name: page.expected for page in recorded}
    for name, cls in shipped_plugins().items():
        manual = inspect.getdoc(sys.modules[cls.__module__]) or ""
        _, *paragraphs = _blocks(manual)
        expected = [*paragraphs[:-1], _words(" ".join(paragraphs[-1]).removesuffix(".") + ".")]
        written = made_of[page_name(name)]
        begin = written.index(("DESCRIPTION",)) + 2
        assert written[begin : begin + len(expected)] == expected, name
