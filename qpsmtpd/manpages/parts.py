# SPDX-License-Identifier: MIT
"""What several man pages are made of: heads, options, arguments, and the pages to see also."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from qpsmtpd import __version__
from qpsmtpd.manpages.roff import Page
from qpsmtpd.plugin.options import OptionDoc

#: The pages that name each other.  Those of plugins and commands are named where they belong.
MAIN_PAGES = (
    *("qpsmtpd(8)", "qpsmtpd-forkserver(8)", "qpsmtpd-prefork(8)"),
    *("qpsmtpd-config(5)", "qpsmtpd-plugins(5)", "qpsmtpd-plugin-api(7)", "qpsmtpd-scaling(7)"),
    "qpsmtpd-metrics(7)",
)


def new_page(name: str, section: int, summary: str) -> Page:
    """A page with its head.  SOURCE_DATE_EPOCH (reproducible-builds.org) gives its date."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    date = datetime.fromtimestamp(int(epoch), UTC).date().isoformat() if epoch else ""
    return Page(name, section, summary, __version__, date)


def sentence(text: str) -> str:
    """Text with a full stop, and a capital letter unless it begins with a value that is defined."""
    first = text[:1] if re.match(r"[a-z_-]+: ", text) else text[:1].upper()
    return first + text[1:].removesuffix(".") + "."


def add_terms(page: Page, heading: str, terms: Mapping[str, str]) -> None:
    """A section of terms and what they mean."""
    page.heading(heading)
    for term, text in terms.items():
        page.term(term, text)


def add_arguments(page: Page, actions: Sequence[argparse.Action]) -> None:
    """The arguments of a command line, each with its help."""
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        value = action.metavar if isinstance(action.metavar, str) else ""
        if action.choices and not value:
            value = "{" + ",".join(map(str, action.choices)) + "}"
        names = ", ".join(action.option_strings)
        text = (action.help or "") % vars(action)
        page.term(names or value, sentence(text), value if names else "")


def add_options(page: Page, options: Sequence[OptionDoc]) -> None:
    """The options of a plugin."""
    for option in options:
        notes = with_default(option)
        notes += " The name may be left out." if option.positional else ""
        page.term(option.name, notes, kind_of(option))


def with_default(option: OptionDoc) -> str:
    """What an option or a setting means, its default and its bounds."""
    # An empty path stands for one that depends on something; the text says on what.
    default = "" if option.default in (None, "", ".") else f" Default: `{option.default}`."
    return option.doc + default + (f" {sentence(option.bounds)}" if option.bounds else "")


def kind_of(option: OptionDoc) -> str:
    """What the value of an option is; for a list, the choices are not repeated."""
    first, comma, _ = option.kind.partition(",")
    many = f"{first}{comma}..." if comma else first
    return "" if option.kind == "flag" else many.removeprefix("|")


def see_also(page: Page, names: Iterable[str]) -> None:
    """The last section; the page itself is left out."""
    page.heading("See also")
    page.paragraph(", ".join(name for name in names if name != page.title))
