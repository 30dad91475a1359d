# SPDX-License-Identifier: MIT
"""Man pages: all of them, from the declarations and docstrings that they describe.

    python3 -m qpsmtpd.manpages DIRECTORY

writes them.  Those of commands and of plugins are made in modules of their own.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qpsmtpd import api
from qpsmtpd.commands.legacy import forkserver_parser, prefork_parser
from qpsmtpd.config.pace import SHARES, Pace, begins_at
from qpsmtpd.config.pluginfinder import shipped_plugins
from qpsmtpd.config.settings import Settings, file_of
from qpsmtpd.manpages import metricspage, scaling, texts
from qpsmtpd.manpages.commandpages import command_pages, old_program, program
from qpsmtpd.manpages.parts import (
    MAIN_PAGES,
    add_terms,
    kind_of,
    new_page,
    see_also,
    with_default,
)
from qpsmtpd.manpages.pluginpages import chain, plugin_pages
from qpsmtpd.manpages.roff import Page
from qpsmtpd.plugin.base import HOOK_METHODS, Plugin
from qpsmtpd.plugin.options import describe

#: Methods of a plugin that are not hooks.
_LIFE = ("start", "stop", "tls_context", "examine", "immune", "reject")


def main(words: Sequence[str]) -> int:
    """Write all pages into the directory that the command line names."""
    if len(words) != 1:
        print("usage: python3 -m qpsmtpd.manpages DIRECTORY", file=sys.stderr)
        return 2
    directory = Path(words[0])
    directory.mkdir(parents=True, exist_ok=True)
    for page in pages():
        (directory / page.file_name).write_text(str(page), encoding="ascii")
    return 0


def pages() -> list[Page]:
    """All man pages."""
    return [
        program(),
        *command_pages(),
        old_program(forkserver_parser()),
        old_program(prefork_parser()),
        _configuration(),
        chain(),
        *plugin_pages(),
        _api(),
        _scaling(),
        _metrics(),
    ]


# --- configuration --------------------------------------------------------------------------


def _configuration() -> Page:
    page = new_page("qpsmtpd-config", 5, "configuration files of qpsmtpd")
    page.heading("Description")
    page.prose(texts.CONFIGURATION)
    add_terms(page, "The chain of plugins", texts.CHAIN_FILES)
    page.heading("Settings of the daemon")
    page.paragraph("Each is one line, except `plugin_dirs` and lists of addresses.")
    for option in describe(Settings):
        page.term(file_of(option.name), with_default(option), kind_of(option).removesuffix(",..."))
    _stress(page)
    page.heading("Files of plugins")
    page.paragraph("One entry per line. The page qpsmtpd-plugin-NAME(5) is the manual of a plugin.")
    for name, plugin, text in sorted(_files()):
        page.term(name, f"{text} Read by the plugin {plugin}.")
    see_also(page, MAIN_PAGES)
    return page


def _stress(page: Page) -> None:
    settings = Settings()
    pace, percent = Pace(settings), settings.stress_percent
    page.heading("Stress")
    page.prose(texts.STRESS)
    for grade in range(1, len(SHARES)):
        pace.set(grade)
        begin = math.ceil(100 * begins_at(grade, percent))
        text = f"{begin} % by default: 1/{1 / SHARES[grade]:.0f} of all time-outs and counts"
        shown = f"{pace.command:g} seconds for a command, {pace.max_errors} errors"
        page.term(f"grade {grade}", f"{text}, by default {shown}.")
    page.prose(texts.STRESS_ENDS)


def _files() -> Iterator[tuple[str, str, str]]:
    """Every file that a plugin reads, the plugin, and what is in it."""
    for plugin, cls in shipped_plugins().items():
        yield from ((name, plugin, text) for name, text in cls.files.items())


# --- interface ------------------------------------------------------------------------------


def _api() -> Page:
    page = new_page("qpsmtpd-plugin-api", 7, "how to write plugins for qpsmtpd")
    page.heading("Description")
    page.prose(texts.API)
    page.heading("Example")
    page.example(texts.EXAMPLE.rstrip("\n"))
    page.heading("Beginning and testing a plugin")
    page.prose(texts.BEGINNING)
    page.heading("Verdicts")
    page.prose(texts.VERDICTS)
    page.heading("Domains and addresses")
    page.prose(texts.COMPARISONS)
    page.heading("Hooks")
    for name in HOOK_METHODS:
        _method(page, name)
    page.heading("Other methods of a plugin")
    for name in _LIFE:
        _method(page, name)
    page.heading("What qpsmtpd.api has")
    for name, value in sorted(exported().items(), key=lambda item: item[0].lower()):
        page.term(name, inspect.getdoc(value) or "")
    see_also(page, MAIN_PAGES)
    return page


def exported() -> dict[str, Any]:
    """The classes and functions of qpsmtpd.api, which have entries of their own."""
    return {
        name: value
        for name, value in vars(api).items()
        if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
    }


def _method(page: Page, name: str) -> None:
    method = getattr(Plugin, name)
    signature = inspect.signature(method)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    shown = signature.replace(parameters=parameters)
    page.term(name, inspect.getdoc(method) or "", str(shown).replace("'", ""))


# --- several machines -----------------------------------------------------------------------


def _scaling() -> Page:
    page = new_page("qpsmtpd-scaling", 7, "several machines with qpsmtpd, and what a site needs")
    scaling.write(page)
    see_also(page, (*MAIN_PAGES, "haproxy(1)", "redis-server(1)"))
    return page


# --- metrics --------------------------------------------------------------------------------


def _metrics() -> Page:
    page = new_page("qpsmtpd-metrics", 7, "what qpsmtpd counts and measures")
    metricspage.write(page)
    see_also(page, (*MAIN_PAGES, "prometheus(1)", "promtool(1)"))
    return page
