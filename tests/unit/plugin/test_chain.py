# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/plugin/chain.py."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from qpsmtpd.errors import StoreError
from qpsmtpd.mail.session import Session
from qpsmtpd.mail.verdict import Verdict, accept, defer, deny, unless_another
from qpsmtpd.plugin import chain as chain_module
from qpsmtpd.plugin.base import HookResult, Mode, Plugin
from qpsmtpd.plugin.chain import DEFAULT_TIMEOUT, FAULT, QUEUE_TIMEOUT, Chain, ChainedPlugin
from qpsmtpd.plugin.timelimit import time_limit
from qpsmtpd.testing import a_recipient, a_session, a_transaction, services

Answer = Callable[[], Coroutine[Any, Any, Any]]


class Asked(Plugin[None]):
    """Gives prepared answers, and remembers who was asked."""

    def __init__(self, name: str, answer: Answer, log: list[str]) -> None:
        super().__init__(name, None, services())
        self.answer = answer
        self.asked = log

    async def hook_connect(self, session: Session) -> Verdict | None:
        self.asked.append(self.name)
        verdict: Verdict | None = await self.answer()
        return verdict


class Disconnected(Asked):
    """Has a hook that is told something."""

    async def hook_disconnect(self, session: Session) -> None:
        self.asked.append(f"{self.name} disconnect")
        await self.answer()


class Observer(Plugin[None]):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__("observer", None, services())
        self.told: list[tuple[str, HookResult]] = []

    async def hook_deny(self, session: Session, result: HookResult) -> None:
        self.told.append(("deny", result))

    async def hook_ok(self, session: Session, result: HookResult) -> None:
        self.told.append(("ok", result))


def answers(value: Any) -> Answer:
    async def answer() -> Any:
        return value

    return answer


def answers_later(value: Any) -> Answer:
    async def answer() -> Any:
        await asyncio.sleep(0)
        return value

    return answer


def raises(error: BaseException, *, later: bool = False) -> Answer:
    async def answer() -> Any:
        if later:
            await asyncio.sleep(0)
        raise error

    return answer


async def never() -> Any:
    await asyncio.Event().wait()


def a_chain(
    *given: Answer, observer: Observer | None = None, **line: Any
) -> tuple[Chain, list[str]]:
    """A chain of plugins named 0, 1, …, each with its answer; and who was asked."""
    asked: list[str] = []
    plugins: list[Plugin[Any]] = [Asked(str(i), answer, asked) for i, answer in enumerate(given)]
    if observer is not None:
        plugins.append(observer)
    return Chain([ChainedPlugin(plugin, **line) for plugin in plugins]), asked


async def connect(chain: Chain, session: Session | None = None) -> Verdict | None:
    session = session or a_session()
    answer = await chain.run("connect", session, session)
    return None if answer is None else answer.verdict


