# SPDX-License-Identifier: MIT
"""count_unrecognized_commands: hang up on clients that do not speak SMTP.

    count_unrecognized_commands [MAX]

The MAX-th unknown command of a session (the fourth, by default) is answered 521 5.5.1, and the
connection is closed; the ones before it get 500 as usual. Typical causes are programs that try
passwords, and the lines of a message whose DATA was refused. What belongs to another protocol, such
as an HTTP request or a header field, ends the connection at once, with or without this plugin.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.api import Note, Plugin, Session, Verdict, deny, opt

COUNT = Note[int]("count_unrecognized_commands.count")


@dataclass(frozen=True, kw_only=True)
class CountUnrecognizedCommandsOptions:
    """Options of count_unrecognized_commands."""

    max: int = opt(4, positional=True, least=1, doc="The unrecognized command at which to hang up.")


class CountUnrecognizedCommands(Plugin[CountUnrecognizedCommandsOptions]):
    """Counts unknown commands, and closes the connection."""

    async def hook_unrecognized_command(
        self, session: Session, verb: str, argument: str
    ) -> Verdict | None:
        count = session.notes.get(COUNT, 0) + 1
        session.notes[COUNT] = count
        self.log.info(
            "unrecognized command=%r count=%d ip=%s",
            session.loggable(verb, argument),
            count,
            session.client.ip,
        )
        if count < self.options.max:
            return None
        return deny("Too many unrecognized commands", status="5.5.1", disconnect=True)
