# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from tests.bench.trees import short_name


def test_no_such_commit() -> None:
    with pytest.raises(RuntimeError, match=r"^there is no commit 'no-such-commit'$"):
        short_name("no-such-commit")
