# SPDX-License-Identifier: MIT
"""Slips of a newcomer: each is refused by the file and the line where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.commands.check_config import check
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.plugin.base import Plugin
from qpsmtpd.plugin.checks import check_plugin
from qpsmtpd.testing import a_plugin

HEAD = """\
from __future__ import annotations
from dataclasses import dataclass
from typing import Any, Literal
from qpsmtpd.api import *

@dataclass(frozen=True, kw_only=True)
class Options:
    limit: int = opt(5, doc="The limit.")
"""

PLUGIN = """
class Mine(Plugin[Options]):
    async def hook_mail(self, tx, sender):
        return deny(f"{self.options.limit}")
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    """What check-config says about a plugin, each as LINE: TEXT, or the whole of it."""
    directory = tmp_path / "plugins.d"
    directory.mkdir(exist_ok=True)
    file = directory / "mine.py"
    file.write_text(text)
    (tmp_path / "plugin_dirs").write_text(f"{directory}\n")
    (tmp_path / "me").write_text("mx.example\n")
    (tmp_path / "plugins").write_text("mine\nrcpt_ok\nqueue/maildir /tmp\n")
    (tmp_path / "rcpthosts").write_text("example.test\n")
    found = [str(p) for p in check([tmp_path]) if p.severity == "error"]
    return [problem.replace(f"{file}:", "") for problem in found]


def only(tmp_path: Path, text: str) -> str:
    (problem,) = problems(tmp_path, text)
    return problem


def test_without_a_slip(tmp_path: Path) -> None:
    assert problems(tmp_path, HEAD + PLUGIN) == []


def test_the_options_are_those_of_the_type(tmp_path: Path) -> None:
    """`Options = Options` was needed once, and forgotten."""
    (tmp_path / "mine.py").write_text(HEAD + PLUGIN)
    cls = PluginFinder([tmp_path]).find("mine")
    assert list(cls.Options.__dataclass_fields__) == ["limit"]


# --- F1: options that cannot be read ------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("n: int = 1", "an option is made by opt("),
        ("n: int", "an option is made by opt("),
        ("n: dict = opt((), doc='x')", "options cannot be of the type dict"),
        ("n: list[int] = opt((), doc='x')", "options cannot be of the type list[int]"),
        ("n: Any = opt(1, doc='x')", "options cannot be of the type"),
        ("n: bytes = opt(b'', doc='x')", "options cannot be of the type bytes"),
        ("n: int = opt('five', doc='x')", "its default 'five' is not of its type (number)"),
        ("n: Seconds = opt('5s', doc='x')", "its default '5s' is not of its type (duration)"),
        ("n: int = opt(None, doc='x')", "its type must end in | None"),
        ("n: Literal['a', 'b'] = opt('c', doc='x')", "its default 'c' is not of its type (a|b)"),
        ("n: int = opt(1, doc='x', flag=True)", "a flag must be of the type bool"),
        ("n: str = opt('', doc='x', least=1)", "least and most are for numbers, durations"),
        ("n: tuple[str, ...] = opt((), doc='x', most=1)", "least and most are for numbers"),
        ("n: str = opt('', doc='x', check='x')", "its check is not a function"),
    ],
)
def test_an_option_that_cannot_be_read(tmp_path: Path, option: str, text: str) -> None:
    problem = only(tmp_path, HEAD + f"    {option}\n" + PLUGIN)
    assert problem.startswith("9: mine: n: ")
    assert text in problem


def test_an_option_without_a_type(tmp_path: Path) -> None:
    """Python's dataclasses know of it; without the decorator they would not."""
    problem = only(tmp_path, HEAD + "    n = opt(5, doc='x')\n" + PLUGIN)
    assert "mine.py" in problem or "'n' is a field but has no type annotation" in problem


def test_a_type_that_is_not_there(tmp_path: Path) -> None:
    problem = only(tmp_path, HEAD + "    n: Nothing = opt(1, doc='x')\n" + PLUGIN)
    assert problem == "7: mine: Options: NameError: name 'Nothing' is not defined"


# --- F2: options that are not used ----------------------------------------------------------------


