# SPDX-License-Identifier: MIT
"""PluginFinder: from the name of a plugin to its class.

The directories of the file `plugin_dirs` come first: the plugin `site/quota` is site/quota.py in
one of them.  The plugins that we ship come after them.  A file has exactly one plugin.  Local files
are read again for every configuration, so that a reload uses what has been edited.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from qpsmtpd import plugins
from qpsmtpd.config.absent import what_stands_in
from qpsmtpd.config.names import PERL_PLUGINS, module_name
from qpsmtpd.errors import MissingPluginError, PluginError
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.checks import check_plugin, unused_options
from qpsmtpd.plugin.sources import import_file

_SHIPPED = "qpsmtpd.plugins."

_REWRITE = "rewrite it in Python (CONTRIBUTING.md), or remove this line"

_is_name = re.compile(r"[\w-]+(?:/[\w-]+)*", re.ASCII).fullmatch


class PluginFinder:
    """Finds the plugins of one configuration.

    `replaced` has the Perl files in the directories that are named like a plugin that we ship, by
    that name.
    """

    def __init__(self, directories: Sequence[Path] = ()) -> None:
        self.directories = tuple(directories)
        self.replaced: dict[str, Path] = {}
        self._local: dict[Path, type[Plugin[Any]]] = {}

    def find(self, name: str) -> type[Plugin[Any]]:
        """The class of a plugin.  Raises a PluginError that says what to do.

        It is a MissingPluginError if there is no such plugin, or only one in Perl.
        """
        if missing := self.missing(name):
            raise missing
        if not _is_name(name):
            raise PluginError(f"{name!r} is not the name of a plugin")
        local = self.local_file(name)
        if local and local.suffix == ".py":
            return self._load_local(name, local)
        if local:
            self.replaced[name] = local
        return _plugin_in(_imported(_SHIPPED + module_name(name)))

    def missing(self, name: str) -> MissingPluginError | None:
        """What is to be said if there is no such plugin, or only one in Perl.  Runs no plugin."""
        if "::" in name:
            return MissingPluginError(f"{name} is a Perl module: {_REWRITE}", "filter")
        if not _is_name(name) or is_shipped(name):
            return None
        local = self.local_file(name)
        return None if local and local.suffix == ".py" else self._missing(name, local)

    def takes_surplus(self, name: str) -> bool:
        """Whether arguments that a plugin does not know are harmless: Perl's plugins ignored them.

        What looks like a misspelt option is a mistake all the same.
        """
        local = self.local_file(name)
        return name in PERL_PLUGINS and not (local and local.suffix == ".py")

    def local_file(self, name: str) -> Path | None:
        """The plugin's file in the first directory that has it; a Perl file has no suffix .py."""
        python = module_name(name).replace(".", "/") + ".py"
        for directory in self.directories:
            for path in (directory / f"{name}.py", directory / python, directory / name):
                if path.is_file():
                    return path
        return None

    def _load_local(self, name: str, path: Path) -> type[Plugin[Any]]:
        if path not in self._local:
            module = import_file(path, module_name(name))
            try:
                self._local[path] = _plugin_in(module)
            except PluginError:
                del sys.modules[module.__name__]
                raise
        return self._local[path]

    def _missing(self, name: str, perl_file: Path | None) -> MissingPluginError:
        absent = what_stands_in(name, shipped_names())
        if perl_file:
            text = f"{perl_file} is a Perl plugin: {_REWRITE}"
            return MissingPluginError(text, "vital" if absent.loss == "vital" else "filter")
        if absent.known:
            text = f"not available in this version: {absent.stands_in}"
        else:
            places = ", ".join([*map(str, self.directories), "the shipped plugins"])
            text = f"there is no plugin {name} (looked in {places}): {absent.stands_in}"
        return MissingPluginError(text, absent.loss)


def is_shipped(name: str) -> bool:
    """Whether we ship a plugin with this name."""
    try:
        spec = importlib.util.find_spec(_SHIPPED + module_name(name))
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.submodule_search_locations is None


def import_shipped(name: str) -> None:
    """Import the plugin of that name that we ship, if there is one, and if it can be imported."""
    if _is_name(name) and is_shipped(name):
        with suppress(PluginError):
            _imported(_SHIPPED + module_name(name))


def shipped_names() -> list[str]:
    """The names of the plugins that we ship, without loading any."""
    perl = {module_name(name): name for name in PERL_PLUGINS}
    modules = pkgutil.walk_packages(plugins.__path__, _SHIPPED)
    ours = [module.name.removeprefix(_SHIPPED) for module in modules if not module.ispkg]
    return sorted(perl.get(name, name.replace(".", "/")) for name in ours)


def shipped_plugins() -> dict[str, type[Plugin[Any]]]:
    """The plugins that we ship, by the name that their manual begins with."""
    finder = PluginFinder()
    modules = pkgutil.walk_packages(plugins.__path__, _SHIPPED)
    manuals = [
        inspect.getdoc(importlib.import_module(module.name)) or module.name
        for module in modules
        if not module.ispkg
    ]
    return {name: finder.find(name) for name in sorted(text.partition(":")[0] for text in manuals)}


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise PluginError(f"needs the Python module {error.name}, which is not installed") from None


def _plugin_in(module: ModuleType) -> type[Plugin[Any]]:
    plugins = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Plugin)
        and value.__module__ == module.__name__
    ]
    if len(set(plugins)) != 1:
        names = ", ".join(sorted({cls.__name__ for cls in plugins})) or "none"
        raise PluginError(f"{module.__file__} must define one subclass of Plugin, not: {names}")
    check_plugin(plugins[0])
    unused_options(plugins[0], vars(module))
    return plugins[0]
