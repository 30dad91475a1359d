# SPDX-License-Identifier: MIT
"""Options: one declaration per option of a plugin, and everything derived from it.

A plugin declares a frozen dataclass whose fields are made by `opt()`.  The parser of the plugin's
line in the file `plugins`, the problems that `check-config` prints, and the documentation that
`qpsmtpd plugins NAME` shows are all derived from it.

A line is split at white space; there is no quoting (as in the Perl version).  Words are read as
`name value`, `name=value`, a flag's name alone, or the value of the next positional option.  What
is left over is surplus: `parse` takes it for a mistake, `read_words` leaves that to its caller.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import ipaddress
import math
import operator
import re
import types
import typing
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from qpsmtpd.errors import ConfigError
from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.mail.domain import Domain, is_domain, is_literal
from qpsmtpd.mail.ip import IPNetwork
from qpsmtpd.plugin.services import Entry

T = TypeVar("T")


class Seconds(float):
    """A duration in seconds; written as 5, 90s, 10m, 2h or 1d."""

    def __str__(self) -> str:
        for unit, factor in (("d", 86400), ("h", 3600), ("m", 60)):
            if self >= factor and self % factor == 0:
                return f"{int(self // factor)}{unit}"
        # Never 1e+06, which a line cannot have as a duration.
        return f"{Decimal(repr(float(self))).normalize():f}s"


class Size(int):
    """A size in bytes; written as 1024, 64k, 10M or 1G (powers of 1024)."""

    def __str__(self) -> str:
        for unit, factor in (("G", 1 << 30), ("M", 1 << 20), ("k", 1 << 10)):
            if self and self % factor == 0:
                return f"{int(self) // factor}{unit}"
        return str(int(self))


def opt(
    default: Any = dataclasses.MISSING,
    *,
    doc: str,
    positional: bool = False,
    rest: bool = False,
    flag: bool = False,
    was: Sequence[str] = (),
    least: float | None = None,
    most: float | None = None,
    check: Callable[[Any], object] | None = None,
) -> Any:
    """Declare an option.

    default: its value if the line does not name it; an option without a default is required.
    doc: one or two sentences for the administrator.
    positional: a bare word on the line may be its value, in the order of declaration.
    rest: all remaining words belong to it, with spaces between them (at most one such option).
    flag: its name alone means true.
    was: older names that still work.
    least, most: the smallest and the largest value.
    check: raises ValueError for a wrong value; its text says what would be right (see `matching`).
      In a list, bounds and check apply to each element.
    """
    metadata = {"doc": doc, "positional": positional, "rest": rest, "flag": flag, "was": tuple(was)}
    metadata |= {"least": least, "most": most, "check": check}
    return dataclasses.field(default=default, metadata=metadata)


def matching(is_right: Callable[[str], object], wanted: str) -> Callable[[str], None]:
    """A check for `opt`: the function says whether a value is right, `wanted` what would be."""

    def check(value: str) -> None:
        if not is_right(value):
            raise ValueError(wanted)

    return check


def is_option(value: Any) -> bool:
    """Whether a value was made by `opt`."""
    return isinstance(value, dataclasses.Field) and "was" in value.metadata


def field_problem(field: dataclasses.Field[Any], kind: Any) -> str:
    """What is wrong with the declaration of an option; "" when nothing is."""
    if not is_option(field):
        return 'an option is made by opt(default, doc="...")'
    try:
        name = _kind_name(kind)
    except (KeyError, IndexError, TypeError):
        return f"options cannot be of the type {_spelled(kind)}; {', '.join(_type_names())} can"
    if field.metadata["flag"] and kind is not bool:
        return "a flag must be of the type bool"
    if problem := _problem_of_bounds(field, kind):
        return problem
    if field.default is dataclasses.MISSING:
        return ""
    if field.default is None:
        optional = type(None) in typing.get_args(kind)
        return "" if optional else "its default is None, so its type must end in | None"
    try:
        fits = parse_value(kind, format_value(field.default)) == field.default
    except ValueError:
        fits = False
    return "" if fits else f"its default {field.default!r} is not of its type ({name})"


def _problem_of_bounds(field: dataclasses.Field[Any], kind: Any) -> str:
    least, most, check = (field.metadata[name] for name in ("least", "most", "check"))
    bounded = least is not None or most is not None
    if bounded and _scalar(kind) not in (int, float, Seconds, Size):
        return "least and most are for numbers, durations and sizes"
    return "" if check is None or callable(check) else "its check is not a function"


def _type_names() -> list[str]:
    return [*(_spelled(kind) for kind in _SCALARS), "Literal[...]", "tuple[..., ...]"]


def _spelled(kind: Any) -> str:
    if kind is IPNetwork:
        return "IPNetwork"
    return kind.__name__ if isinstance(kind, type) else str(kind)


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of a plugin that takes none."""


