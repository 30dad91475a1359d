# SPDX-License-Identifier: MIT
"""http_config: fetch configuration files by HTTPS.

    http_config https://config.example.com/mx/
                [files badmailfrom,rcpthosts]

For a configuration file that a plugin below reads, its name is appended to each URL in turn; the
first that has lines, besides empty ones and comments (`#`), supplies the file. If none has, it is
read from the directory as usual. So the line belongs first in the file `plugins`. With `files` only
these are fetched.

Files are fetched when the configuration is loaded, by each worker, that is at start and on reload;
no mail waits for the server. What has been fetched is kept in `directory`. If the server is down,
does not answer within `timeout`, answers with an error, with more than 2 MB, without saying how
much it is, or with something that is not text, such as a web page, then what is kept is used, with
a warning. Without that the daemon does not start, or goes on with the configuration that it has: a
file that is missing by accident must not pass for an empty one. For the same reason 404 counts as
"there is no such file" only for a file that was never fetched, and that is not one of `files`; to
withdraw one, serve an empty file.

Whoever answers in the server's place could have us relay for the world. So URLs have to be https,
with a valid certificate, unless they are on this machine or the line says `insecure yes`.
Redirections are not followed.

Not fetched are what the daemon itself reads (`plugins`, `logging` and its settings, such as `me`
and `databytes`), `$include` in what has been fetched, constant databases, and files that options of
plugins name.

Differences from the Perl version: that asked again for every file at every look-up, and took the
local file when the server was down.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from qpsmtpd.api import ConfigError, Finding, Plugin, Seconds, System, opt
from qpsmtpd.logins import context_of, is_here
from qpsmtpd.scanners import ScannerError
from qpsmtpd.scanners.fetching import Url, fetch, parse_url

_SCHEMES = ("http://", "https://")

#: What a page begins with that is for people.
_PAGES = ("<!doctype", "<html", "<?xml")

#: What says that there is no such file.
_NONE = (404, 410)


@dataclass(frozen=True, kw_only=True)
class HttpConfigOptions:
    """Options of http_config."""

    urls: tuple[str, ...] = opt(
        positional=True, check=parse_url, doc="What the name of a file is appended to."
    )
    files: tuple[str, ...] = opt(
        (), doc="The files to fetch, all of which must be there; without it, any."
    )
    directory: Path = opt(
        Path("/var/lib/qpsmtpd/http_config"), doc="Where the last good copies are kept."
    )
    timeout: Seconds = opt(Seconds(10), least=0.1, most=50, doc="How long to wait for one file.")
    ca: Path | None = opt(
        None, doc="Certificates of who vouches for the server; without it, those of the system."
    )
    insecure: bool = opt(
        False,
        doc="Whether http:// may be used to other machines; anybody on the way can then "
        "decide who may relay.",
    )

    @staticmethod
    def rewrite(words: list[str]) -> list[str]:
        """All URLs as one word."""
        urls = [word for word in words if word.startswith(_SCHEMES)]
        others = [word for word in words if not word.startswith(_SCHEMES)]
        return [f"urls={','.join(urls)}", *others] if urls else words

    def check(self) -> Iterator[str]:
        """Problems that show only once all options are known."""
        for url in map(parse_url, self.urls):
            if not (url.secure or self.insecure or is_here(url.host)):
                yield f"{url}: must be https: whoever is on the way there could open the relay"


class HttpConfig(Plugin[HttpConfigOptions]):
    """Configuration files of a web server."""

    async def start(self) -> None:
        self._context = await self.services.run_blocking(self._make_context)
        self._copies = Copies(self.services.config.path(self.options.directory))
        self._known: dict[str, Sequence[str] | None] = {}
        # Why nobody asks this server again, by its host.
        self._down: dict[str, str] = {}

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether each server answers."""
        context = self._make_context()
        name = next(iter(self.options.files), "rcpthosts")
        for prefix in self.options.urls:
            yield await self._examined(parse_url(prefix + quote(name)), context)

    async def _examined(self, url: Url, context: ssl.SSLContext) -> Finding:
        subject, advice = f"{self.name} {url}", "Kept copies are used until it works."
        try:
            status = (await fetch(url, context, self.options.timeout)).status
        except ScannerError as error:
            return Finding.error(subject, str(error), advice)
        if status == 200 or (status in _NONE and not self.options.files):
            return Finding.ok(subject, f"answers: HTTP status {status}")
        return Finding.error(subject, f"answers HTTP status {status}", advice)

    async def hook_config(self, name: str) -> Sequence[str] | None:
        if self.options.files and name not in self.options.files:
            return None
        if name not in self._known:
            self._known[name] = await self._lines(name)
        return self._known[name]

    async def _lines(self, name: str) -> Sequence[str] | None:
        for prefix in self.options.urls:
            lines = _lines_of(await self._text(parse_url(prefix + quote(name))))
            if lines:
                return lines
        return None

    async def _text(self, url: Url) -> str:
        """The file at a URL, or what is kept of it.  Raises ConfigError."""
        copy = await self.services.run_blocking(self._copies.read, url)
        try:
            text = await self._fetch(url, may_be_missing=not copy and not self.options.files)
        except ScannerError as error:
            if copy is None:
                raise ConfigError(self.name, f"{url}: {error}, and there is no copy") from error
            self.log.warning("%s: %s; the copy that is kept is used", url, error)
            return copy
        if text != (copy or "") and not (self.services.check_only or self.services.rehearsal):
            await self._keep(url, text)
        return text

    async def _fetch(self, url: Url, *, may_be_missing: bool) -> str:
        """The file at a URL, "" if there is none.  Raises ScannerError."""
        place = str(url.place)
        if place in self._down:
            raise ScannerError(self._down[place])
        try:
            response = await fetch(url, self._context, self.options.timeout)
        except ScannerError as error:
            self._down[place] = str(error)
            raise
        if response.status in _NONE and may_be_missing:
            return ""
        if response.status != 200:
            raise ScannerError(f"answers HTTP status {response.status}")
        return _decoded(response.content)

    async def _keep(self, url: Url, text: str) -> None:
        try:
            await self.services.run_blocking(self._copies.write, url, text)
        except OSError as error:
            directory = self._copies.directory
            self.log.warning("no copy can be kept in %s: %s", directory, error.strerror)

    def _make_context(self) -> ssl.SSLContext:
        context = context_of(self.name, "verify", self.options.ca, self.services.config)
        assert context is not None
        return context


class Copies:
    """The last good copy of each URL, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self, url: Url) -> str | None:
        """What is kept; None if nothing is, or it cannot be read."""
        try:
            return self._path(url).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def write(self, url: Url, text: str) -> None:
        """Keep a text in place of what was kept, all of it or nothing.  Raises OSError."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.directory, prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path(url))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _path(self, url: Url) -> Path:
        digest = hashlib.blake2s(str(url).encode(), digest_size=8).hexdigest()
        last = url.path.rpartition("/")[2]
        return self.directory / f"{quote(last, safe='')[:100]}.{digest}"


def _lines_of(text: str) -> list[str]:
    """The lines that count, as in a file of the directory."""
    lines = map(str.strip, text.split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _decoded(content: bytes) -> str:
    """The text of a file.  Raises ScannerError."""
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        raise ScannerError("its answer is not text in UTF-8") from None
    if "\0" in text or text.lstrip()[:9].lower().startswith(_PAGES):
        raise ScannerError("its answer is not a configuration file")
    return text
