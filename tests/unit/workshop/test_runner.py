# SPDX-License-Identifier: MIT
import sys
from pathlib import Path

from qpsmtpd.workshop.runner import run_tests


def run(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "mine_test.py"
    file.write_text(text)
    return {name: fault.replace(f"{tmp_path}/", "") for name, fault in run_tests(file)}


def test_functions_and_coroutines(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def work():\n    raise ValueError('no')\n")
    found = run(
        tmp_path,
        "import asyncio, mine\n"
        "def test_a(): asyncio.run(asyncio.sleep(0))\n"
        "async def test_b(): pass\n"
        "async def test_c():\n    assert 1 == 2, 'one'\n"
        "def test_d():\n    mine.work()\n"
        "def test_e(tmp_path): pass\n"
        "def helper(): raise SystemExit\n"
        "def test_f(): raise SystemExit(3)\n",
    )
    assert found == {
        "test_a": "",
        "test_b": "",
        "test_c": "mine_test.py:5: AssertionError: one",
        "test_d": "mine_test.py:7: ValueError: no (raised at mine.py:2)",
        "test_e": "mine_test.py:8: has parameters, which need pytest: apt install "
        "python3-pytest python3-pytest-asyncio",
        "test_f": "mine_test.py:10: SystemExit: 3",
    }
    assert "mine" not in sys.modules
    assert str(tmp_path) not in sys.path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py", "mine_test.py"]


def test_a_file_that_cannot_be_loaded(tmp_path: Path) -> None:
    assert "mine_test.py:1: ModuleNotFoundError" in run(tmp_path, "import nonsense_\n")["import"]
