# SPDX-License-Identifier: MIT
"""Scaffold: the beginning of a plugin, and a test that passes."""

from __future__ import annotations

import difflib
import inspect
import keyword
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from qpsmtpd import api
from qpsmtpd.config.names import PERL_PLUGINS, todays_name
from qpsmtpd.config.pluginfinder import is_shipped
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.plugin.base import HOOK_METHODS, Plugin

DEFAULT_HOOK = "rcpt"

_PREFIX = "hook_"
_MOST_NAME = 40
#: Characters of a line, after the indentation in a class.
_MOST_LINE = 96
_is_name = re.compile(r"[a-z][a-z0-9_]*", re.ASCII).fullmatch
_words = re.compile(r"\w+").findall

#: Hooks in which a refusal would not be the usual thing to show.
_WITHOUT_REFUSAL = frozenset({"queue", "queue_post", "auth_exchange", "auth_parse"})

#: What a test gives to a hook, by the type of the parameter.
_GIVEN = {
    "Session": "session",
    "Transaction": "tx",
    "Recipient": 'a_recipient("user@example.test")',
    "ReversePath": "tx.reverse_path",
    "str": '"client.example"',
    "dict[str, str | None]": "{}",
}

#: What types of hooks have of the standard library.
_STANDARD = {
    "logging": "import logging",
    "Sequence": "from collections.abc import Sequence",
}

_PLUGIN = '''\
"""{name}: say in one line what it does.

    {name} [refuse 1]

What it refuses and when, what happens while something that it needs is down, and the RFC that it
follows: this text is the manual that "qpsmtpd plugins {name}" prints.
"""

from __future__ import annotations

{imports}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can follow the name on its line: parsed, checked and documented by this declaration."""

    refuse: bool = opt(False, doc="Whether it refuses anything; put options of your own here.")


class {cls}(Plugin[Options]):
    """Say here what it is."""

    # Configuration files that it reads, with a sentence about each: files = {{"NAME": "What."}}
    # Plugins that belong above it: after = ("relay",)
    # For "qpsmtpd explain", when it has refused good mail:
    remedy = "say what an administrator can do then"

    async def start(self) -> None:
        """Read files, by self.services.config; raise ConfigError if they are wrong."""
{hooks}'''

_HOOK = '''
    {head}
        """{doc}"""
{body}'''

_REFUSAL = """\
        # None is "no opinion"; an exception defers the mail with 451. Never block: await, with a
        # timeout, and have self.services.run_blocking call what blocks.
{spared}        if not self.options.refuse:
            return None
        # Clients see the text, and the log has the reason.
        return deny("Not wanted here", status="5.7.1", reason="refuse is set")
"""
_SPARED = """\
        # Relay clients and those on allowlists are spared.
        if self.immune({session}):
            return None
"""

_TEST = '''\
"""Run by "qpsmtpd plugin test {name}.py", or by pytest with pytest-asyncio."""

from __future__ import annotations

from qpsmtpd.testing import {imports}

from {name} import {cls}


async def test_it_starts() -> None:
    plugin = await a_plugin({cls})
    assert not plugin.options.refuse
{tests}'''

_TEST_OF_REFUSAL = """

async def test_{hook}_has_no_opinion() -> None:
    plugin = await a_plugin({cls})
{given}    verdict = await plugin.{call}
    assert verdict is None


async def test_{hook}_refuses() -> None:
    plugin = await a_plugin({cls}, "refuse 1")
{given}    verdict = await plugin.{call}
    assert verdict is not None
    assert not verdict.accepted
"""


