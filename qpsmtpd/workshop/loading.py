# SPDX-License-Identifier: MIT
"""Loads a plugin from its file as check-config would, in a configuration that has little else."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qpsmtpd.config.loader import load
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.config.problems import ConfigErrors, Problem
from qpsmtpd.errors import PluginError
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.checks import PluginFaultsError
from qpsmtpd.plugin.options import parse

_SETTINGS = {
    "me": "mx.example",
    "rcpthosts": "example.test",
    "reverse_lookup": "no",
    "tls_before_auth": "0",
}


def problems_of(file: Path, words: Sequence[str] = ()) -> list[Problem]:
    """What is wrong with the plugin in a file, on a line with these arguments.

    Without arguments, one that needs some is not started.
    """
    finder = PluginFinder([file.parent.resolve()])
    try:
        cls = finder.find(file.stem)
    except PluginFaultsError as error:
        return [Problem(fault.where, fault.problem) for fault in error.faults]
    except PluginError as error:
        return [Problem(str(file), str(error))]
    if not words and needs_arguments(cls):
        return []
    return list(_of_configuration(file, cls, words))


def needs_arguments(cls: type[Plugin[Any]]) -> bool:
    """Whether a line with nothing but the name is wrong."""
    return bool(parse(cls.Options, [])[1])


def _of_configuration(
    file: Path, cls: type[Plugin[Any]], words: Sequence[str]
) -> Iterator[Problem]:
    """What check-config says of a configuration with such a line."""
    line = " ".join((file.stem, *words))
    delivers = () if "queue" in cls.hooks() else ("queue/discard",)
    with tempfile.TemporaryDirectory(prefix="qpsmtpd-plugin-") as name:
        directory = Path(name)
        settings = {**_SETTINGS, "spool_dir": f"{name}/spool", "plugin_dirs": file.parent.resolve()}
        settings["plugins"] = "\n".join((line, "rcpt_ok", *delivers))
        for setting, text in settings.items():
            (directory / setting).write_text(f"{text}\n")
        for problem in asyncio.run(_load(directory)):
            if problem.where.startswith(f"{directory}/plugins:1"):
                yield Problem(f"the line {line!r}", problem.text, problem.severity)
            elif not problem.where.startswith(name):
                yield problem


async def _load(directory: Path) -> Sequence[Problem]:
    try:
        snapshot = await load([directory], {}, check_only=True)
    except ConfigErrors as error:
        return error.problems
    await snapshot.stop()
    return snapshot.warnings
