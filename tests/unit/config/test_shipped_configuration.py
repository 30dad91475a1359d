# SPDX-License-Identifier: MIT
"""The configuration files that we ship (etc/qpsmtpd), with each of the graded chains."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from maintscripts.answers import Answers
from maintscripts.ask import lines_of
from maintscripts.render import LEVELS, render, render_chain, write_chains
from qpsmtpd.config import units
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.loader import load
from qpsmtpd.config.pluginfinder import PluginFinder, shipped_plugins
from qpsmtpd.config.pluginlines import read_plugin_lines
from qpsmtpd.mailauth.author import read_author
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.testing import FakeResolver

SHIPPED = Path(__file__).parents[3] / "etc" / "qpsmtpd"

#: dpkg's list of configuration files, the same as that of the Perl version.
CONFFILES = {
    "badhelo",
    "badmailfrom",
    "badrcptto",
    "dnsbl_zones",
    "logging",
    "loglevel",
    "plugin_dirs",
    "plugins",
    "rcpthosts",
    "relayclients",
    "rhsbl_zones",
    "spool_dir",
}

#: Where the package has the graded chains.
CHAINS = "/usr/share/qpsmtpd/chains"

#: The plugins of each level, in their order.
PLUGINS = {
    "minimal": "helo sender_permitted_from dkim dmarc loop",
    "standard": "karma earlytalker fcrdns rhsbl dnsbl helo sender_permitted_from greylisting dkim "
    "dmarc loop uribl",
    "strict": "karma earlytalker count_unrecognized_commands fcrdns rhsbl dnsbl helo "
    "sender_permitted_from resolvable_fromhost naughty greylisting dkim dmarc loop headers "
    "bogus_bounce uribl",
}
#: What is in standard and strict if this machine starts it at boot, and the unit.
SCANNERS = {
    "virus/clamdscan": "clamav-daemon.service",
    "rspamd": "rspamd.service",
    "spamassassin": "spamd.service",
}
BEFORE = ["logging/journald", "logging/file", "relay", "badmailfrom", "badrcptto"]
AFTER = ["rcpt_ok", "verify_recipients", "queue/maildir"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The files as the package installs them, with what debconf decides."""
    write_chains(tmp_path / "chains")
    for file in SHIPPED.iterdir():
        text = file.read_text().replace("/etc/qpsmtpd/", f"{tmp_path}/")
        text = text.replace(CHAINS, f"{tmp_path}/chains")
        (tmp_path / file.name).write_text(text.replace("/var/log/qpsmtpd", str(tmp_path)))
    (tmp_path / "debian-queue-method").write_text(f"queue/maildir {tmp_path}/Maildir\n")
    (tmp_path / "debian-protection").write_text(f"$include {tmp_path}/chains/standard\n")
    (tmp_path / "debian-rcpthosts").write_text("example.com\nexample.org\n")
    return tmp_path


def test_files() -> None:
    assert {file.name for file in SHIPPED.iterdir()} == CONFFILES


def test_a_new_installation_gets_standard() -> None:
    lines = (SHIPPED / "plugins").read_text().splitlines()
    assert lines.count("$include /etc/qpsmtpd/debian-protection") == 1
    filters = render(Answers())["/etc/qpsmtpd/debian-protection"]
    assert lines_of(filters) == [f"$include {CHAINS}/standard"]


@pytest.mark.parametrize("level", LEVELS)
async def test_they_load_without_problems(installed: Path, level: str) -> None:
    filters = installed / "debian-protection"
    filters.write_text(filters.read_text().replace("/chains/standard", f"/chains/{level}"))
    snapshot = await load([installed], {}, resolver=FakeResolver(), check_only=True)
    await snapshot.stop()
    assert snapshot.warnings == ()
    names = [chained.plugin.name for chained in snapshot.chain.plugins]
    assert names == [*BEFORE, *PLUGINS[level].split(), *AFTER]
    assert await snapshot.services.config.lines("rcpthosts") == ["example.com", "example.org"]
    assert snapshot.settings.spool_dir == Path("/var/spool/qpsmtpd")
    assert snapshot.settings.loglevel == "6"


