# SPDX-License-Identifier: MIT
"""Roff: writes man pages (man(7)), from parts and from the texts of docstrings.

Docstrings are prose with few marks: paragraphs, lists of `- ` or `1. `, lists of `name: meaning`,
blocks that are indented by four columns, which stay as they are, and `literal` or **strong** words.
A list begins after a blank line: `name:` at the start of a later line of a paragraph is prose.
Within a list, short definitions may share a line, with two blanks between them.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping

_MARKED = re.compile(r"`(?P<literal>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*")
_ITEM = re.compile(r"(?P<mark>-|\d+\.) +(?P<text>.*)", re.DOTALL)
_NAMES = r"[a-z_][a-z_\d]*(?:, [a-z_][a-z_\d]*)*"
_DEFINITION = re.compile(rf"(?P<mark>{_NAMES}): +(?P<text>.*)", re.DOTALL)
_NEXT_DEFINITION = re.compile(rf"(?<=\.)  (?={_NAMES}: )")
_SENTENCE_END = re.compile(r"(?<=[\w)`>\]%][.:?!])(?<!e\.g\.)(?<!i\.e\.) +(?=[A-Z`<])")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")

#: Characters that have a name in roff (groff_char(7)), which every terminal can show.
_NAMED = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}
_NAMED |= {"–": "\\(en", "—": "\\(em", "…": "...", "→": "\\(->", '"': "\\(dq"}
#: Columns of a line of roff (mandoc(1) complains about more).
_WIDTH = 79
#: Characters of a title that leave room for a word between two of them on 80 columns.
_TITLE = 30
_ESCAPES = str.maketrans(_NAMED)


def escape(text: str) -> str:
    """Text as it is for roff; what is not ASCII by its number."""
    escaped = text.translate(_ESCAPES)
    return "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in escaped)


def inline(text: str) -> str:
    """A line of prose, with its marks."""
    parts: list[str] = []
    end = 0
    for match in _MARKED.finditer(text):
        parts.append(escape(text[end : match.start()]))
        parts.append(f"\\fB{escape(match['literal'] or match['strong'])}\\fR")
        end = match.end()
    return "".join([*parts, escape(text[end:])])


class Page:
    """One man page: a list of lines of roff."""

    def __init__(self, name: str, section: int, summary: str, version: str, date: str = "") -> None:
        self.name, self.section = name, section
        # The title stands at both ends of the first line, and leaves no room there if it is long.
        between = "qpsmtpd" if len(name) <= _TITLE else ""
        self._lines = [
            f'.TH {escape(name.upper())} {section} "{date}" "qpsmtpd {version}" "{between}"',
            # No hyphens in what may be copied, and no filled right margin.
            ".nh",
            ".ad l",
        ]
        self.heading("Name")
        self._lines.append(f"{escape(name)} \\- {inline(summary)}")

    @property
    def file_name(self) -> str:
        """The name of the file that man(1) looks for."""
        return f"{self.name}.{self.section}"

    @property
    def title(self) -> str:
        """The page as others name it."""
        return f"{self.name}({self.section})"

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._lines.append(f'.SH "{escape(text.upper())}"')

    def subheading(self, text: str) -> None:
        """Begin a part of a section."""
        self._lines.append(f'.SS "{escape(text)}"')

    def prose(self, text: str) -> None:
        """Paragraphs, lists and examples, as docstrings have them."""
        for block in blocks(text):
            self._block(block)

    def paragraph(self, text: str) -> None:
        """One paragraph."""
        self._lines += [*self._distance(), *_filled(text)]

    def term(self, term: str, text: str, value: str = "") -> None:
        """A term, in bold, its value in italics, and what it means, indented.

        The meaning may have paragraphs.
        """
        head = f"\\fB{escape(term)}\\fR" + (f" \\fI{_breakable(value)}\\fR" if value else "")
        self._lines += [".TP", head]
        first, *others = blocks(text) or [""]
        self._lines += _filled(first) or ["\\&"]
        if others:
            self._lines.append(".RS")
            for block in others:
                self._block(block)
            self._lines.append(".RE")

    def table(self, rows: Mapping[str, str]) -> None:
        """Terms with a line about each, without distances."""
        for number, (term, text) in enumerate(rows.items()):
            self.term(term, text)
            if number == 0:
                self._lines.append(".PD 0")
        self._lines.append(".PD")

    def synopsis(self, usage: str) -> None:
        """A command line: its first word is the program."""
        program, _, rest = usage.partition(" ")
        self._lines += [*self._distance(), f"\\fB{escape(program)}\\fR {escape(rest)}".rstrip()]

    def example(self, text: str) -> None:
        """Lines that stay as they are."""
        lines = [escape(line) for line in text.split("\n")]
        self._lines += [*self._distance(), ".RS 4", ".nf", *map(_guarded, lines), ".fi", ".RE"]

    def _distance(self) -> list[str]:
        """An empty line, which headings already have."""
        return [] if self._lines[-1].startswith((".SH", ".SS")) else [".PP"]

    def _block(self, block: str) -> None:
        if block.startswith("    "):
            self.example(textwrap.dedent(block))
        elif match := _ITEM.fullmatch(block):
            mark = "\\(bu" if match["mark"] == "-" else match["mark"]
            self._lines += [f".IP {mark} 4", *_filled(match["text"])]
        elif match := _DEFINITION.fullmatch(block):
            self._lines += [".TP 4", escape(match["mark"]), *_filled(match["text"])]
        else:
            self.paragraph(block)


def blocks(text: str) -> list[str]:
    """Paragraphs, items of lists, and examples, whose lines keep their indentation."""
    return [part for block in _apart(text) for part in _items(block)]


def _apart(text: str) -> Iterator[str]:
    """What blank lines separate; examples that only they separate are one."""
    example = ""
    for block in _BLANK_LINES.split(text.strip("\n").expandtabs()):
        block = block.rstrip()
        if block.startswith("    "):
            example += f"\n\n{block}" if example else block
            continue
        if example:
            yield example
            example = ""
        if block:
            yield block
    if example:
        yield example


def _items(block: str) -> Iterator[str]:
    """The items of a list, each with the lines that continue it; any other block as it is."""
    if not _begins_item(block):
        yield block
        return
    if _DEFINITION.match(block):
        block = _NEXT_DEFINITION.sub("\n", block)
    item: list[str] = []
    for line in block.split("\n"):
        if item and _begins_item(line):
            yield "\n".join(item)
            item = []
        item.append(line)
    yield "\n".join(item)


def _begins_item(line: str) -> bool:
    return bool(_ITEM.match(line) or _DEFINITION.match(line))


def _breakable(value: str) -> str:
    """Many choices may go over the end of a line."""
    return escape(value).replace("|", "|\\:")


def _filled(text: str) -> list[str]:
    """The lines of a paragraph, for roff to fill; each sentence begins a line, as roff wants it."""
    return [
        _guarded(line)
        for sentence in _sentences(" ".join(text.split()))
        for line in textwrap.wrap(
            inline(sentence), _WIDTH, break_long_words=False, break_on_hyphens=False
        )
    ]


def _sentences(text: str) -> list[str]:
    """The sentences of a paragraph; what is marked may look like the end of one, and is not."""
    kept = _MARKED.sub(lambda marked: marked[0].replace(" ", "\0"), text)
    return [sentence.replace("\0", " ") for sentence in _SENTENCE_END.split(kept)]


def _guarded(line: str) -> str:
    """A line that roff does not take for a request."""
    return f"\\&{line}" if line.startswith((".", "'")) else line
