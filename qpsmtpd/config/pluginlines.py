# SPDX-License-Identifier: MIT
"""Plugin lines: reads the files `plugins` and `logging`, without starting any plugin.

A line is the name of a plugin and its arguments, split at white space; there are no quotes.  As
`NAME:1`, `NAME:2` a plugin can be in the chain several times.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.names import implied_instance, todays_name
from qpsmtpd.config.pluginfinder import PluginFinder, import_shipped
from qpsmtpd.config.pluginlevel import PluginLevel
from qpsmtpd.config.problems import Problem, errors_in
from qpsmtpd.config.units import starts_at_boot
from qpsmtpd.errors import ConfigError, MissingPluginError, PluginError
from qpsmtpd.nexthop.hopoptions import NextHopOptions
from qpsmtpd.plugin.base import Mode, Plugin, RejectOptions
from qpsmtpd.plugin.checks import PluginFaultsError
from qpsmtpd.plugin.options import Reading, Seconds, matching, opt, parse, read_words
from qpsmtpd.plugin.services import Entry
from qpsmtpd.plugin.sources import place_of

_is_printable = re.compile(r"[\t -~]+").fullmatch
_names = re.compile(r"(?P<plugin>.+?)(?::(?P<instance>\d+))?").fullmatch
_is_unit = re.compile(r"[\w@.:-]+", re.ASCII).fullmatch


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Arguments that every plugin takes, unless it has an option with that name itself."""

    on_fault: Literal["defer", "skip"] = opt(
        "defer",
        doc="What happens on a fault or timeout of the plugin: defer (451 for the transaction), "
        "or skip (as if it had no opinion).",
    )
    mode: Mode = opt(
        "enforce",
        doc="What the plugin's verdicts do: enforce applies them; shadow only logs what they would "
        "have been, and goes on; tag lets a message that it would refuse pass, with a header field "
        "X-Qpsmtpd-Tag. Not for plugins that deliver.",
    )
    hook_timeout: Seconds | None = opt(
        None, doc="How long each hook of the plugin may take; 0 means no limit."
    )
    loglevel: str = opt(
        "",
        doc="Level of the plugin's log lines: 0 to 7, or +1 (less important), -1 (more important).",
        check=PluginLevel,
    )
    if_enabled: tuple[str, ...] = opt(
        (),
        check=matching(_is_unit, "the name of a unit, such as clamav-daemon"),
        doc="Units of systemd, such as clamav-daemon. If this machine starts none of them at boot, "
        "the line is left out, and the log and qpsmtpd doctor say so. One that is enabled and "
        "does not work is not left out.",
    )


@dataclass(frozen=True)
class PluginLine:
    """One line; `name` is the plugin's name in the chain, with the number of the instance."""

    where: str
    name: str
    cls: type[Plugin[Any]]
    options: Any
    common: CommonOptions

    @property
    def plugin(self) -> str:
        """The name of the plugin."""
        return self.name.partition(":")[0]

    def is_left_out(self, directories: Sequence[Path] | None = None) -> bool:
        """Whether the line is not used, as none of its units is enabled (`if_enabled`).

        directories: where links to units are, in place of this machine's.
        """
        units = self.common.if_enabled
        return bool(units) and not any(starts_at_boot(unit, directories) for unit in units)

    @property
    def why_left_out(self) -> str:
        """The reason, if it is left out."""
        units = " or ".join(self.common.if_enabled)
        return f"not used, as {units} is not enabled on this machine (if_enabled)"


