# SPDX-License-Identifier: MIT
"""Loading: from the words of an administrator to a handler, and what is wrong with either."""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from aiosmtpd.handlers import Proxy
from aiosmtpd.smtp import SMTP

from qpsmtpd.api import ConfigError
from qpsmtpd.errors import PluginError
from qpsmtpd.handlers.handlerserver import NOT_HERE
from qpsmtpd.handlers.statuses import HandlerError
from qpsmtpd.plugin.options import parse_value
from qpsmtpd.plugin.sources import import_file, place_of

#: The hooks of handlers, and how many arguments follow server, session and envelope.
HOOKS: dict[str, tuple[int, ...]] = {
    "AUTH": (1,),
    "DATA": (0,),
    "EHLO": (1, 2),
    "HELO": (1,),
    "MAIL": (2,),
    "NOOP": (1,),
    "PROXY": (1,),
    "QUIT": (0,),
    "RCPT": (2,),
    "RSET": (0,),
    "STARTTLS": (0,),
    "VRFY": (1,),
}

#: Words are read as one of these where a parameter is declared so.
_READABLE = (int, float, bool, Path)

_is_place = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", re.ASCII).fullmatch
_is_keyword = re.compile(r"([A-Za-z_]\w*)=(.*)", re.ASCII).fullmatch
_is_hook = re.compile(r"handle_([A-Z_]+)").fullmatch


# --- finding ---------------------------------------------------------------------------------


def find(place: str, directories: Sequence[Path]) -> Any:
    """What stands at MODULE:NAME.  Raises a ConfigError that says what would be right.

    The module is a file in one of the directories (`site.archive` is site/archive.py), which is
    read again, or one that is installed.
    """
    match = _is_place(place)
    if match is None:
        raise ConfigError("", f"{place!r} is not MODULE:CLASS{_hint(place)}")
    module, name = match.groups()
    found = _import(module, directories)
    try:
        return getattr(found, name)
    except AttributeError:
        near = difflib.get_close_matches(name, dir(found), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError("", f"the module {module} has no {name}{hint}") from None


def _hint(place: str) -> str:
    module, dot, name = place.rpartition(".")
    if dot and ":" not in place:
        return f" (did you mean {module}:{name}?)"
    return ", such as aiosmtpd.handlers:Mailbox"


def _import(module: str, directories: Sequence[Path]) -> types.ModuleType:
    for directory in directories:
        path = directory / (module.replace(".", "/") + ".py")
        if path.is_file():
            try:
                return import_file(path, module)
            except PluginError as error:
                raise ConfigError("", f"the module {module} {error}") from None
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise ConfigError("", _missing(module, directories)) from None
        raise ConfigError("", f"the module {module} needs {error.name}, which is missing") from None
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error} ({place_of(error)})"
        raise ConfigError("", f"the module {module} cannot be imported: {text}") from error


def _missing(module: str, directories: Sequence[Path]) -> str:
    file = module.replace(".", "/") + ".py"
    places = ", nor ".join(["installed", *(f"in {directory}/{file}" for directory in directories)])
    return f"there is no module {module}: not {places}"


def find_class(place: str, directories: Sequence[Path]) -> type[Any]:
    """The class of handlers at MODULE:CLASS.  Raises ConfigError when it could not be one."""
    found = find(place, directories)
    if not isinstance(found, type):
        raise ConfigError("", f"{place} is not a class, but {found!r}")
    if issubclass(found, SMTP):
        raise ConfigError("", f"{place} is a server, not a handler: write server={place}")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise ConfigError(
            "", f"{place} is abstract: derive a class from it that has {', '.join(missing)}"
        )
    if hasattr(found, "process_message") and not hasattr(found, "handle_DATA"):
        raise ConfigError(
            "", f"{place}: process_message belongs to smtpd and is not called: write handle_DATA"
        )
    for name in dir(found):
        if hook := _is_hook(name):
            _check_parameters(found, name, hook[1])
    return found


def _check_parameters(cls: type[Any], name: str, hook: str) -> None:
    """Whether a hook can be called the way it will be; a hook for no command is left alone."""
    method = inspect.getattr_static(cls, name)
    if hook not in HOOKS or not isinstance(method, types.FunctionType):
        return
    signature = inspect.signature(method)
    if any(_fits(signature, 4 + more) for more in HOOKS[hook]):
        return
    code = method.__code__
    wanted = f"self, server, session, envelope and {' or '.join(map(str, HOOKS[hook]))} more"
    raise ConfigError(
        f"{code.co_filename}:{code.co_firstlineno}",
        f"{cls.__name__}.{name}{signature} must take {wanted}",
    )


