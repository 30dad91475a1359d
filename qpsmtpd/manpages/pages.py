# SPDX-License-Identifier: MIT
"""Man pages: all of them, from the declarations and docstrings that they describe.

    python3 -m qpsmtpd.manpages DIRECTORY

writes them.  SOURCE_DATE_EPOCH (reproducible-builds.org) gives their date.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qpsmtpd import __version__, api
from qpsmtpd.commands.legacy import forkserver_parser, meaningless, prefork_parser
from qpsmtpd.commands.main import make_parser
from qpsmtpd.config.absent import ABSENT
from qpsmtpd.config.names import PERL_PLUGINS, old_names, todays_name
from qpsmtpd.config.pluginfinder import is_shipped, shipped_plugins
from qpsmtpd.config.pluginlines import CommonOptions
from qpsmtpd.config.settings import Settings, file_of
from qpsmtpd.manpages import scaling, texts
from qpsmtpd.manpages.perlplugins import fates
from qpsmtpd.manpages.roff import Page
from qpsmtpd.plugin.base import HOOK_METHODS, Plugin
from qpsmtpd.plugin.options import OptionDoc, describe

PAGES = (
    *("qpsmtpd(8)", "qpsmtpd-forkserver(8)", "qpsmtpd-prefork(8)"),
    *("qpsmtpd-config(5)", "qpsmtpd-plugins(5)", "qpsmtpd-plugin-api(7)", "qpsmtpd-scaling(7)"),
)

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
        _program(),
        _old_program(forkserver_parser()),
        _old_program(prefork_parser()),
        _configuration(),
        _plugins(),
        _api(),
        _scaling(),
    ]


def _page(name: str, section: int, summary: str) -> Page:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    date = datetime.fromtimestamp(int(epoch), UTC).date().isoformat() if epoch else ""
    return Page(name, section, summary, __version__, date)


def _terms(page: Page, heading: str, terms: Mapping[str, str]) -> None:
    page.heading(heading)
    for term, text in terms.items():
        page.term(term, text)


def _see_also(page: Page, others: Iterable[str] = ()) -> None:
    page.heading("See also")
    names = [name for name in PAGES if name != f"{page.name}({page.section})"]
    page.paragraph(", ".join([*names, *others]))


# --- programs -------------------------------------------------------------------------------


def _program() -> Page:
    page = _page("qpsmtpd", 8, "SMTP daemon that filters mail during the SMTP session")
    parser = make_parser()
    commands = _commands(parser)
    page.heading("Synopsis")
    for command in commands.values():
        page.synopsis(" ".join(command.format_usage().removeprefix("usage: ").split()))
    page.heading("Description")
    page.prose(texts.DESCRIPTION)
    page.heading("Commands")
    for name, command in commands.items():
        page.subheading(name)
        page.prose("\n\n".join(filter(None, (command.description, command.epilog))))
        _arguments(page, command._actions[1:])  # the first one is --help
    page.heading("Options")
    _arguments(page, parser._actions)
    _terms(page, "Signals", texts.SIGNALS)
    _terms(page, "Exit status", texts.EXIT_STATUS)
    _terms(page, "Environment", texts.ENVIRONMENT)
    _terms(page, "Files", texts.FILES)
    _see_also(page, ("systemd.socket(5)", "journalctl(1)"))
    return page


def _commands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    return next(
        action.choices
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
    )


def _arguments(page: Page, actions: Sequence[argparse.Action]) -> None:
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        value = action.metavar if isinstance(action.metavar, str) else ""
        if action.choices and not value:
            value = "{" + ",".join(map(str, action.choices)) + "}"
        names = ", ".join(action.option_strings)
        text = (action.help or "") % vars(action)
        page.term(names or value, _sentence(text), value if names else "")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].removesuffix(".") + "."


def _old_program(parser: argparse.ArgumentParser) -> Page:
    page = _page(parser.prog, 8, "run qpsmtpd with the options of the Perl version")
    page.heading("Synopsis")
    page.synopsis(f"{parser.prog} [OPTION]...")
    page.heading("Description")
    page.prose(texts.LEGACY)
    page.heading("Options")
    without_effect = meaningless(parser)
    _arguments(page, [action for action in parser._actions if action not in without_effect])
    if without_effect:
        names = ", ".join(action.option_strings[0] for action in without_effect)
        page.term(names, "Have no effect; a line on standard error says so.")
    _see_also(page)
    return page


# --- configuration --------------------------------------------------------------------------


def _configuration() -> Page:
    page = _page("qpsmtpd-config", 5, "configuration files of qpsmtpd")
    page.heading("Description")
    page.prose(texts.CONFIGURATION)
    _terms(page, "The chain of plugins", texts.CHAIN_FILES)
    page.heading("Settings of the daemon")
    page.paragraph("Each is one line, except `plugin_dirs` and lists of addresses.")
    for option in describe(Settings):
        page.term(file_of(option.name), _with_default(option), _kind(option).removesuffix(",..."))
    page.heading("Files of plugins")
    page.paragraph("One entry per line. The manual of each plugin is in qpsmtpd-plugins(5).")
    for name, plugin, text in sorted(_files()):
        page.term(name, f"{text} Read by the plugin {plugin}.")
    _see_also(page)
    return page


def _files() -> Iterator[tuple[str, str, str]]:
    """Every file that a plugin reads, the plugin, and what is in it."""
    for plugin, cls in shipped_plugins().items():
        yield from ((name, plugin, text) for name, text in cls.files.items())


def _with_default(option: OptionDoc) -> str:
    # An empty path stands for one that depends on something; the text says on what.
    default = "" if option.default in (None, "", ".") else f" Default: `{option.default}`."
    return option.doc + default + (f" {_sentence(option.bounds)}" if option.bounds else "")


# --- plugins --------------------------------------------------------------------------------


def _plugins() -> Page:
    page = _page("qpsmtpd-plugins", 5, "the chain of plugins of qpsmtpd, and their manuals")
    page.heading("Description")
    page.prose(texts.CHAIN)
    page.heading("Exempt clients")
    page.prose(texts.EXEMPT)
    page.heading("Arguments of every plugin")
    _options(page, describe(CommonOptions))
    page.heading("Plugins")
    for name, cls in shipped_plugins().items():
        _plugin(page, name, cls)
    page.heading("Plugins of the Perl version")
    page.prose(texts.PERL)
    for name, fate in fates().items():
        text = fate.text if is_shipped(name) else _stands_in(name)
        page.term(name, f"{fate.status}: {text}" if text else fate.status)
    page.heading("Plugins of others that configurations name")
    for name in sorted(ABSENT.keys() - PERL_PLUGINS):
        page.term(name, _stands_in(name))
    _see_also(page)
    return page


def _plugin(page: Page, name: str, cls: type[Plugin[Any]]) -> None:
    page.subheading(name)
    manual = inspect.getdoc(sys.modules[cls.__module__]) or ""
    page.prose(_sentence(manual.partition(": ")[2]))
    _options(page, describe(cls.Options))
    page.paragraph(f"Hooks: {', '.join(cls.hooks()) or 'none'}.")
    if cls.after:
        page.paragraph(f"Belongs after: {', '.join(cls.after)}.")
    if cls.needs:
        page.paragraph(f"Needs: {', '.join(cls.needs)}.")
    if cls.files:
        page.paragraph(f"Files: {', '.join(cls.files)}.")
    if cls.examine is not Plugin.examine:
        page.paragraph(f"Examined by `qpsmtpd doctor`: {cls.examine.__doc__}")
    if old := old_names(name):
        page.paragraph(f"Older names: {', '.join(old)}.")


def _stands_in(name: str) -> str:
    """What stands in for a plugin that is missing, and what its line does."""
    absent = ABSENT[todays_name(name)[0]]
    effects = {"idle": "Its line is skipped.", "vital": "Its line always stops the start."}
    begins_with_plugin = is_shipped(absent.stands_in.partition(" ")[0])
    text = f"{absent.stands_in}." if begins_with_plugin else _sentence(absent.stands_in)
    return f"{text} {effects.get(absent.loss, '')}".strip()


def _options(page: Page, options: Sequence[OptionDoc]) -> None:
    for option in options:
        notes = _with_default(option)
        notes += " The name may be left out." if option.positional else ""
        page.term(option.name, notes, _kind(option))


def _kind(option: OptionDoc) -> str:
    """What the value of an option is; for a list, the choices are not repeated."""
    first, comma, _ = option.kind.partition(",")
    many = f"{first}{comma}..." if comma else first
    return "" if option.kind == "flag" else many.removeprefix("|")


# --- interface ------------------------------------------------------------------------------


def _api() -> Page:
    page = _page("qpsmtpd-plugin-api", 7, "how to write plugins for qpsmtpd")
    page.heading("Description")
    page.prose(texts.API)
    page.heading("Example")
    page.example(texts.EXAMPLE.rstrip("\n"))
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
    _see_also(page)
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
    page = _page("qpsmtpd-scaling", 7, "several machines with qpsmtpd, and what a site needs")
    scaling.write(page)
    _see_also(page, ("haproxy(1)", "redis-server(1)"))
    return page
