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

#: Files with tests, and which of them are chosen.
TESTS = {
    "tests/unit/store/test_contract.py": "not fake and not sqlite",
    "tests/unit/store/test_redis.py": "",
    "tests/integration/test_store_sentinel.py": "passwords or acl",
    "tests/integration/test_store_cluster.py": "moves or acl or no_node or no_cluster",
}


@pytest.mark.real_systems
@pytest.mark.parametrize("file", TESTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_store(version: str, file: str) -> None:
    program()  # without one the test is skipped
    library = installed("redis", version)
    shown = run(library, "-c", "import redis; print(redis.__version__)")
    assert shown.stdout.strip() == version, shown.stderr
    result = run(library, "-m", "pytest", "-q", file, "-k", TESTS[file])
    assert result.returncode == 0, result.stdout[-4000:]