@pytest.fixture(autouse=True)
def _nothing_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes its time for a single turn of the loop; that is not to be recorded."""
    monkeypatch.setattr(chain_module, "NOTABLE", 3600.0)


# --- order and decision -----------------------------------------------------------------------


async def test_nobody_has_an_opinion() -> None:
    chain, asked = a_chain(answers(None), answers_later(None), answers(None))
    session = a_session()
    assert await connect(chain, session) is None
    assert asked == ["0", "1", "2"]
    assert list(session.trail) == []
    assert session.trail.decided_by == "core"


@pytest.mark.parametrize("verdict", [accept(), deny("no"), defer("later", disconnect=True)])
@pytest.mark.parametrize("maker", [answers, answers_later])
async def test_the_first_opinion_ends_the_hook(
    verdict: Verdict, maker: Callable[[Any], Answer]
) -> None:
    chain, asked = a_chain(answers(None), maker(verdict), answers(deny("never asked")))
    session = a_session()
    assert await connect(chain, session) is verdict
    assert asked == ["0", "1"]
    assert session.trail.decided_by == "1"


async def test_an_empty_chain() -> None:
    assert await connect(Chain([])) is None


def test_hooks_of_the_chain() -> None:
    chain, _ = a_chain(answers(None))
    assert chain.hooks == {"connect"}


async def test_arguments_arrive() -> None:
    got: list[object] = []

    class Rcpt(Plugin[None]):
        """Keeps its arguments."""

        async def hook_rcpt(self, *arguments: object) -> None:
            got.extend(arguments)

    tx = a_transaction("", "a@example.com")
    chain = Chain([ChainedPlugin(Rcpt("rcpt", None, services()))])
    await chain.run("rcpt", tx.session, tx, tx.recipients[0])
    assert got == [tx, tx.recipients[0]]


class Parser(Plugin[None]):
    """Supplies a host name, or something else."""

    def __init__(self, name: str, value: Any) -> None:
        super().__init__(name, None, services())
        self.value = value

    async def hook_helo_parse(self, session: Session, argument: str) -> Any:
        return self.value


@pytest.mark.parametrize("value", ["a value", "", deny("No")])
async def test_a_value(value: object) -> None:
    plugins = [Parser("0", None), Parser("1", value), Parser("2", "another")]
    session = a_session()
    chain = Chain([ChainedPlugin(plugin) for plugin in plugins])
    answer = await chain.run("helo_parse", session, session, "x")
    assert answer is not None
    assert (answer.plugin, answer.value) == ("1", value)
    assert session.trail.decided_by == "1"


@pytest.mark.parametrize("value", [5, True, (), b"octets"])
async def test_a_value_of_another_type_is_a_fault(
    value: object, caplog: pytest.LogCaptureFixture
) -> None:
    session = a_session()
    chain = Chain([ChainedPlugin(Parser("0", value))])
    answer = await chain.run("helo_parse", session, session, "x")
    assert answer is not None
    assert answer.broken
    assert answer.value is FAULT
    assert f"plugin=0: {value!r} is not a verdict" in caplog.text


# --- faults -----------------------------------------------------------------------------------

ERRORS = [ValueError("x"), KeyError("x"), TimeoutError(), asyncio.CancelledError(), StopIteration()]


def test_a_fault_costs_a_temporary_refusal() -> None:
    assert not FAULT.accepted
    assert (FAULT.code, FAULT.status, FAULT.disconnect) == (451, "4.3.0", False)


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_exception_is_a_fault(
    error: BaseException, later: bool, caplog: pytest.LogCaptureFixture
) -> None:
    chain, asked = a_chain(raises(error, later=later), answers(accept()))
    session = a_session()
    assert await connect(chain, session) is FAULT
    assert asked == ["0"]
    assert session.trail.decided_by == "0"
    (record,) = caplog.records
    assert record.getMessage() == "fault hook=connect plugin=0"
    assert record.levelno == logging.ERROR
    assert record.exc_info


async def test_awaiting_a_cancelled_task_is_a_fault() -> None:
    """It must not look as if somebody ended the session."""

    async def awaits_a_cancelled_task() -> None:
        task = asyncio.ensure_future(never())
        task.cancel()
        await task

    chain, _ = a_chain(awaits_a_cancelled_task)
    assert await connect(chain) is FAULT


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_on_fault_skip(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    chain, asked = a_chain(raises(error), raises(error, later=True), skip_faults=True)
    assert await connect(chain) is None
    assert asked == ["0", "1"]
    assert len(caplog.records) == 2


async def test_0_seconds_are_no_limit() -> None:
    async def in_a_while() -> Verdict:
        for _ in range(5):
            await asyncio.sleep(0)
        return accept()

    chain, _ = a_chain(in_a_while, timeout=0)
    assert await connect(chain) == accept()


async def test_no_answer_in_time(caplog: pytest.LogCaptureFixture) -> None:
    chain, asked = a_chain(never, answers(accept()), timeout=0.001)
    assert await connect(chain) is FAULT
    assert asked == ["0"]
    assert caplog.messages == ["fault hook=connect plugin=0: no answer within 0.001s"]


async def test_no_answer_in_time_skipped() -> None:
    chain, asked = a_chain(never, answers(accept()), timeout=0.001, skip_faults=True)
    assert await connect(chain) == accept()
    assert asked == ["0", "1"]


async def test_a_late_answer_counts_when_the_hook_insists() -> None:
    async def stubborn() -> Verdict:
        try:
            await never()
        except asyncio.CancelledError:
            return deny("late")
        raise AssertionError("it was never cancelled")

    chain, _ = a_chain(stubborn, timeout=0.001)
    assert await connect(chain) == deny("late")


async def test_a_method_that_is_no_coroutine_is_a_fault() -> None:
    class Wrong(Plugin[None]):
        """Forgot `async`."""

        def hook_connect(self, session: Session) -> Any:
            return accept()

    assert await connect(Chain([ChainedPlugin(Wrong("x", None, services()))])) is FAULT


async def test_exits_are_not_caught() -> None:
    chain, _ = a_chain(raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        await connect(chain)


# --- time-outs --------------------------------------------------------------------------------


class Timed(Plugin[None]):
    """Waits in three hooks."""

    async def hook_connect(self, session: Session) -> Verdict | None:
        await asyncio.sleep(0)
        return None

    async def hook_queue(self, tx: object) -> Verdict | None:
        await asyncio.sleep(0)
        return None

    async def hook_data(self, tx: object) -> Verdict | None:
        return None


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The time-outs that are begun."""
    begun: list[float | None] = []

    def begin(seconds: float | None) -> time_limit:
        begun.append(seconds)
        return time_limit(seconds)

    monkeypatch.setattr(chain_module, "time_limit", begin)
    return begun