@pytest.mark.parametrize("level", LEVELS)
async def test_scanners_are_asked_if_they_are_enabled(
    installed: Path, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wants = installed / "units/multi-user.target.wants"
    wants.mkdir(parents=True)
    monkeypatch.setattr(units, "DIRECTORIES", (wants.parent,))
    filters = installed / "debian-protection"
    filters.write_text(filters.read_text().replace("/chains/standard", f"/chains/{level}"))
    scanners = {} if level == "minimal" else SCANNERS
    for number, unit in enumerate(["", *scanners.values()]):
        if unit:
            (wants / unit).touch()
        snapshot = await load([installed], {}, resolver=FakeResolver(), check_only=True)
        await snapshot.stop()
        assert snapshot.warnings == ()
        names = [chained.plugin.name for chained in snapshot.chain.plugins]
        there = list(scanners)[:number]
        assert names == [*BEFORE, *PLUGINS[level].split(), *there, *AFTER]
        assert len(snapshot.left_out) == len(scanners) - len(there)


@pytest.mark.parametrize("name", ["badhelo", "badmailfrom", "badrcptto", "dnsbl_zones"])
def test_nothing_is_refused_by_name(name: str) -> None:
    assert ConfigFiles([SHIPPED]).lines(name) == []


def test_the_plugins_in_comments_exist(installed: Path) -> None:
    """Lines like `#tls`, without a blank, are there to be uncommented."""
    text = (installed / "plugins").read_text()
    examples = re.findall(r"(?m)^#(\S.*)$", text)
    assert "tls" in examples
    (installed / "plugins").write_text(re.sub(r"(?m)^#(?=\S)", "", text))
    lines = read_plugin_lines(ConfigFiles([installed]), PluginFinder())
    assert lines.problems == []
    names = [*BEFORE[2:], *PLUGINS["standard"].split(), *AFTER]
    assert len(lines.plugins) == len(names) + len(examples)


# --- the graded chains ----------------------------------------------------------------------------


def meaning(level: str) -> list[str]:
    lines = render_chain(level).splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def names(level: str) -> list[str]:
    return [line.split()[0] for line in meaning(level)]


@pytest.mark.parametrize(("lower", "higher"), list(itertools.pairwise(LEVELS)))
def test_a_level_has_the_plugins_of_the_one_below_in_their_order(lower: str, higher: str) -> None:
    assert [name for name in names(higher) if name in names(lower)] == names(lower)
    assert meaning(higher) != meaning(lower)


def test_sender_authentication_refuses_more_from_level_to_level() -> None:
    refusals = ["dmarc reject 0", "dmarc reject author", "dmarc reject 1"]
    assert [line for level in LEVELS for line in meaning(level) if "dmarc" in line] == refusals
    for level in LEVELS:
        assert {"sender_permitted_from", "dkim"} <= set(meaning(level))


@pytest.mark.parametrize("level", LEVELS)
def test_a_chain_says_what_it_does_costs_and_refuses(level: str) -> None:
    text = render_chain(level)
    assert text.startswith(f"# {level}: ")
    headings = ["What it does", "What it costs", "What it refuses"]
    assert re.findall(r"(?m)^# (What .*)$", text) == headings
    assert all(re.search(rf"\n#   {cost}: \w", text) for cost in ("Delay", "External services"))
    assert max(map(len, text.splitlines())) <= 80
    assert "\n\n\n" not in text


@pytest.mark.parametrize("level", LEVELS)
def test_every_plugin_of_a_chain_has_a_comment(level: str) -> None:
    """Lines that share one stand together."""
    for paragraph in render_chain(level).split("\n\n"):
        assert paragraph.startswith("# ")


def test_the_first_mail_of_make_run_is_taken() -> None:
    """What tests/run-demo.sh tells a newcomer to send has an author, which `standard` asks for."""
    script = (SHIPPED.parents[1] / "tests/run-demo.sh").read_text()
    found = re.search(r"s\.sendmail\('[^']*', '[^']*', '([^']*)'\)", script)
    assert found
    message = found[1].replace(r"\n", "\r\n")
    assert not read_author(message.partition("\r\n\r\n")[0].encode() + b"\r\n").problem


#: Filters that look at nothing but the session and the DNS, which the doctor examines itself.
NOTHING_TO_EXAMINE = {
    *{"earlytalker", "count_unrecognized_commands", "naughty", "helo", "loop", "headers"},
    *{"fcrdns", "resolvable_fromhost", "sender_permitted_from", "bogus_bounce"},
}


def test_the_doctor_examines_each_filter() -> None:
    """Who adds a filter that needs anything from the machine or others has it look for that."""
    filters = {name for level in LEVELS for name in names(level)}
    plugins = shipped_plugins()
    examined = {name for name in filters if plugins[name].examine is not Plugin.examine}
    assert filters - examined == NOTHING_TO_EXAMINE
