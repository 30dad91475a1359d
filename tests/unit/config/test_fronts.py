# SPDX-License-Identifier: MIT
"""What does not work in a front is said with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.commands.check_config import check
from qpsmtpd.config.fronts import CARRIED
from qpsmtpd.config.runoptions import Kind
from qpsmtpd.plugin.base import HOOK_METHODS

PLUGINS = """\
earlytalker
relay
dkim
count_unrecognized_commands 4
sender_permitted_from
rcpt_ok
loop
queue/discard
"""


def said(tmp_path: Path, *fronts: Kind) -> list[str]:
    tmp_path.chmod(0o755)
    texts = {"plugins": PLUGINS, "me": "mx.example.test", "rcpthosts": "example.test"}
    for name, text in texts.items():
        (tmp_path / name).write_text(f"{text}\n")
    (tmp_path / "spool_dir").write_text(str(tmp_path / "spool"))
    problems = check([tmp_path], {}, fronts)
    return [str(each).removeprefix(f"{tmp_path}/") for each in problems if " as a " in each.text]


def test_smtp_needs_no_word(tmp_path: Path) -> None:
    assert said(tmp_path) == []


def test_policy(tmp_path: Path) -> None:
    found = said(tmp_path, "policy")
    assert found[0] == (
        "plugins:1: warning: earlytalker: does nothing as a policy service, which does not see how "
        "the client speaks"
    )
    assert [line.split(": ")[2] for line in found] == [
        *("earlytalker", "dkim", "count_unrecognized_commands", "sender_permitted_from", "loop"),
    ]
    assert found[-1].endswith("does nothing as a policy service, which sees no message")


def test_milter(tmp_path: Path) -> None:
    assert [line.split(": ")[2] for line in said(tmp_path, "milter")] == ["earlytalker"]


@pytest.mark.parametrize("front", CARRIED)
def test_what_is_carried_are_hooks(front: Kind) -> None:
    assert {f"hook_{hook}" for hook in CARRIED[front]} <= set(HOOK_METHODS)
