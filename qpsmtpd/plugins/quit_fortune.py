# SPDX-License-Identifier: MIT
"""quit_fortune: say goodbye with a fortune cookie.

Clients that greeted with HELO get an answer to QUIT with our name and, on further lines, a short
saying of /usr/games/fortune (`fortune -s`). Clients that said EHLO are programs without a sense of
humour: they get the usual reply. If the program is missing, takes longer than two seconds or fails,
so does everybody. Refuses nothing.

It starts a process for each QUIT after HELO: do not use it on a busy host.
"""

from __future__ import annotations

import asyncio
import os

from qpsmtpd.api import NoOptions, Plugin, Session, Verdict, accept

TIMEOUT = 2.0


class QuitFortune(Plugin[NoOptions]):
    """Quotes fortune."""

    #: The program and its arguments.
    command: tuple[str, ...] = ("/usr/games/fortune", "-s")

    async def start(self) -> None:
        self._available = os.access(self.command[0], os.X_OK)

    async def hook_quit(self, session: Session) -> Verdict | None:
        if not self._available or session.hello != "helo":
            return None
        saying = await self._fortune()
        lines = [f"  / {line}" for line in saying.expandtabs().splitlines() if line.strip()]
        if not lines:
            return None
        return accept("\n".join([f"{self.services.me} closing connection.", *lines]))

    async def _fortune(self) -> str:
        """What the program says; "" if it says nothing in time."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            self.log.warning("cannot run %s: %s", self.command[0], error.strerror)
            return ""
        try:
            async with asyncio.timeout(TIMEOUT):
                output, _ = await process.communicate()
        except TimeoutError:
            self.log.warning("no answer from %s in %g s", self.command[0], TIMEOUT)
            return ""
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return output.decode("ascii", "replace")
