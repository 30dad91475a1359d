# SPDX-License-Identifier: MIT
"""render: the files that the answers stand for, and the graded chains.

The path of a template is that of the file, plus `.j2`; it can use the fields of Answers. The one
for the chains makes a file of each level, when the package is built:

    python3 -m maintscripts.render DIRECTORY
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from maintscripts.answers import Answers
from maintscripts.ask import CHAINS, LEVELS, MILTER_SOCKET, short

__all__ = ["CHAIN", "LEVELS", "TEMPLATES", "render", "render_chain", "write_chains"]

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
_SUFFIX = ".j2"
CHAIN = f"chains/chain{_SUFFIX}"


def render(answers: Answers, templates: Path = TEMPLATES) -> dict[str, str]:
    """The text of each file by its absolute path.  Raises jinja2.TemplateError."""
    environment = _environment(templates)
    fields = {field.name: getattr(answers, field.name) for field in dataclasses.fields(answers)}
    fields |= {"chains": CHAINS, "milter_socket": MILTER_SOCKET}
    return {
        f"/{name.removesuffix(_SUFFIX)}": environment.get_template(name).render(fields)
        for name in environment.list_templates()
        if name.endswith(_SUFFIX) and name != CHAIN
    }


def render_chain(level: str, templates: Path = TEMPLATES) -> str:
    """The text of the chain of this level."""
    rank = LEVELS.index(level)
    reached = {name: LEVELS.index(name) <= rank for name in LEVELS}
    return _environment(templates).get_template(CHAIN).render(level=level, **reached)


def write_chains(directory: Path, templates: Path = TEMPLATES) -> None:
    """Make a file of each chain.  Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    for level in LEVELS:
        (directory / level).write_text(render_chain(level, templates))


@functools.cache
def _environment(templates: Path) -> Environment:
    environment = Environment(  # noqa: S701 - these are not web pages
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = short
    return environment


if __name__ == "__main__":
    write_chains(Path(sys.argv[1]))
