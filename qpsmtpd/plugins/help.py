# SPDX-License-Identifier: MIT
"""help: answer HELP with texts of your own.

    help [help_dir DIR] [COMMAND FILE]...
    help not_implemented 1

`HELP COMMAND` is answered 214 with the text of a file: the one that the arguments name for the
command, or the one in `help_dir` named after the command, in lower case. Without arguments the
directory is `help`, if it exists. HELP alone says how to ask. With `not_implemented` every HELP is
answered 502.

Relative names are looked up in the directory of the configuration, then in the working directory.
Files are read at start and on reload; one that is named but cannot be read is an error.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.api import ConfigError, Plugin, Session, Verdict, accept, deny, matching, opt

DEFAULT_DIRECTORY = Path("help")


@dataclass(frozen=True, kw_only=True)
class HelpOptions:
    """Options of help."""

    not_implemented: bool = opt(False, doc="Answer 502 to every HELP.")
    help_dir: Path | None = opt(None, doc="Directory with one file for each command.")
    file: tuple[str, ...] = opt(
        (),
        doc="COMMAND=FILE; COMMAND FILE means the same.",
        check=matching(re.compile("[^=]+=.+").fullmatch, "COMMAND=FILE"),
    )

    @staticmethod
    def rewrite(words: Sequence[str]) -> Sequence[str]:
        """`RSET /etc/qpsmtpd/rset.txt` is `file RSET=/etc/qpsmtpd/rset.txt`."""
        return list(_rewritten(list(words)))


def _rewritten(words: list[str]) -> Iterator[str]:
    for name, value in zip(words[::2], words[1::2], strict=False):
        if name in ("not_implemented", "help_dir", "file"):
            yield from (name, value)
        else:
            yield from ("file", f"{name}={value}")
    if len(words) % 2:
        yield words[-1]


class Help(Plugin[HelpOptions]):
    """Answers HELP from files."""

    async def start(self) -> None:
        self._texts = await asyncio.to_thread(self._read)

    async def hook_help(self, session: Session, topic: str) -> Verdict | None:
        if self.options.not_implemented:
            return deny("HELP is not implemented", status="5.5.1", code=502)
        if not topic:
            return accept("Send HELP and the name of a command")
        if not (topic.isascii() and topic.isalnum()):
            return deny("That is not the name of a command", status="5.5.4", code=502)
        return accept(self._texts.get(topic.lower()) or f"There is no help for {topic.upper()}")

    def _read(self) -> dict[str, str]:
        texts: dict[str, str] = {}
        if directory := self._directory():
            texts = {path.name: _text(path) for path in _files(directory)}
        for pair in self.options.file:
            command, _, name = pair.partition("=")
            texts[command.lower()] = _text(self.services.config.path(name))
        return texts

    def _directory(self) -> Path | None:
        directory = self.services.config.path(self.options.help_dir or DEFAULT_DIRECTORY)
        if self.options.help_dir is not None:
            return directory
        return directory if directory.is_dir() and not self.options.file else None


def _files(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_file()]
    except OSError as error:
        raise ConfigError(str(directory), f"cannot be read ({error.strerror})") from None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip("\n")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})") from None
