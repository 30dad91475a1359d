# SPDX-License-Identifier: MIT
"""Lines of the files `plugins` and `logging`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.config import pluginlines, units
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.config.pluginlines import (
    PluginLine,
    PluginLines,
    import_plugins,
    read_plugin_lines,
)

LOCAL = {
    "taker": "async def hook_rcpt(self, tx, recipient): ...",
    "filter": "async def hook_rcpt(self, tx, recipient): ...",
    "queue/keep": "async def hook_queue(self, tx): ...\n"
    "    async def hook_rcpt(self, tx, recipient): ...",
    "sink": "def hook_logging(self, record): ...",
    "gate": "accepts_recipients = True\n    async def hook_rcpt(self, tx, recipient): ...",
    "auth/any": "pass",
    "spf": "pass",
    "dkim": "pass",
    "dmarc": "after = ('spf', 'dkim')",
    "signed": "needs = ('dkim', 'spf')",
}
TAKER = """
from dataclasses import dataclass
from pathlib import Path
from qpsmtpd.api import NoOptions, Plugin, opt

{declared}
class ThePlugin(Plugin[{options}]):
    {body}
"""

OPTIONS = """
@dataclass(frozen=True)
class TheOptions:
    file: Path = opt(Path("x"), doc="File.", positional=True)
    level: str = opt("", doc="Level.", was=("loglevel",))
"""


@pytest.fixture(scope="module")
def plugin_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some local plugins; `sink` and `queue/keep` have options."""
    directory = tmp_path_factory.mktemp("plugins")
    for name, body in LOCAL.items():
        options = "TheOptions" if name in ("sink", "queue/keep") else "NoOptions"
        path = directory / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        declared = OPTIONS if options == "TheOptions" else ""
        path.write_text(TAKER.format(options=options, body=body, declared=declared))
    return directory


def read(directory: Path, plugin_dir: Path, plugins: str, logging: str = "") -> PluginLines:
    (directory / "plugins").write_text(plugins)
    (directory / "logging").write_text(logging)
    return read_plugin_lines(ConfigFiles([directory]), PluginFinder([plugin_dir]))


def one(lines: PluginLines) -> PluginLine:
    (line,) = lines.plugins
    return line


def texts(lines: PluginLines) -> list[str]:
    return [str(problem).rpartition("/")[2] for problem in lines.problems]


def test_a_chain(tmp_path: Path, plugin_dir: Path) -> None:
    lines = read(
        tmp_path, plugin_dir, "# no\nqueue/keep /mail\ntaker:1\ntaker:22", "sink x level 6"
    )
    assert lines.problems == []
    assert [line.name for line in lines.all] == ["sink", "queue/keep", "taker:1", "taker:22"]
    assert lines.all[1].where == f"{tmp_path}/plugins:2"
    assert lines.all[1].options.file == Path("/mail")
    assert lines.all[1].cls.hooks() == ["rcpt", "queue"]
    assert [line.name for line in lines.logging] == ["sink"]


def test_old_names(tmp_path: Path) -> None:
    """Those whose plugin is there already; the names themselves are in test_names.py."""
    (tmp_path / "relay.py").write_text(
        TAKER.format(options="TheOptions", body="pass", declared=OPTIONS).replace("level:", "only:")
    )
    lines = read(tmp_path, tmp_path, "relay_only:3 y\nrelay_only only 0")
    assert [line.name for line in lines.plugins] == ["relay:3", "relay"]
    assert [line.options.only for line in lines.plugins] == ["1", "0"]
    assert lines.plugins[0].options.file == Path("y")


def test_old_plugins_that_stand_beside_each_other(tmp_path: Path, plugin_dir: Path) -> None:
    """They have become one, but each still reads its own file."""
    old = ["check_badmailfrom", "check_badmailfrom_patterns", "check_badrcptto_patterns:1"]
    lines = read(tmp_path, plugin_dir, "\n".join([*old, "taker", "queue/keep"]))
    assert lines.problems == []
    names = [line.name for line in lines.plugins]
    assert names[:3] == ["badmailfrom", "badmailfrom:patterns", "badrcptto:1"]
    assert [line.options.patterns for line in lines.plugins[:3]] == [False, True, True]