@pytest.mark.parametrize(
    ("hook", "own", "seconds"),
    [
        ("connect", None, [DEFAULT_TIMEOUT]),
        ("queue", None, [QUEUE_TIMEOUT]),
        ("connect", 5.0, [5.0]),
        ("queue", 5.0, [5.0]),
        ("data", None, []),
    ],
)
async def test_which_time_out(
    hook: str, own: float | None, seconds: list[float], timeouts: list[float | None]
) -> None:
    """A hook that never waits costs no timer."""
    chain = Chain([ChainedPlugin(Timed("x", None, services()), timeout=own)])
    await chain.run(hook, a_session(), a_transaction())
    assert timeouts == seconds


@pytest.mark.parametrize(
    ("hook", "own", "seconds"),
    [("connect", None, 7.0), ("queue", None, 600.0), ("connect", 5.0, 5.0)],
)
async def test_the_default_may_be_set(
    hook: str, own: float | None, seconds: float, timeouts: list[float | None]
) -> None:
    chain = Chain([ChainedPlugin(Timed("x", None, services()), timeout=own)], 7.0)
    await chain.run(hook, a_session(), a_transaction())
    assert timeouts == [seconds]


def test_the_next_hop_gets_longer() -> None:
    assert QUEUE_TIMEOUT >= 600 > DEFAULT_TIMEOUT


@pytest.mark.parametrize("skip", [False, True])
async def test_cancellation_from_outside_passes_through(skip: bool) -> None:
    started = asyncio.Event()

    async def waits() -> Any:
        started.set()
        await never()

    chain, asked = a_chain(waits, answers(accept()), skip_faults=skip)
    task = asyncio.ensure_future(connect(chain))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asked == ["0"]


