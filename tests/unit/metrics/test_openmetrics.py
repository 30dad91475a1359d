# SPDX-License-Identifier: MIT
"""The text formats.  What Prometheus makes of them: tests/integration/test_prometheus.py."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.metrics import catalogue
from qpsmtpd.metrics.openmetrics import OPENMETRICS, PROMETHEUS
from qpsmtpd.metrics.reading import read
from tests.unit.metrics.examples import Counting

_sample = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)').fullmatch
_label = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"').findall
_UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda found: _UNESCAPED[found[0]], text)


@given(st.text(max_size=20))
def test_any_label_comes_out_as_it_was(place: str) -> None:
    with TemporaryDirectory() as directory:
        daemon = Counting(Path(directory), 1)
        daemon.workers[0].count(catalogue.SERVICE_FAILURES, "scanner", place, by=3)
        text = OPENMETRICS.text(read(daemon.path))
    lines = [line for line in text.split("\n") if line.startswith("qpsmtpd_service_failures")]
    (found,) = map(_sample, lines)
    assert found is not None and found[3] == "3"
    labels = {name: unescaped(value) for name, value in _label(found[2])}
    assert labels == {"kind": "scanner", "place": place}


def test_a_histogram(tmp_path: Path) -> None:
    daemon = Counting(tmp_path, 1)
    for seconds in (0.001, 0.002, 0.3, 500):
        daemon.workers[0].measure(catalogue.DNS_SECONDS, seconds)
    daemon.workers[0].write()
    lines = OPENMETRICS.text(read(daemon.path)).splitlines()
    begin = lines.index("# TYPE qpsmtpd_dns_lookup_seconds histogram")
    assert lines[begin + 1] == "# UNIT qpsmtpd_dns_lookup_seconds seconds"
    assert 'qpsmtpd_dns_lookup_seconds_bucket{le="0.001"} 1' in lines
    assert 'qpsmtpd_dns_lookup_seconds_bucket{le="0.0025"} 2' in lines
    assert 'qpsmtpd_dns_lookup_seconds_bucket{le="1.0"} 3' in lines
    assert 'qpsmtpd_dns_lookup_seconds_bucket{le="+Inf"} 4' in lines
    assert "qpsmtpd_dns_lookup_seconds_count 4" in lines
    assert "qpsmtpd_dns_lookup_seconds_sum 500.303" in lines


def test_what_never_waited_is_left_out(tmp_path: Path) -> None:
    daemon = Counting(tmp_path, 1)
    daemon.workers[0].series(catalogue.PLUGIN_SECONDS, "rcpt_ok", "rcpt")
    daemon.workers[0].series(catalogue.DNS_SECONDS)
    text = OPENMETRICS.text(read(daemon.path))
    assert "qpsmtpd_plugin_seconds" not in text
    assert "qpsmtpd_dns_lookup_seconds_count 0\n" in text


def test_the_formats_differ(tmp_path: Path) -> None:
    daemon = Counting(tmp_path, 1)
    daemon.workers[0].count(catalogue.MESSAGES, "accepted")
    reading = read(daemon.path)
    text = OPENMETRICS.text(reading)
    assert text.endswith("\n# EOF\n")
    assert "# TYPE qpsmtpd_messages counter\n" in text
    assert "# TYPE qpsmtpd_build info\n" in text
    assert re.search(r'^qpsmtpd_build_info\{version="[^"]+"\} 1$', text, re.MULTILINE)
    old = PROMETHEUS.text(reading)
    assert "# EOF" not in old and "# UNIT" not in old
    assert "# TYPE qpsmtpd_messages_total counter\n" in old
    assert "# TYPE qpsmtpd_build_info gauge\n" in old