@pytest.mark.parametrize(
    "bases", ["Plugin", "Plugin[NoOptions]", "Plugin[None]", "Plugin[Any]", "Plugin['Options']"]
)
def test_options_that_the_plugin_does_not_use(tmp_path: Path, bases: str) -> None:
    problem = only(tmp_path, HEAD + PLUGIN.replace("Plugin[Options]", bases))
    assert problem == (
        "7: mine: Options: the plugin does not use these options: write class Mine(Plugin[Options])"
    )


def test_options_that_are_not_a_dataclass(tmp_path: Path) -> None:
    text = HEAD.replace("@dataclass(frozen=True, kw_only=True)\n", "") + PLUGIN
    problem = only(tmp_path, text)
    assert problem.startswith("6: mine: ")
    assert "@dataclass(frozen=True, kw_only=True)" in problem


def test_options_by_hand_still_work(tmp_path: Path) -> None:
    body = "class Mine(Plugin):\n    Options = Options\n"
    assert problems(tmp_path, HEAD + body) == []


def test_options_of_a_base_class_are_inherited(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + PLUGIN)
    cls = PluginFinder([tmp_path]).find("mine")
    inherited: type[Plugin[Any]] = type("Other", (cls,), {})
    assert inherited.Options is cls.Options


# --- F3: hooks that are not coroutine functions, or have other parameters -----------------------


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        (
            "def hook_mail(self, tx, sender): ...",
            "hook_mail: write async def hook_mail(self, tx, sender)",
        ),
        ("hook_mail = lambda self, tx, sender: None", "hook_mail: write async def hook_mail("),
        ("async def hook_mail(self, tx, sender):\n        yield 1", "hook_mail: write async def"),
        ("async def hook_mail(self, tx): ...", "hook_mail: it is called with other arguments"),
        ("async def hook_mail(): ...", "hook_mail: it is called with other arguments"),
        ("async def hook_mail(tx, sender): ...", "hook_mail: it is called with other arguments"),
        (
            "async def hook_rcpt(self, tx, recipient, more): ...",
            "hook_rcpt: it is called with other arguments: write async def hook_rcpt(self, tx, "
            "recipient)",
        ),
        (
            "async def hook_rcpt(self, recipient, tx): ...",
            "hook_rcpt: its arguments are in another order: write async def hook_rcpt(self, tx, "
            "recipient)",
        ),
        (
            "async def hook_logging(self, record): ...",
            "hook_logging: write def hook_logging(self, record)",
        ),
        ("hook_mail = None", "hook_mail: this is a method of every plugin, not a value"),
        ("hook_mail = 5", "hook_mail: this is a method of every plugin, not a value"),
        ("async def hook_mial(self, tx, sender): ...", "hook_mial: there is no such hook"),
        (
            "def hook_recpt(self): ...",
            "hook_recpt: there is no such hook (did you mean hook_rcpt?)",
        ),
        ("hook_nothing = 1", "hook_nothing: there is no such hook"),
    ],
)
def test_a_hook_that_cannot_work(tmp_path: Path, hook: str, text: str) -> None:
    problem = only(tmp_path, HEAD + f"\nclass Mine(Plugin[Options]):\n    {hook}\n")
    assert problem.startswith(f"11: mine: {text}")


@pytest.mark.parametrize(
    "hook",
    [
        "async def hook_mail(self, *anything): ...",
        "async def hook_mail(self, transaction, reverse_path, more=None): ...",
        "async def hook_mail(self, _tx, _sender): ...",
        "def hook_logging(self, record): ...",
        "@staticmethod\n    async def hook_mail(tx, sender): ...",
        "@classmethod\n    async def hook_mail(cls, tx, sender): ...",
    ],
)
def test_a_hook_that_works(tmp_path: Path, hook: str) -> None:
    assert problems(tmp_path, HEAD + f"\nclass Mine(Plugin[Options]):\n    {hook}\n") == []


def test_a_hook_that_is_inherited_is_checked_too(tmp_path: Path) -> None:
    """The base class of a local plugin may stand in another file of its author."""

    class Base(Plugin[None]):
        """Not loaded by itself."""

        def hook_mail(self, tx: object, sender: object) -> None: ...  # type: ignore[override]

    class Mine(Base):
        """Looks right."""

    with pytest.raises(Exception, match="hook_mail: write async def hook_mail"):
        check_plugin(Mine)


