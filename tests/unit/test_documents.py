# SPDX-License-Identifier: MIT
"""What the documents say about this tree is true: files, rooms, commands, plugins, links."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpsmtpd.commands.main import make_parser

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "qpsmtpd"
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
README = (ROOT / "README.md").read_text()

DOCUMENTS = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("tests/bench/README.md", "tests/dialogue/README.md"),
)
#: What a file or folder is called in text: `smtp/transfer.py:_add_trace`, `nexthop/`.
NAMED = re.compile(r"`([\w./-]+(?:\.py|/))(?::([\w.]+))?`")


def tree() -> set[str]:
    """Every file and folder below the places that documents speak of, folders with a slash."""
    tops = ("qpsmtpd", "tests", "etc", "templates", "maintscripts", "debian")
    found = {f"{top}/" for top in tops}
    for top in tops:
        for path in (ROOT / top).rglob("*"):
            found.add(f"{path.relative_to(ROOT)}{'/' if path.is_dir() else ''}")
    return found


TREE = tree()


def found(name: str) -> list[str]:
    """What a name stands for; documents leave out the beginning of a path."""
    return [path for path in TREE if f"/{path}".endswith(f"/{name}")]


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "tests/dialogue/README.md"])
def test_files_that_are_named_exist(document: str) -> None:
    names = NAMED.findall((ROOT / document).read_text())
    assert names
    assert not [name for name, _ in names if not found(name)]


def test_functions_are_where_the_architecture_has_them() -> None:
    named = [(file, name) for file, name in NAMED.findall(ARCHITECTURE) if name]
    assert named
    for file, name in named:
        assert any(name in set(definitions(ROOT / path)) for path in found(file)), (file, name)


def definitions(path: Path) -> Iterator[str]:
    """The functions, classes, methods ("Chain.run") and typed constants of a file."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}"


def test_every_room_is_in_the_architecture() -> None:
    table = ARCHITECTURE.partition("| room |")[2].partition("\n\n")[0]
    inside = {name.strip("/") for name in re.findall(r"`(?:qpsmtpd/)?([\w.]+/?)`", table)}
    rooms = {path.name for path in PACKAGE.iterdir() if not path.name.startswith("_")}
    assert rooms - inside == {"py.typed"}


def test_decisions_are_in_the_order_of_their_numbers() -> None:
    decisions = ARCHITECTURE.partition("## Decisions")[2]
    numbers = list(map(int, re.findall(r"^\*\*(\d+)\. ", decisions, re.MULTILINE)))
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1


def test_every_command_is_in_the_readme() -> None:
    commands = next(
        action.choices
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    rows = re.findall(r"^\| `qpsmtpd ([a-z-]+)", README, re.MULTILINE)
    assert sorted(rows) == sorted(commands)


def test_every_plugin_that_delivers_is_in_the_readme() -> None:
    plugins = {path.stem for path in (PACKAGE / "plugins/queue").glob("*.py")}
    rows = re.findall(r"^\| `queue/([\w-]+)`", README, re.MULTILINE)
    # discard is for tests: it loses mail.
    assert {row.replace("-", "_") for row in rows} == plugins - {"__init__", "discard"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_of_make_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / document).read_text()
    used = set(re.findall(r"(?:`|^ {4,})make ([a-z-]+)", text, re.MULTILINE))
    assert used <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    file = ROOT / document
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", file.read_text()):
        path, _, anchor = link.partition("#")
        target = file.parent / path if path else file
        assert target.exists(), link
        if anchor:
            assert anchor in set(anchors(target.read_text())), link


def anchors(text: str) -> Iterator[str]:
    """What headings are called in links."""
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
