# SPDX-License-Identifier: MIT
from __future__ import annotations

import xml.etree.ElementTree as ET

from tests.bench.cases import CASES
from tests.bench.chart import PANEL, ROWS, draw
from tests.bench.report import MORE, TARGETS, columns_of, last_lines, tables
from tests.bench.results import Cell, Results
from tests.bench.servers import SERVERS

SVG = "{http://www.w3.org/2000/svg}"


def lines_of(cells: dict[tuple[str, str], Cell]) -> list[str]:
    return list(tables(Results({}, cells)))


def test_messages_ratio_and_target() -> None:
    head, ours, bare = lines_of(
        {
            ("ours-1", "one-per-connection"): Cell(
                rate=3000.4, per_cpu_second=3600, p50=1.25, p95=2, p99=3.06, memory=20 << 20
            ),
            ("aiosmtpd", "one-per-connection"): Cell(per_cpu_second=1800),
        }
    )[2:]
    assert " ".join(head.split()) == ("msg/s msg/cpu-s p50 ms p95 ms p99 ms MB most ratio target")
    figures = "3000 3600 1.2 2.0 3.1 20 2.00 3500 msg/cpu-s"
    assert ours.split() == f"qpsmtpd, 1 worker {figures}".split()
    assert bare.split() == ["aiosmtpd,", "no", "checks", "-", "1800", "-", "-", "-", "-", "1.00"]


def test_big_messages_count_by_their_size() -> None:
    lines = lines_of({("haraka", "5mb"): Cell(rate=20, per_cpu_second=25)})
    assert lines[2].split()[:2] == ["MB/s", "MB/cpu-s"]
    assert lines[3].split()[1:3] == ["100", "125"]


def test_a_failure_has_its_reason_in_the_table() -> None:
    assert lines_of({("haraka", "5mb"): Cell(failed="no npm")})[3].split()[1:] == [
        *("failed:", "no", "npm")
    ]


def test_idle_connections() -> None:
    cells = {
        ("ours-1", "idle"): Cell(idle=15360, memory=50 << 20),
        ("aiosmtpd", "idle"): Cell(idle=10240),
    }
    assert lines_of(cells)[3].split()[-5:] == ["15.0", "50", "1.50", "15", "KB", "each"][-5:]


def test_every_target_is_a_column_of_its_case() -> None:
    for case, column in TARGETS:
        titles = [found.title for found in columns_of(CASES[case])]
        assert column in titles or (column == MORE and CASES[case].beside)


def test_what_a_message_costs_more_than_beside() -> None:
    cells = {
        ("ours-1", "authentication-off"): Cell(per_cpu_second=2500),
        ("ours-1", "authentication"): Cell(per_cpu_second=1250),
        ("haraka", "authentication"): Cell(per_cpu_second=100),
        ("postfix-milters", "authentication"): Cell(per_cpu_second=100),
        ("postfix-milters", "authentication-off"): Cell(failed="broke"),
    }
    *_, head, ours, haraka, milters = lines_of(cells)
    assert head.split()[-4:] == ["us", "more", "ratio", "target"]
    assert ours.split()[-5:] == ["400", "-", "400", "us", "more"]
    assert haraka.split()[-2:] == milters.split()[-2:] == ["-", "-"]
    assert list(last_lines(Results({}, cells)))[-1] == (
        "microseconds more than authentication-off: authentication 400"
    )


def test_what_is_beside_is_a_case_with_the_same_servers() -> None:
    for case in filter(lambda case: case.beside, CASES.values()):
        beside = CASES[case.beside]
        assert case.size == beside.size
        for server in SERVERS.values():
            assert case.suits(server) == beside.suits(server)


def test_the_last_lines_are_about_our_one_worker() -> None:
    results = Results(
        {"before": "abc1234"},
        {
            ("ours-1", "5mb"): Cell(per_cpu_second=80),
            ("aiosmtpd", "5mb"): Cell(per_cpu_second=10),
            ("against", "5mb"): Cell(per_cpu_second=40),
            ("ours-1", "100kb"): Cell(per_cpu_second=80),
            ("ours-1", "idle"): Cell(idle=5),
            ("aiosmtpd", "idle"): Cell(idle=10),
            ("ours-1", "dnsbl"): Cell(failed="broke"),
            ("aiosmtpd", "dnsbl"): Cell(per_cpu_second=10),
        },
    )
    assert list(last_lines(results)) == [
        "messages per CPU second: 100kb 80",
        "ratio to bare aiosmtpd: 5mb 8.0",
        "ratio to abc1234: 5mb 2.00",
    ]


def test_the_other_commit_has_a_column_where_there_is_one() -> None:
    cells = {
        ("ours-1", "5mb"): Cell(per_cpu_second=80),
        ("against", "5mb"): Cell(per_cpu_second=64),
        ("haraka", "5mb"): Cell(failed="no npm"),
    }
    head, ours, before, haraka = lines_of(cells)[2:]
    assert head.endswith(" to before")
    assert [line.split()[-1] for line in (ours, before, haraka)] == ["1.25", "1.00", "npm"]
    del cells["against", "5mb"]
    assert "before" not in "".join(lines_of(cells))


def test_the_chart_has_a_bar_for_each_figure() -> None:
    results = Results(
        {},
        {
            ("ours-1", "one-per-connection"): Cell(per_cpu_second=3600),
            ("aiosmtpd", "one-per-connection"): Cell(per_cpu_second=900),
            ("ours-1", "5mb"): Cell(per_cpu_second=80),
            ("haraka", "5mb"): Cell(failed="no npm"),
        },
    )
    chart = ET.fromstring(draw(results))
    widths = [int(bar.attrib["width"]) for bar in chart.iter(f"{SVG}rect")]
    texts = [text.text for text in chart.iter(f"{SVG}text")]
    assert widths == [PANEL, round(PANEL / 4), PANEL]
    assert {"3600", "900", "400"} <= set(texts)
    assert SERVERS["haraka"].title not in texts


def test_no_results_make_an_empty_chart() -> None:
    assert not list(ET.fromstring(draw(Results({}, {}))).iter(f"{SVG}rect"))


def test_rows_of_the_chart_are_servers() -> None:
    assert set(ROWS) <= set(SERVERS)
