# SPDX-License-Identifier: MIT
"""What a Debian user expects around the program: completion, fail2ban, logcheck, ufw, texts."""

from __future__ import annotations

import argparse
import asyncio
import configparser
import logging
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest

from qpsmtpd.commands.main import make_parser
from qpsmtpd.config.pluginfinder import shipped_plugins
from qpsmtpd.logs.handler import LogSink, PluginHandler
from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.logs.records import bind, format_record
from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.session import Session
from qpsmtpd.manpages.pages import pages
from qpsmtpd.plugin.base import HOOK_METHODS
from qpsmtpd.plugin.services import Services
from qpsmtpd.plugins.logging.file import File, FileOptions
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.reply import Reply
from tests.debian_system import CHECKOUT, RELEASES, layer_tar, unpacked
from tests.packaging.package import TOOLS, built

DEBIAN = CHECKOUT / "debian"
FILTER = DEBIAN / "fail2ban/qpsmtpd.conf"
LOGCHECK = DEBIAN / "qpsmtpd.logcheck.ignore.server"

RELAYING = Reply(550, "5.7.1", "Relaying denied")
WRONG_PASSWORD = Reply(535, "5.7.8", "Authentication credentials invalid")
LISTED = Reply(550, "5.7.1", "You are listed")
LATER = Reply(450, "4.7.1", "Come again")

#: Address of the client → hook, plugin and reply of what was refused.
REFUSED = {
    "192.0.2.1": ("auth", "core", WRONG_PASSWORD),
    "2001:db8::2": ("auth", "auth/auth_flat_file", WRONG_PASSWORD),
    "192.0.2.3": ("rcpt", "rcpt_ok", RELAYING),
    "192.0.2.4": ("connect", "dnsbl:1", LISTED),
    "192.0.2.5": ("mail", "greylisting", LATER),
}
#: Mode of the filter → whom it finds.
FOUND = {
    "normal": {"192.0.2.1", "2001:db8::2", "192.0.2.3"},
    "auth": {"192.0.2.1", "2001:db8::2"},
    "relay": {"192.0.2.3"},
    "aggressive": {"192.0.2.1", "2001:db8::2", "192.0.2.3", "192.0.2.4"},
}
#: What a client may call itself to have others banned.
FORGED = (
    "refused ip=198.51.100.1 helo='' about='' reply=535 5.7.8 no\n"
    "Nov 22 22:10:10 mx qpsmtpd[1]: refused ip=198.51.100.2 helo='' about='' reply=535 5.7.8 no"
)


@contextmanager
def logged_by(sink: LogSink) -> Iterator[None]:
    """Give what is refused to a logging plugin."""
    handler, logger = PluginHandler(), logging.getLogger("qpsmtpd.smtp.connection")
    handler.replace([sink])
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logging.getLogger("qpsmtpd").setLevel(logging.NOTSET)
        bind(None)


def refuse_all() -> None:
    """Log that each client of REFUSED was refused, as the daemon does."""
    for ip, (hook, plugin, reply) in REFUSED.items():
        session = Session(Endpoint(ip, 4711), Endpoint("192.0.2.25", 25))
        session.hello_host = FORGED
        bind(session)
        Connection(session, Mock(), Mock()).log_refusal(hook, reply, FORGED, plugin)


def in_log_file(path: Path) -> str:
    """The lines as the plugin logging/file writes them."""
    options = FileOptions(loglevel=LogLevel.LOGINFO, destination=str(path))
    plugin = File("logging/file", options, cast(Services, Mock()))
    asyncio.run(plugin.start())
    with logged_by(plugin):
        refuse_all()
    return path.read_text()


class Journal:
    """Keeps the lines as the journal shows them, from stderr or of logging/journald."""

    log_level = logging.DEBUG

    def __init__(self) -> None:
        self.text = ""

    def hook_logging(self, record: logging.LogRecord) -> None:
        text = format_record(record)
        self.text += f"Nov 22 22:10:10 mx qpsmtpd[815]: {text}\n"


def in_journal() -> str:
    journal = Journal()
    with logged_by(journal):
        refuse_all()
    return journal.text


# --- fail2ban -------------------------------------------------------------------------------


@pytest.mark.real_systems
@pytest.mark.parametrize("release", RELEASES)
def test_fail2ban_finds_whom_to_ban(release: str, tmp_path: Path) -> None:
    texts = {
        "file": in_log_file(tmp_path / "log"),
        "journal": in_journal(),
    }
    assert all(text.count("\n") == len(REFUSED) for text in texts.values())
    found: dict[str, set[str]] = {}
    with unpacked(layer_tar(release, ("fail2ban",))) as system:
        system.write("/etc/fail2ban/filter.d/qpsmtpd.conf", FILTER.read_text())
        for name, text in texts.items():
            system.write(f"/tmp/{name}", text)
            for mode in FOUND:
                rule = f"/etc/fail2ban/filter.d/qpsmtpd.conf[mode={mode}]"
                output = system.run("fail2ban-regex", "-o", "<ip>", f"/tmp/{name}", rule)
                found[f"{name} {mode}"] = set(output.split())
    assert found == {f"{name} {mode}": FOUND[mode] for name in texts for mode in FOUND}


