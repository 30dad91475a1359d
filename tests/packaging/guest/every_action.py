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

import Milter

VERDICTS = {
    "accept": Milter.ACCEPT,
    "discard": Milter.DISCARD,
    "reject": Milter.REJECT,
    "tempfail": Milter.TEMPFAIL,
}
MACROS = ("j", "i", "_", "{mail_addr}", "{rcpt_addr}", "{client_addr}", "{auth_authen}")


class EveryAction(Milter.Base):
    def __init__(self):
        self.told = []
        self.todo = []
        self.size = 0

    def tell(self, *what):
        self.told.append(what)

    def verdict(self, step, text):
        """What a name such as `reject.rcpt` in an address asks for."""
        for word in text.replace("<", "").partition("@")[0].split("+"):
            verdict, dot, where = word.partition(".")
            if dot and where == step:
                return self.done(verdict)
        return Milter.CONTINUE

    def done(self, verdict):
        if verdict == "reply":
            self.setreply("554", "5.7.9", "First line", "100%% second line")
            return Milter.REJECT
        return VERDICTS[verdict]

    def connect(self, hostname, family, hostaddr):
        self.tell("connect", hostname, list(hostaddr))
        return Milter.CONTINUE

    def hello(self, hostname):
        self.tell("helo", hostname)
        return Milter.CONTINUE

    def envfrom(self, address, *parameters):
        self.told = [
            each for each in self.told if each[0] in ("connect", "helo", "abort", "unknown")
        ]
        self.todo, self.size = [], 0
        self.tell("mail", address, *parameters)
        return self.verdict("mail", address)

    def envrcpt(self, address, *parameters):
        self.tell("rcpt", address, *parameters)
        self.rcpt_macro = self.getsymval("{rcpt_addr}")
        return self.verdict("rcpt", address)

    def data(self):
        self.tell("data")
        return Milter.CONTINUE

    def unknown(self, command):
        self.tell("unknown", command)
        return Milter.REJECT if "reject" in command.lower() else Milter.CONTINUE

    @Milter.decode("bytes")
    def header(self, name, value):
        value = value.decode("utf-8", "replace")
        self.tell("header", name, value)
        if name == "X-Do":
            self.todo.append(json.loads(value))
        return Milter.CONTINUE

    def eoh(self):
        self.tell("eoh")
        return self.later("eoh")

    def body(self, chunk):
        self.size += len(chunk)
        self.tell("body", len(chunk))
        return self.later("body")

    def later(self, step):
        return next(
            (self.done(how) for what, how, *_ in self.todo if what == step), Milter.CONTINUE
        )

    def eom(self):
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
        self.addheader("X-Told", json.dumps(self.told))
        return next(
            (self.done(how) for what, how, *_ in self.todo if what == "eom"), Milter.CONTINUE
        )

    def abort(self):
        self.tell("abort")
        return Milter.CONTINUE

    def close(self):
        return Milter.CONTINUE


def main():
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
