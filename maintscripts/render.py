# SPDX-License-Identifier: MIT
"""render: the files that the answers stand for.

The path of a template is that of the file, plus `.j2`; it can use the fields of Answers.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from maintscripts.answers import Answers
from maintscripts.ask import short

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
_SUFFIX = ".j2"


def render(answers: Answers, templates: Path = TEMPLATES) -> dict[str, str]:
    """The text of each file by its absolute path.  Raises jinja2.TemplateError."""
    environment = _environment(templates)
    fields = {field.name: getattr(answers, field.name) for field in dataclasses.fields(answers)}
    return {
        f"/{name.removesuffix(_SUFFIX)}": environment.get_template(name).render(fields)
        for name in environment.list_templates()
        if name.endswith(_SUFFIX)
    }


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
