# SPDX-License-Identifier: MIT
"""Chain: what the files of the configuration say now, for people.

The daemon may still go by an older state of them, until it is reloaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.config.pluginlines import PluginLine, read_plugin_lines
from qpsmtpd.config.problems import Problem
from qpsmtpd.config.settings import load_settings


class ChainRow(NamedTuple):
    """One line of the files `logging` and `plugins`.

    place: FILE:LINE.  about: the first line of its manual.  left_out: why it is not used, or "".
    """

    place: str
    name: str
    about: str
    hooks: tuple[str, ...]
    mode: str
    left_out: str


class Chain(NamedTuple):
    """The plugins in their order, and what is wrong with the configuration."""

    rows: list[ChainRow]
    problems: list[Problem]


def read_chain(directories: Sequence[Path]) -> Chain:
    """Read it from the files; takes a moment, as plugins are imported."""
    files = ConfigFiles(directories)
    settings, problems = load_settings(files)
    finder = PluginFinder(settings.plugin_dirs)
    skip = settings.missing_plugins == "skip"
    lines = read_plugin_lines(files, finder, skip_missing=skip)
    rows = [_row(line, "") for line in lines.all]
    rows += [_row(line, line.why_left_out) for line in lines.left_out]
    return Chain(rows, [*problems, *lines.problems])


def _row(line: PluginLine, left_out: str) -> ChainRow:
    place = line.where.rpartition("/")[2]
    return ChainRow(
        place, line.name, _about(line), tuple(line.cls.hooks()), line.common.mode, left_out
    )


def _about(line: PluginLine) -> str:
    """What the plugin does: the first line of its manual, without its name."""
    module = inspect.getmodule(line.cls)
    first, _, _ = ((module and module.__doc__) or line.cls.__doc__ or "").strip().partition("\n")
    _, colon, text = first.partition(": ")
    return (text if colon else first).rstrip(".")
