# SPDX-License-Identifier: MIT
"""Three machines behind one HAProxy, which share a store.

No mail is lost, and none refused, when one of them goes, or the master of their store; limits hold
for all of them together.
"""

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
    with haproxy_system(release, "redis-server", "redis-sentinel", "iproute2") as made:
        yield made, loop


@pytest.mark.parametrize("scenario", ["drained", "limited", "failover"])
def test_three_machines(way: tuple[System, str], tmp_path: Path, scenario: str) -> None:
    system, loop = way
    program = (sys.executable, "-m", "tests.scaling.three_machines")
    output = run((*ALONE, *program, str(system.root), str(tmp_path), loop, scenario), TIMEOUT)
    assert output.endswith("\npassed\n"), output
    sys.stdout.write(output)