async def test_a_time_out_around_the_chain_passes_through() -> None:
    chain, _ = a_chain(never, skip_faults=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await connect(chain)


async def test_a_time_out_within_a_hook_is_its_own() -> None:
    async def impatient() -> Verdict:
        try:
            async with asyncio.timeout(0.001):
                await never()
        except TimeoutError:
            await asyncio.sleep(0)
            return defer("scanner is slow")
        raise AssertionError("it never ended")

    chain, _ = a_chain(impatient)
    assert await connect(chain) == defer("scanner is slow")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_both_time_outs_at_once() -> None:
    async def impatient() -> Any:
        async with asyncio.timeout(0):
            await never()

    chain, _ = a_chain(impatient, timeout=1e-9)
    assert await connect(chain) is FAULT
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_the_hook_s_own_time_out_is_not_taken_for_the_chain_s(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def impatient() -> Any:
        async with asyncio.timeout(0):
            await never()

    chain, _ = a_chain(impatient)
    assert await connect(chain) is FAULT
    assert caplog.messages == ["fault hook=connect plugin=0"]
    assert caplog.records[0].exc_info


# --- stepping a coroutine ---------------------------------------------------------------------


async def test_a_hook_may_wait_often_and_for_all_kinds() -> None:
    seen: list[object] = []

    async def works() -> Verdict:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, "future")
        seen.append(await future)
        seen.extend(await asyncio.gather(answers_later("a")(), answers_later("b")()))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(answers_later("task")())
        seen.append(task.result())
        seen.append(await asyncio.to_thread(lambda: "thread"))
        return accept()

    chain, _ = a_chain(works)
    assert await connect(chain) == accept()
    assert seen == ["future", "a", "b", "task", "thread"]


async def test_an_exception_of_what_is_awaited_can_be_caught_in_the_hook() -> None:
    async def works() -> Verdict:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, OSError("refused"))
        try:
            await future
        except OSError as error:
            await asyncio.sleep(0)
            return defer(str(error))
        raise AssertionError("no exception came")

    chain, _ = a_chain(works)
    assert await connect(chain) == defer("refused")


def test_a_hook_left_waiting_is_closed_with_its_runner() -> None:
    closed: list[bool] = []

    async def waits() -> None:
        try:
            await never()
        finally:
            closed.append(True)

    chain, _ = a_chain(waits)

    async def abandon() -> None:
        running = connect(chain)
        running.send(None)
        running.close()

    asyncio.run(abandon())
    assert closed == [True]


# --- the trail --------------------------------------------------------------------------------


def outcomes(session: Session) -> list[tuple[str, str, str]]:
    return [(answer.plugin, answer.hook, answer.outcome) for answer in session.trail]


async def test_the_trail_has_every_answer_that_matters() -> None:
    chain, _ = a_chain(
        answers(None),
        answers(unless_another(defer("busy"))),
        raises(StoreError("down")),
        answers(deny("no", reason="listed")),
    )
    session = a_session()
    await connect(chain, session)
    assert outcomes(session) == [
        ("1", "connect", "provisional"),
        ("2", "connect", "store"),
        ("3", "connect", "decided"),
    ]
    *_, decision = session.trail
    assert session.trail.decision is decision
    assert (decision.reason, decision.refused, decision.verdict) == ("listed", True, deny("no"))


async def test_a_tentative_verdict_that_counts_is_the_decision() -> None:
    chain, _ = a_chain(answers(unless_another(defer("busy"))), answers(None))
    session = a_session()
    await connect(chain, session)
    assert outcomes(session) == [("0", "connect", "provisional")]
    assert session.trail.decided_by == "0"


async def test_faults_are_in_the_trail() -> None:
    chain, _ = a_chain(raises(ValueError()), skip_faults=True)
    session = a_session()
    assert await connect(chain, session) is None
    assert outcomes(session) == [("0", "connect", "fault")]
    assert session.trail.decision is None
    chain, _ = a_chain(never, timeout=0.001)
    assert await connect(chain, session) is FAULT
    assert outcomes(session)[1:] == [("0", "connect", "timeout")]
    assert session.trail.decided_by == "0"


async def test_in_a_transaction_its_own_trail_is_used() -> None:
    tx = a_transaction()
    chain, _ = a_chain(answers(accept()))
    await connect(chain, tx.session)
    assert [answer.plugin for answer in tx.trail] == ["0"]
    assert list(tx.session.trail) == []


async def test_no_opinion_is_recorded_when_it_took_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain, _ = a_chain(answers(None), answers_later(None))
    session = a_session()
    monkeypatch.setattr(chain_module, "NOTABLE", 0.0)
    await connect(chain, session)
    assert outcomes(session) == [("1", "connect", "passed")]


async def test_all_answers_are_recorded_on_request() -> None:
    plugin = Asked("0", answers(None), [])
    session = a_session()
    await connect(Chain([ChainedPlugin(plugin)], record_all=True), session)
    assert outcomes(session) == [("0", "connect", "passed")]


