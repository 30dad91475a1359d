# SPDX-License-Identifier: MIT
from __future__ import annotations

import subprocess
from pathlib import Path

from qpsmtpd.digest.shadowreport import shadow_report
from tests.unit.digest.examples import (
    accepted,
    said,
    shadow_with,
)


async def test_what_the_shadow_report_shows(tmp_path: Path) -> None:
    (tmp_path / "chains").mkdir()
    (tmp_path / "chains/minimal").write_text("helo\n")
    (tmp_path / "chains/standard").write_text("helo\ndnsbl\nkarma reject 0\nuribl\n")
    (tmp_path / "chains/strict").write_text("helo\nkarma\n")
    (tmp_path / "plugins").write_text(
        f"$include {tmp_path}/chains/minimal\nkarma\ndnsbl mode=shadow\n"
    )
    shadow = await shadow_with(
        accepted(1, trail=(said(),), user="anna"),
        directory=tmp_path,
        chains=tmp_path / "chains",
    )
    report = shadow_report(shadow)
    keys = [section.key for section in report.sections]
    assert keys == ["objections", "examples", "level-standard", "level-strict", "try", "add"]
    by_key = {section.key: section for section in report.sections}
    assert by_key["level-standard"].rows == (
        (
            "dnsbl",
            "dnsbl mode=shadow",
            "the present line objected to 1 accepted at rcpt (1 with something that speaks for "
            "them)",
        ),
        ("karma reject 0", "karma", "the present line said nothing: unknown"),
        ("uribl", "-", "never asked: unknown"),
    )
    assert by_key["level-strict"].paragraphs[0].endswith("(minimal).")
    assert by_key["add"].lines == ("uribl mode=shadow",)
    assert by_key["try"].lines[-1] == "qpsmtpd try --compare /tmp/standard MAILDIR"
    edit = by_key["try"].lines[1].replace("/tmp/standard/plugins", str(tmp_path / "plugins"))
    subprocess.run(["sh", "-c", edit], check=True)
    assert f"$include {tmp_path}/chains/standard\n" in (tmp_path / "plugins").read_text()
    assert by_key["objections"].rows[0] == (
        *("dnsbl", "rcpt", "mode=shadow", "1", "100 %", "1", "0", "logged in: 1"),
    )


async def test_filters_of_ones_own_are_edited(tmp_path: Path) -> None:
    (tmp_path / "strict").write_text("helo\n")
    shadow = await shadow_with(accepted(1), directory=tmp_path, chains=tmp_path)
    by_key = {section.key: section for section in shadow_report(shadow).sections}
    assert by_key["try"].lines[1].startswith("editor /tmp/strict/plugins")


async def test_a_shadow_without_objections() -> None:
    report = shadow_report(await shadow_with(accepted(1)))
    [section] = report.sections
    assert "No line with mode=shadow" in section.paragraphs[-1]
