# SPDX-License-Identifier: MIT
"""The status: what the figures mean, as a value, as text, and for monitoring."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from qpsmtpd.metrics import catalogue
from qpsmtpd.metrics.checks import CHECKS, checked, verdict
from qpsmtpd.metrics.reading import Totals, read
from qpsmtpd.metrics.status import Status, Timing, status_of
from qpsmtpd.metrics.statustext import View, page
from tests.unit.metrics.examples import Counting

#: A place that somebody has configured in order to paint on the terminal.
HOSTILE = "clamd\033[2J\u202e"


def busy(directory: Path) -> Counting:
    """A daemon that has done a bit of everything."""
    daemon = Counting(directory)
    first, second = daemon.workers
    for worker in daemon.workers:
        worker.count(catalogue.MESSAGES, "accepted", by=5)
        worker.count(catalogue.CONNECTIONS, by=7)
        worker.count(catalogue.PLUGIN_ANSWERS, "dnsbl", "connect", "deny", by=3)
        worker.measure(catalogue.PLUGIN_SECONDS, 0.2, "dnsbl", "connect")
    first.count(catalogue.PLUGIN_ANSWERS, "rcpt_ok", "rcpt", "accept", by=9)
    first.measure(catalogue.PLUGIN_SECONDS, 3.0, "spamassassin", "data_post")
    first.count(catalogue.REFUSALS, "dnsbl", "connect", "refused", by=6)
    second.count(catalogue.DNS_LOOKUPS, "TXT", "found", by=2)
    second.count(catalogue.DNS_LOOKUPS, "A", "timeout")
    second.measure(catalogue.DNS_SECONDS, 500.0)
    second.count(catalogue.SERVICE_FAILURES, "scanner", HOSTILE, by=4)
    second.count(catalogue.NEXT_HOP_CONNECTS, "127.0.0.1:25", "done")
    second.count(catalogue.NEXT_HOP_TRANSACTIONS, "127.0.0.1:25", "done", by=10)
    second.count(catalogue.AUTHENTICATION, "spf", "pass", by=8)
    second.count(catalogue.TLS_SESSIONS, "TLSv1.3", by=2)

    def say() -> None:
        second.add_sample(catalogue.CONNECTIONS_OPEN, 2, "data")
        second.add_sample(catalogue.CONNECTIONS_LIMIT, 100)
        second.add_sample(catalogue.SERVICE_DOWN, 1, "scanner", HOSTILE)
        second.add_sample(catalogue.CERTIFICATE_EXPIRY, time.time() + 10 * 86400, "/etc/mx.pem")
        second.add_sample(catalogue.NEXT_HOP_CONNECTIONS, 1, "127.0.0.1:25", "idle")

    first.sample(lambda: first.add_sample(catalogue.CONNECTIONS_OPEN, 1, "command"))
    second.sample(say)
    return daemon


@pytest.fixture
def status(tmp_path: Path) -> Status:
    return status_of(read(busy(tmp_path).path))


def test_what_the_figures_mean(status: Status) -> None:
    assert status.messages == {"accepted": 10, "deferred": 0, "refused": 0}
    assert status.connections == 14
    assert status.connections_open == {"command": 1, "data": 2}
    assert status.refusals == {"dnsbl": 6}
    assert status.dns.lookups == {"found": 2, "timeout": 1}
    assert status.dns.timing == Timing(1, 500.0, None)
    assert status.authentication == {"spf": {"pass": 8}}
    assert [(each.plugin, each.answers) for each in status.plugins] == [
        ("dnsbl", {"deny": 6}),
        ("rcpt_ok", {"accept": 9}),
        ("spamassassin", {}),
    ]
    assert [each.plugin for each in status.slowest] == ["spamassassin", "dnsbl"]
    (service,), (hop,), (certificate,) = status.services, status.next_hops, status.certificates
    assert (service.down, service.failures) == (1, 4)
    assert (hop.transactions, hop.idle, hop.busy) == ({"done": 10}, 1, 0)
    assert certificate.days == pytest.approx(10, abs=0.1)
    assert [worker.connections for worker in status.workers] == [1, 2]


def test_it_becomes_json(status: Status) -> None:
    assert json.loads(json.dumps(status.to_json()))["messages"]["accepted"] == 10


def test_a_minute_is_the_last_one(tmp_path: Path) -> None:
    daemon = busy(tmp_path)
    reading = read(daemon.path)
    now = reading.monotonic
    reading.head = replace(reading.head, monotonic=now - 1000)
    reading._histories = [[Totals(now - 90.0, 2), Totals(now - 70.0, 4), Totals(now - 10.0, 9)]]
    # There are ten by now, which is six more than 70 seconds ago.
    assert status_of(reading).a_minute["accepted"] == pytest.approx(6 * 60 / 70)
    *_, before, last = status_of(reading).minutes
    assert (before.accepted, last.accepted) == (4, 6)
    assert len(status_of(reading).minutes) == 17


def test_the_first_minute_is_not_extrapolated(status: Status) -> None:
    assert status.a_minute["accepted"] == 10
    assert [minute.accepted for minute in status.minutes] == [10]


class Stream(io.StringIO):
    """A terminal with an encoding of its own."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Latin(Stream):
    encoding = "iso-8859-1"


