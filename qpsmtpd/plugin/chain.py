# SPDX-License-Identifier: MIT
"""Chain: runs one hook over the plugins, in the order of the file `plugins`.

The first plugin that has an opinion ends the hook.  A plugin that raises or does not return in time
has no opinion that could be trusted: the hook ends with FAULT, a 451 for this transaction, unless
the administrator wrote `on_fault=skip` on its line.  A store that does not answer counts as no
opinion.  This is the only place where exceptions of plugins are caught (those of taps: taps.py).

What plugins answer goes into the trail of the transaction, or of the session outside a transaction.

A hook that never waits costs no timer: its coroutine is stepped once by hand, and a timeout begins
only if it wants to wait.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from qpsmtpd.errors import StoreError
from qpsmtpd.mail.session import Challenge, Recipient, Session
from qpsmtpd.mail.trail import CORE, Answer, Outcome
from qpsmtpd.mail.verdict import ACCEPT, Verdict, defer
from qpsmtpd.metrics.catalogue import PLUGIN_ANSWERS, PLUGIN_SECONDS
from qpsmtpd.metrics.counting import FIGURES, Series
from qpsmtpd.plugin.base import HOOK_METHODS, HookResult, Mode, ParsedPath, Plugin
from qpsmtpd.plugin.timelimit import time_limit

log = logging.getLogger(__name__)

#: Seconds a hook may take, unless its line says `hook_timeout=`: the client waits that long.
DEFAULT_TIMEOUT = 120.0
#: The handover may take as long as RFC 5321 section 4.5.3.2.6 has the client wait for us.
QUEUE_TIMEOUT = 600.0

#: What a fault of a plugin costs: a temporary refusal.
FAULT = defer("Internal error, please try again later", status="4.3.0", code=451)

#: Seconds after which even an answer without opinion is recorded, if the plugin waited at all.
NOTABLE = 0.001

#: Answers that observers are told about.
_OBSERVED = frozenset({"decided", "provisional", "passed"})

#: How answers other than verdicts are counted.
_COUNTED_AS: dict[Outcome, str] = {"decided": "value", "passed": "none"}

#: What hooks may return in place of a verdict.
HOOK_VALUES: dict[str, type] = {
    "helo_parse": str,
    "ehlo_parse": str,
    "auth_parse": tuple,
    "auth_exchange": Challenge,
    "mail_parse": ParsedPath,
    "mail_pre": str,
    "rcpt_parse": ParsedPath,
    "rcpt_pre": str,
    "received_line": str,
}

Hook = Callable[..., Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class ChainedPlugin:
    """A plugin, and how its line says that the chain treats it.

    skip_faults: a fault counts as "no opinion" (on_fault=skip).
    timeout: seconds for each of its hooks, 0 for no limit; None means the default.
    where: "FILE:LINE" of its line.
    """

    plugin: Plugin[Any]
    skip_faults: bool = False
    timeout: float | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Handler:
    """One hook of one plugin.

    fault: the verdict that a fault costs; None means no opinion.
    accepted: counts what it accepts.  waited: takes the seconds that it took when it waited.
    """

    name: str
    call: Hook
    timeout: float
    mode: Mode
    fault: Verdict | None
    accepted: Series
    waited: Callable[[float], None]


@dataclass(slots=True)
class Begun:
    """A hook that has been begun and wants to wait for something.

    began: when, in seconds of `perf_counter`.
    """

    handler: Handler
    name: str
    coroutine: Coroutine[Any, Any, Any]
    wanted: Any
    began: float


class Chain:
    """The plugins of one configuration, by hook."""

    def __init__(
        self,
        plugins: Sequence[ChainedPlugin],
        timeout: float = DEFAULT_TIMEOUT,
        *,
        record_all: bool = False,
    ) -> None:
        """Link the plugins.

        timeout: seconds for hooks other than queue, where the plugin's line says nothing; 0 for no
          limit.
        record_all: answers without opinion go into the trail too, and not only slow ones.
        """
        self.plugins = tuple(plugins)
        self._timeout = timeout
        self._record_all = record_all
        self._handlers = self._by_hook()
        #: The hooks that at least one plugin has, by their names without the prefix ("rcpt").
        self.hooks = frozenset(hook for hook, handlers in self._handlers.items() if handlers)
        self._observed = bool(self.hooks & {"ok", "deny"})
        delivering = [p.plugin for p in self.plugins if "queue" in p.plugin.hooks()]
        # One that never has a limit spares asking the others.
        self._limiting = delivering if all(map(_has_limit, delivering)) else []
        #: Whether the mail systems behind the plugins may have a limit of their own.
        self.limits_size = bool(self._limiting)
        #: Whether a plugin adds header fields instead of refusing.
        self.tags = any(chained.plugin.mode == "tag" for chained in self.plugins)

        #: Plugins that accept our own recipients, and refuse those of others.
        self.gates = frozenset(
            chained.plugin.name for chained in self.plugins if chained.plugin.accepts_recipients
        )
        #: Plugins that deliver, but can pass on nothing that asks more than that.
        self.plain_deliverers = frozenset(
            chained.plugin.name
            for chained in self.plugins
            if "queue" in chained.plugin.hooks() and not chained.plugin.passes_on
        )

    def _by_hook(self) -> dict[str, tuple[Handler, ...]]:
        found: dict[str, list[Handler]] = {name.removeprefix("hook_"): [] for name in HOOK_METHODS}
        for chained in self.plugins:
            for hook in chained.plugin.hooks():
                found[hook].append(self._handler(chained, hook))
        return {hook: tuple(handlers) for hook, handlers in found.items()}

    def _handler(self, chained: ChainedPlugin, hook: str) -> Handler:
        default = QUEUE_TIMEOUT if hook == "queue" else self._timeout
        plugin = chained.plugin
        return Handler(
            plugin.name,
            getattr(plugin, f"hook_{hook}"),
            default if chained.timeout is None else chained.timeout,
            plugin.mode,
            None if chained.skip_faults or plugin.mode == "shadow" else FAULT,
            FIGURES.series(PLUGIN_ANSWERS, plugin.name, hook, "accept"),
            FIGURES.series(PLUGIN_SECONDS, plugin.name, hook).note,
        )

    def handlers(self, hook: str) -> tuple[Handler, ...]:
        """The plugins that have this hook, in the order in which they are asked."""
        return self._handlers[hook]

    def largest_message(self) -> int:
        """How many octets the mail systems behind the plugins take; 0 if one has no limit.

        Of several, each has its turn if the one before it does not take a message.
        """
        if not self._limiting:
            return 0
        found = [plugin.largest_message() for plugin in self._limiting]
        return max(found) if all(found) else 0

    async def run(self, hook: str, session: Session, *args: Any) -> Answer | None:
        """Ask the plugins until one answers, with a verdict or with the value of this hook.

        What they say goes into the trail.  Returns None if none has an opinion.
        """
        handlers, transaction = self._handlers[hook], session.transaction
        if not handlers:
            return None
        if transaction is not None and transaction.left_out:
            handlers = tuple(h for h in handlers if h.name not in transaction.left_out)
        trail = (transaction or session).trail
        trail.hook = hook
        provisional: Answer | None = None
        for handler in handlers:
            begun = self._begin(handler, hook, args)
            answer = await self._finish(begun) if isinstance(begun, Begun) else begun
            if self._observed:
                await self._tell(handler.name, hook, session, answer, args[-1])
            if answer is None:
                continue
            trail.add(answer)
            if answer.outcome == "decided" or answer.ends:
                trail.decision = answer
                return answer
            if answer.outcome == "provisional":
                trail.decision = provisional = answer
        return provisional

    def tap_fault(self, plugin: str, error: BaseException) -> Answer:
        """What a failed tap on a body costs: the same as a fault in a hook of its plugin."""
        log.error("fault in a tap plugin=%s", plugin, exc_info=error)
        FIGURES.count(PLUGIN_ANSWERS, plugin, "data", "fault")
        lines = [chained for chained in self.plugins if chained.plugin.name == plugin]
        free = any(line.skip_faults or line.plugin.mode == "shadow" for line in lines)
        return Answer(plugin, "data", None if free else FAULT, "fault")

    async def notify_all(self, hook: str) -> None:
        """Tell all plugins something that concerns no particular session."""
        for handler in self._handlers[hook]:
            await self._ask(handler, hook, ())

    async def notify(self, hook: str, session: Session, *args: Any) -> None:
        """Tell all plugins; none of them can stop it, and a fault is only logged."""
        trail = (session.transaction or session).trail
        for handler in self._handlers[hook]:
            answer = await self._ask(handler, hook, args or (session,))
            if answer is not None and answer.broken:
                trail.add(answer)

    async def report_refusal(self, hook: str, session: Session, verdict: Verdict) -> None:
        """Tell the observers of refusals what the core has refused by itself."""
        for handler in self._handlers["deny"]:
            await self._ask(handler, "deny", (session, HookResult(CORE, hook, verdict)))

    async def _ask(self, handler: Handler, hook: str, args: tuple[Any, ...]) -> Answer | None:
        """What one plugin answers; None if it says quickly that it has no opinion."""
        begun = self._begin(handler, hook, args)
        return await self._finish(begun) if isinstance(begun, Begun) else begun

    def _begin(self, handler: Handler, hook: str, args: tuple[Any, ...]) -> Answer | Begun | None:
        """The same, for as long as the plugin does not want to wait: most never do.

        They need no time limit, and no coroutine around theirs.
        """
        begun = perf_counter()
        try:
            coroutine = handler.call(*args)
            wanted = coroutine.send(None)
        except StopIteration as finished:
            if finished.value is None and not self._record_all:
                return None
            return _answer(handler, hook, finished.value, perf_counter() - begun)
        except BaseException as error:
            return _broken(handler, hook, error, perf_counter() - begun)
        return Begun(handler, hook, coroutine, wanted, begun)

    async def _finish(self, hook: Begun) -> Answer | None:
        """What a plugin answers that wants to wait."""
        handler = hook.handler
        try:
            value = await _within(hook.coroutine, hook.wanted, handler.timeout)
        except BaseException as error:
            return _broken(handler, hook.name, error, perf_counter() - hook.began)
        seconds = perf_counter() - hook.began
        handler.waited(seconds)
        if value is None and seconds < NOTABLE and not self._record_all:
            return None
        return _answer(handler, hook.name, value, seconds)

    async def _tell(
        self, plugin: str, hook: str, session: Session, answer: Answer | None, about: Any
    ) -> None:
        """Tell the observers of answers that have an effect.  A value is not a verdict to them."""
        if answer is not None and answer.outcome not in _OBSERVED:
            return
        verdict = None if answer is None else answer.verdict
        recipient = about if isinstance(about, Recipient) else None
        result = HookResult(plugin, hook, verdict, recipient)
        observers = "ok" if verdict is None or verdict.accepted else "deny"
        for handler in self._handlers[observers]:
            await self._ask(handler, observers, (session, result))


def _has_limit(plugin: Plugin[Any]) -> bool:
    return type(plugin).largest_message is not Plugin.largest_message


def _answer(handler: Handler, hook: str, value: Any, seconds: float) -> Answer:
    """The answer that the return value of a hook stands for."""
    if value.__class__ is Verdict and handler.mode == "enforce":
        outcome: Outcome = "provisional" if value.tentative else "decided"
        if value.decision is ACCEPT:
            FIGURES.values[handler.accepted.cell] += 1
        else:
            FIGURES.count(PLUGIN_ANSWERS, handler.name, hook, value.decision.value)
        return Answer(handler.name, hook, value, outcome, seconds)
    if value is not None and not isinstance(value, (Verdict, HOOK_VALUES.get(hook, Verdict))):
        log.error("fault hook=%s plugin=%s: %r is not a verdict", hook, handler.name, value)
        FIGURES.count(PLUGIN_ANSWERS, handler.name, hook, "fault")
        return Answer(handler.name, hook, handler.fault, "fault", seconds)
    outcome = _outcome(handler.mode, value)
    FIGURES.count(PLUGIN_ANSWERS, handler.name, hook, _COUNTED_AS.get(outcome, outcome))
    answer = Answer(handler.name, hook, value, outcome, seconds)
    if outcome in ("shadow", "tag"):
        log.info(
            "%s would=%s reason=%r",
            outcome,
            value.decision.value if isinstance(value, Verdict) else "supply",
            answer.reason,
            extra={"hook": hook, "plugin": handler.name},
        )
    return answer


def _outcome(mode: Mode, value: Any) -> Outcome:
    if value is None:
        return "passed"
    if mode == "shadow":
        return "shadow"
    if mode == "tag" and isinstance(value, Verdict) and not value.accepted:
        return "tag"
    return "decided"


def _broken(handler: Handler, hook: str, error: BaseException, seconds: float) -> Answer:
    """Log what a hook raised; returns what that costs.  What is not its fault is raised again."""
    if isinstance(error, _NoAnswerError):
        log.error(
            "fault hook=%s plugin=%s: no answer within %gs", hook, handler.name, handler.timeout
        )
        return _no_answer(handler, hook, handler.fault, "timeout", seconds)
    if _is_of_the_store(error):
        # The log says already that the store is down.  A login without an opinion would be refused.
        log.debug("no opinion hook=%s plugin=%s: %s", hook, handler.name, error)
        value = handler.fault if hook.startswith("auth") else None
        return _no_answer(handler, hook, value, "store", seconds)
    if not (isinstance(error, Exception | SystemExit) or _cancelled_itself(error)):
        raise error
    log.error("fault hook=%s plugin=%s", hook, handler.name, exc_info=error)
    return _no_answer(handler, hook, handler.fault, "fault", seconds)


def _no_answer(
    handler: Handler, hook: str, value: Verdict | None, outcome: Outcome, seconds: float
) -> Answer:
    """What it costs that a plugin has no answer that could be trusted."""
    FIGURES.count(PLUGIN_ANSWERS, handler.name, hook, outcome)
    handler.waited(seconds)
    return Answer(handler.name, hook, value, outcome, seconds)


class _NoAnswerError(Exception):
    """A hook did not return in time; a TimeoutError would be the plugin's own."""


def _is_of_the_store(error: BaseException) -> bool:
    """Whether the store did not answer, and nothing else went wrong."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_of_the_store, error.exceptions))
    return isinstance(error, StoreError)


def _cancelled_itself(error: BaseException) -> bool:
    """Whether a plugin awaited something that was cancelled; if not, this task is being ended."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


async def _within(coroutine: Coroutine[Any, Any, Any], wanted: Any, seconds: float) -> Any:
    """Await a coroutine that wants to wait, for at most `seconds`; raises _NoAnswerError."""
    limit = time_limit(seconds or None)
    try:
        with limit:
            return await _resume(coroutine, wanted)
    except TimeoutError:
        if limit.expired:
            raise _NoAnswerError from None
        raise


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, Any], wanted: Any) -> Generator[Any, Any, Any]:
    """Resume a coroutine that has been stepped once and wants to wait for `wanted`."""
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
