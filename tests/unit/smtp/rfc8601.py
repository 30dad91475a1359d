# SPDX-License-Identifier: MIT
"""A strict reader of Authentication-Results (RFC 8601 section 2.2), written from its grammar."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

Match = Callable[[str, int], "re.Match[str] | None"]

_fws = re.compile(r"(?:[ \t]*\r\n)?[ \t]+").match
_comment_text = re.compile(r"[!-'*-\[\]-~\x80-\U0010ffff]+|\\[ -~\t]").match
_quoted_text = re.compile(r"[!#-\[\]-~\x80-\U0010ffff]+|\\[ -~\t]").match
_token = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+").match
_keyword = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?").match
_digits = re.compile(r"[0-9]+").match
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_mailbox = re.compile(rf"(?:(?:{_ATOM}(?:\.{_ATOM})*)?@)?{_LABEL}(?:\.{_LABEL})+(?=[\s;(]|$)").match


class Found(NamedTuple):
    """One result of a field."""

    method: str
    result: str
    reason: str | None
    properties: tuple[tuple[str, str], ...]


class Reader:
    """Reads one field's value; raises ValueError where it breaks the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        #: The comments that were passed, from the left.
        self.comments: list[str] = []

    def field(self) -> tuple[str, list[Found]]:
        """authserv-id, perhaps a version, and the results."""
        self.cfws()
        authserv_id = self.value()
        if self.cfws() and self.take(_digits):
            self.cfws()
        found = []
        while not self.at_end():
            self.expect(";")
            found.append(self.resinfo())
        if not found:
            raise ValueError("no result")
        return authserv_id, found

    def resinfo(self) -> Found:
        self.cfws()
        method = self.need(_keyword)
        if self.text.startswith("/", self.place):
            self.place += 1
            method += "/" + self.need(_digits)
        self.cfws()
        self.expect("=")
        self.cfws()
        result = self.need(_keyword)
        reason = None
        properties: list[tuple[str, str]] = []
        while self.cfws() and not (self.at_end() or self.text[self.place] == ";"):
            word = self.need(_keyword)
            if word == "reason" and reason is None and not properties:
                self.expect("=")
                reason = self.value()
            else:
                self.expect(".")
                name = f"{word}.{self.need(_keyword)}"
                self.expect("=")
                properties.append((name, self.pvalue()))
        return Found(method, result, reason, tuple(properties))

    def pvalue(self) -> str:
        return self.take(_mailbox) or self.value()

    def value(self) -> str:
        return self.quoted() if self.text.startswith('"', self.place) else self.need(_token)

    def quoted(self) -> str:
        self.expect('"')
        text = ""
        while not self.text.startswith('"', self.place):
            text += self.take(_fws) or self.need(_quoted_text)
        self.expect('"')
        return re.sub(r"\\(.)", r"\1", text)

    def cfws(self) -> bool:
        begun = self.place
        while self.take(_fws) or self.comment():
            pass
        return self.place > begun

    def comment(self) -> bool:
        if not self.text.startswith("(", self.place):
            return False
        begun = self.place
        self.expect("(")
        while not self.text.startswith(")", self.place):
            if not (self.take(_fws) or self.comment()):
                self.need(_comment_text)
        self.expect(")")
        self.comments.append(self.text[begun + 1 : self.place - 1])
        return True

    def take(self, matches: Match) -> str:
        found = matches(self.text, self.place)
        self.place = self.place if found is None else found.end()
        return "" if found is None else found[0]

    def need(self, matches: Match) -> str:
        if not (text := self.take(matches)):
            raise ValueError(f"at {self.place}: {self.text[self.place :]!r}")
        return text

    def expect(self, mark: str) -> None:
        if not self.text.startswith(mark, self.place):
            raise ValueError(f"no {mark} at {self.place}: {self.text[self.place :]!r}")
        self.place += len(mark)

    def at_end(self) -> bool:
        return self.place == len(self.text)


def read(text: str) -> tuple[str, list[Found]]:
    """The authserv-id and the results of a field's value."""
    return Reader(text).field()