@dataclass
class PluginLines:
    """The lines of both files that could be understood, in order, and all problems.

    left_out: those that are not used, for what they are about is not on this machine.
    """

    logging: list[PluginLine] = field(default_factory=list)
    plugins: list[PluginLine] = field(default_factory=list)
    left_out: list[PluginLine] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def all(self) -> list[PluginLine]:
        """Logging plugins first, as in the Perl version."""
        return [*self.logging, *self.plugins]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Which lines are left out, and why."""
        return tuple(f"{line.where}: {line.name}: {line.why_left_out}" for line in self.left_out)


def read_plugin_lines(
    files: ConfigFiles, finder: PluginFinder, *, skip_missing: bool = False
) -> PluginLines:
    """Read the files `logging` and `plugins`.

    skip_missing: whether plugins that are missing are left out (the setting `missing_plugins`).
    """
    lines = PluginLines()
    if files.find("plugins") is None:
        where = ", ".join(map(str, files.directories))
        lines.problems.append(Problem(where, "there is no file named plugins"))
    for name, into in (("logging", lines.logging), ("plugins", lines.plugins)):
        try:
            for entry in files.entries(name):
                for line in read_line(entry, finder, lines.problems, skip_missing=skip_missing):
                    (lines.left_out if line.is_left_out() else into).append(line)
        except ConfigError as error:
            lines.problems.append(Problem.of(error))
    lines.problems.extend(_replaced(lines.all, finder))
    if not errors_in(lines.problems):
        lines.problems.extend(_lint(lines.all, str(files.find("plugins"))))
    return lines


def import_plugins(files: ConfigFiles) -> None:
    """Import the shipped plugins that a configuration names, whatever else is wrong with it.

    What a process has imported before it forks, its children share.
    """
    with suppress(ConfigError):
        for entry in (*files.entries("logging"), *files.entries("plugins")):
            name, _, _ = _split_name(_first_word(entry))
            import_shipped(name)


def _first_word(entry: Entry) -> str:
    # A line of no-break spaces has none.
    return next(iter(entry.text.split()), entry.text)


def plugin_name(entry: Entry) -> str:
    """The name in the chain of the plugin on a line, without loading the plugin."""
    name, _, suffix = _split_name(_first_word(entry))
    return name + suffix


def read_line(
    entry: Entry, finder: PluginFinder, problems: list[Problem], *, skip_missing: bool = False
) -> Iterator[PluginLine]:
    """The plugin on a line, if it can be understood; otherwise `problems` gets what is wrong."""
    if not _is_printable(entry.text):
        problems.append(Problem(entry.where, "only printable ASCII characters are allowed here"))
        return
    word, *words = entry.text.split()
    name, implied, suffix = _split_name(word)
    try:
        cls = finder.find(name)
    except PluginFaultsError as error:
        problems.extend(Problem(fault.where, f"{word}: {fault.problem}") for fault in error.faults)
        return
    except MissingPluginError as error:
        problems.append(_missing(f"{word}: {error}", entry, error, skip=skip_missing))
        return
    except PluginError as error:
        problems.append(Problem(entry.where, f"{word}: {error}"))
        return
    common_words, own_words = _split_words([*implied, *words], cls)
    common, common_wrong = parse(CommonOptions, common_words)
    try:
        own: Reading[Any] = read_words(cls.Options, own_words)
    except Exception as error:
        text = f"its options cannot be read: {type(error).__name__}: {error} ({place_of(error)})"
        problems.append(Problem(entry.where, f"{word}: {text}"))
        return
    wrong = common_wrong + own.problems
    problems.extend(Problem(entry.where, f"{word}: {text}") for text in wrong)
    if finder.takes_surplus(name):
        texts = [f"{word}: {text} (it has no effect)" for text in own.surplus]
        problems.extend(Problem(entry.where, text, "warning") for text in texts)
    else:
        problems.extend(Problem(entry.where, f"{word}: {text}") for text in own.surplus)
        wrong += own.surplus
    if wrong or common is None or own.options is None:
        return
    line = PluginLine(entry.where, name + suffix, cls, own.options, common)
    if common.mode != "enforce" and "queue" in cls.hooks():
        text = f"{word}: mode={common.mode} is not for plugins that deliver messages"
        problems.append(Problem(entry.where, text))
    yield line


def _missing(text: str, entry: Entry, error: MissingPluginError, *, skip: bool) -> Problem:
    if error.loss == "idle" or (error.loss == "filter" and skip):
        return Problem(entry.where, f"{text} (this line is skipped)", "warning")
    return Problem(entry.where, text)


def missing_lines(
    files: ConfigFiles, finder: PluginFinder
) -> Iterator[tuple[Entry, MissingPluginError]]:
    """The lines that stop the start as there is no such plugin, and what is to be said of each.

    No plugin is run.  Raises ConfigError if a file cannot be read.
    """
    for file in ("logging", "plugins"):
        for entry in files.entries(file):
            missing = finder.missing(_split_name(_first_word(entry))[0])
            if missing is not None and missing.loss != "idle":
                yield entry, missing


def _split_name(word: str) -> tuple[str, Sequence[str], str]:
    """The plugin's current name, arguments that an old name implies, and ":1" of an instance."""
    match = _names(word)
    assert match is not None
    name, implied = todays_name(match["plugin"])
    instance = match["instance"] or implied_instance(match["plugin"])
    return name, implied, f":{instance}" if instance else ""


def _split_words(words: Sequence[str], cls: type[Plugin[Any]]) -> tuple[list[str], list[str]]:
    """The words that are for the chain, and those that are for the plugin."""
    names = _names_of(CommonOptions) - _names_of(cls.Options)
    common: list[str] = []
    own: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if name.replace("-", "_") not in names:
            own.append(word)
        elif equals:
            common.append(word)
        else:
            common.extend([word, *(value for value in [next(rest, "")] if value)])
    return common, own


def _names_of(options: type[Any]) -> set[str]:
    return {
        name.replace("-", "_").rstrip("_")
        for declared in dataclasses.fields(options)
        for name in (declared.name, *declared.metadata["was"])
    }


def _replaced(lines: Sequence[PluginLine], finder: PluginFinder) -> Iterator[Problem]:
    for line in lines:
        file = finder.replaced.get(line.plugin)
        if file:
            text = f"{line.name}: the shipped plugin is used, not the Perl file {file}"
            yield Problem(line.where, text, "warning")


# --- what is odd about a chain, by what its plugins declare about themselves ------------------


_NOT_VERIFIED = (
    "nothing verifies recipients: mail to unknown users is taken, and then bounces to senders that "
    "are forged; add the line verify_recipients, anywhere"
)


