# SPDX-License-Identifier: MIT
"""What processes count, and what becomes of it when they die."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.metrics import catalogue, counting
from qpsmtpd.metrics.counting import Figures
from qpsmtpd.metrics.memory import CELLS, LEFT_OUT, NAME_BYTES, Memory, private_slot
from qpsmtpd.metrics.metric import MOST_SERIES, OTHER
from qpsmtpd.metrics.reading import read
from tests.unit.metrics.examples import Counting, nothing


def test_all_workers_are_summed(tmp_path: Path) -> None:
    daemon = Counting(tmp_path)
    for worker, number in zip(daemon.workers, (3, 4), strict=True):
        worker.count(catalogue.MESSAGES, "accepted", by=number)
    assert read(daemon.path).number(catalogue.MESSAGES, "accepted") == 7


def test_counts_survive_a_worker(tmp_path: Path) -> None:
    """Also those that the next one has not heard of, and those that it has in another order."""
    daemon = Counting(tmp_path)
    first = daemon.workers[0]
    first.count(catalogue.MESSAGES, "refused")
    first.count(catalogue.DNS_LOOKUPS, "TXT", "found", by=5)
    first.measure(catalogue.DNS_SECONDS, 0.2)
    first.write()
    second = daemon.replace(0)
    second.count(catalogue.DNS_LOOKUPS, "TXT", "found")
    second.measure(catalogue.DNS_SECONDS, 0.3)
    second.count(catalogue.CONNECTIONS)
    second.write()
    reading = read(daemon.path)
    assert reading.number(catalogue.MESSAGES, "refused") == 1
    assert reading.number(catalogue.DNS_LOOKUPS, "TXT", "found") == 6
    assert reading.distribution(catalogue.DNS_SECONDS).number == 2
    assert reading.distribution(catalogue.DNS_SECONDS).total == pytest.approx(0.5)


def test_series_that_were_there_before_the_process_had_a_slot() -> None:
    """Modules make theirs when they are imported."""
    figures = Figures()
    series = figures.series(catalogue.MESSAGES, "accepted")
    memory = Memory(1)
    figures.use(memory.slot(0))
    figures.values[series.cell] += 1
    successor = Figures()
    successor.count(catalogue.CONNECTIONS)
    again = successor.series(catalogue.MESSAGES, "accepted")
    successor.use(memory.slot(0))
    assert successor.values[again.cell] == 1
    assert successor.series(catalogue.MESSAGES, "accepted") is again


def test_what_is_the_case_dies_with_the_worker(tmp_path: Path) -> None:
    daemon = Counting(tmp_path)

    def say(worker: Figures) -> None:
        worker.sample(lambda: worker.add_sample(catalogue.CONNECTIONS_OPEN, 5, "data"))

    for worker in daemon.workers:
        say(worker)
    assert read(daemon.path).number(catalogue.CONNECTIONS_OPEN, "data") == 10
    daemon.memory.vacate(0)
    assert read(daemon.path).number(catalogue.CONNECTIONS_OPEN, "data") == 5
    successor = daemon.replace(0)
    assert read(daemon.path).number(catalogue.CONNECTIONS_OPEN, "data") == 5
    say(successor)
    assert read(daemon.path).number(catalogue.CONNECTIONS_OPEN, "data") == 10


@given(st.lists(st.floats(0, 1000)))
def test_each_measurement_is_in_its_bucket(values: list[float]) -> None:
    figures = Figures()
    series = figures.series(catalogue.PLUGIN_SECONDS, "p", "h")
    for value in values:
        series.note(value)
    figures.write()
    bounds = catalogue.PLUGIN_SECONDS.buckets
    expected = Counter(sum(bound < value for bound in bounds) for value in values)
    cells = figures.values[series.cell : series.cell + catalogue.PLUGIN_SECONDS.cells].tolist()
    assert cells[:-1] == [expected[bucket] for bucket in range(len(bounds) + 1)]
    assert cells[-1] == pytest.approx(sum(values))


def test_measurements_that_nobody_writes_do_not_pile_up() -> None:
    series = Figures().series(catalogue.DNS_SECONDS)
    for _ in range(counting._MOST_NOTED + 10):
        series.note(0.1)
    assert len(series.noted) == counting._MOST_NOTED


def test_too_many_labels_are_counted_together(tmp_path: Path) -> None:
    daemon = Counting(tmp_path, 1)
    for _ in range(2):
        for number in range(MOST_SERIES + 50):
            daemon.workers[0].count(catalogue.LOG_LINES_LOST, f"/log/{number}")
        daemon.replace(0)
    series = read(daemon.path).numbers[catalogue.LOG_LINES_LOST]
    assert len(series) == MOST_SERIES + 1
    assert sum(series.values()) == 2 * (MOST_SERIES + 50)
    assert series[OTHER,] == 100


def test_without_room_the_rest_goes_on(tmp_path: Path) -> None:
    daemon = Counting(tmp_path, 1)
    figures, metric = daemon.workers[0], catalogue.PLUGIN_SECONDS
    figures.count(catalogue.MESSAGES, "accepted")
    for hook in ("mail", "rcpt", "data", "queue"):
        for number in range(CELLS // metric.cells // 2):
            figures.measure(metric, 1.0, f"{hook}{number}", hook)
            figures.measure(catalogue.NEXT_HOP_SECONDS, 1.0, f"{hook}{number}")
    figures.write()
    figures.count(catalogue.MESSAGES, "accepted")
    reading = read(daemon.path)
    assert reading.number(catalogue.MESSAGES, "accepted") == 2
    left_out = reading.number(catalogue.SERIES_LEFT_OUT)
    assert left_out == daemon.memory.slot(0).state[LEFT_OUT]


def test_names_without_room_are_left_out(tmp_path: Path) -> None:
    daemon = Counting(tmp_path, 1)
    for number in range(6):
        daemon.workers[0].count(catalogue.LOG_LINES_LOST, f"{number}" * (NAME_BYTES * 2 // 5))
    reading = read(daemon.path)
    assert len(reading.numbers[catalogue.LOG_LINES_LOST]) == 2
    assert reading.number(catalogue.SERIES_LEFT_OUT) == 4


def test_wrong_labels_are_an_error() -> None:
    with pytest.raises(ValueError, match="qpsmtpd_messages has the labels"):
        Figures().count(catalogue.MESSAGES)


class Somebody:
    def __init__(self, figures: Figures, value: float, place: str = "x") -> None:
        self.figures, self.value, self.place = figures, value, place
        figures.each_second(self.say)

    def say(self) -> None:
        self.figures.add_sample(catalogue.CERTIFICATE_EXPIRY, self.value, self.place)
        self.figures.add_sample(catalogue.SERVICE_DOWN, self.value, "scanner", self.place)


def value_of(figures: Figures, place: str = "x") -> tuple[float, float]:
    return (
        figures.values[figures.series(catalogue.CERTIFICATE_EXPIRY, place).cell],
        figures.values[figures.series(catalogue.SERVICE_DOWN, "scanner", place).cell],
    )


def test_what_several_say_is_combined() -> None:
    figures = Figures()
    several = [Somebody(figures, value) for value in (5, 3, 4)]
    figures.sample(nothing)
    assert value_of(figures) == (3, 12)
    several.clear()
    figures.sample(nothing)
    assert figures._samplers == []
    assert value_of(figures) != value_of(figures)  # they are no numbers any more


@pytest.mark.parametrize("used", [True, False])
def test_a_reload_changes_who_says_something(used: bool) -> None:
    figures = Figures()
    both = [Somebody(figures, 1, "before")]
    figures.begin_reload()
    both.append(Somebody(figures, 2, "after"))
    figures.sample(nothing)
    assert value_of(figures, "before") == (1, 1)
    figures.end_reload(used=used)
    figures.sample(nothing)
    there, gone = ("after", "before") if used else ("before", "after")
    assert value_of(figures, there) == (2, 2) if used else (1, 1)
    assert value_of(figures, gone) != value_of(figures, gone)
    assert len(both) == 2


def test_a_process_without_a_slot_counts_for_nobody() -> None:
    figures = Figures()
    figures.count(catalogue.CONNECTIONS)
    figures.use(private_slot())
    assert figures.values[figures.series(catalogue.CONNECTIONS).cell] == 0
