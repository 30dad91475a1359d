# SPDX-License-Identifier: MIT
"""What changes a decision that was wrong: the line, the lists and the options that led to it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.pluginfinder import PluginFinder, is_shipped
from qpsmtpd.config.pluginlines import plugin_name
from qpsmtpd.decisions.decision import Decision
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.mail.trail import CORE
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.terminal import shown

#: For what the core refuses, by the enhanced status code.
_OF_CORE = {
    "5.7.1": "only recipients in our domains (file rcpthosts) are taken from strangers; clients in "
    "the file relayclients, and users who log in, may relay",
    "5.3.4": "the file databytes says how large a message may be",
    "5.5.2": "the client does not keep to SMTP; the file barelf can allow a bare LF at line ends",
    "4.3.1": "there is no room in spool_dir",
    "4.3.0": "a plugin failed or was too slow: the log has the reason",
}


def remedies(decision: Decision, files: ConfigFiles) -> Iterator[str]:
    """What an administrator can do if the decision was wrong."""
    if decision.outcome == "accepted":
        return
    if decision.plugin == CORE:
        status = decision.reply.split(" ")[1] if " " in decision.reply else ""
        yield _OF_CORE.get(status, "no list says that: the client does not keep to the protocol")
        return
    name, where = _line(decision.plugin, files)
    cls = _class_of(name)
    if cls is not None and cls.remedy:
        yield cls.remedy
    if cls is not None:
        yield from _lists(cls)
        yield from _options(name, where, cls)
        if _spares_the_exempt(cls):
            yield (
                "clients and senders that the plugin whitelist knows are spared: add "
                f"{shown(decision.ip)} to whitelisthosts, or the sender to whitelistsenders"
            )
    if cls is None or not _takes_something(cls):
        yield f"`mode=shadow` on its line{where} has it refuse nothing, and log what it would"
    yield f"`qpsmtpd plugins {shown(name)}` prints its manual"


def _line(plugin: str, files: ConfigFiles) -> tuple[str, str]:
    """The name of the plugin without its id, and where its line is."""
    for entry in files.entries("plugins"):
        if plugin_name(entry) == plugin:
            return plugin.partition(":")[0], f" ({entry.where})"
    return plugin.partition(":")[0], ""


def _class_of(name: str) -> type[Plugin[Any]] | None:
    """A plugin that we ship; root imports no other."""
    if not is_shipped(name):
        return None
    try:
        return PluginFinder().find(name)
    except QpsmtpdError:
        return None


def _takes_something(cls: type[Plugin[Any]]) -> bool:
    """Whether recipients or messages are taken by it: in shadow it would take none."""
    return cls.accepts_recipients or "queue" in cls.hooks()


def _spares_the_exempt(cls: type[Plugin[Any]]) -> bool:
    """Whether a hook asks `immune`: no declaration could be forgotten then."""
    functions = filter(inspect.isfunction, vars(cls).values())
    return any("immune" in function.__code__.co_names for function in functions)


def _lists(cls: type[Plugin[Any]]) -> Iterator[str]:
    for file, text in cls.files.items():
        yield f"the file {file}: {text[:1].lower()}{text[1:].removesuffix('.')}"


def _options(name: str, where: str, cls: type[Plugin[Any]]) -> Iterator[str]:
    if any(field.name == "reject" for field in dataclasses.fields(cls.Options)):
        yield f"`reject 0` on the line of {name}{where} has it refuse nothing"