@pytest.mark.parametrize(
    ("words", "skip", "timeout", "loglevel"),
    [
        ("", "defer", None, ""),
        ("on_fault=skip", "skip", None, ""),
        ("on_fault skip hook_timeout 5", "skip", 5, ""),
        ("on-fault=defer hook-timeout=2m loglevel +1", "defer", 120, "+1"),
        ("loglevel=LOGDEBUG", "defer", None, "LOGDEBUG"),
    ],
)
def test_arguments_of_every_plugin(
    tmp_path: Path, plugin_dir: Path, words: str, skip: str, timeout: float | None, loglevel: str
) -> None:
    lines = read(tmp_path, plugin_dir, f"taker {words}\nqueue/keep")
    common = lines.plugins[0].common
    assert (common.on_fault, common.hook_timeout, common.loglevel) == (skip, timeout, loglevel)
    assert lines.problems == []


def test_a_plugins_own_option_counts_first(tmp_path: Path, plugin_dir: Path) -> None:
    line = one(read(tmp_path, plugin_dir, "queue/keep loglevel LOGINFO on_fault=skip /mail"))
    assert line.options.level == "LOGINFO"
    assert line.options.file == Path("/mail")
    assert line.common.loglevel == ""
    assert line.common.on_fault == "skip"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("taker loglevel +8", "taker: loglevel: '+8' is not a log level"),
        ("taker loglevel", "taker: option 'loglevel' has no value"),
        ("taker on_fault=pass", "taker: on_fault: 'pass' is not one of defer, skip"),
        ("taker hook_timeout=soon", "taker: hook_timeout: 'soon' is not a duration"),
        ("taker what 1", "taker: unknown option 'what 1'"),
        ("no_such", "no_such: there is no plugin no_such"),
        ("virus/uvscan:1 x", "virus/uvscan:1: not available in this version: virus/command runs"),
        ("taker:one", "taker:one: 'taker:one' is not the name of a plugin"),
        (":1", ":1: ':1' is not the name of a plugin"),
        ("täker", "only printable ASCII"),
        ("taker \x07", "only printable ASCII"),
    ],
)
def test_wrong_lines(tmp_path: Path, plugin_dir: Path, line: str, problem: str) -> None:
    lines = read(tmp_path, plugin_dir, f"\n{line}")
    assert lines.plugins == []
    assert any(f"plugins:2: {problem}" in str(found) for found in lines.problems), lines.problems


def test_a_fault_in_the_options_of_a_plugin_has_its_line(tmp_path: Path) -> None:
    """An author's own `rewrite`, `check` or opt(check=...) may be broken."""
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\nfrom qpsmtpd.api import *\n"
        "@dataclass(frozen=True)\nclass Options:\n"
        "    n: int = opt(1, doc='x', check=lambda n: 1 // n)\n"
        "class Mine(Plugin[Options]): ...\n"
    )
    lines = read(tmp_path, tmp_path, "mine n=0")
    assert str(lines.problems[0]) == (
        f"{tmp_path}/plugins:1: mine: its options cannot be read: ZeroDivisionError: "
        f"integer division or modulo by zero ({tmp_path}/mine.py:5)"
    )


def test_every_problem_is_found(tmp_path: Path, plugin_dir: Path) -> None:
    lines = read(tmp_path, plugin_dir, "no_such\ntaker x=1 on_fault=y\n", "what\n$include")
    assert [problem.where.rpartition("/")[2] for problem in lines.problems] == [
        "logging:2",
        "plugins:1",
        "plugins:2",
        "plugins:2",
    ]


def test_no_file(tmp_path: Path) -> None:
    lines = read_plugin_lines(ConfigFiles([tmp_path, Path("/none")]), PluginFinder())
    assert texts(lines) == ["none: there is no file named plugins"]


def test_perl_file_of_a_shipped_plugin_is_a_warning(tmp_path: Path, plugin_dir: Path) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "discard").write_text("use strict;")
    (tmp_path / "plugins").write_text("taker\nqueue/discard:1")
    finder = PluginFinder([tmp_path, plugin_dir])
    lines = read_plugin_lines(ConfigFiles([tmp_path]), finder)
    assert [problem.severity for problem in lines.problems] == ["warning", "warning"]
    assert f"not the Perl file {tmp_path}/queue/discard" in lines.problems[0].text


