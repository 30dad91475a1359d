# SPDX-License-Identifier: MIT
"""Each declared metric is counted somewhere, written, and documented; and nothing else is."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import qpsmtpd
from qpsmtpd.manpages import metricspage
from qpsmtpd.manpages.parts import new_page
from qpsmtpd.metrics import catalogue
from qpsmtpd.metrics.catalogue import BY_NAME, CATALOGUE
from qpsmtpd.metrics.metric import Metric
from qpsmtpd.metrics.openmetrics import OPENMETRICS, PROMETHEUS
from qpsmtpd.metrics.reading import read
from tests.unit.metrics.examples import with_everything

PACKAGE = Path(qpsmtpd.__file__).parent
EXAMPLES = PACKAGE.parent / "debian" / "examples"
SUFFIXES = {"counter": "_total", "info": "_info"}
#: What a name of a sample may end with, beside the name of the metric.
ENDINGS = {
    "counter": {"_total"},
    "gauge": {""},
    "info": {"_info"},
    "histogram": {"_bucket", "_count", "_sum"},
}
#: What the reading knows without anybody counting it.
OF_THE_READING = {"BUILD", "WORKERS", "WORKERS_WANTED", "START_TIME", "SERIES_LEFT_OUT"}


def names_used() -> set[str]:
    """The names of the catalogue that the code of the daemon counts with."""
    outside = (path for path in PACKAGE.rglob("*.py") if path.parent.name != "metrics")
    # The import of a name is one place, its use the other.
    used = {word for path in outside for word in _imported(path.read_text())}
    return used & set(vars(catalogue))


def _imported(text: str) -> list[str]:
    words = Counter(re.findall(r"\b[A-Z][A-Z_]+\b", text)) if "qpsmtpd.metrics" in text else {}
    return [word for word, number in words.items() if number > 1]


def test_each_is_counted_somewhere() -> None:
    declared = {name for name, value in vars(catalogue).items() if isinstance(value, Metric)}
    assert declared - names_used() == OF_THE_READING
    assert len(BY_NAME) == len(CATALOGUE) == len(declared)


def samples_of(text: str) -> set[str]:
    return {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[:1] != "#"}


def test_each_is_written_and_nothing_else(tmp_path: Path) -> None:
    counting = with_everything(tmp_path)
    for form in (OPENMETRICS, PROMETHEUS):
        text = form.text(read(counting.path))
        wanted = {each.name + ending for each in CATALOGUE for ending in ENDINGS[each.kind]}
        assert samples_of(text) == wanted
        families = re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)
        assert len(families) == len(set(families)) == len(CATALOGUE)


def test_each_is_in_the_manual_and_nothing_else() -> None:
    page = new_page("qpsmtpd-metrics", 7, "what is counted")
    metricspage.write(page)
    plain = re.sub(r"\\f[BIR]|\\&|\\:", "", str(page))
    terms = re.findall(r"^\.TP\n(qpsmtpd\w+)", plain, re.MULTILINE)
    assert terms == [each.name + SUFFIXES.get(each.kind, "") for each in CATALOGUE]


def known_samples() -> set[str]:
    return {each.name + ending for each in CATALOGUE for ending in ENDINGS[each.kind]}


def expressions() -> Iterator[str]:
    """All that the dashboard asks."""
    board = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for variable in board["templating"]["list"]:
        query = variable["query"]
        yield query["query"] if isinstance(query, dict) else ""


def test_the_dashboard_names_declared_metrics_and_shows_all() -> None:
    asked = set(re.findall(r"\bqpsmtpd_\w+", " ".join(expressions())))
    assert asked <= known_samples()
    shown = {each.name for each in CATALOGUE for name in asked if name.startswith(each.name)}
    assert shown == set(BY_NAME)


@pytest.mark.parametrize("name", ["alerts.yml", "alerts-test.yml"])
def test_the_alerts_name_declared_metrics(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert set(re.findall(r"\bqpsmtpd_\w+", text)) <= known_samples()


def test_labels_in_alerts_and_dashboard_are_declared() -> None:
    texts = [*expressions(), (EXAMPLES / "alerts.yml").read_text()]
    own = {"instance", "job", "le"}
    for name, inside in re.findall(r"\b(qpsmtpd_\w+)\{([^}]*)\}", " ".join(texts)):
        metric = max((each for each in CATALOGUE if name.startswith(each.name)), key=_length)
        labels = set(re.findall(r"(\w+)=", re.sub(r'"[^"]*"', "", inside)))
        assert labels <= {*metric.labels, *own}, name


def _length(metric: Metric) -> int:
    return len(metric.name)