@dataclasses.dataclass(frozen=True)
class OptionDoc:
    """What the documentation says about one option; `bounds` is "at least 1" or the like."""

    name: str
    kind: str
    default: str | None
    doc: str
    positional: bool
    bounds: str = ""


# --- values ---------------------------------------------------------------------------------

_TRUE = frozenset({"1", "yes", "true", "on"})
_FALSE = frozenset({"0", "no", "false", "off"})
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)", re.ASCII)
_SIZE = re.compile(r"(\d{1,18})([kKmMgG]?)[bB]?", re.ASCII)
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_UNIT_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _parse_bool(text: str) -> bool:
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("yes or no")


def _parse_seconds(text: str) -> Seconds:
    match = _DURATION.fullmatch(text)
    value = float(match[1]) * _UNIT_SECONDS[match[2]] if match else math.inf
    if math.isinf(value):
        raise ValueError("a duration (5, 90s, 10m, 2h, 1d)")
    return Seconds(value)


def _parse_size(text: str) -> Size:
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError("a size in bytes (1024, 64k, 10M)")
    return Size(int(match[1]) * _UNIT_BYTES[match[2].lower()])


def _parse_int(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        raise ValueError("a whole number")
    return int(text)


def _parse_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("a number")
    return value


def _parse_domain(text: str) -> Domain:
    domain = Domain(text)
    if not (is_domain(domain) or is_literal(domain)):
        raise ValueError("a domain (example.com)")
    return domain


def _parse_network(text: str) -> IPNetwork:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("an address or network (192.0.2.1, 192.0.2.0/24, 2001:db8::/32)") from None


_SCALARS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    str: ("text", str),
    bool: ("yes|no", _parse_bool),
    int: ("number", _parse_int),
    float: ("number", _parse_float),
    Seconds: ("duration", _parse_seconds),
    Size: ("size", _parse_size),
    Path: ("path", Path),
    Domain: ("domain", _parse_domain),
    IPNetwork: ("network", _parse_network),
    LogLevel: ("level", LogLevel.parse),
}


def parse_value(kind: Any, text: str) -> Any:
    """Turn an administrator's words into a value of a declared type.

    Raises a ValueError that says what would be right.
    """
    origin = typing.get_origin(kind)
    if kind not in _SCALARS and origin in (types.UnionType, typing.Union):
        return parse_value(_without_none(kind), text)
    if origin is tuple:
        element = typing.get_args(kind)[0]
        return tuple(parse_value(element, word) for word in text.split(",") if word)
    if origin is Literal:
        return _parse_choice(typing.get_args(kind), text)
    return _SCALARS[kind][1](text)


def _parse_choice(choices: tuple[Any, ...], text: str) -> Any:
    for choice in choices:
        if str(choice).lower() == text.lower():
            return choice
    raise ValueError(f"one of {', '.join(str(choice) for choice in choices if choice != '')}")


def _without_none(kind: Any) -> Any:
    kinds = (k for k in typing.get_args(kind) if k is not type(None))
    return functools.reduce(operator.or_, kinds)


