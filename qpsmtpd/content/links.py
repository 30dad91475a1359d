# SPDX-License-Identifier: MIT
"""LinkFinder: finds the hosts of all links in a text that comes in pieces.

HTML and plain text are read alike: a link ends where neither can go on.  What is looked at is the
text with its character references undone; attributes without the line breaks in them, which
browsers leave out; and all that with its percent-encodings undone, which shows what is behind a
redirector (`https://redirector.example/?to=https%3A%2F%2Fspam.example`).  A name alone counts as a
link as well, since mail programs make one of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.entities import html5

from qpsmtpd.content.linkhosts import LinkHost, parse_authority, parse_domain, percent_decoded

#: Characters that are looked at together, and how much of their end may be kept for the next.
_PIECE = 8192
_LONGEST = 2048
#: Different hosts of each kind that are kept.
MAX_HOSTS = 500

# What both begin with is for speed: a search goes from one such character to the next.
_AUTHORITY = re.compile(
    r"(?::(?:(?<=http:)|(?<=https:)|(?<=ftp:)|(?=[/\\]{2}))[/\\]{0,9}"
    r"|[/\\](?<![/\\:\w].)[/\\]{1,8})"
    r"([^\s/\\?#\"'<>]{1,2048})",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<![A-Za-z0-9/\\%_.-])[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_REFERENCE = re.compile(
    r"&(?:#0*([0-9]{1,7})|#[xX]0*([0-9a-fA-F]{1,6})|([A-Za-z][A-Za-z0-9]{1,31}));?"
)
_ATTRIBUTE = re.compile(r"=[ \t\r\n]{0,9}(?:\"([^\"<>]{1,2048})\"|'([^'<>]{1,2048})')")
_BREAKS = re.compile(r"[\t\r\n]")
_LAST_CHARACTER = 0x10FFFF

#: Where no link goes on: better where no attribute does, either.
_ENDS = ("<>", ' \n\t"')


class LinkFinder:
    """Collects the hosts of links.

    is_name: whether a name that stands alone is that of a host, and not of a file or anything else.
    """

    def __init__(self, is_name: Callable[[str], bool]) -> None:
        self._is_name = is_name
        self._rest = ""
        #: Those of links with `//`, and those that are only names.
        self._linked: dict[LinkHost, None] = {}
        self._named: dict[LinkHost, None] = {}

    @property
    def hosts(self) -> list[LinkHost]:
        """Those found so far: links come before names, in their order."""
        return list(self._linked | self._named)

    def add(self, text: str) -> None:
        """A piece of a text."""
        self._rest += text
        if len(self._rest) >= _PIECE:
            end = _end_of_links(self._rest)
            text, self._rest = self._rest[:end], self._rest[end:]
            self._look_at(text)

    def end_part(self) -> None:
        """The text is complete; what follows is another one."""
        text, self._rest = self._rest, ""
        self._look_at(text)

    def _look_at(self, text: str) -> None:
        for reading in _readings(text):
            for match in _AUTHORITY.finditer(reading):
                for host in parse_authority(match[1]):
                    _keep(self._linked, host)
            dotted = " ".join(word for word in reading.split() if "." in word)
            for name in _NAME.findall(dotted):
                self._look_at_name(name)

    def _look_at_name(self, name: str) -> None:
        domain = parse_domain(name.lower())
        if domain and (domain.startswith("www.") or self._is_name(domain)):
            _keep(self._named, domain)


def _keep(hosts: dict[LinkHost, None], host: LinkHost) -> None:
    if len(hosts) < MAX_HOSTS:
        hosts[host] = None


def _end_of_links(text: str) -> int:
    """How much of a text can be looked at before its next piece is there."""
    start = len(text) - _LONGEST
    for characters in _ENDS:
        if (end := max(text.rfind(each, start) for each in characters)) >= 0:
            return end + 1 if text[end] == ">" else end
    return len(text)


def _readings(text: str) -> Iterator[str]:
    """The text as browsers take it, and as a redirector does."""
    if "&" in text:
        text = _REFERENCE.sub(_referred, text)
    values = (double or single for double, single in _ATTRIBUTE.findall(text))
    if broken := [_BREAKS.sub("", value) for value in values if _BREAKS.search(value)]:
        text = "\n".join([text, *broken])
    yield text
    decoded = percent_decoded(text)
    if decoded != text:
        yield decoded


def _referred(match: re.Match[str]) -> str:
    """The character that a character reference stands for."""
    if match[3]:
        name = match[3]
        return html5.get(f"{name};" if match[0].endswith(";") else name, match[0])
    number = int(match[1]) if match[1] else int(match[2], 16)
    return chr(number) if number <= _LAST_CHARACTER else match[0]
