# SPDX-License-Identifier: MIT
"""The cases of the golden files: every delivery method on each way through the questions.

    python -m tests.unit.maintscripts.golden_cases

writes the files anew; look at what has changed before you keep it.
"""

from __future__ import annotations

from pathlib import Path

from maintscripts.answers import settle
from maintscripts.ask import (
    INTEGRATION,
    LISTEN,
    MAILDIR,
    METHOD,
    METHODS,
    PROXY,
    RCPTHOSTS,
    STARTUP,
    Facts,
)
from maintscripts.render import render

GOLDEN = Path(__file__).parent / "golden"

_FACTS = {
    "exim": Facts(mta="exim", local_domains={"exim": ("example.org", ".example.com")}),
    "postfix": Facts(mta="postfix", local_domains={"postfix": ("mail.example.org", "localhost")}),
    "qmail": Facts(
        mta="qmail",
        local_domains={"qmail": ("example.org",)},
        qmail_queue="/var/qmail/bin/qmail-queue",
    ),
}
_ADDRESSES = "192.0.2.1, 2001:db8::1 [2001:db8::1]:2525 127.0.0.1:2525"
_ENABLED = {
    STARTUP: "true",
    LISTEN: _ADDRESSES,
    PROXY: "[2001:db8::25]:10025",
    MAILDIR: "/home/mail/Mail:dir%/",
    RCPTHOSTS: "example.org .example.net bücher.example",
}

#: name → (values in debconf, facts)
CASES = {
    "nothing-known": ({}, Facts()),
    **{f"disabled-{mta}": ({STARTUP: "false"}, facts) for mta, facts in _FACTS.items()},
    **{f"all-addresses-{mta}": ({STARTUP: "true"}, facts) for mta, facts in _FACTS.items()},
    **{
        f"answered-{method}": ({**_ENABLED, METHOD: method}, _FACTS.get(method, Facts()))
        for method in METHODS
    },
    "inside": ({**_ENABLED, INTEGRATION: "inside"}, _FACTS["postfix"]),
    "inside-without-postfix": ({STARTUP: "true", INTEGRATION: "inside"}, _FACTS["exim"]),
    "blank-proxy": ({STARTUP: "true", METHOD: "proxy"}, Facts()),
    "blank-maildir": ({STARTUP: "true", METHOD: "maildir"}, Facts()),
}


def as_text(name: str) -> str:
    """All files of a case in one text."""
    answers, notes = settle(*CASES[name])
    files = [f"==> {path}\n{text}" for path, text in sorted(render(answers).items())]
    verdict = "started" if answers.wanted else "not started"
    return "\n".join([f"{verdict}\n", *(f"note: {text}\n" for text in notes), *files])


if __name__ == "__main__":
    for case in CASES:
        (GOLDEN / f"{case}.txt").write_text(as_text(case))