def _kind_name(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if kind not in _SCALARS and origin in (types.UnionType, typing.Union):
        return _kind_name(_without_none(kind))
    if origin is tuple:
        name = _kind_name(typing.get_args(kind)[0])
        return f"{name},{name}…"
    if origin is Literal:
        return "|".join(str(choice) for choice in typing.get_args(kind) if choice != "")
    return _SCALARS[kind][0]


def format_value(value: Any) -> str:
    """Write a value the way an administrator would type it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if type(value) is float:
        return str(value).removesuffix(".0")
    if isinstance(value, tuple):
        return ",".join(format_value(v) for v in value)
    return str(value)


# --- fields ---------------------------------------------------------------------------------


def read_value(field: dataclasses.Field[Any], kind: Any, text: str) -> Any:
    """The value of a field made by `opt`, within its bounds.

    Raises a ValueError that states the whole problem: "'0' is too small: the minimum is 1".
    """
    try:
        value = parse_value(kind, text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not {error}") from None
    if isinstance(value, tuple):
        for element in value:
            check_value(field, element, format_value(element))
    else:
        check_value(field, value, text)
    return value


def check_value(field: dataclasses.Field[Any], value: Any, text: str) -> None:
    """Check a value against the bounds of its field; raises ValueError as `read_value` does.

    text: the value as the administrator wrote it.
    """
    least, most, check = (field.metadata[name] for name in ("least", "most", "check"))
    if least is not None and value < least:
        raise ValueError(f"{text!r} is too small: the minimum is {_bound(type(value), least)}")
    if most is not None and value > most:
        raise ValueError(f"{text!r} is too big: the maximum is {_bound(type(value), most)}")
    if check is not None:
        try:
            check(value)
        except ValueError as error:
            raise ValueError(f"{text!r} is not {error}") from None


def _bound(kind: Any, bound: float) -> str:
    """A bound as an administrator would type it."""
    return format_value(kind(bound))


def _bounds(field: dataclasses.Field[Any], kind: Any) -> str:
    """The bounds of a field in words."""
    scalar = _scalar(kind)
    least, most = (
        None if field.metadata[name] is None else _bound(scalar, field.metadata[name])
        for name in ("least", "most")
    )
    if least is not None and most is not None:
        return f"{least} to {most}"
    return f"at least {least}" if least is not None else f"at most {most}" if most else ""


def _scalar(kind: Any) -> Any:
    """The type of a value, or of the elements of a list."""
    if kind not in _SCALARS and typing.get_origin(kind) in (types.UnionType, typing.Union):
        return _scalar(_without_none(kind))
    return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind


# --- lines ----------------------------------------------------------------------------------


#: The types of options by their class: each of them is compiled from its text.
_KINDS: weakref.WeakKeyDictionary[type[Any], Mapping[str, Any]] = weakref.WeakKeyDictionary()


def _kinds(cls: type[Any]) -> Mapping[str, Any]:
    if cls not in _KINDS:
        _KINDS[cls] = typing.get_type_hints(cls)
    return _KINDS[cls]


class _Parser:
    """Reads the words of one line into the fields of one options class."""

    def __init__(self, cls: type[Any]) -> None:
        self.fields = {f.name: f for f in dataclasses.fields(cls)}
        self.kinds = _kinds(cls)
        self.names = _option_names(cls)
        self.values: dict[str, Any] = {}
        self.problems: list[str] = []
        self.surplus: list[str] = []
        self._has_rest = any(field.metadata["rest"] for field in self.fields.values())

    def read(self, words: list[str]) -> None:
        words = words if self._has_rest else self._without_comment(words)
        while words:
            words = words[self._take(words) :]
        for name, field in self.fields.items():
            if name not in self.values and field.default is dataclasses.MISSING:
                self.problems.append(f"option {spelling(name)!r} is required")

    def _take(self, words: list[str]) -> int:
        """Read the option at the start of the words; return how many words it took."""
        word = words[0]
        name, equals, value = word.partition("=")
        field = self.names.get(_normal(name))
        if field and equals:
            self._set(field, value)
            return 1
        if field and self.fields[field].metadata["flag"]:
            return self._take_flag(words, field)
        if field and len(words) > 1:
            self._set(field, words[1])
            return 2
        return self._take_positional(words, field)

    def _take_positional(self, words: list[str], field: str | None) -> int:
        for name, declared in self.fields.items():
            if name in self.values:
                continue
            if declared.metadata["rest"]:
                self._set(name, " ".join(words))
                return len(words)
            if declared.metadata["positional"]:
                self._set(name, words[0])
                return 1
        if field:
            self.problems.append(f"option {words[0]!r} has no value")
            return 1
        return self._take_unknown(words)

    def _take_flag(self, words: list[str], field: str) -> int:
        """Read `flag` or, if the next word cannot be the value of a positional option, `flag 1`."""
        value = words[1].lower() if len(words) > 1 else ""
        if value not in _TRUE | _FALSE or any(map(self._is_open, self.fields)):
            self.values[field] = True
            return 1
        self.values[field] = _parse_bool(value)
        return 2

    def _is_open(self, name: str) -> bool:
        """Whether a bare word may become the value of this option."""
        metadata = self.fields[name].metadata
        return name not in self.values and bool(metadata["positional"] or metadata["rest"])

    def _take_unknown(self, words: list[str]) -> int:
        """Read a misspelt option with its value, or everything up to the next option."""
        near = difflib.get_close_matches(_normal(words[0].partition("=")[0]), self.names, n=1)
        until = next((n for n, word in enumerate(words[1:], 1) if self._is_option(word)), None)
        taken = words[:until]
        if near:
            taken = taken[: 1 if "=" in taken[0] else 2]
            hint = f"(did you mean {spelling(near[0])!r}?)"
            self.problems.append(f"unknown option {' '.join(taken)!r} {hint}")
        else:
            self.surplus.append(f"unknown option {' '.join(taken)!r}")
        return len(taken)

    def _is_option(self, word: str) -> bool:
        return _normal(word.partition("=")[0]) in self.names

    def _without_comment(self, words: list[str]) -> list[str]:
        """The words before a `#`: it begins no comment here, though it looks like one."""
        at = next((n for n, word in enumerate(words) if word.startswith("#")), len(words))
        if words[at:]:
            text = (
                f"{' '.join(words[at:])!r} is not a comment: write comments on lines of their own"
            )
            self.surplus.append(text)
        return words[:at]

    def _set(self, name: str, text: str) -> None:
        try:
            value = read_value(self.fields[name], self.kinds[name], text)
        except ValueError as error:
            self.problems.append(f"{spelling(name)}: {error}")
            # The option is given, if wrongly: it must not be reported as missing too.
            self.values.setdefault(name, None)
            return
        if isinstance(value, tuple) and isinstance(self.values.get(name), tuple):
            value = self.values[name] + value
        self.values[name] = value


@dataclasses.dataclass(frozen=True)
class Reading(Generic[T]):
    """What the words of a line mean: the options, or None and every problem found.

    surplus: what is wrong with words that belong to no option; the options are there all the same.
    """

    options: T | None
    problems: list[str]
    surplus: list[str]


def read_words(cls: type[T], words: Sequence[str]) -> Reading[T]:
    """Read the arguments of a plugin line.

    A class may define a static method `rewrite(words) -> words` that turns the forms of older
    versions into the current ones, and a method `check()` that returns problems which show only
    when all options are known.
    """
    parser = _Parser(cls)
    rewrite = getattr(cls, "rewrite", None)
    parser.read(list(rewrite(list(words)) if rewrite else words))
    if parser.problems:
        return Reading(None, parser.problems, parser.surplus)
    options = cls(**parser.values)
    problems = _problems_of_all(options)
    return Reading(None if problems else options, problems, parser.surplus)


def parse(cls: type[T], words: Sequence[str]) -> tuple[T | None, list[str]]:
    """As `read_words`, but surplus is a problem."""
    reading = read_words(cls, words)
    problems = reading.problems + reading.surplus
    return (None, problems) if problems else (reading.options, [])


def with_defaults(options: T, entries: Sequence[Entry], whole: Collection[str] = ()) -> T:
    """The options of a line, where what it leaves at its default is as a file says.

    Each line of the file has an option and its value.  Raises ConfigError.
    whole: options whose value is all that follows on the line, blanks included.
    """
    if not entries:
        return options
    fields = dataclasses.fields(typing.cast(Any, options))
    values: dict[str, Any] = {}
    for entry in entries:
        parser = _Parser(type(options))
        name, _, value = entry.text.partition(" ")
        parser.read([f"{name}={value.strip()}"] if name in whole else entry.text.split())
        if parser.problems or parser.surplus:
            raise ConfigError(entry.where, "; ".join(parser.problems + parser.surplus))
        values |= parser.values
    open_ = {field.name for field in fields if getattr(options, field.name) == field.default}
    new: T = dataclasses.replace(
        typing.cast(Any, options), **{name: values[name] for name in values.keys() & open_}
    )
    for problem in _problems_of_all(new):
        raise ConfigError(entries[0].where, problem)
    return new


def _problems_of_all(options: Any) -> list[str]:
    """Problems that show only when all options are known."""
    check = getattr(options, "check", None)
    return list(check()) if check else []


def describe(cls: type[Any]) -> list[OptionDoc]:
    """Everything the documentation says about the options of a class, in order."""
    kinds = _kinds(cls)
    return [_doc(field, kinds[field.name]) for field in dataclasses.fields(cls)]


def _doc(field: dataclasses.Field[Any], kind: Any) -> OptionDoc:
    has_default = field.default is not dataclasses.MISSING and field.default is not None
    return OptionDoc(
        name=spelling(field.name),
        kind="flag" if field.metadata["flag"] else _kind_name(kind),
        default=format_value(field.default) if has_default else None,
        doc=field.metadata["doc"],
        positional=bool(field.metadata["positional"] or field.metadata["rest"]),
        bounds=_bounds(field, kind),
    )


def spelling(name: str) -> str:
    """The name of an option as the administrator writes it; `-` is understood for `_` too."""
    return name.rstrip("_")


def _normal(name: str) -> str:
    return name.replace("-", "_").rstrip("_").lower()


def _option_names(cls: type[Any]) -> dict[str, str]:
    names: dict[str, str] = {}
    for field in dataclasses.fields(cls):
        for name in (field.name, *field.metadata["was"]):
            names[_normal(name)] = field.name
    return names
