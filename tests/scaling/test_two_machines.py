# SPDX-License-Identifier: MIT
"""Two machines behind one HAProxy: no mail is lost when one goes, and limits hold for both."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.debian_system import CHECKOUT, System
from tests.isolation import NAMESPACES, run
from tests.scaling.haproxy import haproxy_system

pytestmark = pytest.mark.real_systems

TIMEOUT = 300.0  # seconds, one scenario
#: The program is the first of its PID name space, and has a network of its own.
ALONE = (*NAMESPACES, "unshare", "--net", "env", f"--chdir={CHECKOUT}")


#: A release, and the event loop of the daemons.
WAYS = (("bookworm", "asyncio"), ("trixie", "uvloop"))


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: "-".join(way))
def way(request: pytest.FixtureRequest) -> Iterator[tuple[System, str]]:
    release, loop = request.param
    with haproxy_system(release, "redis-server", "iproute2") as made:
        yield made, loop


@pytest.mark.parametrize("scenario", ["drained", "limited"])
def test_two_machines(way: tuple[System, str], tmp_path: Path, scenario: str) -> None:
    system, loop = way
    program = (sys.executable, "-m", "tests.scaling.two_machines")
    output = run((*ALONE, *program, str(system.root), str(tmp_path), loop, scenario), TIMEOUT)
    assert output.endswith("\npassed\n"), output
    sys.stdout.write(output)
