# SPDX-License-Identifier: MIT
"""What errors mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.doctor.storewords import meaning_of


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("LOADING Redis is loading the dataset in memory", "still reading its data from disk"),
        ("MISCONF Redis is configured to save RDB snapshots", "cannot save its data"),
        ("ASK or not", "ASK or not"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired (_ssl.c:1)", "has expired"),
        ("MOVED 1 192.0.2.1:7000", "a node of a Cluster"),
        ("CLUSTERDOWN Hash slot not served", "does not serve all slots"),
        ("10.0.0.1:26379: knows no master with the name mail", "do not know a master"),
        ("10.0.0.1:6379, which Sentinels name, is not the master now", "a fail-over is under way"),
        ("No address associated with hostname", "cannot be looked up"),
        ("no answer within 1s", "no answer in time"),
    ],
)
def test_meanings(error: str, words: str) -> None:
    assert words in meaning_of(error).text


@given(st.text())
def test_the_error_itself_is_never_left_out(error: str) -> None:
    assert error in meaning_of(error).text


def test_names_of_hosts_mean_nothing() -> None:
    for host in ("room.example", "loading.example", "moved-in.example"):
        assert meaning_of(f"{host} has said something").text == f"{host} has said something"
