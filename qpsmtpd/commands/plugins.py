# SPDX-License-Identifier: MIT
"""`qpsmtpd plugins`: the chain as a table, and the manual of one plugin.

All of it comes from the declarations: the docstring of the plugin's module and its options.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qpsmtpd.commands.arguments import add_command, add_config, directories_of
from qpsmtpd.commands.check_config import show
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.names import todays_name
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.config.pluginlines import CommonOptions, PluginLine, PluginLines, read_plugin_lines
from qpsmtpd.config.problems import errors_in
from qpsmtpd.config.settings import load_settings
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.options import OptionDoc, describe
from qpsmtpd.terminal import indented, styled


def add_plugins(commands: Any) -> None:
    """Add the command `plugins`."""
    text = "Show the chain of plugins with their hooks, or the manual of one plugin."
    parser = add_command(commands, "plugins", _plugins, text)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a plugin, shipped or local")
    add_config(parser)


def _plugins(arguments: argparse.Namespace) -> int:
    files = ConfigFiles(directories_of(arguments.config))
    settings, _ = load_settings(files)
    finder = PluginFinder(settings.plugin_dirs)
    if arguments.name:
        name, _ = todays_name(arguments.name)
        print("\n".join(plugin_manual(finder.find(name))))
        return 0
    skip = settings.missing_plugins == "skip"
    return _show(read_plugin_lines(files, finder, skip_missing=skip))


def _show(lines: PluginLines) -> int:
    print("\n".join(chain_table(lines.all)))
    for reason in lines.reasons:
        print(reason)
    for problem in lines.problems:
        print(show(problem), file=sys.stderr)
    return 1 if errors_in(lines.problems) else 0


def chain_table(lines: Sequence[PluginLine]) -> Iterator[str]:
    """The chain as a table: place in the configuration, plugin, hooks."""
    rows = [("LINE", "PLUGIN", "HOOKS")]
    rows += [
        (line.where.rpartition("/")[2], line.name, ", ".join(line.cls.hooks()) or "-")
        for line in lines
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
    yield inspect.cleandoc((module and module.__doc__) or cls.__doc__ or "No manual.")
    yield ""
    yield styled(sys.stdout, "bold", "Hooks")
    yield indented(", ".join(cls.hooks()) or "none", 4)
    yield ""
    if cls.after:
        yield styled(sys.stdout, "bold", "Belongs after")
        yield indented(", ".join(cls.after), 4)
        yield ""
    if cls.needs:
        yield styled(sys.stdout, "bold", "Needs the plugins")
        yield indented(", ".join(cls.needs), 4)
        yield ""
    if cls.files:
        yield from _files(cls.files)
    if cls.examine is not Plugin.examine:
        yield styled(sys.stdout, "bold", "Examined by qpsmtpd doctor")
        yield indented(inspect.cleandoc(cls.examine.__doc__ or "yes"), 4)
        yield ""
    own = describe(cls.Options)
    if own:
        yield styled(sys.stdout, "bold", "Arguments")
        yield from _options(own)
    names = {option.name for option in own}
    yield styled(sys.stdout, "bold", "Arguments of every plugin")
    yield from _options([o for o in describe(CommonOptions) if o.name not in names])


def _files(files: Mapping[str, str]) -> Iterator[str]:
    yield styled(sys.stdout, "bold", "Files")
    for name, text in files.items():
        yield f"    {styled(sys.stdout, 'bold', name)}"
        yield indented(text, 8)
    yield ""


def _options(options: Sequence[OptionDoc]) -> Iterator[str]:
    for option in options:
        value = "" if option.kind == "flag" else f" {option.kind}"
        notes = [f"default: {option.default}"] if option.default else []
        notes += [option.bounds] if option.bounds else []
        notes += ["the name may be left out"] if option.positional else []
        tail = f"  ({'; '.join(notes)})" if notes else ""
        yield f"    {styled(sys.stdout, 'bold', option.name)}{value}{tail}"
        yield indented(option.doc, 8)
    yield ""
