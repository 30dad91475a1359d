# SPDX-License-Identifier: MIT
"""From names of plugins to classes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qpsmtpd.config.pluginfinder import PluginFinder, import_shipped, is_shipped
from qpsmtpd.errors import MissingPluginError, PluginError
from qpsmtpd.plugin.options import describe
from qpsmtpd.plugins.queue.discard import Discard

PLUGIN = """
from __future__ import annotations
from dataclasses import dataclass
from qpsmtpd.api import NoOptions, Plugin, Seconds, opt

@dataclass(frozen=True)
class QuotaOptions:
    wait: Seconds = opt(Seconds(1), doc="How long.")

class Quota(Plugin[QuotaOptions]):
    pass
"""


def a_file(directory: Path, name: str, text: str = PLUGIN) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def why_not(name: str, *directories: Path) -> str:
    with pytest.raises(PluginError) as caught:
        PluginFinder(directories).find(name)
    return str(caught.value)


def test_shipped() -> None:
    assert PluginFinder().find("queue/discard") is Discard
    assert is_shipped("queue/discard")
    assert not is_shipped("queue")
    assert not is_shipped("no/such")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("quota", "quota.py"),
        ("site/my-quota", "site/my-quota.py"),
        ("site/my-quota", "site/my_quota.py"),
    ],
)
def test_local(tmp_path: Path, name: str, file: str) -> None:
    a_file(tmp_path, file)
    cls = PluginFinder([tmp_path / "missing", tmp_path]).find(name)
    assert cls.__name__ == "Quota"
    assert [option.kind for option in describe(cls.Options)] == ["duration"]
    assert not list(tmp_path.rglob("__pycache__"))


def test_local_precedes_shipped_and_the_first_directory_wins(tmp_path: Path) -> None:
    a_file(tmp_path / "1", "queue/discard.py", PLUGIN.replace("Quota(", "First("))
    a_file(tmp_path / "2", "queue/discard.py", PLUGIN.replace("Quota(", "Second("))
    finder = PluginFinder([tmp_path / "1", tmp_path / "2"])
    assert finder.find("queue/discard").__name__ == "First"


def test_read_once_per_configuration(tmp_path: Path) -> None:
    a_file(tmp_path, "quota.py")
    finder = PluginFinder([tmp_path])
    before = finder.find("quota")
    a_file(tmp_path, "quota.py", PLUGIN.replace("Quota(", "Other("))
    assert finder.find("quota") is before
    after = PluginFinder([tmp_path]).find("quota")
    assert after.__name__ == "Other"
    assert vars(sys.modules[after.__module__])["Other"] is after


def test_local_perl_plugin(tmp_path: Path) -> None:
    path = a_file(tmp_path, "our/filter", "sub hook_rcpt { }")
    text = why_not("our/filter", tmp_path)
    assert str(path) in text
    assert "rewrite it in Python (CONTRIBUTING.md), or remove this line" in text


def test_perl_file_of_a_plugin_that_we_ship(tmp_path: Path) -> None:
    path = a_file(tmp_path, "queue/discard", "sub hook_queue { }")
    finder = PluginFinder([tmp_path])
    assert finder.find("queue/discard") is Discard
    assert finder.replaced == {"queue/discard": path}


def test_perl_module() -> None:
    assert "rewrite it in Python" in why_not("Our::Filter")


def test_plugin_of_the_perl_version_only() -> None:
    text = why_not("virus/uvscan")
    assert text.startswith("not available in this version: virus/command runs any scanner")


def test_a_perl_file_in_place_of_a_vital_plugin(tmp_path: Path) -> None:
    """With the setting missing_plugins it must not be skipped."""
    a_file(tmp_path, "stunnel", "sub hook_connect { }")
    with pytest.raises(MissingPluginError) as caught:
        PluginFinder([tmp_path]).find("stunnel")
    assert caught.value.loss == "vital"


def test_unknown(tmp_path: Path) -> None:
    assert str(tmp_path) in why_not("no_such", tmp_path)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a//b", "a/", "x.py", "", "ä", "a b"])
def test_no_name(name: str) -> None:
    assert "is not the name of a plugin" in why_not(name)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("\nx = (\n", 2, "SyntaxError"),
        ("def f():\n    1 / 0\nf()\n", 2, "ZeroDivisionError"),
        ("import json\njson.loads('')\n", 2, "JSONDecodeError"),
        ("\nimport no_such_module_here\n", 2, "no_such_module_here"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit"),
        (PLUGIN + "    async def hook_nonsense(self): ...\n", 12, "there is no such hook"),
    ],
)
def test_broken(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = a_file(tmp_path, "broken.py", text)
    problem = why_not("broken", tmp_path)
    assert f"{path}:{line}: " in problem
    assert what in problem
    assert "qpsmtpd_local.broken" not in sys.modules


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("from qpsmtpd.api import Plugin\n", "none"),
        (PLUGIN + "class Second(Plugin[NoOptions]): ...\n", "Quota, Second"),
    ],
)
def test_exactly_one_plugin(tmp_path: Path, text: str, names: str) -> None:
    a_file(tmp_path, "quota.py", text)
    assert why_not("quota", tmp_path).endswith(f"one subclass of Plugin, not: {names}")


def test_a_missing_library_of_a_shipped_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_module: str) -> None:
        raise ModuleNotFoundError("No module named 'dkim'", name="dkim")

    monkeypatch.setattr("importlib.import_module", missing)
    assert why_not("queue/discard") == "needs the Python module dkim, which is not installed"


@pytest.mark.parametrize("name", ["no_such", "a..b", "", "../x", "Foo::Bar", "plugins", "queue"])
def test_there_may_be_nothing_to_import(name: str) -> None:
    import_shipped(name)


def test_what_cannot_be_imported_is_left_to_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fail(name: str) -> None:
        asked.append(name)
        raise ModuleNotFoundError(name="maxminddb")

    monkeypatch.setattr("importlib.import_module", fail)
    import_shipped("ident/geoip")
    assert asked == ["qpsmtpd.plugins.ident.geoip"]
