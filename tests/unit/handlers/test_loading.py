# SPDX-License-Identifier: MIT
"""From the words of an administrator to a handler, and clear errors for all that cannot be one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.handlers import Debugging, Mailbox, Proxy, Sink
from aiosmtpd.smtp import SMTP

from qpsmtpd.api import ConfigError
from qpsmtpd.handlers import loading
from qpsmtpd.handlers.statuses import HandlerError
from tests.unit.handlers import samples


def sample(name: str) -> str:
    return f"{samples.HERE}:{name}"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A directory of the administrator's."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/own.py").write_text("class Own:\n    pass\n")
    (tmp_path / "broken.py").write_text("\nimport no_such_module_at_all\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("qpsmtpd_local.")]:
        del sys.modules[name]


# --- finding ---------------------------------------------------------------------------------


def test_installed_classes() -> None:
    assert loading.find_class("aiosmtpd.handlers:Sink", ()) is Sink
    assert loading.find_class(sample("Idle"), ()) is samples.Idle


def test_a_file_of_the_administrator_is_read_anew(own: Path) -> None:
    first = loading.find_class("site.own:Own", [Path("/nowhere"), own])
    assert first.__module__ == "qpsmtpd_local.site.own"
    assert loading.find_class("site.own:Own", [own]) is not first


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("Mailbox", "'Mailbox' is not MODULE:CLASS, such as aiosmtpd.handlers:Mailbox"),
        ("a.b.C", r"'a.b.C' is not MODULE:CLASS \(did you mean a.b:C\?\)"),
        ("a/b:C", "'a/b:C' is not MODULE:CLASS"),
        ("..os:path", "is not MODULE:CLASS"),
        (":C", "is not MODULE:CLASS"),
        ("aiosmtpd.handlers:Mailbux", r"has no Mailbux \(did you mean Mailbox\?\)"),
        ("no.such:C", "there is no module no.such: not installed, nor in /own/no/such.py"),
        ("aiosmtpd.nothing:C", "there is no module aiosmtpd.nothing"),
        (sample("A_FUNCTION"), "is not a class, but <built-in function print>"),
        (sample("Pinging"), f"is a server, not a handler: write server={sample('Pinging')}"),
        ("aiosmtpd.handlers:Message", "is abstract: derive a class from it .* handle_message"),
        (
            sample("OfSmtpd"),
            "process_message belongs to smtpd and is not called: write handle_DATA",
        ),
    ],
)
def test_what_is_not_a_handler(place: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        loading.find_class(place, [Path("/own")])
    assert not caught.value.where


def test_a_file_that_cannot_be_imported(own: Path) -> None:
    with pytest.raises(ConfigError, match=rf"the module broken .*{own}/broken.py:2: ModuleNotF"):
        loading.find_class("broken:X", [own])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import no_such_module_at_all", "needs no_such_module_at_all, which is missing"),
        ("\n1 / 0", r"cannot be imported: ZeroDivisionError: .* \(.*installed_one.py:2\)"),
        ("raise SystemExit(1)", "cannot be imported: SystemExit: 1"),
    ],
)
def test_an_installed_module_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    (tmp_path / "installed_one.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=problem):
        loading.find_class("installed_one:X", ())
    sys.modules.pop("installed_one", None)


def test_a_hook_that_cannot_be_called_has_a_place() -> None:
    with pytest.raises(ConfigError, match="session, envelope and 2 more") as caught:
        loading.find_class(sample("TooShort"), ())
    file, _, line = caught.value.where.rpartition(":")
    assert file == samples.__file__
    text = Path(file).read_text().splitlines()[int(line) - 1]
    assert (
        text == "    async def handle_MAIL(self, server: Any, session: Any, envelope: Any) -> str:"
    )


@pytest.mark.parametrize("name", ["Says", "OldEhlo", "Encrypts", "Synchronous", "Variadic"])
def test_hooks_that_can_be_called(name: str) -> None:
    loading.find_class(sample(name), ())


def test_hooks_that_nobody_calls() -> None:
    assert loading.unknown_hooks(samples.Misspelt, SMTP) == ["handle_RECPT"]
    assert loading.unknown_hooks(samples.Says, SMTP) == []
    assert loading.unknown_hooks(Mailbox, SMTP) == []

    class Ping:
        async def handle_PING(self) -> None: ...

    assert loading.unknown_hooks(Ping, SMTP) == ["handle_PING"]
    assert loading.unknown_hooks(Ping, samples.Pinging) == []


# --- servers and authenticators --------------------------------------------------------------


def test_a_server_with_more_commands() -> None:
    assert loading.find_server(sample("Pinging"), ()) is samples.Pinging
    assert loading.own_commands(samples.Pinging) == {"PING", "MUTE", "GATE"}
    assert loading.own_commands(SMTP) == frozenset()


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        (sample("Meddling"), "changes smtp_MAIL, which qpsmtpd does itself: use a handler"),
        (sample("Idle"), "is not a subclass of aiosmtpd.smtp.SMTP"),
        (sample("A_FUNCTION"), "is not a subclass of aiosmtpd.smtp.SMTP"),
        ("aiosmtpd.lmtp:LMTP", "changes smtp_HELO, smtp_EHLO"),
    ],
)
def test_what_is_not_a_server(place: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        loading.find_server(place, ())


def test_authenticators() -> None:
    assert loading.find_judge(sample("authenticator"), (), 5) is samples.authenticator
    assert loading.find_judge(sample("auth_callback"), (), 3) is samples.auth_callback
    judge = loading.find_judge(sample("Authenticator"), (), 5)
    assert isinstance(judge, samples.Authenticator)


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("authenticator", 3, "must take 3 arguments"),
        ("auth_callback", 5, "must take 5 arguments"),
        ("Idle", 5, "is not a function, but <"),
        ("NOT_CALLABLE", 5, "is not a function, but 1"),
    ],
)
def test_what_is_not_an_authenticator(name: str, arguments: int, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        loading.find_judge(sample(name), (), arguments)


# --- making ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("a 25", ("a", 25, None, False, Path("/x"), 5)),
        ("25 port=25", ("25", 25, None, False, Path("/x"), 5)),
        (
            "a 25 share=0.5 strict=yes path=/y limit=6",
            ("a", 25, 0.5, True, Path("/y"), 6),
        ),
        ("name=a=b port=1", ("a=b", 1, None, False, Path("/x"), 5)),
    ],
)
def test_words_become_arguments(line: str, values: tuple[Any, ...]) -> None:
    assert loading.make(samples.Typed, line.split()).values == values


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a", "missing a required argument: 'port'"),
        ("a x", "Typed: port: 'x' is not a whole number"),
        ("a 25 strict=perhaps", "Typed: strict: 'perhaps' is not yes or no"),
        ("a 25 0.5", "too many positional arguments"),
        ("a 25 colour=red", "got an unexpected keyword argument 'colour'"),
        ("a 25 port=26", "multiple values for argument 'port'"),
    ],
)
def test_words_that_are_not_arguments(line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        loading.arguments_for(samples.Typed, line.split())


def test_from_cli_gets_the_words() -> None:
    assert loading.make(samples.FromCli, ["a", "b=c"]).words == ("a", "b=c")
    with pytest.raises(ConfigError, match="FromCli: usage: not wrong"):
        loading.make(samples.FromCli, ["wrong"])


def test_aiosmtpds_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(loading.make(Sink, []), Sink)
    assert loading.make(Debugging, ["stderr"]).stream is sys.stderr
    assert loading.make(Mailbox, [str(tmp_path / "Maildir")]).mail_dir == str(tmp_path / "Maildir")
    for cls, words, problem in (
        (Sink, ["x"], "Sink: Sink handler does not accept arguments"),
        (Debugging, ["x"], "Debugging: Debugging usage"),
        (Mailbox, [], "Mailbox: The directory for the maildir is required"),
    ):
        with pytest.raises(ConfigError, match=problem):
            loading.make(cls, words)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("cls", "words", "problem"),
    [
        (
            samples.Unmakeable,
            [],
            r"Unmakeable cannot be created: OSError: no such place \(.*:\d+\)",
        ),
        (samples.Exits, ["now=1"], r"Exits cannot be created: SystemExit: 3"),
        (samples.FromCli, ["wrong"], "usage"),
    ],
)
def test_what_cannot_be_made(cls: type[Any], words: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        loading.make(cls, words)


@pytest.mark.parametrize("cls", [Proxy, samples.MyProxy])
def test_aiosmtpds_proxy_tells_what_was_refused(cls: type[Any]) -> None:
    proxy = loading.make(cls, ["127.0.0.1", "1"])  # where nobody listens
    with pytest.raises(HandlerError, match=r"the next hop did not take .*'b@c\.test'"):
        proxy._deliver("a@b.test", ["b@c.test"], b"")