class Scaffold(NamedTuple):
    """The names and texts of the two files."""

    name: str
    plugin: str
    test: str

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Write both files, neither of which may exist.  Raises QpsmtpdError."""
        paths = directory / f"{self.name}.py", directory / f"{self.name}_test.py"
        for path in paths:
            if path.exists() or path.is_symlink():
                raise QpsmtpdError(f"{path} is there already, and nothing was written")
        written: list[Path] = []
        try:
            for path, text in zip(paths, (self.plugin, self.test), strict=True):
                with path.open("x", encoding="utf-8") as file:
                    written.append(path)
                    file.write(text)
        except OSError as error:
            for path in written:
                with suppress(OSError):
                    path.unlink()
            raise QpsmtpdError(f"{error.filename or directory}: {error.strerror}") from None
        return paths


def scaffold(name: str, hooks: Sequence[str]) -> Scaffold:
    """A plugin of this name with these hooks.  Raises QpsmtpdError for names that cannot be."""
    _check_name(name)
    methods = list(dict.fromkeys(map(_method, hooks or (DEFAULT_HOOK,))))
    cls = "".join(word.capitalize() for word in name.split("_"))
    cls = f"{cls}Plugin" if hasattr(api, cls) or cls == "Options" else cls
    bodies = "".join(map(_hook, methods))
    tests = "".join(filter(None, (_test(method, cls) for method in methods)))
    return Scaffold(
        name,
        _PLUGIN.format(name=name, cls=cls, imports=_imports(bodies), hooks=bodies),
        _TEST.format(name=name, cls=cls, imports=", ".join(_fakes(tests)), tests=tests),
    )


# --- names --------------------------------------------------------------------------------------


def _check_name(name: str) -> None:
    if not _is_name(name) or len(name) > _MOST_NAME or keyword.iskeyword(name):
        raise QpsmtpdError(
            f"{name!r} is not a name for a plugin: lower-case letters, digits and _, such as "
            "quiet_hours"
        )
    if is_shipped(name) or name in PERL_PLUGINS or todays_name(name)[0] != name:
        raise QpsmtpdError(
            f"{name} is a plugin that qpsmtpd has or had; one of your own with this name would "
            "take its place: choose another"
        )


def _method(hook: str) -> str:
    method = _PREFIX + hook.removeprefix(_PREFIX)
    if method not in HOOK_METHODS:
        names = [name.removeprefix(_PREFIX) for name in HOOK_METHODS]
        [*alike] = difflib.get_close_matches(hook, names, 1)
        hint = f"did you mean {alike[0]}?" if alike else f"there are {', '.join(names)}"
        raise QpsmtpdError(f"there is no hook {hook!r}: {hint}")
    return method


# --- the plugin ---------------------------------------------------------------------------------


def _hook(method: str) -> str:
    function = getattr(Plugin, method)
    signature = inspect.signature(function)
    begin = "async def" if inspect.iscoroutinefunction(function) else "def"
    parameters = ", ".join(_parameter(each) for each in signature.parameters.values())
    returns = signature.return_annotation
    head = f"{begin} {method}({parameters}) -> {returns}:"
    if len(head) > _MOST_LINE:
        head = f"{begin} {method}(\n        {parameters}\n    ) -> {returns}:"
    doc = (inspect.getdoc(function) or "").splitlines()[0]
    return _HOOK.format(head=head, doc=doc, body=_body(method))


def _parameter(parameter: inspect.Parameter) -> str:
    if parameter.annotation is inspect.Parameter.empty:
        return parameter.name
    return f"{parameter.name}: {parameter.annotation}"


def _body(method: str) -> str:
    if not _may_refuse(method):
        return "" if _returns(method) == "None" else "        return None\n"
    parameters = inspect.signature(getattr(Plugin, method)).parameters
    session = "session" if "session" in parameters else "tx.session"
    return _REFUSAL.format(spared=_SPARED.format(session=session))


def _returns(method: str) -> str:
    return str(inspect.signature(getattr(Plugin, method)).return_annotation)


def _may_refuse(method: str) -> bool:
    """Whether a refusal is what the hook is for, and a test can call it."""
    function = getattr(Plugin, method)
    hook = method.removeprefix(_PREFIX)
    can = "Verdict" in _returns(method) and hook not in _WITHOUT_REFUSAL
    return can and all(_given(function, name) for name in _parameters(function))


def _imports(hooks: str) -> str:
    """The import statements of the plugin."""
    used = {"Plugin", "opt", *_words(_without_strings(hooks))}
    standard = [line for name, line in _STANDARD.items() if name in used]
    names = sorted((name for name in used if hasattr(api, name)), key=_as_ruff_sorts)
    ours = f"from qpsmtpd.api import {', '.join(names)}"
    if len(ours) > _MOST_LINE:
        ours = "".join(("from qpsmtpd.api import (\n", *(f"    {name},\n" for name in names), ")"))
    return "\n".join((*standard, "from dataclasses import dataclass", "", ours))


def _without_strings(code: str) -> str:
    return re.sub(r'""".*?"""|"[^"]*"|#[^\n]*', "", code, flags=re.DOTALL)


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    """Constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


# --- the test -----------------------------------------------------------------------------------


def _test(method: str, cls: str) -> str:
    if not _may_refuse(method):
        return ""
    function = getattr(Plugin, method)
    given = [_given(function, name) for name in _parameters(function)]
    call = f"{method}({', '.join(given)})"
    made = {"session": "a_session()", "tx": "a_transaction()"}
    lines = [f"    {name} = {what}\n" for name, what in made.items() if name in _words(call)]
    hook = method.removeprefix(_PREFIX)
    return _TEST_OF_REFUSAL.format(hook=hook, cls=cls, given="".join(lines), call=call)


def _parameters(function: object) -> list[str]:
    assert callable(function)
    return [name for name in inspect.signature(function).parameters if name != "self"]


def _given(function: object, name: str) -> str:
    """What a test gives for a parameter, "" if it cannot make such a value."""
    assert callable(function)
    return _GIVEN.get(str(inspect.signature(function).parameters[name].annotation), "")


def _fakes(tests: str) -> list[str]:
    known = ("a_plugin", "a_recipient", "a_session", "a_transaction")
    used = {"a_plugin", *_words(tests)}
    return [name for name in known if name in used]
