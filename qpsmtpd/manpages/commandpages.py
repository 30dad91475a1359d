# SPDX-License-Identifier: MIT
"""The man pages of programs and commands, from the parsers of their command lines."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping

from qpsmtpd.commands.legacy import meaningless
from qpsmtpd.commands.main import make_parser
from qpsmtpd.manpages import texts
from qpsmtpd.manpages.parts import (
    MAIN_PAGES,
    add_arguments,
    add_terms,
    new_page,
    see_also,
)
from qpsmtpd.manpages.roff import Page

#: Has its place in qpsmtpd-plugins(5): man(1) would show a page of that name in section 8 first,
#: to whoever wants to read about plugins.
PLUGINS = "plugins"

_first_sentence = re.compile(r"(?P<first>.+?)\.(?=\s|$)").match


def program() -> Page:
    """qpsmtpd(8)."""
    page = new_page("qpsmtpd", 8, "SMTP daemon that filters mail during the SMTP session")
    parser = make_parser()
    page.heading("Synopsis")
    for command in commands().values():
        page.synopsis(usage_of(command))
    page.heading("Description")
    page.prose(texts.DESCRIPTION)
    page.heading("Commands")
    page.paragraph("Each has a page of its own, with its options and examples.")
    for name, command in commands().items():
        page.term(name, f"{command.description} See {command_page(name)}.")
    page.heading("Options")
    add_arguments(page, parser._actions)
    add_terms(page, "Signals", texts.SIGNALS)
    add_terms(page, "Exit status", texts.EXIT_STATUS)
    add_terms(page, "Environment", texts.ENVIRONMENT)
    add_terms(page, "Files", texts.FILES)
    see_also(page, (*MAIN_PAGES, "systemd.socket(5)", "journalctl(1)"))
    return page


def command_pages() -> Iterator[Page]:
    """A page for each command."""
    for name, command in commands().items():
        if name != PLUGINS:
            yield _command(name, command)


def command_page(name: str) -> str:
    """The page that has the manual of a command, as other pages name it."""
    return f"qpsmtpd-{name}({5 if name == PLUGINS else 8})"


def commands() -> Mapping[str, argparse.ArgumentParser]:
    """The parsers of all commands, by name."""
    return next(
        action.choices
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )


def usage_of(command: argparse.ArgumentParser) -> str:
    """A command line in one line."""
    return " ".join(command.format_usage().removeprefix("usage: ").split())


def add_command_manual(page: Page, name: str, command: argparse.ArgumentParser) -> None:
    """What a command does, its arguments, and examples."""
    page.prose("\n\n".join(filter(None, (command.description, command.epilog))))
    add_arguments(page, command._actions[1:])  # the first one is --help
    page.prose(texts.EXAMPLES[name])


def _command(name: str, command: argparse.ArgumentParser) -> Page:
    page = new_page(f"qpsmtpd-{name}", 8, _summary(command.description or ""))
    page.heading("Synopsis")
    page.synopsis(usage_of(command))
    page.heading("Description")
    page.prose("\n\n".join(filter(None, (command.description, command.epilog))))
    page.heading("Options")
    add_arguments(page, command._actions[1:])
    page.heading("Examples")
    page.prose(texts.EXAMPLES[name])
    see_also(page, ("qpsmtpd(8)", "qpsmtpd-config(5)", "qpsmtpd-plugins(5)"))
    return page


def _summary(description: str) -> str:
    """The first part of a description, as the index of man pages has it."""
    found = _first_sentence(description)
    first = found["first"] if found else description
    return first[:1].lower() + first[1:].partition("; ")[0]


def old_program(parser: argparse.ArgumentParser) -> Page:
    """The page of a program that the Perl version had."""
    page = new_page(parser.prog, 8, "run qpsmtpd with the options of the Perl version")
    page.heading("Synopsis")
    page.synopsis(f"{parser.prog} [OPTION]...")
    page.heading("Description")
    page.prose(texts.LEGACY)
    page.heading("Options")
    without_effect = meaningless(parser)
    add_arguments(page, [action for action in parser._actions if action not in without_effect])
    if without_effect:
        names = ", ".join(action.option_strings[0] for action in without_effect)
        page.term(names, "Have no effect; a line on standard error says so.")
    see_also(page, MAIN_PAGES)
    return page
