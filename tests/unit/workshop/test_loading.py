# SPDX-License-Identifier: MIT
from pathlib import Path

from qpsmtpd.workshop.loading import problems_of

HEAD = """\
from dataclasses import dataclass
from qpsmtpd.api import ConfigError, Plugin, Session, opt

@dataclass(frozen=True, kw_only=True)
class Options:
    limit: int = opt(%s)

class Mine(Plugin[Options]):
"""


def problems(tmp_path: Path, body: str, *words: str, head: str = HEAD % '1, doc="A limit."') -> str:
    (tmp_path / "mine.py").write_text(head + body)
    found = problems_of(tmp_path / "mine.py", words)
    return "\n".join(map(str, found)).replace(f"{tmp_path}/", "")


def test_slips_have_file_and_line(tmp_path: Path) -> None:
    found = problems(tmp_path, "    def hook_connect(self, session): ...\n")
    assert found.startswith("mine.py:9: ")
    assert "async" in found
    found = problems(tmp_path, "    async def hook_conect(self, session): ...\n")
    assert "mine.py:9: " in found
    assert "did you mean" in found


def test_files_that_cannot_be_loaded(tmp_path: Path) -> None:
    assert "mine.py:1: SyntaxError" in problems(tmp_path, "def", head="")
    assert "mine.py:1: ModuleNotFoundError" in problems(tmp_path, "import nonsense_\n", head="")
    assert "must define one subclass of Plugin" in problems(tmp_path, "", head="")


def test_its_line_is_read_and_it_is_started(tmp_path: Path) -> None:
    body = "    async def start(self):\n        raise ValueError('no')\n"
    assert problems(tmp_path, body) == "the line 'mine': mine: ValueError: no (mine.py:10)"
    body = "    async def start(self):\n        raise ConfigError('', 'no such limit')\n"
    assert problems(tmp_path, body) == "the line 'mine': mine: no such limit"
    assert "is not a whole number" in problems(tmp_path, "    pass\n", "limit", "x")
    assert problems(tmp_path, "    pass\n", "limit", "3") == ""


def test_what_needs_arguments_is_started_with_some(tmp_path: Path) -> None:
    body = "    async def start(self):\n        raise ValueError('no')\n"
    head = HEAD % 'doc="A limit."'
    assert problems(tmp_path, body, head=head) == ""
    assert "ValueError: no" in problems(tmp_path, body, "limit", "3", head=head)


def test_plugins_that_deliver(tmp_path: Path) -> None:
    assert problems(tmp_path, "    async def hook_queue(self, tx): ...\n") == ""
