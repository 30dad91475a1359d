# SPDX-License-Identifier: MIT
"""Lines whose plugin there is not: found by the shell before unpacking, and by us afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from maintscripts.ask import LEAVE_OUT, lines_of
from maintscripts.configure import MISSING_PLUGINS, _leave_out, missing_in, why_missing
from qpsmtpd.config.absent import ABSENT, harmless_names
from qpsmtpd.config.names import old_names
from qpsmtpd.config.pluginfinder import shipped_plugins
from tests.unit.maintscripts.fake_debconf import FakeDebconf

CHECKOUT = Path(__file__).resolve().parents[3]
ETC = "etc/qpsmtpd"
AWKS = [awk for awk in ("mawk", "gawk", "original-awk") if shutil.which(awk)]


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def by_the_shell(root: Path, awk: str) -> list[str]:
    """What the function prints; the paths are those of the system, as in a chroot."""
    text = (CHECKOUT / "debian/missing-lines.sh").read_text()
    script = text.replace("@KNOWN@", " ".join(harmless_names())) + "missing_lines\n"
    bin_ = root / "bin"
    bin_.mkdir(exist_ok=True)
    (bin_ / "awk").unlink(missing_ok=True)
    (bin_ / "awk").symlink_to(shutil.which(awk) or awk)
    environment = {"PATH": f"{bin_}:{os.environ['PATH']}", "DPKG_ROOT": str(root)}
    command = ("sh", "-euc", script)
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


CONFIGURATION = {
    "plugins": """# first
  check_relay only
rcpt_ok:2
our_own_filter  strict 1\r
spam/unknown:1 /usr
Local::Module x
site/quota
virus/sophie
geoip
async/rcpt_ok
$include more

$include debian-queue-method
queue/other""",
    "more": "\tunknown in included\n$include none\n",
    "debian-queue-method": "queue/qmail-queue /usr/sbin/qmail-queue\n",
    "logging": "logging/file loglevel LOGINFO /x\nlogging/unheard\n",
}
EXPECTED = [
    "/etc/qpsmtpd/plugins:4: our_own_filter  strict 1",
    "/etc/qpsmtpd/plugins:5: spam/unknown:1 /usr",
    "/etc/qpsmtpd/plugins:6: Local::Module x",
    "/etc/qpsmtpd/more:1: unknown in included",
    "/etc/qpsmtpd/plugins:14: queue/other",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in CONFIGURATION.items():
        write(tmp_path, f"{ETC}/{name}", text)
    write(tmp_path, f"{ETC}/plugin_dirs", "# ours\n/local\n")
    write(tmp_path, "local/site/quota.py", "raise RuntimeError('this is not to be run')")
    write(tmp_path, "local/our_own_filter", "sub register {}")
    return tmp_path


@pytest.mark.parametrize("awk", AWKS)
def test_before_unpacking(root: Path, awk: str) -> None:
    assert by_the_shell(root, awk) == EXPECTED


def test_afterwards(root: Path) -> None:
    assert list(missing_in(root)) == EXPECTED


@pytest.mark.parametrize("awk", AWKS)
def test_who_said_skip_is_not_asked(root: Path, awk: str) -> None:
    write(root, MISSING_PLUGINS, "# as agreed\n skip\n")
    assert by_the_shell(root, awk) == []


@pytest.mark.parametrize("awk", AWKS)
def test_without_a_configuration(tmp_path: Path, awk: str) -> None:
    assert by_the_shell(tmp_path, awk) == []
    assert missing_in(tmp_path) == ()


def test_what_stands_in_is_said(tmp_path: Path) -> None:
    write(tmp_path, f"{ETC}/plugins", "virus/uvscan\n")
    (reason,) = why_missing(tmp_path).values()
    assert reason == f"not available in this version: {ABSENT['virus/uvscan'].stands_in}"


def test_a_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, f"{ETC}/plugins", "$include plugins\n")
    assert missing_in(tmp_path) == ()
    assert by_the_shell(tmp_path, AWKS[0]) == []


def test_harmless_is_what_works_or_is_not_missed() -> None:
    names = {name for new in shipped_plugins() for name in (new, *old_names(new))}
    names |= {name for name, absent in ABSENT.items() if absent.loss == "idle"}
    assert {name.replace("-", "_") for name in names} <= set(harmless_names())
    assert not set(harmless_names()) & {n for n, a in ABSENT.items() if a.loss != "idle"}


# --- after the answer ---------------------------------------------------------------------------

LINES = {
    "/etc/qpsmtpd/plugins:4: our_own_filter strict 1": "rewrite it",
    "/etc/qpsmtpd/plugins:5: virus/x:1 /usr": "virus/y stands in",
}


@pytest.mark.parametrize("before", ["", "# mine\n"])
def test_who_agrees_reads_what_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str
) -> None:
    write(tmp_path, MISSING_PLUGINS, before)
    for _ in range(2):
        _leave_out(tmp_path, FakeDebconf({LEAVE_OUT: "true"}), LINES)
        text = (tmp_path / MISSING_PLUGINS).read_text()
        assert lines_of(text) == ["skip"]
        assert text.startswith(before or "# What happens with lines")
        said = capsys.readouterr().err
        assert all(f"{line}: left out: {reason}\n" in said for line, reason in LINES.items())


@pytest.mark.parametrize("answer, there", [("false", ""), ("true", "stop\n")])
def test_otherwise_the_lines_stand_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: str, there: str
) -> None:
    """The file wins over the answer."""
    if there:
        write(tmp_path, MISSING_PLUGINS, there)
    _leave_out(tmp_path, FakeDebconf({LEAVE_OUT: answer}), LINES)
    path = tmp_path / MISSING_PLUGINS
    assert (path.read_text() if path.exists() else "") == there
    said = capsys.readouterr().err
    assert all(
        f"{line}: it cannot start with this: {reason}\n" in said for line, reason in LINES.items()
    )
    assert "dpkg-reconfigure qpsmtpd" in said
