# SPDX-License-Identifier: MIT
"""The man pages: nothing is left out.  What they look like: tests/integration/test_manual.py."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from qpsmtpd.commands.legacy import forkserver_parser, prefork_parser
from qpsmtpd.commands.main import make_parser
from qpsmtpd.config.absent import ABSENT
from qpsmtpd.config.names import PERL_PLUGINS, old_names
from qpsmtpd.config.pluginfinder import PluginFinder, shipped_plugins
from qpsmtpd.config.settings import Settings, file_of
from qpsmtpd.manpages import texts as written
from qpsmtpd.manpages.commandpages import command_page, commands
from qpsmtpd.manpages.pages import exported, main, pages
from qpsmtpd.manpages.parts import MAIN_PAGES, sentence
from qpsmtpd.manpages.pluginpages import page_name, summary_of
from qpsmtpd.plugin.base import HOOK_METHODS, Plugin
from qpsmtpd.plugin.options import describe

SOURCES = Path(written.__file__).parents[1]
DEBIAN = SOURCES.parent / "debian"


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The pages by name, without the marks of roff."""
    return {f"{page.name}({page.section})": plain(str(page)) for page in pages()}


def plain(roff: str) -> str:
    return re.sub(r"\\f[BIR]|\\&|\\:", "", roff).replace("\\-", "-").replace("\\(aq", "'")


def terms(text: str) -> set[str]:
    """What has an entry of its own."""
    return {
        line.split(" ")[0].rstrip(",") for line in re.findall(r"^\.TP\n(.*)$", text, re.MULTILINE)
    }


def test_every_page_is_named(texts: dict[str, str]) -> None:
    plugins = {f"{page_name(name)}(5)" for name in shipped_plugins()}
    assert set(texts) == {*MAIN_PAGES, *plugins, *map(command_page, commands())}
    for name in MAIN_PAGES:
        assert all(other in texts[name] for other in MAIN_PAGES if other != name)


def test_every_command_and_option(texts: dict[str, str]) -> None:
    assert "check-config" in commands()
    for name, command in commands().items():
        assert f"{command_page(name)}." in texts["qpsmtpd(8)"]
        page = texts[command_page(name)]
        for action in command._actions[1:]:
            assert (action.option_strings or [str(action.metavar)])[0] in terms(page)
        assert (command.epilog or "").split(". ")[0] in " ".join(page.split("\n"))


def test_values_that_are_defined_keep_their_case(texts: dict[str, str]) -> None:
    assert "\nlist: all clients;" in texts["qpsmtpd-karma(8)"]
    assert sentence("list: all") == "list: all."
    assert sentence("all of them.") == "All of them."


def test_man_shows_the_page_about_plugins_first() -> None:
    """A page of the same name in section 8 would hide it."""
    assert command_page("plugins") == "qpsmtpd-plugins(5)"


def test_every_command_has_examples_that_it_understands() -> None:
    assert written.EXAMPLES.keys() == commands().keys()
    for name, text in written.EXAMPLES.items():
        lines = re.findall(rf"^    (?:.* )?(qpsmtpd {name}(?: .*)?)$", text, re.MULTILINE)
        assert lines, name
        for line in lines:
            words = shlex.split(re.sub(r"\$\(.*?\)", "1234", re.split("&&|>+", line)[0]))
            make_parser().parse_args(words[1:])


def test_every_signal(texts: dict[str, str]) -> None:
    handled = set(
        re.findall(r"signal\.(SIG[A-Z0-9]+)\b", (SOURCES / "daemon/worker.py").read_text())
    )
    assert handled
    assert all(name in texts["qpsmtpd(8)"] for name in handled)


def test_every_variable(texts: dict[str, str]) -> None:
    found = re.compile(r"environ(?:ment)?(?:\.get\(|\.pop\(|\[)\"([A-Z_]+)\"")
    used = {name for path in SOURCES.rglob("*.py") for name in found.findall(path.read_text())}
    used -= {"HOME", "TERM", "SOURCE_DATE_EPOCH"}
    assert {"QPSMTPD_CONFIG", "QMAIL"} <= used
    assert not {name for name in used if name not in texts["qpsmtpd(8)"]}