_NOT_ACCEPTED = (
    "no plugin accepts recipients in our own domains: add the line rcpt_ok below those that may "
    "refuse them, or only relay clients can send mail"
)


def _lint(lines: Sequence[PluginLine], where: str) -> Iterator[Problem]:
    """The problems of a chain; `where` is the file, for problems that are not on any line."""
    hooks = {hook for line in lines for hook in line.cls.hooks()}
    if "queue" not in hooks:
        yield Problem(where, "no plugin delivers messages (queue/maildir, queue/smtp-forward …)")
    if not any(map(_may_accept, lines)):
        yield Problem(where, "no plugin accepts recipients (rcpt_ok)")
    elif not any(map(_may_accept_ours, lines)):
        yield Problem(where, _NOT_ACCEPTED, "warning")
    if _not_verified(lines):
        yield Problem(where, _NOT_VERIFIED, "warning")
    for number, line in enumerate(lines):
        above, below = lines[:number], lines[number + 1 :]
        for text in _oddities(line, above, below):
            yield Problem(line.where, f"{line.name}: {text}", "warning")


def _may_accept(line: PluginLine) -> bool:
    """Whether the plugin may accept recipients; ours that deliver only refuse them."""
    delivers = line.cls.__module__.startswith("qpsmtpd.plugins.queue.")
    return "rcpt" in line.cls.hooks() and not delivers


def _may_accept_ours(line: PluginLine) -> bool:
    """Whether the plugin may accept recipients in our domains; nobody knows that of others'."""
    cls = line.cls
    if cls.__module__.startswith("qpsmtpd.plugins."):
        return cls.accepts_recipients or cls.may_accept_recipients
    return _may_accept(line)


def _oddities(
    line: PluginLine, above: Sequence[PluginLine], below: Sequence[PluginLine]
) -> Iterator[str]:
    if line.cls.warning:
        yield line.cls.warning
    yield from _twice(line, above, below)
    yield from _too_early(line, below)
    yield from _alone(line, (*above, *below))
    yield from _not_asked(line, above)
    yield from _not_spoken(line, below)


def _twice(
    line: PluginLine, above: Sequence[PluginLine], below: Sequence[PluginLine]
) -> Iterator[str]:
    first = next((other for other in above if other.name == line.name), None)
    if first is not None:
        names = {other.name for other in (*above, *below)}
        numbered = (f"{line.plugin}:{number}" for number in itertools.count(2))
        free = next(name for name in numbered if name not in names)
        yield f"has the name of another line ({first.where}); call this one {free}"


def _too_early(line: PluginLine, below: Sequence[PluginLine]) -> Iterator[str]:
    for other in below:
        wanted = any(fnmatchcase(other.plugin, pattern) for pattern in line.cls.after)
        if wanted and other.plugin != line.plugin:
            yield f"belongs after {other.name} ({other.where})"


def _alone(line: PluginLine, others: Sequence[PluginLine]) -> Iterator[str]:
    there = {other.plugin for other in others}
    for name in line.cls.needs:
        if name not in there:
            yield f"needs the plugin {name}, which is not in the chain"


def _not_asked(line: PluginLine, above: Sequence[PluginLine]) -> Iterator[str]:
    """The plugin is to refuse recipients that one above it has accepted already."""
    accepting = next((other for other in above if _accepts(other)), None)
    if accepting is not None and _judges_recipients(line):
        yield (
            f"is not asked about recipients that {accepting.name} ({accepting.where}) accepts; "
            "its line belongs above"
        )


def _accepts(line: PluginLine) -> bool:
    return line.cls.accepts_recipients and line.common.mode != "shadow"


def _judges_recipients(line: PluginLine) -> bool:
    """Whether it may refuse recipients when it is asked in its turn."""
    hooks = line.cls.hooks()
    return "rcpt" in hooks and "queue" not in hooks and not line.cls.accepts_recipients


def _not_verified(lines: Sequence[PluginLine]) -> bool:
    """Whether a mail system that could be asked gets recipients that it may not have."""
    deliverers = [line.cls for line in lines if "queue" in line.cls.hooks()]
    return bool(deliverers) and deliverers[0].can_be_asked() and not any(map(_verifies, lines))


def _verifies(line: PluginLine) -> bool:
    """Whether it refuses recipients that do not exist; a next hop only if told to ask."""
    if isinstance(line.options, NextHopOptions):
        return line.options.check_recipients
    verifies = line.cls.verifies_recipients and "verify_recipient" in line.cls.hooks()
    return verifies and line.common.mode != "shadow"


def _not_spoken(line: PluginLine, below: Sequence[PluginLine]) -> Iterator[str]:
    """The plugin leaves its rejections to one that is not in the chain."""
    left = isinstance(line.options, RejectOptions) and line.options.reject == "naughty"
    if left and not any(_speaks(other) for other in below):
        yield "`reject naughty` refuses nobody: no plugin below issues what it defers (naughty)"


def _speaks(line: PluginLine) -> bool:
    return line.cls.speaks_rejections and line.common.mode != "shadow"