# --- F4: names that are slips -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("async def strat(self): ...", "strat: nothing calls this method (did you mean start?)"),
        ("async def stpo(self): ...", "stpo: nothing calls this method (did you mean stop?)"),
        ("def tls_contxt(self): ...", "tls_contxt: nothing calls this method"),
        ("def start(self): ...", "start: write async def start(self)"),
        ("def stop(self): ...", "stop: write async def stop(self)"),
        ("async def tls_context(self): ...", "tls_context: write def tls_context(self)"),
        ("async def start(self, config): ...", "start: it is called with other arguments"),
    ],
)
def test_a_slip_in_the_plugin(tmp_path: Path, method: str, text: str) -> None:
    problem = only(tmp_path, HEAD + f"\nclass Mine(Plugin[Options]):\n    {method}\n")
    assert problem.startswith(f"11: mine: {text}")


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("def chek(self): ...", "chek: nothing calls this method (did you mean check?)"),
        ("def checks(self): ...", "checks: nothing calls this method (did you mean check?)"),
        (
            "@staticmethod\n    def rewite(words): ...",
            "rewite: nothing calls this method (did you mean rewrite?)",
        ),
    ],
)
def test_a_slip_in_the_options(tmp_path: Path, method: str, text: str) -> None:
    problem = only(tmp_path, HEAD + f"\n    {method}\n" + PLUGIN)
    assert problem.split(": ", 1)[1] == f"mine: {text}"


def test_other_methods_are_the_authors(tmp_path: Path) -> None:
    body = "    def score(self, tx): ...\n    async def ask(self): ...\n"
    assert problems(tmp_path, HEAD + PLUGIN + body) == []


# --- all at once --------------------------------------------------------------------------------


def test_every_slip_is_reported(tmp_path: Path) -> None:
    text = HEAD + "    n: int = 1\n" + PLUGIN + "    def hook_rcpt(self): ...\n"
    text += "    async def strat(self): ...\n"
    assert len(problems(tmp_path, text)) == 3


async def test_the_fakes_find_them_too() -> None:
    class Mine(Plugin[None]):
        """Forgot async."""

        def hook_mail(self, tx: object, sender: object) -> None: ...  # type: ignore[override]

    with pytest.raises(Exception, match="async def hook_mail"):
        await a_plugin(Mine)


# --- declarations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declaration", "right"),
    [
        ("files = ['quotas']", 'files = {"NAME": "What is in the file."}'),
        ("files = {'quotas': None}", 'files = {"NAME": "What is in the file."}'),
        ("after = ('relay')", 'after = ("PLUGIN", ...), with a comma even after a single one'),
        ("after = (1,)", 'after = ("PLUGIN", ...), with a comma even after a single one'),
        ("needs = 'dkim'", 'needs = ("PLUGIN", ...), with a comma even after a single one'),
        ("accepts_recipients = 'no'", "accepts_recipients = True, or leave it out"),
        ("may_accept_recipients = 1", "may_accept_recipients = True, or leave it out"),
        ("warning = True", 'warning = "What an administrator has to know"'),
    ],
)
def test_a_declaration_of_the_wrong_kind(tmp_path: Path, declaration: str, right: str) -> None:
    text = f"from qpsmtpd.api import *\nclass Mine(Plugin[NoOptions]):\n    {declaration}\n"
    name = declaration.partition(" ")[0]
    assert only(tmp_path, text) == f"3: mine: {name}: write {right}"


def test_declarations(tmp_path: Path) -> None:
    body = "files = {'quotas': 'Quotas.'}\n    after = ('relay',)\n    warning = 'Loses mail.'"
    text = f"from qpsmtpd.api import *\nclass Mine(Plugin[NoOptions]):\n    {body}\n"
    assert problems(tmp_path, text) == []


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_examine_is_a_generator_of_either_kind(tmp_path: Path, kind: str) -> None:
    body = f"{kind} examine(self, system):\n        yield Finding.ok('x', 'y')"
    text = f"from qpsmtpd.api import *\nclass Mine(Plugin[NoOptions]):\n    {body}\n"
    assert problems(tmp_path, text) == []


def test_examine_that_is_not_a_generator(tmp_path: Path) -> None:
    body = "async def examine(self, system):\n        return [Finding.ok('x', 'y')]"
    text = f"from qpsmtpd.api import *\nclass Mine(Plugin[NoOptions]):\n    {body}\n"
    assert only(tmp_path, text) == "3: mine: examine: write def examine(self, system)"