def test_every_setting(texts: dict[str, str]) -> None:
    fields = {file_of(field.name) for field in dataclasses.fields(Settings)}
    assert fields < terms(texts["qpsmtpd-config(5)"])


def test_every_file_of_a_plugin(texts: dict[str, str]) -> None:
    files = {name for cls in shipped_plugins().values() for name in cls.files}
    assert {"badhelo", "relayclients", "morercpthosts.cdb"} <= files
    assert files < terms(texts["qpsmtpd-config(5)"])


def test_every_plugin_has_a_manual_under_its_name(texts: dict[str, str]) -> None:
    plugins = shipped_plugins()
    files = [p for p in (SOURCES / "plugins").rglob("*.py") if p.name != "__init__.py"]
    assert len(plugins) == len(files)
    for name, cls in plugins.items():
        assert PluginFinder().find(name) is cls
        manual = texts[f"{page_name(name)}(5)"]
        assert {option.name for option in describe(cls.Options)} | set(cls.files) == terms(manual)
        assert f"Hooks: {', '.join(cls.hooks()) or 'none'}." in " ".join(manual.split("\n"))
        assert all(old in manual for old in old_names(name))


def test_every_plugin_has_its_line_in_the_table(texts: dict[str, str]) -> None:
    section = texts["qpsmtpd-plugins(5)"].partition('.SH "PLUGINS"\n')[2].partition(".SH")[0]
    assert terms(section) == set(shipped_plugins())
    for name, cls in shipped_plugins().items():
        assert 10 < len(summary_of(cls)) <= 90, name


def test_names_of_pages() -> None:
    assert page_name("queue/smtp-forward") == "qpsmtpd-plugin-queue-smtp-forward"
    assert len({page_name(name) for name in shipped_plugins()}) == len(shipped_plugins())


def test_what_has_become_of_plugins_is_told(texts: dict[str, str]) -> None:
    section = texts["qpsmtpd-plugins(5)"].partition('PLUGINS OF THE PERL VERSION"\n')[2]
    perls, _, others = section.partition(".SH")
    assert terms(perls) == PERL_PLUGINS
    assert terms(others) | terms(perls) >= set(ABSENT)
    assert "made certificates, not a plugin.\nIts line is skipped.\n" in perls
    assert "a plugin: qpsmtpd karma has taken its place" in " ".join(others.split())


@pytest.mark.parametrize("document", ["README.Debian", "qpsmtpd.NEWS"])
def test_documents_count_the_plugins_that_are_missing(document: str) -> None:
    text = " ".join((DEBIAN / document).read_text().split())
    missing = PERL_PLUGINS - set(shipped_plugins())
    assert f"{len(missing)} of the {len(PERL_PLUGINS)} plugins of the Perl version" in text
    named = re.findall(r"[\w/]+", text.partition("among them ")[2].partition(" They are")[0])
    assert set(named) & PERL_PLUGINS <= missing


def test_every_hook_is_explained(texts: dict[str, str]) -> None:
    assert {*HOOK_METHODS, *exported()} < terms(texts["qpsmtpd-plugin-api(7)"])
    assert all(getattr(Plugin, name).__doc__ for name in HOOK_METHODS)


def test_the_example_is_a_plugin(tmp_path: Path) -> None:
    (tmp_path / "quiet_domain.py").write_text(written.EXAMPLE)
    plugin = PluginFinder([tmp_path]).find("quiet_domain")
    assert plugin.hooks() == ["rcpt"]
    assert [option.name for option in describe(plugin.Options)] == ["domain", "file"]


@pytest.mark.parametrize("parser", [forkserver_parser(), prefork_parser()])
def test_old_programs(texts: dict[str, str], parser: argparse.ArgumentParser) -> None:
    text = texts[f"{parser.prog}(8)"]
    assert "%(" not in text
    assert "==SUPPRESS==" not in text
    for action in parser._actions:
        assert all(name in text for name in action.option_strings[:1])
    assert "connections of one client, for the plugin hosts_allow (default: " in text.lower()


def test_writes_the_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: dict[str, str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795305600")
    assert main([str(tmp_path / "man")]) == 0
    assert len(list((tmp_path / "man").iterdir())) == len(texts)
    assert '8 "2026-11-22" ' in (tmp_path / "man/qpsmtpd.8").read_text()


def test_wants_a_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "DIRECTORY" in capsys.readouterr().err