def _fits(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def unknown_hooks(handler: type[Any], server: type[SMTP]) -> list[str]:
    """Methods that look like hooks of commands, and that nobody will call."""
    known = {*HOOKS, *(name.removeprefix("smtp_") for name in dir(server) if name[:5] == "smtp_")}
    found = (_is_hook(name) for name in dir(handler))
    return [match[0] for match in found if match and match[1] not in known]


def find_server(place: str, directories: Sequence[Path]) -> type[SMTP]:
    """The subclass of aiosmtpd's SMTP at MODULE:CLASS.  Raises ConfigError.

    Changes to how the core's own commands work would never be run, and are an error.
    """
    found = find(place, directories)
    if not (isinstance(found, type) and issubclass(found, SMTP)):
        raise ConfigError("", f"{place} is not a subclass of aiosmtpd.smtp.SMTP")
    never = [name for name in NOT_HERE if getattr(found, name) is not getattr(SMTP, name)]
    never += [name for name in ("ehlo_hook", "rset_hook") if hasattr(found, name)]
    if never:
        problem = f"changes {', '.join(never)}, which qpsmtpd does itself: use a handler"
        raise ConfigError("", f"{place} {problem}")
    return found


def own_commands(server: type[SMTP]) -> frozenset[str]:
    """The verbs that a server class adds to those of aiosmtpd."""
    return frozenset(
        name.removeprefix("smtp_")
        for name in dir(server)
        if name.startswith("smtp_") and not hasattr(SMTP, name)
    )


def find_judge(place: str, directories: Sequence[Path], arguments: int) -> Callable[..., Any]:
    """The authenticator at MODULE:NAME: a function, or a class that is called without arguments.

    Raises ConfigError when it does not take this number of arguments.
    """
    found = find(place, directories)
    judge = found() if isinstance(found, type) else found
    if not callable(judge):
        raise ConfigError("", f"{place} is not a function, but {judge!r}")
    if not _fits(inspect.signature(judge), arguments):
        raise ConfigError("", f"{place} must take {arguments} arguments")
    return typing.cast("Callable[..., Any]", judge)


# --- making ----------------------------------------------------------------------------------


def arguments_for(
    cls: type[Any], words: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, Any]] | None:
    """The words as positional and keyword arguments; None when the class has `from_cli` for them.

    Words are text, or what the parameter is declared to be: int, float, bool or Path.  Raises
    ConfigError when the constructor cannot take them.
    """
    if hasattr(cls, "from_cli"):
        return None
    positional = [word for word in words if not _is_keyword(word)]
    keywords = {match[1]: match[2] for match in map(_is_keyword, words) if match}
    signature = inspect.signature(cls)
    try:
        bound = signature.bind(*positional, **keywords)
    except TypeError as error:
        raise ConfigError("", f"{cls.__name__}{signature}: {error}") from None
    for name, value in bound.arguments.items():
        bound.arguments[name] = _read(cls, signature.parameters[name], value)
    return bound.args, bound.kwargs


def _read(cls: type[Any], parameter: inspect.Parameter, value: Any) -> Any:
    kind = _kind_of(cls, parameter)
    if kind is None or not isinstance(value, str):
        return value
    try:
        return parse_value(kind, value)
    except ValueError as error:
        raise ConfigError(
            "", f"{cls.__name__}: {parameter.name}: {value!r} is not {error}"
        ) from None


def _kind_of(cls: type[Any], parameter: inspect.Parameter) -> type[Any] | None:
    """What a word for this parameter is read as; None leaves it as it is."""
    try:
        hint = typing.get_type_hints(cls.__init__).get(parameter.name)
    except Exception:
        hint = None  # a name that only type checkers know
    if hint is None:
        hint = type(parameter.default)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        alternatives = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
        hint = alternatives[0] if len(alternatives) == 1 else None
    return hint if hint in _READABLE else None


def make(cls: type[Any], words: Sequence[str]) -> Any:
    """A handler, made the way the command `aiosmtpd` does it, or with the words as arguments."""
    arguments = arguments_for(cls, words)
    try:
        if arguments is None:
            return cls.from_cli(_Parser(prog=cls.__name__, add_help=False), *words)
        positional, keywords = arguments
        handler = cls(*positional, **keywords)
        if isinstance(handler, Proxy):
            _mend(handler)
        return handler
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error} ({place_of(error)})"
        raise ConfigError("", f"{cls.__name__} cannot be created: {text}") from error


def _mend(handler: Any) -> None:
    """Make aiosmtpd's Proxy report what became of a message; it says 250 whatever happened."""
    deliver = handler._deliver

    def deliver_or_fail(*arguments: Any) -> Any:
        refused = deliver(*arguments)
        if refused:
            raise HandlerError(f"the next hop did not take the message: {refused!r}")
        return refused

    handler._deliver = deliver_or_fail


class _Parser(argparse.ArgumentParser):
    """What `from_cli` is given: its errors are ours."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError("", f"{self.prog}: {message}")
