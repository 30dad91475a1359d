# SPDX-License-Identifier: MIT
"""Chain: runs one hook over the plugins, in the order of the file `plugins`.

The first plugin that has an opinion ends the hook.  A plugin that raises or does not come back in
time has no opinion that could be trusted: the hook ends with FAULT, a 451 for this transaction,
unless the administrator wrote `on_fault=skip` on its line.  This is the only place where
exceptions of plugins are caught (but for those of taps: taps.py).

A hook that never waits costs no timer: its coroutine is stepped once by hand, and only when it
wants to wait does a time-out begin.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from qpsmtpd.mail.session import Session
from qpsmtpd.mail.verdict import Verdict, defer
from qpsmtpd.plugin.base import HOOK_METHODS, HookResult, Plugin

log = logging.getLogger(__name__)

#: Seconds a hook may take, unless its line says `hook_timeout=`: the client waits that long.
DEFAULT_TIMEOUT = 120.0
#: The hand-over may take as long as RFC 5321 section 4.5.3.2.6 lets the client wait for us.
QUEUE_TIMEOUT = 600.0

#: What a fault of a plugin costs: a temporary refusal.
FAULT = defer("Internal error, please try again later", status="4.3.0", code=451)

Hook = Callable[..., Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class ChainedPlugin:
    """A plugin with what its line says about how the chain treats it.

    skip_faults: a fault counts as "no opinion" (on_fault=skip).
    timeout: seconds for each of its hooks; None means the default.
    where: "FILE:LINE" of its line.
    """

    plugin: Plugin[Any]
    skip_faults: bool = False
    timeout: float | None = None
    where: str = ""

    def hooks(self) -> list[str]:
        """The names of the hooks the plugin has, without the prefix, in their order."""
        cls = type(self.plugin)
        return [
            method.removeprefix("hook_")
            for method in HOOK_METHODS
            if getattr(cls, method) is not getattr(Plugin, method)
        ]


@dataclass(frozen=True, slots=True)
class Handler:
    """One hook of one plugin."""

    name: str
    call: Hook
    timeout: float
    skip_faults: bool


class Chain:
    """The plugins of one configuration, by hook."""

    def __init__(self, plugins: Sequence[ChainedPlugin], timeout: float = DEFAULT_TIMEOUT) -> None:
        """`timeout`: seconds for hooks other than queue, where the plugin's line says nothing."""
        self.plugins = tuple(plugins)
        self._timeout = timeout
        self._handlers = {
            method.removeprefix("hook_"): self._handlers_of(method) for method in HOOK_METHODS
        }
        #: The hooks that any plugin has, by their names without prefix ("rcpt").
        self.hooks = frozenset(hook for hook, handlers in self._handlers.items() if handlers)
        self._observed = bool(self.hooks & {"ok", "deny"})

    def _handlers_of(self, method: str) -> tuple[Handler, ...]:
        hook = method.removeprefix("hook_")
        default = QUEUE_TIMEOUT if hook == "queue" else self._timeout
        return tuple(
            Handler(
                chained.plugin.name,
                getattr(chained.plugin, method),
                chained.timeout or default,
                chained.skip_faults,
            )
            for chained in self.plugins
            if hook in chained.hooks()
        )

    def handlers(self, hook: str) -> tuple[Handler, ...]:
        """The plugins that have this hook, in the order in which they are asked."""
        return self._handlers[hook]

    async def run(self, hook: str, session: Session, *args: Any) -> Verdict | None:
        """Ask the plugins until one gives a verdict; leaves its name in `session.decided_by`."""
        if hook not in self.hooks:
            return None
        answer = await self.run_value(hook, session, *args)
        if answer is None or isinstance(answer, Verdict):
            return answer
        log.error("fault hook=%s plugin=%s: %r is no verdict", hook, session.decided_by, answer)
        return FAULT

    async def run_value(self, hook: str, session: Session, *args: Any) -> Any:
        """Ask the plugins of a hook that supplies a value until one has it.

        A refusal, or FAULT, may come back in place of the value.
        """
        tentative: Verdict | None = None
        handlers, transaction = self._handlers[hook], session.transaction
        if transaction is not None and transaction.left_out:
            handlers = tuple(h for h in handlers if h.name not in transaction.left_out)
        for handler in handlers:
            answer = await self._ask(handler, hook, args)
            if self._observed and answer is not FAULT:
                await self._tell(handler.name, hook, session, answer)
            if answer is None:
                continue
            session.decided_by = handler.name
            if not (isinstance(answer, Verdict) and answer.tentative):
                return answer
            tentative = answer
        return tentative

    def tap_fault(self, plugin: str, error: BaseException) -> Verdict | None:
        """What it costs that a plugin's tap on a body failed: what a fault in a hook does."""
        log.error("fault in a tap plugin=%s", plugin, exc_info=error)
        skip = any(c.skip_faults for c in self.plugins if c.plugin.name == plugin)
        return None if skip else FAULT

    async def notify_all(self, hook: str) -> None:
        """Tell all plugins something that is about no session."""
        for handler in self._handlers[hook]:
            await self._ask(handler, hook, ())

    async def notify(self, hook: str, session: Session, *args: Any) -> None:
        """Tell all plugins; nobody can stop it, and a fault is only logged."""
        for handler in self._handlers[hook]:
            await self._ask(handler, hook, args or (session,))

    async def _ask(self, handler: Handler, hook: str, args: tuple[Any, ...]) -> Any:
        try:
            coroutine = handler.call(*args)
            try:
                wanted = coroutine.send(None)
            except StopIteration as finished:
                # It never wanted to wait: no time-out is needed.
                return finished.value
            return await _within(coroutine, wanted, handler.timeout)
        except BaseException as error:
            return self._fault(handler, hook, error)

    def _fault(self, handler: Handler, hook: str, error: BaseException) -> Verdict | None:
        """Log what a hook raised; returns what that costs.  What is no fault of it goes on."""
        if isinstance(error, _NoAnswerError):
            log.error(
                "fault hook=%s plugin=%s: no answer within %gs", hook, handler.name, handler.timeout
            )
        elif isinstance(error, Exception | SystemExit) or _cancelled_itself(error):
            log.error("fault hook=%s plugin=%s", hook, handler.name, exc_info=error)
        else:
            raise error
        return None if handler.skip_faults else FAULT

    async def _tell(self, plugin: str, hook: str, session: Session, answer: Any) -> None:
        """Tell the observers.  A value that a plugin supplied is no verdict, and no refusal."""
        verdict = answer if isinstance(answer, Verdict) else None
        observers = "ok" if verdict is None or verdict.accepted else "deny"
        for handler in self._handlers[observers]:
            await self._ask(handler, observers, (session, HookResult(plugin, hook, verdict)))


class _NoAnswerError(Exception):
    """A hook did not come back in time; a TimeoutError would be one of the plugin's own."""


def _cancelled_itself(error: BaseException) -> bool:
    """Whether a plugin awaited something that was cancelled; else somebody ends this task."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


async def _within(coroutine: Coroutine[Any, Any, Any], wanted: Any, seconds: float) -> Any:
    """Await a coroutine that wants to wait, for at most so long; raises _NoAnswerError."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await _resume(coroutine, wanted)
    except TimeoutError:
        if limit.expired():
            raise _NoAnswerError from None
        raise


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, Any], wanted: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that has been stepped once and wants to wait for `wanted`."""
    try:
        while True:
            try:
                sent = yield wanted
            except BaseException as error:
                wanted = coroutine.throw(error)
            else:
                wanted = coroutine.send(sent)
    except StopIteration as finished:
        return finished.value
