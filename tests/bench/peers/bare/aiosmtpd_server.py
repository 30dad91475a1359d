# SPDX-License-Identifier: MIT
"""aiosmtpd on uvloop, without any check: what it takes it throws away.

python aiosmtpd_server.py PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP


class Discard:
    """The handler of aiosmtpd that does least."""

    async def handle_DATA(self, *_arguments: Any) -> str:
        return "250 2.6.0 Message accepted and discarded"


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Discard(), hostname="mx.example.test", ident="aiosmtpd", loop=loop),
        *("127.0.0.1", port),
        backlog=4096,
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
