# SPDX-License-Identifier: MIT
"""What a site needs is computed from what was measured."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from qpsmtpd.manpages import scaling
from qpsmtpd.manpages.pages import pages
from qpsmtpd.manpages.scaling import LAYOUT, MEASURED, SCOPES, SECTIONS, SITES, Site, table
from qpsmtpd.plugins import greylisting, karma
from qpsmtpd.store.location import parse_location
from qpsmtpd.store.redisentries import ACL, key_of
from tests.integration import test_store_entries

RESULTS = Path(__file__).parents[2] / "bench/results.json"


def test_figures_of_the_benchmark() -> None:
    """When it has run anew, MEASURED has to follow."""
    cells = json.loads(RESULTS.read_text())["cells"]
    (cell,) = (c for c in cells if (c["server"], c["case"]) == ("ours-1", "authentication"))
    assert cell["per_cpu_second"] == MEASURED.per_cpu_second
    assert cell["memory"] == MEASURED.worker
    assert MEASURED.operations == test_store_entries.OPERATIONS


def test_defaults_that_entries_live_by() -> None:
    options = greylisting.GreylistingOptions()
    assert float(options.grey_timeout) == scaling.ATTEMPT_DAYS * scaling.DAY
    assert float(options.white_timeout) == scaling.KNOWN_DAYS * scaling.DAY
    assert karma.KarmaOptions().history_days == scaling.RECORD_DAYS


def test_more_messages_need_more() -> None:
    small, middle, large = SITES
    assert [site.rate for site in SITES] == [10, 1000, 100_000]
    for less, more in ((small, middle), (middle, large)):
        assert less.cores < more.cores and less.lookups * 100 == more.lookups
        assert less.store_memory < more.store_memory
    assert small.cores == small.masters == middle.masters == 1
    assert middle.cores == round(1000 * (1 / 1483 + 8 * 27e-6) / 0.5 + 0.5) == 2
    assert Site(10**9).entries == Site(10**8).entries


def test_the_table_fits() -> None:
    lines = table().split("\n")
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 70
    assert lines[0].endswith("100,000")


def test_the_page_shows_the_layout_and_the_acl() -> None:
    (page,) = (page for page in pages() if page.name == "qpsmtpd-scaling")
    text = re.sub(r"\\f[BR]|\\&", "", str(page)).replace("\\-", "-").replace("\\(ti", "~")
    assert all(word in text for word in ACL.split())
    assert key_of(b"KIND|SCOPE|KEY").decode() in LAYOUT
    assert all(f"\n{scope}\n" in text for scope in SCOPES)


def test_every_scope_of_a_plugin() -> None:
    """Whoever keeps something in the store is documented."""
    root = Path(inspect.getfile(greylisting)).parents[1]
    found = set()
    for path in root.rglob("*.py"):
        text = path.read_text()
        if "store" in path.parts[-2:]:
            continue
        for scope in re.findall(r"store\.scoped\((.*?)\)", text):
            if scope != "plugin.name":  # that of a RecipientTable
                found.add(path.stem if "name" in scope else scope.strip('"'))
        if path.parent.name == "plugins" and "RecipientTable(" in text:
            found.add(path.stem)
    assert found == set(", ".join(SCOPES).split(", "))


@pytest.mark.parametrize("heading", ["Which Redis"])
def test_the_example_is_a_location(heading: str) -> None:
    examples = re.findall(r"^    (rediss://\S+\.example\S*)$", SECTIONS[heading], re.MULTILINE)
    assert examples
    for text in examples:
        assert parse_location(text)
