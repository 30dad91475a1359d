# SPDX-License-Identifier: MIT
"""Debian's Prometheus: its promtool likes our metrics and rules, and it fetches what is served."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from qpsmtpd.metrics import catalogue
from qpsmtpd.metrics.openmetrics import PROMETHEUS
from qpsmtpd.metrics.reading import read
from tests.debian_system import CHECKOUT, install_on_host
from tests.ports import free_port
from tests.unit.client import until
from tests.unit.metrics.examples import Counting, with_everything

pytestmark = pytest.mark.real_systems

EXAMPLES = CHECKOUT / "debian" / "examples"

CONFIGURATION = """\
global: {{scrape_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: qpsmtpd
    static_configs: [{{targets: ["{place}"]}}]
"""


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    install_on_host({"promtool": "prometheus"})


def promtool(*words: str, given: str = "") -> str:
    """What it says; it has to be content."""
    done = subprocess.run(
        ["promtool", *words],
        input=given,
        capture_output=True,
        text=True,
        cwd=EXAMPLES,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_likes_the_metrics(tmp_path: Path) -> None:
    text = PROMETHEUS.text(read(with_everything(tmp_path).path))
    assert promtool("check", "metrics", given=text) == ""


def test_promtool_likes_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts-test.yml")


@asynccontextmanager
async def exporter(daemon: Counting) -> AsyncIterator[str]:
    """The command serves the figures; its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "qpsmtpd", "export-metrics", "--listen", "127.0.0.1:0"),
        *("--figures", str(daemon.path)),
        stderr=asyncio.subprocess.PIPE,
        cwd=CHECKOUT,
    )
    assert process.stderr is not None
    try:
        line = (await process.stderr.readline()).decode()
        yield line.split()[-1]
    finally:
        process.terminate()
        assert await process.wait() == 0


def value_of(place: str, query: str) -> list[list[object]]:
    with urlopen(f"http://{place}/api/v1/query?query={query}") as answer:
        found = json.load(answer)["data"]["result"]
    return [each["value"] for each in found]


async def test_prometheus_fetches_them(tmp_path: Path) -> None:
    daemon = with_everything(tmp_path)
    daemon.workers[0].count(catalogue.MESSAGES, "accepted", by=42)
    async with exporter(daemon) as place:
        configuration = tmp_path / "prometheus.yml"
        shutil.copy(EXAMPLES / "alerts.yml", tmp_path)
        text = CONFIGURATION.format(rules=tmp_path / "alerts.yml", place=place)
        configuration.write_text(text)
        ours = f"127.0.0.1:{free_port()}"
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "prometheus", f"--config.file={configuration}"),
            *(f"--web.listen-address={ours}", f"--storage.tsdb.path={tmp_path / 'data'}"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            query = "qpsmtpd_messages_total%7Boutcome%3D%22accepted%22%7D"
            await until(lambda: bool(_asked(ours, query)))
            assert [value for _, value in _asked(ours, query)] == ["42"]
            assert [value for _, value in value_of(ours, "up")] == ["1"]
        finally:
            process.terminate()
            await process.wait()


def _asked(place: str, query: str) -> list[list[object]]:
    """What it knows; nothing while it is starting."""
    try:
        return value_of(place, query)
    except OSError:
        return []