async def test_faults_of_those_who_are_told_are_in_the_trail() -> None:
    plugins = [Disconnected("0", raises(ValueError()), []), Disconnected("1", answers(None), [])]
    session = a_session()
    await Chain([ChainedPlugin(plugin) for plugin in plugins]).notify("disconnect", session)
    assert outcomes(session) == [("0", "disconnect", "fault")]
    assert session.trail.decision is None


# --- the store --------------------------------------------------------------------------------

STORE_ERRORS = [
    StoreError("down"),
    ExceptionGroup("tasks", [StoreError("a"), ExceptionGroup("more", [StoreError("b")])]),
]


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("error", STORE_ERRORS, ids=lambda error: type(error).__name__)
async def test_a_store_that_fails_is_no_opinion(
    error: Exception, later: bool, caplog: pytest.LogCaptureFixture
) -> None:
    chain, asked = a_chain(raises(error, later=later), answers(accept("next")))
    assert await connect(chain) == accept("next")
    assert asked == ["0", "1"]
    assert caplog.messages == []


async def test_a_store_and_something_else_that_fail_are_a_fault() -> None:
    chain, _ = a_chain(raises(ExceptionGroup("tasks", [StoreError("a"), ValueError()])))
    assert await connect(chain) is FAULT


async def test_a_log_in_is_not_refused_because_the_store_fails() -> None:
    class Auth(Plugin[None]):
        """Needs the store."""

        async def hook_auth_plain(self, session: Session, attempt: object) -> Verdict | None:
            raise StoreError("down")

    session = a_session()
    chain = Chain([ChainedPlugin(Auth("auth", None, services()))])
    answer = await chain.run("auth_plain", session, session, None)
    assert answer is not None
    assert answer.value is FAULT


# --- modes ------------------------------------------------------------------------------------


def in_mode(mode: Mode, *given: Answer) -> tuple[Chain, list[str]]:
    """A chain whose first plugin is in this mode."""
    asked: list[str] = []
    plugins = [Asked(str(i), answer, asked) for i, answer in enumerate(given)]
    plugins[0].mode = mode
    return Chain([ChainedPlugin(plugin) for plugin in plugins]), asked


@pytest.mark.parametrize("verdict", [accept(), deny("no"), defer("later", disconnect=True)])
async def test_shadow_has_no_effect(verdict: Verdict, caplog: pytest.LogCaptureFixture) -> None:
    chain, asked = in_mode("shadow", answers(verdict), answers(None))
    session = a_session()
    with caplog.at_level(logging.INFO):
        assert await connect(chain, session) is None
    assert asked == ["0", "1"]
    assert outcomes(session) == [("0", "connect", "shadow")]
    assert session.trail.decision is None
    assert f"shadow would={verdict.decision.value}" in caplog.text


async def test_a_fault_in_shadow_costs_nothing() -> None:
    chain, _ = in_mode("shadow", raises(ValueError()), answers(accept("next")))
    assert await connect(chain) == accept("next")


@pytest.mark.parametrize("verdict", [deny("no"), defer("later", disconnect=True)])
async def test_tag_lets_pass_what_it_would_refuse(verdict: Verdict) -> None:
    chain, asked = in_mode("tag", answers(verdict), answers(None))
    session = a_session()
    assert await connect(chain, session) is None
    assert asked == ["0", "1"]
    assert outcomes(session) == [("0", "connect", "tag")]
    assert chain.tags


async def test_tag_accepts_and_fails_as_ever() -> None:
    assert await connect(in_mode("tag", answers(accept()))[0]) == accept()
    assert await connect(in_mode("tag", raises(ValueError()))[0]) is FAULT
    assert not in_mode("enforce", answers(None))[0].tags


async def test_observers_hear_only_of_what_has_an_effect() -> None:
    observer = Observer()
    plugin = Asked("0", answers(deny()), [])
    plugin.mode = "shadow"
    await connect(Chain([ChainedPlugin(plugin), ChainedPlugin(observer)]))
    assert observer.told == []


