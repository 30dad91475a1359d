# SPDX-License-Identifier: MIT
"""Introduction: the hooks that a client has to pass before its commands are looked at.

Usually they are asked when it connects and says hello.  For a client that somebody else speaks for
(presented.py) they may be asked later, at its first MAIL.
"""

from __future__ import annotations

from dataclasses import replace

from qpsmtpd.smtp.commands import introduce_as
from qpsmtpd.smtp.connection import Connection
from qpsmtpd.smtp.presented import UNAVAILABLE, begin_forwarded, end_forwarded
from qpsmtpd.smtp.proxied import Proxied
from qpsmtpd.smtp.reply import Reply

#: After these, what XFORWARD has said does not count any more.
_RESET = frozenset({"RSET", "EHLO", "HELO", "LHLO", "STARTTLS"})


#: The hooks of a connection, in their order.
OPENING = ("pre_connection", "connect")


async def ask_at_connect(connection: Connection) -> Reply | None:
    """Run the hooks of the connection.  The refusal, if there is one."""
    session, hooks = connection.session, connection.snapshot.chain.hooks
    for hook in OPENING:
        if hook not in hooks:
            continue
        reply = connection.refusal(await connection.run(hook, session), session.client.ip)
        if reply is not None:
            return reply
    return None


async def prepare(connection: Connection, proxied: Proxied, verb: str) -> Reply | None:
    """What is due before a command on a connection on which somebody speaks for others.

    Returns the refusal of a client, to be given in place of the command's reply.
    """
    if connection.session.transaction is None:
        await end_forwarded(connection, proxied)
    if verb in _RESET:
        proxied.forwarded = {}
    if verb != "MAIL":
        return None
    if connection.session.hello is None:
        return await _say_hello_of_xclient(connection, proxied)
    if proxied.own is not None or not proxied.forwarded:
        return None
    if not begin_forwarded(connection, proxied):
        proxied.forwarded = {}
        return None
    return await _introduce_forwarded(connection, proxied)


async def _say_hello_of_xclient(connection: Connection, proxied: Proxied) -> Reply | None:
    """A proxy need not say EHLO for its client if it has told its name."""
    name = proxied.client.get("HELO", UNAVAILABLE)
    if name == UNAVAILABLE:
        return None
    extended = connection.session.lmtp or proxied.client.get("PROTO", "").upper() == "ESMTP"
    return await introduce_as(connection, "ehlo" if extended else "helo", name)


async def _introduce_forwarded(connection: Connection, proxied: Proxied) -> Reply | None:
    """Its refusal concerns this transaction; the connection goes on."""
    reply = await ask_at_connect(connection)
    name = proxied.forwarded.get("HELO", UNAVAILABLE)
    if reply is None and name != UNAVAILABLE:
        reply = await introduce_as(connection, connection.session.hello or "ehlo", name)
    if reply is None or not reply.disconnect:
        return reply
    return replace(reply, code=450 if reply.code == 421 else reply.code, disconnect=False)