def test_the_page(status: Status) -> None:
    text = "\n".join(page(status, View(io.StringIO())))
    assert "accepted            10.0            10\n" in text
    assert "3 of 100 open: data 2, command 1" in text
    assert "dnsbl connect                        deny 6" in text
    assert "once, mean 3 s, 95 % within 5 s" in text
    assert "once, mean 8 min, over 5 % longer than is measured" in text
    assert "event loops were late: not yet" in text
    assert "WARNING: Days until a certificate expires: 10\n" in text
    assert "\033" not in text and "\u202e" not in text


def test_the_page_on_a_terminal(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    lines = list(page(status, View(Stream(), 30, cut=True)))
    (down,) = [line for line in lines if line.startswith("\033[1;31m  scanner")]
    assert r"\x1b[2J" in down and "\033[2J" not in down
    plain = [line.removeprefix("\033[1;31m").removeprefix("\033[1m") for line in lines]
    assert max(len(line.split("\033[0m")[0].removeprefix("\033[33m")) for line in plain) == 30


@pytest.mark.parametrize(("stream", "bars"), [(Stream(), "▁▅█"), (Latin(), "_=#")])
def test_bars(stream: io.StringIO, bars: str) -> None:
    assert View(stream).bars([0, 5, 9]) == bars
    assert View(stream).bars([0, 0]) == bars[0] * 2


# --- monitoring -----------------------------------------------------------------------------


def test_the_worst_state_counts(status: Status) -> None:
    state, line = verdict(list(checked(status)))
    assert state == "WARNING"
    assert line.startswith("QPSMTPD WARNING - services_down is 1, certificate_days is ")
    assert " | workers_missing=0;1;100 silence=" in line
    assert "connections=3;80;95" in line
    assert "certificate_days=10;14:;3:" in line
    assert verdict(list(checked(status, {}, {"services_down": 1})))[0] == "CRITICAL"


def test_all_is_well(tmp_path: Path) -> None:
    state, line = verdict(list(checked(status_of(read(Counting(tmp_path).path)))))
    assert state == "OK"
    assert line.startswith("QPSMTPD OK - all is well | ")


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"workers": ()}, "workers_missing"),
        ({"connections_open": {"data": 99}}, "connections"),
    ],
)
def test_what_is_critical(status: Status, changes: dict[str, object], check: str) -> None:
    found = {each.check.name: each.state for each in checked(replace(status, **changes))}  # type: ignore[arg-type]
    assert found[check] == "CRITICAL"


def test_without_a_limit_and_a_certificate_there_is_nothing_to_check(status: Status) -> None:
    found = {
        each.check.name for each in checked(replace(status, connections_limit=0, certificates=()))
    }
    assert {check.name for check in CHECKS} - found == {"connections", "certificate_days"}


@pytest.mark.parametrize(("accepted", "state"), [(0, "CRITICAL"), (4, "WARNING"), (5.1, "OK")])
def test_too_little_mail(status: Status, accepted: float, state: str) -> None:
    quiet = replace(status, a_minute={**status.a_minute, "accepted": accepted})
    found = {each.check.name: each for each in checked(quiet, {"accepted": 5}, {"accepted": 0})}
    assert found["accepted"].state == state
