# SPDX-License-Identifier: MIT
"""Translations of the debconf questions: complete, and true to what must not be translated."""

from __future__ import annotations

import ast
import re
import subprocess
import unicodedata

import pytest

from tests.debian_system import CHECKOUT, install_on_host

PO = CHECKOUT / "debian/po"
LANGUAGES = sorted(path.stem for path in PO.glob("*.po"))
#: Those that the package in Perl had in its last version, 0.94-8.
ALWAYS_HAD = {"cs", "da", "de", "es", "fr", "it", "ja", "nl", "pt", "pt_BR", "ru", "sk", "sv"}
#: Around words that are quoted, in each language; straight ones elsewhere.
QUOTES = {
    "cs": "„“",
    "da": "»«",
    "de": "»«",
    "es": "«»",
    "fr": "«\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}»",
    "it": "«»",
    "ja": "「」",
    "ru": "«»",
    "sk": "„“",
    "sv": "””",
}
#: What is the same in all languages: variables, paths, addresses, names in capitals with a colon.
_FIXED = re.compile(
    r"\$\{\w+\}|(?<![\w.])/[\w/.]+\w|\[?[0-9a-f.]*[.:]{1,2}[0-9a-f.:]*\d\]?(?::\d+)?"
    r"|\.?(?:mail\.)?example\.com(?::\d+)?|\bqpsmtpd\b|\bSMTP\b|\bIPv[46]\b"
)
#: The widest line that is not wrapped in a window on 80 columns, without its first blank.
FORMATTED_LINE = 72
_STRING = re.compile(r'^"(?:[^"\\]|\\.)*"$', re.MULTILINE)

Messages = dict[str, str]


def read(name: str) -> tuple[Messages, Messages]:
    """The messages of a file in debian/po, and the fields of its header."""
    messages: Messages = {}
    text = (PO / name).read_text()
    for block in re.split(r"\n{2,}", text.strip()):
        first, _, second = block.partition("\nmsgstr ")
        messages[_string(first.partition("msgid ")[2])] = _string(second)
    header = messages.pop("")
    return messages, dict(line.split(": ", 1) for line in header.splitlines())


def _string(text: str) -> str:
    return "".join(ast.literal_eval(line) for line in _STRING.findall(text))


ORIGINAL, _ = read("templates.pot")


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_there_are_translations() -> None:
    assert set(LANGUAGES) >= ALWAYS_HAD
    assert len(ORIGINAL) > 30


def test_complete(language: str) -> None:
    messages, _ = read(f"{language}.po")
    assert set(messages) == set(ORIGINAL)
    assert [message for message, text in messages.items() if not text] == []
    text = (PO / f"{language}.po").read_text()
    assert "#, fuzzy" not in text
    assert "#~" not in text


def test_header(language: str) -> None:
    _, header = read(f"{language}.po")
    assert header["Language"] == language
    assert header["Content-Type"] == "text/plain; charset=UTF-8"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d[+-]\d{4}", header["PO-Revision-Date"])
    assert "<qpsmtpd@packages.debian.org>" in header["Last-Translator"]
    assert header["Project-Id-Version"].startswith("qpsmtpd ")


def test_what_is_fixed_stays(language: str) -> None:
    messages, _ = read(f"{language}.po")
    for message, text in messages.items():
        assert set(_FIXED.findall(message)) - {"qpsmtpd"} <= set(_FIXED.findall(text)), text
        assert message.count("\n") == text.count("\n")
        assert message.startswith(" ") == text.startswith(" ")
        assert message.endswith("?") == text.endswith("?")
        assert message.endswith(":") == text.endswith(":")
        assert message.endswith(".") == text.endswith((".", "。"))


def test_choices_are_named_in_the_explanation(language: str) -> None:
    messages, _ = read(f"{language}.po")
    explanation = next(text for message, text in messages.items() if message.startswith(" Exim"))
    for choice in ("SMTP server", "Maildir", "none"):
        assert "," not in messages[choice]
        assert re.search(rf"^ {re.escape(messages[choice])}\s?:", explanation, re.MULTILINE)
    assert max(map(_columns, explanation.split("\n"))) <= FORMATTED_LINE


def test_short_texts_fit_into_a_title(language: str) -> None:
    messages, _ = read(f"{language}.po")
    for message, text in messages.items():
        assert len(message) > 50 or _columns(text) <= 75


def test_tables_have_columns(language: str) -> None:
    messages, _ = read(f"{language}.po")
    for message, text in messages.items():
        if message.startswith(" ") and ":" in message:
            rows = [re.split(r":\s+|^\s{3,}", line, maxsplit=1) for line in text.split("\n")]
            lines = zip(text.split("\n"), rows, strict=True)
            assert len({_columns(line) - _columns(row[1]) for line, row in lines}) == 1, text
            assert max(map(_columns, text.split("\n"))) <= FORMATTED_LINE


def test_typography(language: str) -> None:
    """Quotes of the language; and in French, blanks that do not break before double signs."""
    messages, _ = read(f"{language}.po")
    opening, closing = _halves(QUOTES.get(language, '""'))
    command = f"{opening}dpkg-reconfigure qpsmtpd{closing}"
    assert any(command in text for text in messages.values())
    for text in messages.values():
        assert language not in QUOTES or '"' not in text
        assert not re.search(r"[^ \n] {2,}[^ ]", text) or text.startswith(" ")
        assert text == text.rstrip()
        if language == "fr":
            assert not re.search(r"[^\N{NO-BREAK SPACE}](?:[:;?!](?=\s|$)|»)", text), text
            assert not re.search(r"«[^\N{NO-BREAK SPACE}]", text)


def _halves(quotes: str) -> tuple[str, str]:
    half = len(quotes) // 2
    return quotes[:half], quotes[half:]


def _columns(text: str) -> int:
    """The width on a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


@pytest.mark.real_systems
def test_gettext_has_no_complaints(language: str) -> None:
    install_on_host({"msgfmt": "gettext"})
    command = ("msgfmt", "--check", "--output-file=/dev/null", str(PO / f"{language}.po"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
