# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from qpsmtpd.commands import plugin as module
from qpsmtpd.commands.main import main


@pytest.fixture
def without_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _name: None)


@pytest.mark.usefixtures("without_pytest")
def test_new_and_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--directory", str(tmp_path), "--config", str(tmp_path)]
    assert main(["plugin", "new", "quiet", "--hook", "mail", *where]) == 0
    out = capsys.readouterr().out
    assert f"qpsmtpd plugin test {tmp_path}/quiet.py" in out
    assert "name its directory in the file plugin_dirs" in out
    assert main(["plugin", "test", f"{tmp_path}/quiet.py"]) == 0
    assert "3 passed, 0 failed" in capsys.readouterr().out
    assert main(["plugin", "new", "quiet", *where]) == 1
    assert "there already" in capsys.readouterr().err


def test_where_plugins_are_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plugin_dirs").write_text(f"{tmp_path}/here\n")
    (tmp_path / "here").mkdir()
    where = ["--config", str(tmp_path), "--directory"]
    main(["plugin", "new", "quiet", *where, str(tmp_path)])
    assert f"move it to {tmp_path}/here" in capsys.readouterr().out
    main(["plugin", "new", "quiet", *where, str(tmp_path / "here")])
    assert "move it" not in capsys.readouterr().out


@pytest.mark.usefixtures("without_pytest")
def test_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "test", str(tmp_path / "nothing.py")]) == 1
    assert "is not the file of a plugin" in capsys.readouterr().err
    assert main(["plugin", "test", "x.py", "--hook", "mail"]) == 1
    assert "are for `plugin new`" in capsys.readouterr().err
    assert main(["plugin", "new", "x", "y"]) == 1
    assert "one name" in capsys.readouterr().err
    file = tmp_path / "quiet.py"
    file.write_text("class X: pass\n")
    assert main(["plugin", "test", str(file)]) == 1
    assert "must define one subclass of Plugin" in capsys.readouterr().out
    file.write_text("from qpsmtpd.api import Plugin\nclass X(Plugin): pass\n")
    assert main(["plugin", "test", str(file)]) == 0
    assert "there is no quiet_test.py" in capsys.readouterr().out
    (tmp_path / "test_quiet.py").write_text("")
    assert main(["plugin", "test", str(file)]) == 1
    assert "has no functions test_" in capsys.readouterr().out
    (tmp_path / "test_quiet.py").write_text("def test_x():\n    assert False\n")
    assert main(["plugin", "test", str(file)]) == 1
    assert "test_quiet.py:2: AssertionError" in capsys.readouterr().out
