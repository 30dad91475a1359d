# SPDX-License-Identifier: MIT
"""The store speaks to Redis with the library of Debian 12 and of Debian 13.

The newest is the one of the virtual environment, which the unit tests use.
"""

from __future__ import annotations

import pytest

from tests.conformance.other_versions import installed, run
from tests.redis_server import program

#: Upstream versions of Debian 12 and 13.
VERSIONS = ("4.3.4", "6.1.0")

TESTS = [
    *(f"tests/unit/store/{name}.py" for name in ("test_contract", "test_redis")),
    *(f"tests/integration/test_store_{name}.py" for name in ("sentinel", "cluster", "entries")),
]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_store(version: str) -> None:
    program()  # without one the test is skipped
    library = installed("redis", version)
    shown = run(library, "-c", "import redis; print(redis.__version__)")
    assert shown.stdout.strip() == version, shown.stderr
    chosen = ("-k", "not fake and not sqlite")
    result = run(library, "-m", "pytest", "-q", *TESTS, *chosen)
    assert result.returncode == 0, result.stdout[-4000:]