# --- the whole chain ------------------------------------------------------------------------


def test_nothing_delivers_or_accepts(tmp_path: Path, plugin_dir: Path) -> None:
    lines = read(tmp_path, plugin_dir, "sink")
    assert [str(problem) for problem in lines.problems] == [
        f"{tmp_path}/plugins: no plugin delivers messages (queue/maildir, queue/smtp-forward …)",
        f"{tmp_path}/plugins: no plugin accepts recipients (rcpt_ok)",
    ]


def test_a_wrong_line_is_the_only_problem(tmp_path: Path, plugin_dir: Path) -> None:
    """Perhaps it is the one that delivers."""
    assert len(read(tmp_path, plugin_dir, "no_such").problems) == 1


def test_discard_is_a_warning(tmp_path: Path, plugin_dir: Path) -> None:
    lines = read(tmp_path, plugin_dir, "taker\nqueue/discard")
    assert [(p.severity, p.where) for p in lines.problems] == [("warning", f"{tmp_path}/plugins:2")]


def warnings(directory: Path, plugin_dir: Path, plugins: str) -> list[str]:
    """What is odd about a chain, each as "LINE: TEXT"."""
    problems = read(directory, plugin_dir, plugins).problems
    assert all(problem.severity == "warning" for problem in problems)
    prefix = f"{directory}/plugins:"
    return [f"{p.where}: {p.text}".replace(prefix, "") for p in problems]


def test_what_accepts_recipients_is_to_be_last(tmp_path: Path, plugin_dir: Path) -> None:
    text = "is not asked about recipients that {} ({}) accepts; its line belongs above"
    assert warnings(tmp_path, plugin_dir, "filter:1\nrcpt_ok\nfilter:2\nqueue/keep") == [
        f"3: filter:2: {text.format('rcpt_ok', 2)}"
    ]
    assert warnings(tmp_path, plugin_dir, "gate:7\nrcpt_ok\nfilter\nqueue/keep") == [
        f"3: filter: {text.format('gate:7', 1)}"
    ]


def test_what_is_only_tried_accepts_and_speaks_nothing(tmp_path: Path, plugin_dir: Path) -> None:
    end = "taker\nqueue/keep"
    assert warnings(tmp_path, plugin_dir, f"rcpt_ok mode=shadow\n{end}") == []
    (text,) = warnings(tmp_path, plugin_dir, f"dnsbl reject naughty\nnaughty mode=shadow\n{end}")
    assert "refuses nobody" in text


def problems(directory: Path, plugin_dir: Path, plugins: str) -> list[tuple[str, str, str]]:
    """The place of each problem in the file, how bad it is, and its text."""
    found = read(directory, plugin_dir, plugins).problems
    return [(p.where.partition("plugins")[2], p.severity, p.text) for p in found]


NOBODY = "no plugin accepts recipients (rcpt_ok)"
SHADOW = f"{{}}: mode=shadow accepts nobody, and {NOBODY}: all mail gets 450"


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("rcpt_ok mode=shadow", [(":1", "warning", SHADOW.format("rcpt_ok"))]),
        ("dnsbl\nrcpt_ok mode=shadow", [(":2", "warning", SHADOW.format("rcpt_ok"))]),
        ("relay\nrcpt_ok:1 mode=shadow", [(":2", "warning", SHADOW.format("rcpt_ok:1"))]),
        ("taker mode=shadow", [(":1", "warning", SHADOW.format("taker"))]),
        ("dnsbl\nrelay", [("", "warning", NOBODY)]),
        ("relay only yes", []),
        ("rcpt_ok mode=tag", []),
        ("rcpt_ok mode=shadow\nrelay only yes", []),
        ("rcpt_ok mode=shadow\nrcpt_ok:1", []),
        ("rcpt_regexp", []),
        ("rcpt_map domain a.example file x", []),
        ("aiosmtpd m:C accept_recipients", []),
        ("aiosmtpd m:C", [("", "warning", NOBODY)]),
    ],
)
def test_when_nobody_is_accepted_as_things_are(
    tmp_path: Path, plugin_dir: Path, chain: str, expected: list[tuple[str, str, str]]
) -> None:
    found = problems(tmp_path, plugin_dir, f"{chain}\nqueue/maildir /mail")
    assert found == expected


