# SPDX-License-Identifier: MIT
"""The values of parameters that are passed on."""

from __future__ import annotations

import pytest

from qpsmtpd.mail.passedon import has_wrong_value, keywords_of, time_left


@pytest.mark.parametrize(
    "text",
    [
        *("BY=120;R", "BY=-120;N", "BY=0;n", "BY=999999999;RT", "MT-PRIORITY=-9", "MT-PRIORITY=3"),
        *("HOLDFOR=1", "HOLDFOR=999999999", "HOLDUNTIL=2026-12-01T08:00:00Z"),
        *("HOLDUNTIL=2026-12-01T08:00:00.5+01:00", "SIZE=x", "REQUIRETLS"),
    ],
)
def test_right(text: str) -> None:
    name, _, value = text.partition("=")
    assert not has_wrong_value({name: value})


@pytest.mark.parametrize(
    "text",
    [
        *("BY", "BY=", "BY=120", "BY=0;R", "BY=-1;R", "BY=120;X", "BY=1234567890;N", "BY=1;R T"),
        *(
            "MT-PRIORITY=10",
            "MT-PRIORITY=",
            "MT-PRIORITY=٣",
            "HOLDFOR=0",
            "HOLDFOR=x",
            "HOLDFOR=-1",
        ),
        *("REQUIRETLS=x", "HOLDUNTIL=tomorrow", "HOLDUNTIL=2026-12-01", "HOLDFOR=1234567890"),
    ],
)
def test_wrong(text: str) -> None:
    name, _, value = text.partition("=")
    assert has_wrong_value({name: value or None})


def test_one_of_two() -> None:
    assert has_wrong_value({"HOLDFOR": "5", "HOLDUNTIL": "2026-12-01T08:00:00Z"})


def test_keywords() -> None:
    assert keywords_of(["BY", "HOLDFOR", "HOLDUNTIL", "SIZE"]) == {"DELIVERBY", "FUTURERELEASE"}


@pytest.mark.parametrize(
    ("value", "left"), [("120;R", "115;R"), ("3;rt", "1;rt"), ("3;N", "-2;N"), ("-3;NT", "-8;NT")]
)
def test_time_passes(value: str, left: str) -> None:
    assert time_left(value, 5.5) == left
    assert not has_wrong_value({"BY": left})
