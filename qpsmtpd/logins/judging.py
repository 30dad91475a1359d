# SPDX-License-Identifier: MIT
"""Judging a login within a limited time, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from qpsmtpd.logins.attempts import Login, readable
from qpsmtpd.mail.session import AuthAttempt, Session
from qpsmtpd.mail.verdict import Verdict, accept, defer, deny
from qpsmtpd.plugin.options import Seconds, opt
from qpsmtpd.plugin.place import Place
from qpsmtpd.scanners.service import answered
from qpsmtpd.scanners.wire import ScannerError, ScannerWire, connect

T = TypeVar("T")

#: RFC 4954 section 6: a temporary failure of the server.
TEXT = "Temporary authentication failure, please try again later"

#: For back ends whose no is the last word.
WRONG = deny("Wrong user name or password", status="5.7.8")

#: Whether a login is right.  Raises ScannerError if that is not to be found out.
Ask = Callable[[Login], Awaitable[bool]]


@dataclass(frozen=True, kw_only=True)
class LoginOptions:
    """How to ask a back end; subclass it with where it is."""

    timeout: Seconds = opt(
        Seconds(30),
        least=0.1,
        most=110,
        doc="How long one login may take, from connecting to the answer; then it is 454. It has to "
        "be less than the hook_timeout of the line.",
    )


async def judge(
    log: logging.Logger,
    session: Session,
    attempt: AuthAttempt,
    ask: Ask,
    *,
    timeout: float,
    wrong: Verdict | None = None,
) -> Verdict | None:
    """What a back end says about a login; 454 4.7.0 if it says nothing sensible in time.

    wrong: the verdict on a wrong name or password; None has the next plugin asked.
    """
    login = readable(session, attempt)
    if login is None:
        log.info("not asked: nobody has such a name or password user=%r", attempt.user[:100])
        return wrong
    try:
        right = await within(timeout, ask(login))
    except ScannerError as error:
        return temporary(f"user={attempt.user!r}: {error}")
    if right:
        return accept()
    log.info("wrong password or unknown user=%r mechanism=%s", attempt.user, attempt.mechanism)
    return wrong


def temporary(reason: str) -> Verdict:
    """The verdict if it cannot be found out now; `reason` is for the log."""
    return defer(TEXT, code=454, status="4.7.0", reason=reason)


async def within(timeout: float, answer: Awaitable[T]) -> T:
    """What the back end answers.  Raises ScannerError, also when the time (seconds) is up."""
    return await answered(asyncio.get_running_loop().time() + timeout, answer)


@asynccontextmanager
async def connected(place: Place) -> AsyncIterator[ScannerWire]:
    """A connection of one's own.  Raises ScannerError, with the place."""
    try:
        wire = await connect(place)
        try:
            yield wire
        finally:
            wire.abort()
    except ScannerError as error:
        raise ScannerError(f"{place}: {error}", unreachable=error.unreachable) from None


async def say(wire: ScannerWire, data: bytes) -> None:
    """Send what is the back end's to answer.  Raises ScannerError if it has spoken already."""
    if not await wire.send(data):
        raise ScannerError("speaks out of turn")