def test_the_jail_names_the_filter_and_the_log() -> None:
    jail = configparser.ConfigParser()
    jail.read_string((DEBIAN / "examples/fail2ban-jail.conf").read_text())
    assert jail["qpsmtpd"]["filter"].partition("[")[0] == FILTER.stem
    logging_file = (CHECKOUT / "etc/qpsmtpd/logging").read_text()
    assert jail["qpsmtpd"]["logpath"] in logging_file


# --- logcheck -------------------------------------------------------------------------------


def ignored_by_logcheck(text: str) -> bool:
    done = subprocess.run(
        ["grep", "-E", "-v", "-f", str(LOGCHECK)],
        input=text,
        text=True,
        stdout=subprocess.PIPE,
        check=False,
        timeout=10,
    )
    return not done.stdout


def test_logcheck_ignores_what_was_refused() -> None:
    assert ignored_by_logcheck(in_journal())


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("daemon/worker.py", ("0.0.0.0:25",)),
        ("daemon/worker.py", (3,)),
        ("smtp/conversation.py", ("192.0.2.1",)),
        ("smtp/transfer.py", None),
        ("smtp/notices.py", None),
        ("smtp/presented.py", None),
        ("smtp/protocol.py", None),
        ("plugin/chain.py", None),
        ("mail/session.py", None),
        ("plugins/karma.py", None),
        ("plugins/fcrdns.py", None),
        ("plugins/dnsbl.py", None),
        ("plugins/greylisting.py", None),
        ("plugins/uribl.py", None),
    ],
)
def test_logcheck_ignores_the_usual_lines(source: str, values: tuple[Any, ...] | None) -> None:
    text = (CHECKOUT / "qpsmtpd" / source).read_text()
    formats = re.findall(r'log\.info\(\s*((?:"[^"\n]*"\s*)+)', text)
    known = ["".join(re.findall(r'"([^"]*)"', found)) for found in formats]
    assert known
    for line in known:
        shown = re.sub(r"%\.?\d*[srdf]", "1", line).replace("message 1", "message accepted")
        shown = shown.replace("1 would=1", "shadow would=deny")
        shown = shown.replace("reply=1", "reply=250 2.0.0 Queued").replace("ip=1", "ip=192.0.2.1")
        shown = shown.replace("report 1", "report accepted=1 delayed=0 share=0.0%")
        shown = shown.replace("suspect reason=1", "suspect reason=helo")
        shown = shown.replace("exceeded=1", "exceeded=data_deadline")
        head = "2026-11-22T22:10:10.123456+00:00 mx qpsmtpd[815]:"
        assert ignored_by_logcheck(f"{head} 6B0368B1.403.1.1: {shown}\n"), shown


def test_logcheck_shows_faults() -> None:
    head = "Nov 22 22:10:10 mx qpsmtpd[815]: 6B0368B1.403.1"
    assert not ignored_by_logcheck(f"{head}: fault hook=rcpt plugin=x: no answer within 1s\n")
    assert not ignored_by_logcheck("Nov 22 22:10:10 mx postfix[815]: configuration reloaded\n")


# --- completion -----------------------------------------------------------------------------

