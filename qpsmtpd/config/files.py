# SPDX-License-Identifier: MIT
"""ConfigFiles: reads the files of the configuration directories.

Each file is looked up by its name in several directories; the first that has it counts.  A file
has one value per line.  Blanks around it are ignored, empty lines and lines that begin with `#` are
skipped; there are no comments after a value, no continuation lines and no quotes.

`$include PATH` on a line of its own stands for the lines of another file, or of all files of a
directory in the order of their names, except those that begin with a dot.  A relative PATH is
looked up like the name of a file, in the configuration directories.

Whatever has been read once is remembered: one object is one state of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

from qpsmtpd.config.problems import Problem
from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.cdb import Cdb, CdbError
from qpsmtpd.plugin.services import Entry

_INCLUDE = b"$include"


class Lines(Sequence[Entry]):
    """The lines of a file, each of which is made anew when it is asked for.

    A hundred thousand that are kept make Python's collector hold the event loop for 50 ms.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._texts: list[str] = []
        self._places: list[str] = []
        for entry in entries:
            self._texts.append(entry.text)
            self._places.append(entry.where)

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry, self._texts, self._places)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return list(map(Entry, self._texts[index], self._places[index]))
        return Entry(self._texts[index], self._places[index])


class ConfigFiles:
    """The configuration files, as they were when first asked for.

    `warnings` collects what is odd but not an error; `files` names everything that was read.  Every
    method raises ConfigError when a file exists but cannot be read.
    """

    def __init__(self, directories: Sequence[Path]) -> None:
        self.directories = tuple(directories)
        self.warnings: list[Problem] = []
        self.files: list[Path] = []
        self._entries: dict[str, Lines] = {}
        self._mappings: dict[str, Mapping[bytes, bytes]] = {}

    def find(self, name: str) -> Path | None:
        """The path of a file; None when no directory has it."""
        paths = (directory / name for directory in self.directories)
        return next((path for path in paths if _exists(path)), None)

    def path(self, name: str | Path) -> Path:
        """The path of a file that the administrator named; it need not exist.

        A relative name is looked up in the directories, then in the working directory; a file that
        is nowhere belongs in the first directory.
        """
        here = Path(name)
        places = [directory / name for directory in self.directories]
        otherwise = here if _is_there(here) or not places else places[0]
        return next(filter(_seems_there, places), otherwise)

    def has_read(self, name: str) -> bool:
        """Whether `entries` takes no time."""
        return name in self._entries

    def entries(self, name: str) -> Sequence[Entry]:
        """All lines of a file with their place; empty when there is no such file."""
        if name not in self._entries:
            path = self.find(name)
            self._entries[name] = Lines(self._read(path, {}) if path else ())
        return self._entries[name]

    def lines(self, name: str) -> list[str]:
        """All lines of a file."""
        return [entry.text for entry in self.entries(name)]

    def value(self, name: str, default: str = "") -> str:
        """The first line of a file, or the default."""
        return next((entry.text for entry in self.entries(name)), default)

    def mapping(self, name: str) -> Mapping[bytes, bytes]:
        """The constant database NAME.cdb; empty when there is none."""
        if name not in self._mappings:
            path = self.find(f"{name}.cdb")
            self._mappings[name] = self._open_database(path) if path else {}
        return self._mappings[name]

    def _open_database(self, path: Path) -> Cdb:
        self._note(path)
        try:
            return Cdb.open(path)
        except OSError as error:
            raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
        except CdbError as error:
            raise ConfigError(str(path), f"is not a constant database: {error}") from error

    # --- lines ------------------------------------------------------------------------------

    def _read(self, path: Path, includes: Mapping[Path, str]) -> Iterator[Entry]:
        """The lines of one file; `includes` are the files that led here, and the places in them."""
        place = str(path)
        for number, octets in enumerate(self._octets(path).split(b"\n"), start=1):
            octets = octets.strip()
            # Comments may be in any encoding: old files are in Latin-1.
            if not octets or octets.startswith(b"#"):
                continue
            where = f"{place}:{number}"
            entry = Entry(self._decode(octets, where), where)
            if octets.startswith(_INCLUDE) and octets.split()[0] == _INCLUDE:
                here = {**includes, path.resolve(): entry.where}
                yield from self._include(entry, entry.text[len(_INCLUDE) :].strip(), here)
            else:
                yield entry

    def _decode(self, octets: bytes, where: str) -> str:
        """The text of a line; old files are in Latin-1, and have to say so no longer."""
        if b"\0" in octets:
            raise ConfigError(where, "is not text (it has a NUL): save the file in UTF-8")
        try:
            return octets.decode()
        except UnicodeDecodeError as error:
            text = f"is not in UTF-8 (octet 0x{octets[error.start]:02X}) and is taken for Latin-1"
            self.warnings.append(Problem(where, text, "warning"))
            return octets.decode("latin-1")

    def _octets(self, path: Path) -> bytes:
        self._note(path)
        try:
            return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        except OSError as error:
            raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error

    def _include(self, entry: Entry, target: str, includes: Mapping[Path, str]) -> Iterator[Entry]:
        if not target:
            raise ConfigError(entry.where, "$include needs the path of a file or directory")
        path = self.find(target)
        if path is None:
            self.warnings.append(Problem(entry.where, f"there is no file {target!r}", "warning"))
            return
        for file in _files_of(path):
            first = includes.get(file.resolve())
            if first:
                raise ConfigError(
                    entry.where, f"circular $include: {file} leads back here, from {first}"
                )
            yield from self._read(file, includes)

    def _note(self, path: Path) -> None:
        if path not in self.files:
            self.files.append(path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), f"cannot be looked up: {error}") from error


def _seems_there(path: Path) -> bool:
    """Whether a file exists, or we may not know: reading it will tell."""
    try:
        return path.exists()
    except OSError:
        return True


def _is_there(path: Path) -> bool:
    """Whether a file exists; not if we may not look: the working directory may be root's home."""
    try:
        return path.exists()
    except OSError:
        return False


def _files_of(path: Path) -> list[Path]:
    """The file itself, or the files to read in a directory."""
    try:
        if not path.is_dir():
            return [path]
        return sorted(
            file for file in path.iterdir() if not file.name.startswith(".") and file.is_file()
        )
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
