# SPDX-License-Identifier: MIT
"""Fronts: what of a plugin works where a mail system asks us about its sessions.

That is known from the hooks that it has: a policy service never sees a message, and neither front
sees how the client speaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qpsmtpd.config.pluginlines import PluginLine
from qpsmtpd.config.problems import Problem
from qpsmtpd.config.runoptions import Kind

_ENVELOPE = frozenset(
    {
        *("pre_connection", "connect", "helo_parse", "ehlo_parse", "helo", "ehlo"),
        *("mail_parse", "mail_pre", "mail", "rcpt_parse", "rcpt_pre", "rcpt", "verify_recipient"),
        *("data", "reset_transaction", "disconnect", "post_connection", "deny", "ok"),
    }
)

#: The hooks that each front asks.
CARRIED: dict[Kind, frozenset[str]] = {
    "policy": _ENVELOPE | {"vrfy"},
    "milter": _ENVELOPE
    | {"data_headers_end", "data_post_headers", "data_post", "queue_pre", "sign"}
    | {"unrecognized_command"},
}

#: Hooks that no front needs: the mail system does itself what they are for.
_NOT_MISSED = frozenset(
    {
        *("logging", "config", "user_config", "post_fork", "queue", "queue_post"),
        *("received_line", "help", "quit", "noop", "rset", "vrfy"),
        *("auth", "auth_parse", "auth_plain", "auth_login", "auth_cram_md5", "auth_exchange"),
    }
)

_NAMES = {"policy": "policy service", "milter": "milter"}


def front_problems(lines: Iterable[PluginLine], fronts: Iterable[Kind]) -> Iterator[Problem]:
    """A warning for each line with a plugin that does less in one of these fronts than in SMTP."""
    kinds = [kind for kind in dict.fromkeys(fronts) if kind in CARRIED]
    for line in lines:
        for kind in kinds:
            if text := _lost(line, kind):
                yield Problem(line.where, f"{line.name}: {text}", "warning")


def _lost(line: PluginLine, kind: Kind) -> str:
    """What the plugin does not do there; "" if nothing is missing."""
    name = _NAMES[kind]
    if line.cls.watches_wire:
        return f"does nothing as a {name}, which does not see how the client speaks"
    hooks = [hook for hook in line.cls.hooks() if hook not in _NOT_MISSED]
    lost = [hook for hook in hooks if hook not in CARRIED[kind]]
    if not lost:
        return ""
    why = ", which sees no message" if kind == "policy" else ""
    if not set(hooks) - set(lost) - {"reset_transaction", "disconnect"}:
        return f"does nothing as a {name}{why}"
    return f"does only a part of its work as a {name}{why} (not asked: {', '.join(lost)})"