NO_DELIVERY = "no plugin delivers messages (queue/maildir, queue/smtp-forward …)"


def test_a_handler_that_only_filters_delivers_nothing(tmp_path: Path, plugin_dir: Path) -> None:
    text = f"aiosmtpd:1 delivers nothing as it is, and {NO_DELIVERY}: all mail gets 451"
    chain = "rcpt_ok\nverify_recipients\naiosmtpd:1 m:C filter"
    assert problems(tmp_path, plugin_dir, chain) == [(":3", "warning", text)]
    assert problems(tmp_path, plugin_dir, "rcpt_ok\nverify_recipients\naiosmtpd m:C") == []
    assert problems(tmp_path, plugin_dir, f"{chain}\nqueue/maildir /mail") == []


def test_a_next_hop_that_is_to_be_asked_about_recipients(tmp_path: Path, plugin_dir: Path) -> None:
    """The order of the lines does not matter."""
    forward = "queue/smtp-forward 192.0.2.1"
    for end in (f"{forward} check-recipients=yes", f"{forward}\nverify_recipients"):
        assert warnings(tmp_path, plugin_dir, f"{end}\nrcpt_ok") == []
        assert warnings(tmp_path, plugin_dir, f"rcpt_ok\n{end}") == []


@pytest.mark.parametrize(
    ("chain", "warned"),
    [
        ("queue/smtp-forward 192.0.2.1", True),
        ("queue/lmtp 192.0.2.1", True),
        ("queue/postfix-queue", True),
        ("queue/exim-bsmtp", True),
        ("queue/postfix-queue\nverify_recipients mode=shadow", True),
        ("queue/postfix-queue\nverify_recipients", False),
        ("queue/postfix-queue\nmilter clamav 7357", True),
        ("queue/smtp-forward 192.0.2.1 check-recipients=yes", False),
        ("queue/qmail-queue", False),
        ("queue/maildir /var/mail", False),
        ("queue/keep\nqueue/postfix-queue", False),
    ],
)
def test_unknown_recipients_that_bounce(
    tmp_path: Path, plugin_dir: Path, chain: str, warned: bool
) -> None:
    found = warnings(tmp_path, plugin_dir, f"rcpt_ok\n{chain}")
    assert [text for text in found if "nothing verifies recipients" in text] == found
    assert bool(found) is warned


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("spf\ndkim:2\ndmarc\ntaker", []),
        ("dmarc\ntaker", []),
        ("dmarc\nspf\ntaker", ["1: dmarc: belongs after spf (2)"]),
        (
            "dmarc\ndkim:2\ndmarc:2\nspf\ntaker",
            [
                "1: dmarc: belongs after dkim:2 (2)",
                "1: dmarc: belongs after spf (4)",
                "3: dmarc:2: belongs after spf (4)",
            ],
        ),
        ("auth/authdeny\nauth/any\ntaker", ["1: auth/authdeny: belongs after auth/any (2)"]),
        ("auth/any\nauth/authdeny\ntaker", []),
        ("auth/authdeny:1\nauth/authdeny:2\ntaker", []),
    ],
)
def test_order(tmp_path: Path, plugin_dir: Path, chain: str, expected: list[str]) -> None:
    assert warnings(tmp_path, plugin_dir, f"{chain}\nqueue/keep") == expected


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("spf\nsigned\ndkim:2\ntaker", []),
        ("spf\nsigned\ntaker", ["2: signed: needs the plugin dkim, which is not in the chain"]),
        (
            "signed\ntaker",
            [
                "1: signed: needs the plugin dkim, which is not in the chain",
                "1: signed: needs the plugin spf, which is not in the chain",
            ],
        ),
    ],
)
def test_plugins_that_need_others(
    tmp_path: Path, plugin_dir: Path, chain: str, expected: list[str]
) -> None:
    assert warnings(tmp_path, plugin_dir, f"{chain}\nqueue/keep") == expected


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("filter:1\nfilter:2\nfilter\ntaker", []),
        ("taker\ntaker", ["2: taker: has the name of another line (1); call this one taker:2"]),
        (
            "taker:2\ntaker\ntaker:2",
            ["3: taker:2: has the name of another line (1); call this one taker:3"],
        ),
    ],
)
def test_twice(tmp_path: Path, plugin_dir: Path, chain: str, expected: list[str]) -> None:
    assert warnings(tmp_path, plugin_dir, f"{chain}\nqueue/keep") == expected


