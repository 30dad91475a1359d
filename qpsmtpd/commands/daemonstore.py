# SPDX-License-Identifier: MIT
"""The store of the running daemon, for commands.

A SQLite file belongs to the daemon's user, and so must everything that SQLite makes beside it: root
becomes its owner before it is opened, even to read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from qpsmtpd.commands.asdaemon import become_owner, environment_of_daemon, store_file
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.loader import new_store
from qpsmtpd.config.settings import Settings, load_settings
from qpsmtpd.decisions.book import Book
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.plugin.services import Store
from qpsmtpd.store.location import parse_location
from qpsmtpd.terminal import Percentage


class DaemonStore(NamedTuple):
    """The store that these settings name."""

    settings: Settings
    environment: dict[str, str]

    @classmethod
    def of(cls, files: ConfigFiles) -> DaemonStore:
        """The store of this configuration."""
        settings, _ = load_settings(files)
        return cls(settings, environment_of_daemon(Machine()))

    @property
    def file(self) -> Path | None:
        """The file of the store, None if it is elsewhere."""
        return store_file(self.settings, self.environment)

    @property
    def place(self) -> str:
        """Where the store is, without a password."""
        return str(self.file or parse_location(self.settings.store))

    def become_owner(self) -> None:
        """Become the owner of the store's file.  Raises QpsmtpdError."""
        if self.file is None:
            return
        try:
            status = self.file.stat()
        except FileNotFoundError:
            raise QpsmtpdError(f"there is no store yet ({self.file})") from None
        except OSError as error:
            raise QpsmtpdError(f"{self.file}: {error.strerror}") from None
        become_owner(status)

    @asynccontextmanager
    async def opened(self, *, read_only: bool = False) -> AsyncIterator[Store]:
        """The store, for as long as it is used."""
        store = new_store(self.settings, self.environment, read_only=read_only)
        try:
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def book(self) -> AsyncIterator[Book]:
        """The decisions in the store, to read; a terminal shows how far that has come."""
        progress = Percentage(sys.stderr, "Decisions read", time.monotonic)
        async with self.opened(read_only=True) as store:
            book = Book(store)
            book.tell = progress.show
            try:
                yield book
            finally:
                progress.clear()
