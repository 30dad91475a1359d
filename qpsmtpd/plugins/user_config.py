# SPDX-License-Identifier: MIT
"""user_config: let recipients have configuration files of their own.

    user_config [PATTERN]

Where a plugin asks for the configuration of one recipient, the files in the directory PATTERN
(`/home/%u/.qpsmtpd`) take precedence over those for everybody. In PATTERN `%u` stands for the local
part of the recipient's address, `%h` for its domain and `%a` for the whole address. However the
client wrote it, the domain is in lower case, an international one as `xn--...`; the local part is
tried as it came, and then in lower case.

All lines of the file count (there are no comments), up to the first megabyte. Users write these
files, so only regular files are read, not links; an address with a part that cannot be a file name
(with a slash, or `..`) has no files. A file that cannot be read counts as missing, and is logged.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.api import Address, Plugin, Recipient, opt

MAX_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class UserConfigOptions:
    """Options of user_config."""

    pattern: str = opt(
        "/home/%u/.qpsmtpd", positional=True, doc="The directory of a recipient's files."
    )


class UserConfig(Plugin[UserConfigOptions]):
    """Reads the files of individual recipients."""

    async def hook_user_config(self, recipient: Recipient, name: str) -> Sequence[str] | None:
        if not _is_safe(name):
            return None
        for directory in self._directories(recipient.address):
            text = await self._text(directory / name)
            if text is not None:
                return text.splitlines()
        return None

    async def _text(self, path: Path) -> str | None:
        try:
            return await asyncio.to_thread(_read, path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.log.warning("cannot read file=%r: %s", str(path), error.strerror)
            return None

    def _directories(self, address: Address) -> Iterator[Path]:
        """Where the files may be; nowhere if a part cannot be a file name."""
        local, domain = address.local_part, address.domain or ""
        used = set(re.findall("%[uha]", self.options.pattern))
        for user in dict.fromkeys((local, local.lower())):
            parts = {"%u": user, "%h": domain, "%a": f"{user}@{domain}" if domain else user}
            if all(_is_safe(parts[letter]) for letter in used):
                yield Path(_filled(self.options.pattern, parts))


def _filled(pattern: str, parts: Mapping[str, str]) -> str:
    return re.sub("%[uha]", lambda match: parts[match[0]], pattern)


def _is_safe(name: str) -> bool:
    """Whether a path with this as a component stays where it should."""
    return name not in ("", ".", "..") and not re.search("[/\0]", name)


def _read(path: Path) -> str:
    # Neither a link to somebody else's file, nor a pipe that never ends.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123 (a descriptor)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise FileNotFoundError(path)
        return file.read(MAX_BYTES).decode("utf-8", "replace")
