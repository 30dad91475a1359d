# SPDX-License-Identifier: MIT
"""ident/p0f asks the real p0f, in a network of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.debian_system import unpack_package

CACHE = Path(__file__).parents[2] / ".cache" / "p0f"
TIMEOUT = 60.0

#: Runs where there is only a loopback interface: p0f sees a connection, and is asked about it.
SCRIPT = """
import asyncio, json, socket, subprocess, sys
from pathlib import Path
from qpsmtpd.plugins.ident.p0f import P0F, P0f
from qpsmtpd.testing import a_plugin, a_session

program, fingerprints, path = sys.argv[1:]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
watching = subprocess.Popen(
    ["setpriv", "--pdeathsig", "KILL", program, "-i", "lo", "-f", fingerprints, "-s", path],
    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
)
for line in watching.stdout:
    if "main event loop" in line:
        break

async def genre(ip):
    plugin = await a_plugin(P0f, path)
    session = a_session(ip)
    await plugin.hook_connect(session)
    return session.notes.get(P0F, {}).get("genre")

async def both():
    while (known := await genre("127.0.0.1")) is None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()).close()
    return known, await genre("192.0.2.1")

print(json.dumps(asyncio.run(both())))
watching.kill()
watching.wait()
"""


@pytest.mark.real_systems
def test_p0f_knows_whom_it_has_seen(tmp_path: Path) -> None:
    unpack_package("p0f", CACHE)
    libraries = ":".join(map(str, CACHE.glob("**/*-linux-gnu")))
    words = [str(CACHE / "usr/sbin/p0f"), str(CACHE / "etc/p0f/p0f.fp"), str(tmp_path / "s")]
    done = subprocess.run(
        [
            "unshare",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            sys.executable,
            "-c",
            SCRIPT,
            *words,
        ],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    known, unknown = json.loads(done.stdout)
    assert "Linux" in known
    assert unknown is None
