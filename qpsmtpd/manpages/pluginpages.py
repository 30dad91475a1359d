# SPDX-License-Identifier: MIT
"""The man pages about plugins: qpsmtpd-plugins(5), with a line about each, and a page for each."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from qpsmtpd.config.absent import ABSENT
from qpsmtpd.config.names import PERL_PLUGINS, old_names, todays_name
from qpsmtpd.config.pluginfinder import is_shipped, shipped_plugins
from qpsmtpd.config.pluginlines import CommonOptions
from qpsmtpd.manpages import texts
from qpsmtpd.manpages.commandpages import PLUGINS, add_command_manual, commands, usage_of
from qpsmtpd.manpages.parts import (
    MAIN_PAGES,
    add_options,
    add_terms,
    new_page,
    see_also,
    sentence,
)
from qpsmtpd.manpages.perlplugins import PROGRAMS, fates
from qpsmtpd.manpages.roff import Page
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.options import describe


def chain() -> Page:
    """qpsmtpd-plugins(5)."""
    page = new_page("qpsmtpd-plugins", 5, "the chain of plugins of qpsmtpd, and all plugins")
    page.heading("Description")
    page.prose(texts.CHAIN)
    page.heading("Plugins")
    page.prose(texts.PLUGINS)
    page.table({name: summary_of(cls) for name, cls in shipped_plugins().items()})
    page.heading("Exempt clients")
    page.prose(texts.EXEMPT)
    page.heading("Arguments of every plugin")
    add_options(page, describe(CommonOptions))
    page.heading("The command plugins")
    page.synopsis(usage_of(commands()[PLUGINS]))
    add_command_manual(page, PLUGINS, commands()[PLUGINS])
    _add_absent(page)
    see_also(page, MAIN_PAGES)
    return page


def _add_absent(page: Page) -> None:
    """What has become of plugins that configurations of the Perl version name."""
    page.heading("Plugins of the Perl version")
    page.prose(texts.PERL)
    for name, fate in fates().items():
        text = fate.text if is_shipped(name) else _stands_in(name)
        page.term(name, f"{fate.status}: {text}" if text else fate.status)
    add_terms(page, "Programs of the Perl version", PROGRAMS)
    page.heading("Plugins of others that configurations name")
    for name in sorted(ABSENT.keys() - PERL_PLUGINS):
        page.term(name, _stands_in(name))


def _stands_in(name: str) -> str:
    """What stands in for a plugin that is missing, and what its line does."""
    absent = ABSENT[todays_name(name)[0]]
    effects = {"idle": "Its line is skipped.", "vital": "Its line always stops the start."}
    begins_with_plugin = is_shipped(absent.stands_in.partition(" ")[0])
    text = f"{absent.stands_in}." if begins_with_plugin else sentence(absent.stands_in)
    return f"{text} {effects.get(absent.loss, '')}".strip()


def plugin_pages() -> Iterator[Page]:
    """A page for each plugin."""
    for name, cls in shipped_plugins().items():
        yield _plugin(name, cls)


def page_name(plugin: str) -> str:
    """The name of a plugin's page; the slash of a directory is not for names of files."""
    return f"qpsmtpd-plugin-{plugin.replace('/', '-')}"


def summary_of(cls: type[Plugin[Any]]) -> str:
    """What a plugin is for, in one line."""
    return " ".join(manual_of(cls).partition("\n\n")[0].split()).removesuffix(".")


def manual_of(cls: type[Plugin[Any]]) -> str:
    """The docstring of a plugin's module, without the name that it begins with."""
    manual = inspect.getdoc(sys.modules[cls.__module__]) or ""
    return manual.partition(": ")[2]


def _plugin(name: str, cls: type[Plugin[Any]]) -> Page:
    page = new_page(page_name(name), 5, summary_of(cls))
    page.heading("Description")
    page.prose(sentence(manual_of(cls)))
    page.heading("Arguments")
    add_options(page, describe(cls.Options))
    page.paragraph(texts.COMMON_ARGUMENTS)
    if cls.files:
        add_terms(page, "Files", cls.files)
    page.heading("In the chain")
    for fact in _place(name, cls):
        page.paragraph(fact)
    neighbours = [f"{page_name(other)}(5)" for other in dict.fromkeys((*cls.needs, *cls.after))]
    see_also(page, ("qpsmtpd-plugins(5)", "qpsmtpd-config(5)", *neighbours))
    return page


def _place(name: str, cls: type[Plugin[Any]]) -> Iterator[str]:
    """When a plugin is asked, by what, and alongside which others."""
    yield f"Hooks: {', '.join(cls.hooks()) or 'none'}."
    if cls.after:
        yield f"Belongs after: {', '.join(cls.after)}."
    if cls.needs:
        yield f"Needs: {', '.join(cls.needs)}."
    if cls.examine is not Plugin.examine:
        yield f"Examined by `qpsmtpd doctor`: {cls.examine.__doc__}"
    if old := old_names(name):
        yield f"Older names: {', '.join(old)}."