COMPLETION = DEBIAN / "bash-completion/qpsmtpd"
_ASK = """
. "$0"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
$(complete -p qpsmtpd | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completions(*words: str) -> set[str]:
    """What bash offers for the last of the words."""
    done = subprocess.run(
        ["bash", "--norc", "-uc", _ASK, str(COMPLETION), "qpsmtpd", *words],
        text=True,
        capture_output=True,
        check=True,
        timeout=10,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    words = {word for action in parser._actions for word in action.option_strings}
    return {word for word in words if word.startswith("--")}


def test_completes_commands_and_their_options() -> None:
    parser = make_parser()
    choices = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    commands = choices[0]
    assert completions("") == {*commands, *options_of(parser)}
    assert completions("pl") == {"plugin", "plugins"}
    for name, command in commands.items():
        assert completions(name, "--") == options_of(command)


def test_completes_plugins() -> None:
    assert completions("plugins", "") == set(shipped_plugins())
    assert completions("plugins", "--config", "/etc", "queue/s") == {"queue/smtp-forward"}


def test_completes_hooks_and_formats() -> None:
    hooks = {name.removeprefix("hook_") for name in HOOK_METHODS}
    assert completions("plugin", "new", "x", "--hook", "") == hooks
    assert completions("report", "--format", "") == {"text", "html", "json"}
    assert completions("log", "--format", "") == {"text", "json", "csv", "sql"}


def test_completes_directories_and_files(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf.smtp").touch()
    begin = str(tmp_path / "co")
    directory, file = str(tmp_path / "conf"), str(tmp_path / "conf.smtp")
    assert completions("run", "--config", begin) == {directory}
    assert completions("check-config", begin) == {directory}
    assert completions("dialogue", begin) == {directory, file}
    assert completions("plugin", "test", begin) == {directory, file}
    assert completions("plugin", "new", "x", "--directory", begin) == {directory}
    assert completions("run", "--pid-file", begin) == {directory, file}
    assert completions("run", "--listen", "") == set()
    assert "root" in completions("run", "--user", "ro")


# --- firewall, bug reports, texts -----------------------------------------------------------


def test_ufw_profiles() -> None:
    profiles = configparser.ConfigParser()
    profiles.read_string((DEBIAN / "ufw/qpsmtpd").read_text())
    assert [profiles[name]["ports"] for name in profiles.sections()] == [
        *("25/tcp", "587/tcp", "465/tcp")
    ]
    assert all({"title", "description"} <= set(profiles[name]) for name in profiles.sections())


def test_bug_script_keeps_secrets(tmp_path: Path) -> None:
    script = (DEBIAN / "qpsmtpd.bug-script").read_text().replace("/etc/qpsmtpd", str(tmp_path))
    (tmp_path / "plugins").write_text("# comment\nldap password hunter2 host a\nx token=hunter2\n")
    (tmp_path / "flat_auth_pw").write_text("joe@example.com:hunter2\n")
    done = subprocess.run(
        ["sh", "-euc", f"exec 3>&1\n{script}"], text=True, capture_output=True, timeout=60
    )
    assert "ldap password (left out) host a" in done.stdout
    assert "flat_auth_pw" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert "comment" not in done.stdout
    assert "-- Modules:" in done.stdout


@pytest.mark.parametrize("name", ["README.Debian", "qpsmtpd.NEWS"])
def test_texts_fit_on_a_terminal(name: str) -> None:
    lines = (DEBIAN / name).read_text(encoding="ascii").split("\n")
    texts = [line for line in lines if not line.startswith(" -- ")]
    assert [line for line in texts if len(line) > 79 or line != line.rstrip()] == []


def test_readme_has_its_contents() -> None:
    text = (DEBIAN / "README.Debian").read_text()
    contents = re.findall(r"^ +(\d+\. .*)$", text.partition("Contents")[2], re.MULTILINE)
    headings = re.findall(r"^(\d+\. .*)\n-+$", text, re.MULTILINE)
    assert contents == headings
    underlined = re.findall(r"^(\d+\. .*)\n(-+)$", text, re.MULTILINE)
    assert all(len(heading) == len(line) for heading, line in underlined)


@pytest.mark.parametrize("name", ["README.Debian", "qpsmtpd.NEWS"])
def test_texts_name_what_exists(name: str) -> None:
    text = (DEBIAN / name).read_text()
    plugins = re.findall(r"\b(?:queue|logging|auth)/[a-z_-]+", text)
    assert not {plugin for plugin in plugins if plugin not in shipped_plugins()}
    choices = [
        a.choices for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)
    ]
    commands = re.findall(r'"qpsmtpd ([a-z-]+)', text)
    commands += re.findall(r"^  qpsmtpd ([a-z-]+)", text, re.MULTILINE)
    assert commands
    assert set(commands) <= set(choices[0])


def test_news_is_a_changelog_entry() -> None:
    if not shutil.which("dpkg-parsechangelog"):
        pytest.skip("needs dpkg-parsechangelog (package dpkg-dev)")
    done = subprocess.run(
        ["dpkg-parsechangelog", "-l", str(DEBIAN / "qpsmtpd.NEWS"), "-S", "Version"],
        text=True,
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert (done.stdout.strip(), done.stderr) == ("2.0.0-1", "")


# --- in the package -------------------------------------------------------------------------

#: What a user looks for, in the installed package.
INSTALLED = {
    "/etc/fail2ban/filter.d/qpsmtpd.conf",
    "/etc/logcheck/ignore.d.server/qpsmtpd",
    "/etc/ufw/applications.d/qpsmtpd",
    "/usr/share/bash-completion/completions/qpsmtpd",
    "/usr/share/bug/qpsmtpd/control",
    "/usr/share/bug/qpsmtpd/script",
    "/usr/share/doc/qpsmtpd/NEWS.Debian.gz",
    "/usr/share/doc/qpsmtpd/README.Debian.gz",
    "/usr/share/doc/qpsmtpd/examples/fail2ban-jail.conf",
    *(f"/usr/share/man/man{page.section}/{page.file_name}.gz" for page in pages()),
}


@pytest.mark.real_systems
def test_all_of_it_is_in_the_package() -> None:
    with unpacked(layer_tar("bookworm", TOOLS["bookworm"])) as system:
        package, _ = built().put_into(system)
        system.run("dpkg-deb", "--raw-extract", package, "/srv/package")
        root = system.root / "srv/package"
        assert not [name for name in INSTALLED if not (root / name.lstrip("/")).is_file()]
        assert (root / "usr/share/bug/qpsmtpd/script").stat().st_mode & 0o111
        conffiles = set((root / "DEBIAN/conffiles").read_text().split())
        assert {name for name in INSTALLED if name.startswith("/etc/")} <= conffiles
        templates = (root / "DEBIAN/templates").read_text()
        for language in (DEBIAN / "po").glob("*.po"):
            assert f"Choices-{language.stem}.UTF-8: " in templates