def test_rejections_that_nobody_speaks(tmp_path: Path, plugin_dir: Path) -> None:
    text = "`reject naughty` refuses nobody: no plugin below issues what it defers (naughty)"
    end = "taker\nqueue/keep"
    assert warnings(tmp_path, plugin_dir, f"dnsbl reject naughty\n{end}") == [f"1: dnsbl: {text}"]
    assert warnings(tmp_path, plugin_dir, f"naughty\ndnsbl reject naughty\n{end}") == [
        f"2: dnsbl: {text}"
    ]
    assert warnings(tmp_path, plugin_dir, f"dnsbl reject naughty\nnaughty\n{end}") == []
    assert warnings(tmp_path, plugin_dir, f"dnsbl reject 0\n{end}") == []


@given(text=st.text(max_size=60))
def test_any_text(tmp_path_factory: pytest.TempPathFactory, plugin_dir: Path, text: str) -> None:
    """No text raises, and a line is either understood or a problem."""
    directory = tmp_path_factory.mktemp("any")
    lines = read(directory, plugin_dir, "taker " + text.replace("$include", ""))
    assert lines.plugins or lines.problems


@pytest.mark.parametrize("queue", ["queue/maildir /mail", "queue/smtp-forward mx", "queue/discard"])
def test_nothing_accepts_recipients(tmp_path: Path, plugin_dir: Path, queue: str) -> None:
    lines = read(tmp_path, plugin_dir, f"badmailfrom\n{queue}")
    assert any("no plugin accepts recipients" in problem.text for problem in lines.problems)


@pytest.mark.parametrize(
    ("lines", "warned"),
    [
        ("relay\nbadrcptto", True),
        ("relay\nverify_recipients", True),
        ("badrcptto\nrcpt_ok", False),
        ("badrcptto\nrcpt_map domain a.test file map", False),
        ("badrcptto\ntaker", False),
    ],
)
def test_nothing_accepts_our_recipients(
    tmp_path: Path, plugin_dir: Path, lines: str, warned: bool
) -> None:
    """A relay alone is a configuration, if a rare one."""
    read_lines = read(tmp_path, plugin_dir, f"{lines}\nqueue/discard")
    found = [problem for problem in read_lines.problems if "rcpt_ok" in problem.text]
    assert [problem.severity for problem in found] == ["warning"] * warned


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("rcpt_ok # words that are here", "'# words that are here' is not a comment"),
        ("relay reject 1", "unknown option 'reject 1'"),
        ("loop 50 extra", "unknown option 'extra'"),
        ("headers days 5 reject_type temp require From,Date", "unknown option 'days 5'"),
        ("hosts_allow x=1", "unknown option 'x=1'"),
    ],
)
def test_what_perls_plugins_ignored(tmp_path: Path, plugin_dir: Path, line: str, text: str) -> None:
    lines = read(tmp_path, plugin_dir, f"{line}\nqueue/keep\ntaker")
    (problem,) = (
        problem for problem in lines.problems if "unknown" in problem.text or "#" in problem.text
    )
    assert problem.severity == "warning"
    assert text in problem.text
    assert problem.text.endswith("(it has no effect)")
    assert lines.plugins[0].plugin == line.split()[0]


@pytest.mark.parametrize(
    "line", ["badmailfrom rejct 0", "queue/lmtp a 24 surplus", "taker surplus"]
)
def test_misspelt_arguments_and_those_of_our_own_plugins(
    tmp_path: Path, plugin_dir: Path, line: str
) -> None:
    lines = read(tmp_path, plugin_dir, line)
    assert [problem.severity for problem in lines.problems] == ["error"]


