# SPDX-License-Identifier: MIT
"""Who looks at the clock on the wall, which may be wrong and jump: nothing may expire by it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "qpsmtpd"

#: The modules that do, and what for.  Times that pass are those of the monotonic clock or a store.
DATES = {
    "dashboard/pages.py": "the present time zone",
    "dashboard/reporting.py": "the period of a report",
    "dashboard/views.py": "which decisions are of the last hour or day",
    "decisions/keeper.py": "when a decision was taken, to be shown and searched",
    "logs/lines.py": "the time of a log line",
    "mail/session.py": "a part of ids",
    "mailauth/aggregatecounts.py": "the day of a DMARC report",
    "mailauth/spf.py": "a macro that stands for the date",
    "metrics/counting.py": "when a worker was started, to be shown",
    "metrics/memory.py": "when the daemon was started, to be shown",
    "metrics/reading.py": "when something was, to be shown, and a certificate's own dates",
    "nexthop/cleanup.py": "the time of arrival, for Postfix",
    "plugin/certificates.py": "a certificate's own dates",
    "plugin/services.py": "the clock itself",
    "plugins/arc.py": "whether a seal has expired",
    "plugins/auth/auth_oauth.py": "whether a token has expired",
    "plugins/content_log.py": "names of files",
    "plugins/dkim.py": "whether a signature has expired, and when one is made",
    "plugins/greylisting.py": "how long mail was delayed, and what to write again",
    "plugins/headers.py": "the age of a message by its Date",
    "plugins/karma.py": "when a client was last seen, and a penalty ends, to be shown",
    "plugins/queue/maildir.py": "names of files",
    "reports/sending.py": "the days of DMARC reports",
    "smtp/authenticate.py": "a part of challenges (RFC 2195)",
    "smtp/notices.py": "the time of arrival, in a notice",
    "smtp/trace.py": "the date in Received",
    "store/sqlite.py": "how long the machine was off",
}
#: What people run by hand, and tests.
BESIDE = ("commands/", "dialogue/", "doctor/", "manpages/", "testing.py")


#: Without one of these words there is nothing to look at more closely.
_may_look = re.compile(r"\b(time|time_ns|now|utcnow|today|localtime|gmtime)\b").search


def _looks_at_it(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        # Called here, or passed on.
        return node.attr in ("time", "time_ns") and ast.unparse(node.value) == "time"
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    name, of = node.func.attr, ast.unparse(node.func.value)
    return (name in ("now", "utcnow", "today") and of.endswith(("clock", "datetime", "date"))) or (
        name in ("localtime", "gmtime") and of == "time" and not node.args
    )


def test_nothing_expires_by_the_wall_clock() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name, text = path.relative_to(PACKAGE).as_posix(), path.read_text()
        if name.startswith(BESIDE) or not _may_look(text):
            continue
        if any(map(_looks_at_it, ast.walk(ast.parse(text)))):
            found.add(name)
    assert found == set(DATES)
