# SPDX-License-Identifier: MIT
"""Finds every regular expression in the code, and how it is used.

The source is read, not the modules' attributes: an expression inside a function counts too.  One
that is made while the program runs cannot be found so; MADE has an example of each.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from qpsmtpd.lists.patterns import compile_pattern
from qpsmtpd.smtp.foreignresults import _pattern

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "qpsmtpd"

METHODS = ("match", "search", "fullmatch", "sub", "subn", "split", "findall", "finditer")

#: Functions that make an expression of what they are given, and what they make of an example.
MADE: dict[str, Callable[[], re.Pattern[str]]] = {
    "qpsmtpd/smtp/foreignresults.py:_pattern": lambda: _pattern("mx.xn--bcher-kva.example.com"),
    "qpsmtpd/lists/patterns.py:compile_pattern": lambda: compile_pattern("@example\\.com$", ""),
}

#: Functions whose expressions come from scripts of the user who runs them, or are only tried.
HARMLESS = (
    "qpsmtpd/lists/trials.py:main",
    "qpsmtpd/dialogue/script.py:_glob",
    "qpsmtpd/dialogue/script.py:_expect_regex",
)


class Use(NamedTuple):
    """An expression and the method it is used with; `place` is its file and line."""

    place: str
    pattern: re.Pattern[Any]
    method: str


def modules() -> Iterator[tuple[Path, ModuleType]]:
    """Every file of the package that can be imported, with its module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "__main__.py":
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield path, importlib.import_module(name)


def uses() -> list[Use]:
    """Every expression with every method it is used with.

    Raises AssertionError for one whose text cannot be found out.
    """
    trees = {path: ast.parse(path.read_text()) for path, _ in modules()}
    methods = _methods_by_name(trees.values())
    found: list[Use] = []
    for path, module in modules():
        found += _Finder(path, module, methods).uses_in(trees[path])
    return found


def unseen_imports() -> list[str]:
    """Files that use `re` under another name, which `uses` would not see."""
    return [
        str(path.relative_to(ROOT))
        for path, _ in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and node.module == "re")
        or (
            isinstance(node, ast.Import)
            and any(each.name == "re" and each.asname for each in node.names)
        )
    ]


def _methods_by_name(trees: Any) -> dict[str, set[str]]:
    """Which methods of expressions are called on which names: `_LINE.fullmatch(...)`."""
    methods: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in METHODS:
                target = node.value
                name = getattr(target, "id", None) or getattr(target, "attr", None)
                if name:
                    methods.setdefault(name, set()).add(node.attr)
    return methods


class _Finder:
    """Finds the expressions in one file."""

    def __init__(self, path: Path, module: ModuleType, methods: dict[str, set[str]]) -> None:
        self._file = str(path.relative_to(ROOT))
        self._module = module
        self._methods = methods
        self._parents: dict[ast.AST, ast.AST] = {}

    def uses_in(self, tree: ast.AST) -> Iterator[Use]:
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.func.attr in ("compile", *METHODS)
            ):
                yield from self._uses_of(node, node.func.attr)

    def _uses_of(self, call: ast.Call, function: str) -> Iterator[Use]:
        place = f"{self._file}:{call.lineno}"
        where = f"{self._file}:{self._function_around(call)}"
        if where in HARMLESS:
            return
        try:
            pattern = MADE[where]() if where in MADE else self._compiled(call, function)
        except NameError:
            raise AssertionError(
                f"{place}: this expression is made at run time: add {where!r} to MADE"
            ) from None
        for method in [function] if function != "compile" else self._methods_of(call):
            yield Use(place, pattern, method)

    def _compiled(self, call: ast.Call, function: str) -> re.Pattern[Any]:
        names = {**vars(self._module)}
        text = eval(ast.unparse(call.args[0]), names)
        flags = next((k.value for k in call.keywords if k.arg == "flags"), None)
        place = {"compile": 1, "sub": 4, "subn": 4, "split": 3}.get(function, 2)
        if flags is None and len(call.args) > place:
            flags = call.args[place]
        return re.compile(text, 0 if flags is None else eval(ast.unparse(flags), names))

    def _methods_of(self, call: ast.Call) -> list[str]:
        parent = self._parents[call]
        if isinstance(parent, ast.Attribute):
            return [parent.attr]
        names = [t.id for t in getattr(parent, "targets", ()) if isinstance(t, ast.Name)]
        used = set().union(*(self._methods.get(name, set()) for name in names))
        return sorted(used) or ["fullmatch", "search"]

    def _function_around(self, node: ast.AST) -> str:
        while node in self._parents:
            node = self._parents[node]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                return node.name
        return ""
