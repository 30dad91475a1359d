# SPDX-License-Identifier: MIT
from dataclasses import replace
from typing import Any

import pytest

from qpsmtpd.dashboard.figures import Answers, answers_by_plugin, concerns
from qpsmtpd.metrics.status import (
    CertificateStatus,
    PluginStatus,
    ServiceStatus,
    StoreStatus,
    Timing,
    WorkerStatus,
)
from tests.unit.dashboard.examples import a_status

NEVER = Timing(0, 0.0, 0.0)
FINE: dict[str, Any] = {"services": (), "certificates": ()}


def test_the_hooks_of_a_plugin_are_summed() -> None:
    plugins = (
        PluginStatus("a", "mail", {"deny": 1, "timeout": 2}, Timing(1, 4.0, 5.0)),
        PluginStatus(
            "a", "rcpt", {"deny": 1, "defer": 3, "tag": 4, "none": 9}, Timing(3, 0.0, 0.0)
        ),
        PluginStatus("b", "rcpt", {"accept": 1}, NEVER),
    )
    assert answers_by_plugin(plugins) == {
        "a": Answers(refused=2, deferred=3, would=4, failed=2, seconds=1.0),
        "b": Answers(),
    }


def test_nothing_to_look_at() -> None:
    assert list(concerns(replace(a_status(), **FINE))) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"workers_wanted": 3}, "Workers that do not run, in per cent: 66.67."),
        ({"workers": (WorkerStatus(7, 0, 60.4, 0),)}, "of a worker turned: 60.4."),
        ({"store": StoreStatus(1, 0, 0, 0)}, "The store does not answer"),
        ({"services": (ServiceStatus("clamd", "/s", 1, 3, 1),)}, "clamd /s is down."),
        ({"certificates": (CertificateStatus("c", 0, 13.0),)}, "c expires in 13 days."),
        ({"certificates": (CertificateStatus("c", 0, -1.0),)}, "c has expired."),
        ({"log_lines_lost": 5}, "Log lines lost since the start: 5."),
    ],
)
def test_what_to_look_at(change: dict[str, Any], text: str) -> None:
    [found] = concerns(replace(a_status(), **{**FINE, **change}))
    assert text in found
