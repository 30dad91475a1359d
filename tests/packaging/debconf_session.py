# SPDX-License-Identifier: MIT
"""Runs the package's `config` under the real debconf, with a database and a system of its own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
FRONTEND = Path("/usr/share/debconf/frontend")
TIMEOUT = 60.0  # seconds

BUILD_CONFIG = ("debian/fill-in", "debian/qpsmtpd.config.in")  # of debian/rules

_DATABASE = """\
Config: configdb
Templates: templatedb

Name: configdb
Driver: File
Filename: /config.dat

Name: templatedb
Driver: File
Filename: /templates.dat
"""

# A front end that talks with a program needs this module, which is only recommended by debconf.
_ICONV = """\
package Text::Iconv;
sub new { return bless {}, shift; }
sub convert { return $_[1]; }
1;
"""


def unavailable() -> str | None:
    """Why debconf cannot be run here, in one line; None when it can."""
    if FRONTEND.exists() and shutil.which("debconf-set-selections"):
        return None
    return "needs Debian's debconf"


def built_config() -> str:
    """`config` as debian/rules builds it."""
    return subprocess.run(
        BUILD_CONFIG, cwd=CHECKOUT, check=True, capture_output=True, text=True
    ).stdout


def built_templates() -> str:
    """The templates as po-debconf makes them, without translations."""
    text = (CHECKOUT / "debian/qpsmtpd.templates").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).lstrip("\n")
    return re.sub(r"^_+(?=\w+:)", "", text, flags=re.MULTILINE)


@dataclass
class Person:
    """Somebody at the screen, who answers by these; a list answers a question time after time.

    Questions without an answer here are confirmed as they are.  BACK goes back one question.
    """

    answers: dict[str, str | list[str]] = field(default_factory=dict)
    shown: list[tuple[str, str]] = field(default_factory=list)  # questions and their values
    substituted: dict[str, str] = field(default_factory=dict)

    def serve(self, connection: socket.socket) -> None:
        values: dict[str, str] = {}
        asked: list[str] = []
        with connection, connection.makefile("rw", encoding="utf-8") as stream:
            for line in stream:
                stream.write(self._reply(line.rstrip("\n"), values, asked) + "\n")
                stream.flush()

    def _reply(self, line: str, values: dict[str, str], asked: list[str]) -> str:
        match line.split(" ", 3):
            case ["CAPB"]:
                return "0 backup"
            case ["SET", name, *value]:
                values[name] = " ".join(value)
            case ["SUBST", name, _, *value]:
                self.substituted[name] = " ".join(value)
            case ["INPUT", _, name]:
                asked.append(name)
            case ["GO"]:
                names, asked[:] = list(asked), []
                return "30 back" if self._answer(names, values) == BACK else "0 ok"
            case ["GET", name]:
                return f"0 {values.get(name, '')}"
        return "0 ok"

    def _answer(self, names: Sequence[str], values: dict[str, str]) -> str:
        answer = ""
        for name in names:
            self.shown.append((name.removeprefix("qpsmtpd/"), values.get(name, "")))
            answer = self._next_answer(name.removeprefix("qpsmtpd/"), values.get(name, ""))
            if answer != BACK:
                values[name] = answer
        return answer

    def _next_answer(self, name: str, value: str) -> str:
        given = self.answers.get(name, value)
        if isinstance(given, str):
            return given
        return given.pop(0) if given else value


BACK = "(back)"


@dataclass(frozen=True)
class System:
    """A system's files below `root`, and debconf's database of it."""

    root: Path

    @classmethod
    def create(cls, root: Path) -> System:
        system = cls(root)
        system.write("etc/debconf.conf", _DATABASE)
        system.write("perl/Text/Iconv.pm", _ICONV)
        system.write("scripts/templates", built_templates())
        system.write("scripts/config", built_config()).chmod(0o755)
        return system

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def preseed(self, text: str) -> None:
        self._run(("debconf-set-selections",), stdin=text)

    def values(self) -> dict[str, str]:
        """debconf's values by the name of the question."""
        text = (self.root / "config.dat").read_text()
        found = {}
        for stanza in text.split("\n\n"):
            fields = dict(line.split(":", 1) for line in stanza.splitlines() if ": " in line[:10])
            if "Value" in fields:
                found[fields["Name"].strip().removeprefix("qpsmtpd/")] = fields["Value"].strip()
        return found

    def forget_seen(self) -> None:
        """Show all questions again, as dpkg-reconfigure does."""
        path = self.root / "config.dat"
        path.write_text(re.sub(r"^Flags: .*\n", _without_seen, path.read_text(), flags=re.M))

    def config(self, frontend: str = "noninteractive", **environment: str) -> str:
        """Run `config`; return what it said on stderr.  Raises CalledProcessError."""
        return self._run(
            (str(FRONTEND), str(self.root / "scripts/config"), "configure", ""),
            environment={"DEBIAN_FRONTEND": frontend, **environment},
        )

    def config_with(self, person: Person, priority: str = "low") -> str:
        """Run `config` before a person."""
        address = str(self.root / "agent")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            server = threading.Thread(target=lambda: person.serve(listener.accept()[0]))
            server.start()
            try:
                return self.config("passthrough", DEBCONF_PIPE=address, DEBIAN_PRIORITY=priority)
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                server.join(TIMEOUT)
                Path(address).unlink()

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "DPKG_ROOT": str(self.root),
            "PERL5LIB": str(self.root / "perl"),
        }

    def _run(
        self, command: Sequence[str], stdin: str = "", environment: Mapping[str, str] | None = None
    ) -> str:
        done = subprocess.run(
            command,
            input=stdin,
            env={**self.environment(), **(environment or {})},
            check=True,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        return done.stderr


def _without_seen(flags: re.Match[str]) -> str:
    left = [flag for flag in re.split(r"[:,\s]+", flags[0].strip())[1:] if flag != "seen"]
    return f"Flags: {' '.join(left)}\n" if left else ""
