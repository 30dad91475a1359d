# SPDX-License-Identifier: MIT
"""Manual: what `qpsmtpd plugins` shows of the chain and of one plugin.

All of it comes from the declarations: the docstring of the plugin's module and its options.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from qpsmtpd.config.pluginlines import CommonOptions, PluginLine, hooks_of
from qpsmtpd.options import OptionDoc, describe
from qpsmtpd.plugin import Plugin
from qpsmtpd.terminal import indented, styled


def chain_table(lines: Sequence[PluginLine]) -> Iterator[str]:
    """The chain as a table: place in the configuration, plugin, hooks."""
    rows = [("LINE", "PLUGIN", "HOOKS")]
    rows += [
        (line.where.rpartition("/")[2], line.name, ", ".join(line.hooks()) or "-") for line in lines
    ]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    heading, *body = (
        f"{where:{first}}  {name:{second}}  {hooks}".rstrip() for where, name, hooks in rows
    )
    yield styled(sys.stdout, "bold", heading)
    yield from body


def plugin_manual(cls: type[Plugin[Any]]) -> Iterator[str]:
    """The manual of one plugin."""
    module = inspect.getmodule(cls)
    yield inspect.cleandoc((module and module.__doc__) or cls.__doc__ or "Without a manual.")
    yield ""
    yield styled(sys.stdout, "bold", "Hooks")
    yield indented(", ".join(hooks_of(cls)) or "none", 4)
    yield ""
    own = describe(cls.Options)
    if own:
        yield styled(sys.stdout, "bold", "Arguments")
        yield from _options(own)
    names = {option.name for option in own}
    yield styled(sys.stdout, "bold", "Arguments of every plugin")
    yield from _options([o for o in describe(CommonOptions) if o.name not in names])


def _options(options: Sequence[OptionDoc]) -> Iterator[str]:
    for option in options:
        value = "" if option.kind == "flag" else f" {option.kind}"
        notes = [f"default: {option.default}"] if option.default else []
        notes += ["the name may be left out"] if option.positional else []
        tail = f"  ({'; '.join(notes)})" if notes else ""
        yield f"    {styled(sys.stdout, 'bold', option.name)}{value}{tail}"
        yield indented(option.doc, 8)
    yield ""
