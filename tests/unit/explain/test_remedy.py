# SPDX-License-Identifier: MIT
"""What is to be done about a decision that was wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.explain.remedy import remedies
from tests.unit.decisions.examples import a_decision


def advice(tmp_path: Path, plugin: str) -> str:
    (tmp_path / "plugins").write_text(f"relay\n{plugin}\n")
    decision = a_decision()._replace(plugin=plugin, outcome="refused")
    return "\n".join(remedies(decision, ConfigFiles([tmp_path])))


def test_a_filter_can_only_log(tmp_path: Path) -> None:
    text = advice(tmp_path, "dnsbl")
    assert f"`mode=shadow` on its line ({tmp_path}/plugins:2) has it refuse nothing" in text
    assert "`qpsmtpd plugins dnsbl` prints its manual" in text


@pytest.mark.parametrize("plugin", ["rcpt_ok", "queue/smtp-forward", "queue/maildir"])
def test_what_takes_recipients_or_messages_would_take_none(tmp_path: Path, plugin: str) -> None:
    assert "shadow" not in advice(tmp_path, plugin)
