# SPDX-License-Identifier: MIT
import pytest

from qpsmtpd.digest.sections import trend


@pytest.mark.parametrize(
    ("now", "before", "shown"),
    [
        (0, 0, "="),
        (1, 0, "new"),
        (1, 2, "-50 %"),
        (3, 2, "+50 %"),
        (0, 2, "-100 %"),
        (199, 200, "="),
        (200, 200, "="),
    ],
)
def test_trend(now: int, before: int, shown: str) -> None:
    assert trend(now, before) == shown
