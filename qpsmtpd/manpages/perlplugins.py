# SPDX-License-Identifier: MIT
"""What has become of the plugins and programs of the Perl version.

Of plugins it is found out from ours, and from what stands in for those that we do not have.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from qpsmtpd.config.absent import ABSENT
from qpsmtpd.config.names import PERL_PLUGINS
from qpsmtpd.config.pluginfinder import shipped_plugins
from qpsmtpd.plugin.base import Plugin

#: same: does what it did.  differs: does it, but for what is said.  built in: the daemon itself
#: does it.  stands in: another plugin or program does.  idle: its line may stay, and does nothing.
Status = Literal["same", "differs", "built in", "stands in", "idle"]

#: Characters of a difference, so that it is one line.
MOST = 160

_BEGINNING = r"Differences from the Perl version:\s+"
_differences = re.compile(rf"^{_BEGINNING}(.+?)(?:\n\n|\Z)", re.MULTILINE | re.DOTALL).search
_sentence = re.compile(r".+?[.](?= [A-Z`]|$)").match


#: Programs of the Perl version, and what does now what they did; those that run the daemon are
#: there under their names.
PROGRAMS: Mapping[str, str] = {
    "dkim_key_gen.sh": "`qpsmtpd dkim-key`",
    "karma_tool": "`qpsmtpd karma`",
    "log/log2sql": "`qpsmtpd log --format sql`",
    "log/show_message": "`qpsmtpd explain`, for one message",
    "log/summarize": "`qpsmtpd report`",
    "log/watch": "`qpsmtpd log --follow`",
}


class Fate(NamedTuple):
    """What has become of a plugin; `text` is one line, and empty where nothing is to be said."""

    status: Status
    text: str


def fates() -> Mapping[str, Fate]:
    """All plugins of the Perl version, by name."""
    ours = shipped_plugins()
    return {name: _fate(name, ours) for name in sorted(PERL_PLUGINS)}


def _fate(name: str, ours: Mapping[str, type[Plugin[Any]]]) -> Fate:
    if name not in ours:
        absent = ABSENT[name]
        missing: Status = "built in" if absent.built_in else "stands in"
        return Fate("idle" if absent.loss == "idle" else missing, absent.stands_in)
    cls = ours[name]
    if cls.warning.startswith("does nothing"):
        return Fate("idle", cls.warning)
    text = difference(inspect.getdoc(sys.modules[cls.__module__]) or "")
    return Fate("differs" if text else "same", text)


def difference(manual: str) -> str:
    """What a manual says first about differences, in one line; "" if there are none."""
    found = _differences(manual)
    if found is None:
        return ""
    whole = " ".join(found[1].split())
    first = _sentence(whole)
    text = (first[0] if first else whole).removesuffix(".")
    if len(text) > MOST:
        text = re.sub(r"[;,][^;,]*$", "", text[:MOST])
    return text if len(text) + 1 >= len(whole) else f"{text}; and more"
