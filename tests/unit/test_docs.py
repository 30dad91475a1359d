# SPDX-License-Identifier: MIT
"""What is public is documented: modules, classes, functions, hooks and options."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from qpsmtpd.errors import ConfigError
from qpsmtpd.plugin.base import HOOK_METHODS, Plugin
from qpsmtpd.plugin.options import describe
from qpsmtpd.plugin.services import Config, Resolver
from qpsmtpd.plugin.system import Facts, System
from qpsmtpd.smtp.connection import Wire
from qpsmtpd.testing import FakeConfig, a_plugin, services

ROOT = Path(__file__).parents[2]
LICENCE = "# SPDX-License-Identifier: MIT\n"
#: Those that hold something.
FILES = sorted(
    path for path in (ROOT / "qpsmtpd").rglob("*.py") if path.stat().st_size > len(LICENCE)
)

#: Methods that options classes may have; qpsmtpd.plugin.options.parse says what they are for.
OF_OPTIONS = {"check", "rewrite"}

#: Methods that are explained where we say what we borrow.
OF_PROTOCOLS = {
    name for protocol in (Resolver, Config, Facts, System, Wire) for name in vars(protocol)
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> ModuleType:
    return importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def definitions(owner: type | ModuleType, module: str) -> Iterator[tuple[str, Any]]:
    """Public classes, functions and properties that a module or class defines."""
    for name, value in vars(owner).items():
        value = getattr(value, "__func__", value)
        defined = isinstance(value, type | FunctionType | property)
        if defined and not name.startswith("_") and getattr(value, "__module__", module) == module:
            yield name, getattr(owner, name) if isinstance(owner, type) else value


def is_explained(value: Any, name: str) -> bool:
    """Also by the class or the typing.Protocol that declares the method."""
    return bool(inspect.getdoc(value)) or name in OF_OPTIONS or name in OF_PROTOCOLS


def unexplained(owner: type | ModuleType, module: str) -> Iterator[str]:
    for name, value in definitions(owner, module):
        if not is_explained(value, name):
            yield name
        if isinstance(value, type):
            yield from (f"{name}.{inner}" for inner in unexplained(value, module))


def plugins_in(path: Path) -> list[type[Plugin[Any]]]:
    module = module_of(path)
    return [
        value
        for _, value in definitions(module, module.__name__)
        if isinstance(value, type) and issubclass(value, Plugin)
    ]


PLUGIN_FILES = [path for path in FILES if "plugins" in path.parts and path.stem != "__init__"]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_says_its_licence_and_what_it_holds(path: Path) -> None:
    assert path.read_text().startswith(LICENCE)
    assert module_of(path).__doc__


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_is_public_is_explained(path: Path) -> None:
    module = module_of(path)
    assert list(unexplained(module, module.__name__)) == []


@pytest.mark.parametrize("hook", HOOK_METHODS)
def test_the_docstring_of_a_hook_is_its_manual(hook: str) -> None:
    text = inspect.getdoc(getattr(Plugin, hook))
    assert text
    assert text.endswith(".")
    assert text.isascii()


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=name_of)
def test_an_examination_is_explained(path: Path) -> None:
    for plugin in plugins_in(path):
        assert "examine" not in vars(plugin) or (plugin.examine.__doc__ or "").endswith(".")


#: How a plugin names whom it asks: lists in the DNS, places, web servers, programs.
_asks = re.compile(r"\b(DnsList|parse_places?|parse_url|check_command|Place)\(|check=parse_place")


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=name_of)
def test_who_asks_somebody_examines_him(path: Path) -> None:
    (plugin,) = plugins_in(path)
    assert not _asks.search(path.read_text()) or plugin.examine is not Plugin.examine


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=name_of)
async def test_a_plugin_reads_the_files_that_it_declares(path: Path) -> None:
    """It fails when it reads others; see FakeConfig."""
    (plugin,) = plugins_in(path)
    assert all(text.endswith(".") for text in plugin.files.values())
    assert all(f"`{file}`" in (inspect.getdoc(module_of(path)) or "") for file in plugin.files)
    if plugin.files:
        lent = services()
        # A file may be read in place of another one.
        switches = [option.name for option in describe(plugin.Options) if option.kind == "flag"]
        for line in ("", *switches):
            with suppress(ConfigError):
                await a_plugin(plugin, line, services=lent)
        assert isinstance(lent.config, FakeConfig)
        assert lent.config.asked == set(plugin.files)


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=name_of)
def test_every_option_is_explained(path: Path) -> None:
    for plugin in plugins_in(path):
        options = describe(plugin.Options)
        assert len({option.name for option in options}) == len(options)
        for option in options:
            assert option.doc.endswith((".", ")")), option.name
            assert option.kind
