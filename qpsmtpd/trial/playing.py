# SPDX-License-Identifier: MIT
"""Plays many messages, some at a time, and yields their courses in the order of the messages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence

from qpsmtpd.dialogue.player import Script, Transcript, run
from qpsmtpd.store.overlay import new_layer
from qpsmtpd.trial import course
from qpsmtpd.trial.client import try_message
from qpsmtpd.trial.course import Course
from qpsmtpd.trial.envelope import Given, attempt_of
from qpsmtpd.trial.mailbox import Found
from qpsmtpd.trial.stage import Stage

#: How many messages are under way at a time: most of them wait for the DNS.
AT_A_TIME = 50


async def play(
    stages: Sequence[Stage], messages: Iterable[Found], given: Given, *, in_order: bool = False
) -> AsyncIterator[tuple[Course, ...]]:
    """What each message comes to on each stage.

    in_order: one after the other, each with what the earlier ones have left in the store.
    """
    under_way: deque[asyncio.Task[tuple[Course, ...]]] = deque()
    loop = asyncio.get_running_loop()
    try:
        for found in messages:
            under_way.append(loop.create_task(_play(stages, found, given, alone=not in_order)))
            if in_order or len(under_way) >= AT_A_TIME:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()


async def _play(
    stages: Sequence[Stage], found: Found, given: Given, *, alone: bool
) -> tuple[Course, ...]:
    try:
        if found.problem:
            raise ValueError(found.problem)
        attempt = attempt_of(found.name, found.message, given)
    except ValueError as error:
        return tuple(Course(found.name, broken=str(error)) for _ in stages)
    return tuple([await try_message(stage, attempt, alone=alone) for stage in stages])


async def play_script(stage: Stage, script: Script, now: Course) -> Transcript:
    """What a dialogue script comes to; answers of plugins are in `now`.  Raises DialogueError."""
    course.begin(now)
    new_layer()
    return await run(
        script, lambda: stage.connect(implicit_tls=script.implicit_tls, lmtp=script.lmtp)
    )
