# SPDX-License-Identifier: MIT
"""Checks for mistakes in a plugin that can be found before any client connects.

A hook that is not a coroutine function, an option without `opt()`, a misspelt `start`: a plugin
with any of these loads, and then costs every client a 451, or does nothing at all.  So the daemon
refuses to start, and reports all of them at once, with file and line.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import typing
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qpsmtpd.errors import ConfigError, PluginError
from qpsmtpd.plugin.base import HOOK_METHODS, Plugin
from qpsmtpd.plugin.options import field_problem, is_option

#: How alike two names must be, from 0 to 1, for one to be taken for a misspelling of the other.
_ALIKE = 0.75

#: Methods of an options class that `parse` calls.
_OPTION_METHODS = ("check", "rewrite")

Method = tuple[str, Any]

#: What has been checked already: every load of a configuration asks about the same classes.
_SOUND: weakref.WeakSet[type[Plugin[Any]]] = weakref.WeakSet()


class PluginFaultsError(PluginError):
    """A plugin has mistakes that would show only when clients connect; each has its place."""

    def __init__(self, faults: list[ConfigError]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


def check_plugin(cls: type[Plugin[Any]]) -> None:
    """Raises PluginFaultsError if the plugin cannot work as it is written."""
    if cls in _SOUND:
        return
    faults = [*_faults_of_options(cls), *_faults_of_methods(cls), *_faults_of_declarations(cls)]
    if faults:
        raise PluginFaultsError(faults)
    _SOUND.add(cls)


def unused_options(cls: type[Plugin[Any]], names: dict[str, Any]) -> None:
    """Raises PluginFaultsError if the module of a plugin declares options that it does not use.

    names: everything that the module defines.
    """
    used = {cls.Options, *cls.Options.__mro__}
    for name, value in names.items():
        if not isinstance(value, type) or value.__module__ != cls.__module__ or value in used:
            continue
        if any(is_option(member) for member in _options_of(value)):
            text = f"the plugin does not use these options: write class {cls.__name__}"
            raise PluginFaultsError([ConfigError(_place(value), f"{name}: {text}(Plugin[{name}])")])


def _options_of(cls: type[Any]) -> list[Any]:
    """The fields of a class, as a dataclass has them, or as plain values by mistake."""
    declared = list(dataclasses.fields(cls)) if dataclasses.is_dataclass(cls) else []
    return [*declared, *vars(cls).values()]


# --- methods --------------------------------------------------------------------------------


def _faults_of_methods(cls: type[Plugin[Any]]) -> Iterator[ConfigError]:
    for name, member in _members(cls):
        if name in HOOK_METHODS or hasattr(Plugin, name):
            problem = _problem_of_override(name, member)
        elif name.startswith("hook_"):
            problem = f"there is no such hook{_hint(name, HOOK_METHODS)}"
        else:
            problem = _problem_of_name(name, member)
        if problem:
            yield ConfigError(_place(cls, name, member), f"{name}: {problem}")


def _members(cls: type[Any]) -> Iterator[Method]:
    """What a plugin's author has defined, in the class and in those between it and Plugin."""
    for base in cls.__mro__[: cls.__mro__.index(Plugin)]:
        for name, member in vars(base).items():
            if not name.startswith("_"):
                yield name, member


def _problem_of_override(name: str, member: Any) -> str:
    """What is wrong with a method named like one of Plugin's; "" when nothing is."""
    declared = getattr(Plugin, name)
    if not inspect.isfunction(declared) or isinstance(member, property):
        return ""
    function = member.__func__ if isinstance(member, staticmethod | classmethod) else member
    if not inspect.isfunction(function):
        return "" if callable(function) else "this is a method of every plugin, not a value"
    asynchronous = inspect.iscoroutinefunction(declared)
    if inspect.iscoroutinefunction(function) != asynchronous:
        return f"write {'async ' if asynchronous else ''}def {name}{_parameters(declared)}"
    return _problem_of_parameters(declared, member, name)


def _problem_of_parameters(declared: Any, member: Any, name: str) -> str:
    """What is wrong with the parameters of a method, or their order; "" when nothing is."""
    wanted = list(inspect.signature(declared).parameters.values())
    given = inspect.signature(member.__func__ if hasattr(member, "__func__") else member)
    positional = wanted[1:] if isinstance(member, staticmethod) else wanted
    named = {p.name: None for p in positional if p.kind is p.KEYWORD_ONLY}
    count = len(positional) - len(named)
    right = f"write {'async ' if inspect.iscoroutinefunction(declared) else ''}def {name}"
    try:
        bound = given.bind(*range(count), **named)
    except TypeError:
        return f"it is called with other arguments: {right}{_parameters(declared)}"
    order = {p.name: place for place, p in enumerate(positional)}
    swapped = [n for n, value in bound.arguments.items() if order.get(n, value) != value]
    return f"its arguments are in another order: {right}{_parameters(declared)}" if swapped else ""