MISSING = "virus/sophie\nvirus/uvscan x 12\nstunnel\nno/such\nNo::Such\nqueue/keep\ntaker"


def severities(lines: PluginLines) -> list[str]:
    return [problem.severity for problem in lines.problems]


def test_plugins_that_are_missing(tmp_path: Path, plugin_dir: Path) -> None:
    lines = read(tmp_path, plugin_dir, MISSING)
    assert severities(lines) == ["warning", "error", "error", "error", "error"]
    assert lines.problems[0].text.endswith("(this line is skipped)")


def test_plugins_that_are_missing_and_may_be_skipped(tmp_path: Path, plugin_dir: Path) -> None:
    (tmp_path / "plugins").write_text(MISSING)
    finder = PluginFinder([plugin_dir])
    lines = read_plugin_lines(ConfigFiles([tmp_path]), finder, skip_missing=True)
    assert severities(lines) == ["warning", "warning", "error", "warning", "warning"]
    assert "stunnel: not available" in lines.problems[2].text
    assert [line.name for line in lines.plugins] == ["queue/keep", "taker"]


# --- lines that are left out -----------------------------------------------------------------


@pytest.fixture
def unit_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where links to units are."""
    directory = tmp_path / "units/multi-user.target.wants"
    directory.mkdir(parents=True)
    monkeypatch.setattr(units, "DIRECTORIES", (tmp_path / "units",))
    return directory


def test_a_line_for_what_is_enabled(tmp_path: Path, plugin_dir: Path, unit_dir: Path) -> None:
    text = "filter if_enabled clamav-daemon,rspamd\ntaker\nqueue/keep"
    lines = read(tmp_path, plugin_dir, text)
    assert [line.name for line in lines.plugins] == ["taker", "queue/keep"]
    assert lines.reasons == (
        f"{tmp_path}/plugins:1: filter: not used, as clamav-daemon or rspamd is not enabled on "
        "this machine (if_enabled)",
    )
    (unit_dir / "rspamd.service").touch()
    lines = read(tmp_path, plugin_dir, text)
    assert [line.name for line in lines.plugins] == ["filter", "taker", "queue/keep"]
    assert lines.reasons == ()


def test_a_line_that_is_left_out_has_to_be_right(tmp_path: Path, plugin_dir: Path) -> None:
    lines = read(tmp_path, plugin_dir, "filter if_enabled x nonsense\ntaker\nqueue/keep")
    (problem,) = lines.problems
    assert "nonsense" in problem.text
    lines = read(tmp_path, plugin_dir, "filter if_enabled /run/x\ntaker\nqueue/keep")
    (problem,) = lines.problems
    assert problem.text.endswith("the name of a unit, such as clamav-daemon")


def test_what_is_left_out_does_nothing_for_the_chain(tmp_path: Path, plugin_dir: Path) -> None:
    left_out = "not used, as x is not enabled on this machine (if_enabled), and"
    assert problems(tmp_path, plugin_dir, "taker if_enabled x\nqueue/maildir /mail") == [
        (":1", "warning", f"taker: {left_out} {NOBODY}"),
        ("", "error", NOBODY),
    ]
    assert problems(tmp_path, plugin_dir, "rcpt_ok\nqueue/maildir /mail if_enabled x") == [
        (":2", "warning", f"queue/maildir: {left_out} {NO_DELIVERY}"),
        ("", "error", NO_DELIVERY),
    ]


# --- what is imported before the fork --------------------------------------------------------


def test_what_a_configuration_names_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    monkeypatch.setattr(pluginlines, "import_shipped", names.append)
    (tmp_path / "logging").write_text("logging/file loglevel LOGINFO\n")
    (tmp_path / "plugins").write_text("relay nonsense=\ncheck_basicheaders\nauth/authdeny:2\n")
    import_plugins(ConfigFiles([tmp_path]))
    assert names == ["logging/file", "relay", "headers", "auth/authdeny"]


def test_a_configuration_that_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "plugins").write_text("$include plugins\n")
    import_plugins(ConfigFiles([tmp_path]))
