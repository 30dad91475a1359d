# SPDX-License-Identifier: MIT
"""Going to the background."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.unit.client import PATIENCE

PROGRAM = """
import os, sys
from qpsmtpd.daemon.detach import detach

def tell():
    files = [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)]
    os.write(int(sys.argv[1]), f"{os.getpid()} {os.getsid(0)} {files}\\n".encode())

tell()
print("before")
detach()
print("after")
tell()
"""


def test_detach() -> None:
    reader, writer = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(writer)],
        pass_fds=[writer],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    os.close(writer)
    with os.fdopen(reader) as pipe:
        before, after = (line.split(maxsplit=2) for line in pipe)
    assert done.stdout == b"before\n"
    assert after[0] != before[0]
    assert after[1] == after[0]
    assert after[2].strip() == str(["/dev/null"] * 3)