def _parameters(function: Any) -> str:
    parameters = inspect.signature(function).parameters.values()
    return f"({', '.join(str(p.replace(annotation=p.empty)) for p in parameters)})"


def _problem_of_name(name: str, member: Any) -> str:
    """Whether nothing calls a method because it misspells the name of one that is called."""
    if not inspect.isroutine(member):
        return ""
    methods = [n for n in vars(Plugin) if not n.startswith("_") and n not in HOOK_METHODS]
    hint = _hint(name, methods)
    return f"nothing calls this method{hint}" if hint else ""


def _hint(name: str, known: typing.Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)
    return f" (did you mean {near[0]}?)" if near else ""


# --- declarations ---------------------------------------------------------------------------


def _faults_of_declarations(cls: type[Plugin[Any]]) -> Iterator[ConfigError]:
    for name, (fits, right) in _DECLARATIONS.items():
        if not fits(getattr(cls, name)):
            yield ConfigError(_place(cls, name), f"{name}: write {name} = {right}")


def _are_files(value: Any) -> bool:
    return isinstance(value, Mapping) and _are_texts([*value.keys(), *value.values()])


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple | list) and _are_texts(value)


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


#: What a class declares about itself: whether a value fits, and what would be right.
_DECLARATIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "files": (_are_files, '{"NAME": "What is in the file."}'),
    "after": (_are_names, '("PLUGIN", ...), with a comma even after a single one'),
    "needs": (_are_names, '("PLUGIN", ...), with a comma even after a single one'),
    "accepts_recipients": (_is_bool, "True, or leave it out"),
    "speaks_rejections": (_is_bool, "True, or leave it out"),
    "takes_every_recipient": (_is_bool, "True, or leave it out"),
    "warning": (_is_text, '"What an administrator has to know"'),
    "remedy": (_is_text, '"What an administrator can do about a refusal"'),
}


# --- options --------------------------------------------------------------------------------


def _faults_of_options(cls: type[Plugin[Any]]) -> Iterator[ConfigError]:
    options = cls.Options
    if not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        text = "the options of a plugin must be a class with @dataclass(frozen=True, kw_only=True)"
        yield ConfigError(_place(options if isinstance(options, type) else cls), text)
        return
    try:
        kinds = typing.get_type_hints(options)
    except Exception as error:
        yield ConfigError(_place(options), f"{options.__name__}: {type(error).__name__}: {error}")
        return
    yield from _faults_of_fields(options, kinds)
    yield from _faults_of_option_members(options)


def _faults_of_fields(options: type[Any], kinds: Mapping[str, Any]) -> Iterator[ConfigError]:
    for field in dataclasses.fields(options):
        if problem := field_problem(field, kinds[field.name]):
            yield ConfigError(_place(options, field.name), f"{field.name}: {problem}")


def _faults_of_option_members(options: type[Any]) -> Iterator[ConfigError]:
    for base in options.__mro__:
        for name, member in vars(base).items():
            if is_option(member):
                text = f"it has no type: write {name}: int = opt(...), or another type"
                yield ConfigError(_place(base, name), f"{name}: {text}")
            elif name in _OPTION_METHODS or name.startswith("_"):
                continue
            elif inspect.isroutine(member) and (hint := _hint(name, _OPTION_METHODS)):
                text = f"nothing calls this method{hint}"
                yield ConfigError(_place(base, name, member), f"{name}: {text}")


# --- places ---------------------------------------------------------------------------------


def _place(cls: type[Any], name: str = "", member: Any = None) -> str:
    """FILE:LINE of a class, or of what it defines under this name."""
    function = member.__func__ if hasattr(member, "__func__") else member
    if inspect.isfunction(function):
        return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
    for owner in cls.__mro__:
        if not name or name in vars(owner) or name in inspect.get_annotations(owner):
            return _place_in_source(owner, name)
    return cls.__module__


def _place_in_source(cls: type[Any], name: str) -> str:
    file = inspect.getsourcefile(inspect.getmodule(cls) or cls)
    if file is None:
        return cls.__module__
    tree = ast.parse(Path(file).read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            lines = [part.lineno for part in node.body if name and _defines(part, name)]
            return f"{file}:{(lines or [node.lineno])[0]}"
    return file


def _defines(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.AnnAssign):
        targets: list[ast.expr] = [statement.target]
    elif isinstance(statement, ast.Assign):
        targets = statement.targets
    else:
        return False
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)