# --- those who are told -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "hook", "verdict"),
    [
        (answers(None), "ok", None),
        (answers(accept("yes")), "ok", accept("yes")),
        (answers(deny("no")), "deny", deny("no")),
        (answers(defer("later")), "deny", defer("later")),
    ],
)
async def test_observers_hear_every_answer(
    answer: Answer, hook: str, verdict: Verdict | None
) -> None:
    observer = Observer()
    chain, _ = a_chain(answer, observer=observer)
    await connect(chain)
    assert observer.told == [(hook, HookResult("0", "connect", verdict))]


async def test_observers_hear_of_a_value_as_of_no_refusal() -> None:
    observer = Observer()
    session = a_session()
    chain = Chain([ChainedPlugin(Parser("0", "host")), ChainedPlugin(observer)])
    await chain.run("helo_parse", session, session, "x")
    assert observer.told == [("ok", HookResult("0", "helo_parse", None))]


async def test_observers_hear_which_recipient_it_is_about() -> None:
    class Refuses(Plugin[None]):
        async def hook_rcpt(self, *arguments: object) -> Verdict:
            return deny("no")

    observer, tx, recipient = Observer(), a_transaction(), a_recipient()
    refusing = Refuses("0", None, services())
    chain = Chain([ChainedPlugin(refusing), ChainedPlugin(observer)])
    await chain.run("rcpt", tx.session, tx, recipient)
    assert observer.told == [("deny", HookResult("0", "rcpt", deny("no"), recipient))]


async def test_observers_do_not_hear_of_our_own_faults() -> None:
    observer = Observer()
    chain, _ = a_chain(raises(ValueError()), observer=observer)
    await connect(chain)
    assert observer.told == []


@pytest.mark.parametrize("answer", [True, "yes", 550])
async def test_what_is_no_verdict_is_a_fault(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    chain, _ = a_chain(answers(answer))
    assert await connect(chain) is FAULT
    assert "is not a verdict" in caplog.text


async def test_a_tentative_verdict_counts_if_nobody_else_has_an_opinion() -> None:
    busy, full = unless_another(defer("busy")), unless_another(defer("full"))
    assert await connect(a_chain(answers(busy), answers(accept("yes")))[0]) == accept("yes")
    assert await connect(a_chain(answers(busy), answers(deny("no")))[0]) == deny("no")
    assert await connect(a_chain(answers(busy), answers(full), answers(None))[0]) == full


async def test_a_plugin_cannot_end_the_process() -> None:
    chain, _ = a_chain(raises(SystemExit(1)))
    assert await connect(chain) is FAULT


async def test_observers_hear_them_in_order() -> None:
    observer = Observer()
    chain, _ = a_chain(answers(None), answers(None), answers(deny()), observer=observer)
    await connect(chain)
    assert [(hook, result.plugin) for hook, result in observer.told] == [
        ("ok", "0"),
        ("ok", "1"),
        ("deny", "2"),
    ]


async def test_a_fault_of_an_observer_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Observer):
        """Cannot bear refusals."""

        async def hook_deny(self, session: Session, result: HookResult) -> None:
            raise ValueError

    chain, _ = a_chain(answers(deny("no")), observer=Broken())
    assert await connect(chain) == deny("no")
    assert caplog.messages == ["fault hook=deny plugin=observer"]


async def test_notify_tells_everybody(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []
    plugins = [
        Disconnected("0", answers(None), asked),
        Disconnected("1", raises(ValueError()), asked),
        Disconnected("2", answers(deny("ignored")), asked),
        Disconnected("3", answers(None), asked),
    ]
    await Chain([ChainedPlugin(plugin) for plugin in plugins]).notify("disconnect", a_session())
    assert asked == [f"{number} disconnect" for number in range(4)]
    assert caplog.messages == ["fault hook=disconnect plugin=1"]


async def test_notify_of_a_transaction_and_of_nothing() -> None:
    got: list[object] = []

    class Told(Plugin[None]):
        """Keeps what it is told."""

        async def hook_post_fork(self) -> None:
            got.append("fork")

        async def hook_reset_transaction(self, tx: object) -> None:
            got.append(tx)

    tx = a_transaction()
    chain = Chain([ChainedPlugin(Told("x", None, services()))])
    await chain.notify_all("post_fork")
    await chain.notify("reset_transaction", tx.session, tx)
    assert got == ["fork", tx]
