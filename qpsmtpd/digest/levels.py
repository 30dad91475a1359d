# SPDX-License-Identifier: MIT
"""The graded chains, and what those above the present one have that it has not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.pluginlines import plugin_name
from qpsmtpd.digest.shadow import Difference, Level, Objection
from qpsmtpd.errors import ConfigError
from qpsmtpd.plugin.services import Entry

#: Where the package has them; each has all plugins of the one before it.
CHAINS = Path("/usr/share/qpsmtpd/chains")
LEVELS = ("minimal", "standard", "strict")


def present_level(files: ConfigFiles, chains: Path = CHAINS) -> str:
    """The graded chain that the file `plugins` includes, "" if none.  Raises ConfigError."""
    files.entries("plugins")
    included = {path.resolve() for path in files.files}
    found = [name for name in LEVELS if (chains / name).resolve() in included]
    return found[-1] if found else ""


def levels_above(
    files: ConfigFiles, objections: Sequence[Objection], chains: Path = CHAINS
) -> tuple[Level, ...]:
    """The graded chains above the present one; all of them if it is none.  Raises ConfigError."""
    present = present_level(files, chains)
    above = LEVELS[LEVELS.index(present) + 1 :] if present else LEVELS
    found = []
    for name in above:
        path = chains / name
        with suppress(ConfigError):
            if path.is_file():
                level = Level(name, str(path), tuple(_differences(path, files, objections)))
                found.append(level)
    return tuple(found)


def _differences(
    path: Path, files: ConfigFiles, objections: Sequence[Objection]
) -> Iterator[Difference]:
    present = [_words(entry) for entry in files.entries("plugins")]
    for entry in ConfigFiles([path.parent]).entries(path.name):
        words, plugin = _words(entry), plugin_name(entry)
        if words in present:
            continue
        alike = [line for line in present if _plugin(line) == plugin]
        known = tuple(each for each in objections if each.plugin == plugin)
        yield Difference(" ".join(words), " ".join(alike[0]) if alike else "", known)


def _words(entry: Entry) -> list[str]:
    return entry.text.split()


def _plugin(words: Sequence[str]) -> str:
    return plugin_name(Entry(" ".join(words), ""))
