# SPDX-License-Identifier: MIT
"""A milter on libmilter, through Debian's python3-milter, that does what messages tell it to.

    python3 every_action.py SOCKET [mute]

Each field X-Do of a message is a JSON list: an action, and its arguments.  "mail", "rcpt" and so on
with a verdict is done in the step of that name, which the parameter or the address names.  What it
has been told stands in a field X-Told of the message, as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import Milter

CONTINUE: int = Milter.CONTINUE
VERDICTS: dict[str, int] = {
    "accept": Milter.ACCEPT,
    "discard": Milter.DISCARD,
    "reject": Milter.REJECT,
    "tempfail": Milter.TEMPFAIL,
}
MACROS = ("j", "i", "_", "{mail_addr}", "{rcpt_addr}", "{client_addr}", "{auth_authen}")


class EveryAction(Milter.Base):  # type: ignore[misc]
    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.todo: list[list[Any]] = []
        self.size = 0
        self.rcpt_macro = ""

    def tell(self, *what: Any) -> None:
        self.told.append(what)

    def verdict(self, step: str, text: str) -> int:
        """What a name such as `reject.rcpt` in an address asks for."""
        for word in text.replace("<", "").partition("@")[0].split("+"):
            verdict, dot, where = word.partition(".")
            if dot and where == step:
                return self.done(verdict)
        return CONTINUE

    def done(self, verdict: str) -> int:
        if verdict == "reply":
            self.setreply("554", "5.7.9", "First line", "100%% second line")
            return VERDICTS["reject"]
        return VERDICTS[verdict]

    def connect(self, hostname: str, family: int, hostaddr: tuple[Any, ...]) -> int:
        self.tell("connect", hostname, list(hostaddr))
        return CONTINUE

    def hello(self, hostname: str) -> int:
        self.tell("helo", hostname)
        return CONTINUE

    def envfrom(self, address: str, *parameters: str) -> int:
        self.told = [
            each for each in self.told if each[0] in ("connect", "helo", "abort", "unknown")
        ]
        self.todo, self.size = [], 0
        self.tell("mail", address, *parameters)
        return self.verdict("mail", address)

    def envrcpt(self, address: str, *parameters: str) -> int:
        self.tell("rcpt", address, *parameters)
        self.rcpt_macro = self.getsymval("{rcpt_addr}")
        return self.verdict("rcpt", address)

    def data(self) -> int:
        self.tell("data")
        return CONTINUE

    def unknown(self, command: str) -> int:
        self.tell("unknown", command)
        return VERDICTS["reject"] if "reject" in command.lower() else Milter.CONTINUE

    @Milter.decode("bytes")  # type: ignore[untyped-decorator]
    def header(self, name: str, octets: bytes) -> int:
        value = octets.decode("utf-8", "replace")
        self.tell("header", name, value)
        if name == "X-Do":
            self.todo.append(json.loads(value))
        return CONTINUE

    def eoh(self) -> int:
        self.tell("eoh")
        return self.later("eoh")

    def body(self, chunk: bytes) -> int:
        self.size += len(chunk)
        self.tell("body", len(chunk))
        return self.later("body")

    def later(self, step: str) -> int:
        return next(
            (self.done(how) for what, how, *_ in self.todo if what == step), Milter.CONTINUE
        )

    def eom(self) -> int:
        self.tell("eom", self.size)
        macros = {name: self.getsymval(name) for name in MACROS}
        self.tell("macros", macros, self.rcpt_macro)
        self.progress()
        for action, *arguments in self.todo:
            if action == "replacebody":
                for part in arguments:
                    self.replacebody(part.encode())
            elif hasattr(self, action) and action not in ("eoh", "body", "eom"):
                getattr(self, action)(*arguments)
        # Lines have at most 998 octets.
        self.addheader("X-Told", json.dumps(self.told).replace("], [", "],\n ["))
        return next(
            (self.done(how) for what, how, *_ in self.todo if what == "eom"), Milter.CONTINUE
        )

    def abort(self) -> int:
        self.tell("abort")
        return CONTINUE

    def close(self) -> int:
        return CONTINUE


def main() -> None:
    Milter.factory = EveryAction
    Milter.set_flags(
        Milter.CHGBODY
        | Milter.CHGHDRS
        | Milter.ADDHDRS
        | Milter.ADDRCPT
        | Milter.ADDRCPT_PAR
        | Milter.DELRCPT
        | Milter.QUARANTINE
        | Milter.CHGFROM
        | Milter.SETSYMLIST
    )
    Milter.runmilter("every-action", sys.argv[1], 60)


if __name__ == "__main__":
    main()
