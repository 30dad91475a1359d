# SPDX-License-Identifier: MIT
"""The server that handlers are given: aiosmtpd's own, kept in step with our session."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from aiosmtpd.smtp import MISSING, SMTP, Envelope, LoginPassword, Session

from qpsmtpd.handlers.facts import EnvelopeView, SessionView, view_of
from qpsmtpd.handlers.handlerserver import NOT_HERE, HandlerAnswer, HandlerServer, Setup
from qpsmtpd.handlers.statuses import HandlerError
from qpsmtpd.testing import a_session
from tests.unit.handlers import samples

VIEW = replace(view_of(a_session(ehlo="client.example")))
ENVELOPE = EnvelopeView("id.1", "a@b.test", ("SIZE=9",), False, ("c@d.test",), ())
SSL = {"cipher": ("NAME", "TLSv1.3", None)}


def a_server(handler: Any, **setup: Any) -> HandlerServer:
    setup = {"hostname": "mx.example"} | setup
    return Setup(handler=handler, **setup).new_server(asyncio.get_running_loop())


def showing(envelope: EnvelopeView | None = ENVELOPE, **changes: Any) -> SessionView:
    return replace(VIEW, envelope=envelope, **changes)


def encoded(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


# --- what it is ------------------------------------------------------------------------------


async def test_it_is_aiosmtpds() -> None:
    handler = samples.Says()
    server = a_server(handler, data_size_limit=1000)
    assert isinstance(server, SMTP)
    assert isinstance(server.session, Session)
    assert isinstance(server.envelope, Envelope)
    assert (server.hostname, server.data_size_limit) == ("mx.example", 1000)
    assert server.event_handler is handler
    assert server.loop is server.session.loop is asyncio.get_running_loop()
    assert server.enable_SMTPUTF8
    assert server.tls_context is None
    assert not server.authenticated
    assert server.login_data is None
    assert server.hooks == {"HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "VRFY", "QUIT"}


async def test_servers_share_no_limits() -> None:
    SMTP.command_size_limits["OF ALL"] = 1
    first, second = a_server(samples.Idle()), a_server(samples.Idle())
    first.command_size_limits["MAIL"] += 26
    assert second.command_size_limits["MAIL"] == 512
    assert SMTP.command_size_limits.pop("OF ALL") == 1


@pytest.mark.parametrize("name", NOT_HERE)
async def test_what_is_not_here_says_so(name: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"server\.{name}: the conversation"):
        getattr(a_server(samples.Idle()), name)(None)


async def test_the_transport_knows_addresses_only() -> None:
    server = a_server(samples.Says())
    await server.ask(showing(ssl=SSL), "NOOP", None)
    transport = server.transport
    assert transport.get_extra_info("peername") == ("192.0.2.1", 40000)
    assert transport.get_extra_info("sockname") == ("198.51.100.25", 25)
    assert transport.get_extra_info("cipher") == ("NAME", "TLSv1.3", None)
    assert transport.get_extra_info("socket", "none") == "none"
    assert not transport.is_closing()
    with pytest.raises(AttributeError, match=r"transport\.write: the connection belongs to"):
        transport.write(b"")
    with pytest.raises(AttributeError, match=r"the reader has no readuntil in qpsmtpd"):
        _ = server._reader.readuntil


async def test_a_handler_that_aiosmtpd_cannot_use() -> None:
    with pytest.raises(RuntimeError, match="Unsupported EHLO Hook"):
        a_server(samples.Variadic())


# --- hooks -----------------------------------------------------------------------------------


async def test_a_hook_is_called_with_aiosmtpds_objects() -> None:
    handler = samples.Says()
    server = a_server(handler)
    answer = await server.ask(VIEW, "NOOP", "word")
    assert handler.calls == [("NOOP", "word")]
    assert (handler.server, handler.session, handler.envelope) == (
        server,
        server.session,
        server.envelope,
    )
    assert answer.said == ("250 OK",)


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (samples.Idle(), None),
        (samples.Says(MISSING), None),
        (samples.Says(None), (None,)),
        (samples.Says(b"250 OK"), (b"250 OK",)),
        (samples.Says(["250 OK"]), (None,)),
        (samples.Says(MISSING, NOOP="550 5.1.1 No"), ("550 5.1.1 No",)),
    ],
)
async def test_what_it_said(handler: Any, said: Any) -> None:
    assert (await a_server(handler).ask(VIEW, "NOOP", None)).said == said


async def test_what_it_pushed_comes_first() -> None:
    class Pushes:
        async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: Any) -> Any:
            await server.push("250-one")
            await server.push("250-zwölf".encode())
            return arg

    server = a_server(Pushes())
    for arg, said in (("250 two", ("250 two",)), (MISSING, ())):
        answer = await server.ask(VIEW, "NOOP", arg)
        assert answer.said == (b"250-one", "250-zwölf".encode(), *said)


async def test_what_a_client_said_can_be_pushed() -> None:
    class Repeats:
        async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: Any) -> Any:
            await server.push(f"250-{arg}")
            return "250 OK"

    answer = await a_server(Repeats()).ask(VIEW, "NOOP", "\udcff")
    assert answer.said == (b"250-\xff", "250 OK")


async def test_nobody_but_auth_asks_the_client() -> None:
    class Asks:
        async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: Any) -> Any:
            return await server.challenge_auth("who?")

    with pytest.raises(NotImplementedError, match="only AUTH can ask the client"):
        await a_server(Asks()).ask(VIEW, "NOOP", None)


async def test_both_forms_of_ehlo() -> None:
    server = a_server(samples.Rewrites())
    answer = await server.ask(VIEW, "EHLO", "x", ["250-mx", "250-SMTPUTF8", "250 HELP"])
    assert answer.said == ("250-mx", "250-XNEW 1", "250 HELP")
    assert (answer.host_name, server.ehlo_replaces) == ("ehlo.example", True)


@pytest.mark.filterwarnings("ignore:Use the 5-argument handle_EHLO")
async def test_the_older_form_of_ehlo() -> None:
    server = a_server(samples.OldEhlo())
    answer = await server.ask(VIEW, "EHLO", "x", ["250-mx", "250 HELP"])
    assert answer.said == (b"250-XOLD 1", b"250-XOLDER", "250 HELP")
    assert not server.ehlo_replaces


async def test_a_hook_of_hello_sets_the_name_itself() -> None:
    server = a_server(samples.Forgets())
    assert (await server.ask(VIEW, "HELO", "x")).host_name is None
    assert (await server.ask(VIEW, "EHLO", "x", [])).host_name == "client.example"


async def test_hooks_need_not_be_coroutines() -> None:
    server = a_server(samples.Synchronous())
    assert (await server.ask(VIEW, "NOOP", None)).said == ("250 MainThread",)


# --- faults ----------------------------------------------------------------------------------


async def test_a_fault_goes_on_without_handle_exception() -> None:
    server = a_server(samples.Says(ValueError("broken")))
    with pytest.raises(ValueError, match="broken"):
        await server.ask(VIEW, "NOOP", None)


async def test_handle_exception_has_a_say(caplog: pytest.LogCaptureFixture) -> None:
    server = a_server(samples.Explains())
    assert (await server.ask(VIEW, "NOOP", None)).said == ("542 5.3.5 Explained",)
    assert "ValueError: broken" in caplog.text


async def test_handle_exception_need_not_be_a_coroutine() -> None:
    answer = await a_server(samples.Synchronous()).ask(VIEW, "RSET")
    assert answer.said == ("451 4.3.5 broken",)


@pytest.mark.parametrize("answer", ["250 OK", "354 Go", None, "nonsense", 1, OSError("worse")])
async def test_a_fault_is_never_an_acceptance(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = a_server(samples.Explains(answer))
    with pytest.raises(ValueError, match="broken"):
        await server.ask(VIEW, "NOOP", None)
    assert "handle_exception" in caplog.text


async def test_the_clients_going_away_is_asked_about_nobody() -> None:
    handler = samples.Explains()
    handler.status = ConnectionResetError("gone")
    with pytest.raises(ConnectionResetError):
        await a_server(handler).ask(VIEW, "NOOP", None)


# --- in step ---------------------------------------------------------------------------------


async def test_the_session_is_ours() -> None:
    server = a_server(samples.Says())
    await server.ask(replace(VIEW, ssl=SSL, user="joe"), "NOOP", None)
    session = server.session
    assert session.peer == ("192.0.2.1", 40000)
    assert (session.host_name, session.extended_smtp) == ("client.example", True)
    assert session.ssl == SSL
    assert (session.authenticated, session.auth_data) == (True, LoginPassword(b"joe", b""))
    assert (server.authenticated, server.login_data) == (True, b"joe")


async def test_the_envelope_is_ours() -> None:
    server = a_server(samples.Idle())
    await server.ask(showing(replace(ENVELOPE, rcpt_options=("X",), smtp_utf8=True)), "NOOP")
    envelope = server.envelope
    assert (envelope.mail_from, envelope.rcpt_tos) == ("a@b.test", ["c@d.test"])
    assert (envelope.mail_options, envelope.rcpt_options) == (["SIZE=9"], ["X"])
    assert envelope.smtp_utf8
    await server.ask(showing(replace(ENVELOPE, mail_from="<>", rcpt_tos=("e@f.test",))), "NOOP")
    assert server.envelope is envelope
    assert (envelope.mail_from, envelope.rcpt_tos) == ("<>", ["e@f.test"])
    assert envelope.mail_options == ["SIZE=9"]


async def test_a_hook_of_mail_fills_the_envelope_itself() -> None:
    handler = samples.Forgets()
    server = a_server(handler)
    answer = await server.ask(showing(), "MAIL", "a@b.test", ["SIZE=9"])
    assert (answer.mail_from, answer.mail_options) == (None, ())
    answer = await a_server(samples.Says()).ask(showing(), "MAIL", "a@b.test", ["SIZE=9"])
    assert (answer.mail_from, answer.mail_options) == ("a@b.test", ("SIZE=9",))


async def test_another_transaction_has_another_envelope() -> None:
    server = a_server(samples.Idle())
    await server.ask(showing(), "NOOP")
    first = server.envelope
    first.of_the_handler = "kept"
    await server.ask(showing(), "NOOP")
    assert server.envelope is first
    await server.ask(showing(None), "NOOP")
    between = server.envelope
    assert between is not first
    assert (between.mail_from, between.rcpt_tos) == (None, [])
    await server.ask(showing(replace(ENVELOPE, id="id.2")), "NOOP")
    assert server.envelope is not between


async def test_a_transaction_that_goes_on_keeps_its_envelope() -> None:
    """After a MAIL or EHLO that was refused, as if nothing had been said in between."""
    server = a_server(samples.Idle())
    await server.ask(showing(), "MAIL")
    first = server.envelope
    first.of_the_handler = "kept"
    for number in (2, 3):
        await server.ask(showing(replace(ENVELOPE, id=f"id.{number}")), "MAIL")
        assert server.envelope is not first
    await server.ask(showing(None), "EHLO", "x", [])
    await server.ask(showing(), "RCPT")
    assert server.envelope is first
    assert (first.of_the_handler, first.mail_options) == ("kept", ["SIZE=9"])


async def test_envelopes_are_not_kept_for_ever() -> None:
    server = a_server(samples.Idle())
    for number in range(150):
        await server.ask(showing(replace(ENVELOPE, id=f"id.{number}")), "MAIL")
    assert len(server._set_aside) == 100
    await server.deliver(showing(), b"")
    assert server._set_aside == {}


async def test_a_list_of_the_handler_is_not_written_to() -> None:
    server = a_server(samples.Idle())
    await server.ask(showing(), "NOOP")
    server.envelope.rcpt_tos = mine = ["its@own.test"]
    await server.ask(showing(), "NOOP")
    assert mine == ["its@own.test"]
    assert server.envelope.rcpt_tos == ["c@d.test"]


@pytest.mark.parametrize(
    ("decode", "content", "shown"),
    [
        (False, b"A: \xff\r\n", b"A: \xff\r\n"),
        (True, "A: ü\r\n".encode(), "A: ü\r\n"),
        (True, b"A: \xff\r\n", "A: \udcff\r\n"),
    ],
)
async def test_the_message(decode: bool, content: bytes, shown: str | bytes) -> None:
    handler = samples.Says()
    server = a_server(handler, decode_data=decode)
    answer = await server.deliver(showing(), content)
    assert handler.calls == [("DATA", shown)]
    assert handler.envelope.original_content == content
    assert (answer.said, answer.content) == (("250 OK",), None)
    assert handler.envelope.content == shown, "the handler may still work on it"
    assert server.envelope is not handler.envelope


async def test_a_message_that_was_edited() -> None:
    server = a_server(samples.Edits(b"new", "x@y.test"))
    answer = await server.deliver(showing(), b"old")
    assert (answer.content, answer.mail_from) == (b"new", "edited@example.org")
    assert answer.rcpt_tos == ("x@y.test",)


async def test_tls_makes_a_new_session_and_is_judged() -> None:
    handler = samples.Encrypts()
    server = a_server(handler)
    await server.admit(replace(VIEW, host_name=None))
    before = server.session
    before.of_the_handler = "forgotten"
    await server.ask(replace(VIEW, ssl=SSL, host_name="after.example"), "EHLO", "x", [])
    assert server.session is not before
    assert handler.told == [("STARTTLS", SSL["cipher"], "after.example")]
    assert (await server.ask(replace(VIEW, ssl=SSL), "NOOP", None)).said is None
    assert len(handler.told) == 1


async def test_tls_that_is_refused() -> None:
    server = a_server(samples.Encrypts(tls=False))
    await server.admit(VIEW)
    for command in ("EHLO", "NOOP"):
        said = (await server.ask(replace(VIEW, ssl=SSL), command, None)).said
        assert said == ("554 5.7.0 Command refused due to lack of security",)
    assert (await server.ask(replace(VIEW, ssl=SSL), "QUIT")).said is None


async def test_tls_that_nobody_could_judge_is_refused() -> None:
    handler = samples.Encrypts()
    handler.told = None  # type: ignore[assignment]
    server = a_server(handler)
    await server.admit(VIEW)
    with pytest.raises(AttributeError):
        await server.ask(replace(VIEW, ssl=SSL), "EHLO", "x", [])
    answer = await server.ask(replace(VIEW, ssl=SSL), "NOOP", None)
    assert answer.said == ("554 5.7.0 Command refused due to lack of security",)


async def test_tls_from_the_start_is_not_starttls() -> None:
    handler = samples.Encrypts(tls=False)
    server = a_server(handler)
    assert (await server.ask(replace(VIEW, ssl=SSL), "NOOP", None)).said is None
    assert handler.told == []


# --- proxies ---------------------------------------------------------------------------------


async def test_who_knows_proxies_sees_the_proxy() -> None:
    view = replace(VIEW, proxy=("203.0.113.9", 4))
    handler = samples.Encrypts()
    assert await a_server(handler).admit(view)
    assert handler.told == [("PROXY", ("203.0.113.9", 4), "192.0.2.1", 40000)]
    assert not await a_server(samples.Encrypts(proxy=False)).admit(view)
    assert await a_server(samples.Encrypts(proxy=False)).admit(VIEW)


async def test_who_does_not_sees_the_client() -> None:
    server = a_server(samples.Says())
    await server.ask(replace(VIEW, proxy=("203.0.113.9", 4)), "NOOP", None)
    assert server.session.peer == ("192.0.2.1", 40000)
    assert server.session.proxy_data.src_port == 40000


# --- authentication --------------------------------------------------------------------------


async def log_in(server: HandlerServer, mechanism: str, *lines: str) -> list[Any]:
    """The challenges, and at last the answer."""
    initial, *rest = lines or ("",)
    heard: list[Any] = [await server.begin_exchange(VIEW, mechanism, initial)]
    for line in rest:
        heard.append(await server.go_on(line))
    return heard


def outcome(answer: Any) -> tuple[Any, bool, str]:
    assert isinstance(answer, HandlerAnswer)
    return answer.said, answer.authenticated, answer.user


async def test_mechanisms() -> None:
    everything = {"TWO-STEPS", "CARELESS", "X-NAMED", "OLD", "PUSHES", "SILENT", "RUDE", "BROKEN"}
    assert set(a_server(samples.Mechanisms()).mechanisms) == everything
    assert set(a_server(samples.Idle()).mechanisms) == set()
    assert set(a_server(samples.OwnPlain()).mechanisms) == {"PLAIN"}
    assert set(a_server(samples.Auth()).mechanisms) == {"PLAIN", "LOGIN"}
    with_judge = a_server(samples.Mechanisms(), authenticator=samples.authenticator)
    assert set(with_judge.mechanisms) == everything | {"PLAIN", "LOGIN"}
    assert set(a_server(samples.Idle(), auth_callback=samples.auth_callback).mechanisms)


SUCCESS = b"235 2.7.0 Authentication successful"
FAILED = b"535 5.7.8 Authentication credentials invalid"


@pytest.mark.parametrize(
    ("mechanism", "lines", "said", "user"),
    [
        ("X-NAMED", [], (b"235 2.7.0 Welcome",), "named"),
        ("OLD", ["good"], (SUCCESS,), "old user"),
        ("OLD", ["bad"], (FAILED,), ""),
        ("OLD", ["missing"], (FAILED,), ""),
        ("PUSHES", [], (b"432 4.7.12 Change your password",), ""),
        ("SILENT", [], (), ""),
    ],
)
async def test_without_a_challenge(mechanism: str, lines: list[str], said: Any, user: str) -> None:
    (answer,) = await log_in(a_server(samples.Mechanisms()), mechanism, *lines)
    assert outcome(answer) == (said, bool(user), user or "unknown")


async def test_challenges() -> None:
    server = a_server(samples.Mechanisms())
    heard = await log_in(server, "TWO-STEPS", "", encoded("1"), encoded("2"))
    assert heard[:2] == [encoded("one"), encoded("two")]
    assert outcome(heard[2]) == ((SUCCESS,), True, "stepper")
    assert server.session.auth_data == LoginPassword(b"stepper", b"")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["", encoded("1"), encoded("3")], FAILED),
        (["", "*"], b"501 5.7.0 Auth aborted"),
        (["", "!!!"], b"501 5.5.2 Can't decode base64"),
        (["", encoded("1"), "*"], b"501 5.7.0 Auth aborted"),
        (["", encoded("1"), "\udcff"], b"501 5.5.2 Can't decode base64"),
    ],
)
@pytest.mark.parametrize("mechanism", ["TWO-STEPS", "CARELESS"])
async def test_challenges_answered_wrongly(
    mechanism: str, lines: list[str], said: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = a_server(samples.Mechanisms())
    *challenges, answer = await log_in(server, mechanism, *lines)
    assert len(challenges) == len(lines) - 1
    assert outcome(answer) == ((said,), False, "unknown")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    heard = await log_in(server, "TWO-STEPS", "", encoded("1"), encoded("2"))
    assert outcome(heard[2])[1]


async def test_an_exchange_that_is_left_does_not_disturb_the_next() -> None:
    server = a_server(samples.Mechanisms())
    assert await server.begin_exchange(VIEW, "TWO-STEPS", "") == encoded("one")
    heard = await log_in(server, "TWO-STEPS", "", encoded("1"), encoded("2"))
    assert outcome(heard[2])[1]
    server.end_exchange()
    with pytest.raises(HandlerError, match="no login under way"):
        await server.go_on("x")


async def test_nothing_is_left_for_the_collector_after_the_end() -> None:
    server = a_server(samples.Mechanisms())
    await server.ask(showing(), "RCPT", "c@d.test", [])
    await log_in(server, "TWO-STEPS", "", encoded("1"), encoded("2"))
    await server.begin_exchange(VIEW, "TWO-STEPS", "")
    session, there = server.session, weakref.ref(server)
    gc.disable()
    try:
        server.end()
        del server
        # The exchange that was under way is cancelled, which takes turns of the loop.
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
        assert there() is None
    finally:
        gc.enable()
    assert session.authenticated


async def test_who_waits_without_a_challenge_is_at_fault() -> None:
    with pytest.raises(HandlerError, match="waits for the client, having said"):
        await log_in(a_server(samples.Mechanisms()), "RUDE")


async def test_a_mechanism_that_fails() -> None:
    with pytest.raises(ValueError, match="broken"):
        await log_in(a_server(samples.Mechanisms()), "BROKEN")


async def test_who_is_given_up_in_an_exchange_is_cancelled() -> None:
    server = a_server(samples.Mechanisms())
    await server.begin_exchange(VIEW, "TWO-STEPS", "")
    waiting = asyncio.create_task(server._next_challenge(server._exchange))  # type: ignore[arg-type]
    server._client._wanted.clear()
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert server._exchange is None


@pytest.mark.parametrize(
    "setup",
    [
        {"authenticator": samples.authenticator},
        {"authenticator": samples.Authenticator()},
        {"auth_callback": samples.auth_callback},
    ],
)
@pytest.mark.parametrize("password", ["secret", "guess"])
async def test_plain_and_login_are_aiosmtpds(setup: Any, password: str) -> None:
    good = password == "secret"
    response = encoded(f"\0joe\0{password}")
    (answer,) = await log_in(a_server(samples.Idle(), **setup), "PLAIN", response)
    assert answer.authenticated is good
    if good:
        assert outcome(answer) == ((SUCCESS,), True, "joe")
    words = ["", encoded("joe"), encoded(password)]
    *challenges, answer = await log_in(a_server(samples.Idle(), **setup), "LOGIN", *words)
    assert challenges == [encoded("User Name\0"), encoded("Password\0")]
    assert answer.authenticated is good


async def test_handle_auth() -> None:
    heard = await log_in(a_server(samples.Auth()), "PLAIN", "", encoded("me"))
    assert heard[0] == encoded("who?")
    assert outcome(heard[1]) == ((b"235 2.7.0 Welcome",), True, "me")
    (answer,) = await log_in(a_server(samples.Auth()), "PLAIN", "liar")
    assert outcome(answer) == ((b"235 2.7.0 Welcome",), False, "unknown")
    heard = await log_in(a_server(samples.Auth()), "LOGIN", "", encoded("a"), encoded("b"))
    assert outcome(heard[2]) == ((FAILED,), False, "unknown")


@pytest.mark.parametrize(
    ("user", "said"), [("", (b"530 5.7.0 Authentication required",)), ("u", None)]
)
async def test_auth_required(user: str, said: Any) -> None:
    server = a_server(samples.Idle(), auth_required=True)
    answer = await server.ask(replace(showing(), user=user), "MAIL", "a@b.test", [])
    assert answer.said == said


# --- commands of a server --------------------------------------------------------------------


async def test_commands_of_a_subclass() -> None:
    server = a_server(samples.Idle(), server_class=samples.Pinging)
    assert isinstance(server, samples.Pinging)
    assert isinstance(server, HandlerServer)
    assert server.session.made_by == "Pinging"
    assert (await server.run_command(VIEW, "PING", "x")).said == (b"259 Pong x",)
    assert (await server.run_command(VIEW, "PING", "")).said == (b"259 Pong None",)
    assert (await server.run_command(VIEW, "MUTE", "")).said == ()
    assert (await server.run_command(VIEW, "HELP", "PING")).said == (b"250 Syntax: PING [ignored]",)
    assert (await server.run_command(VIEW, "GATE", "")).said == (b"250 Hello",)
    said = (await server.run_command(replace(VIEW, host_name=None), "GATE", "")).said
    assert said == (b"503 Error: send HELO first",)


async def test_the_log_of_aiosmtpd_is_not_ours_to_fill(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    server = a_server(samples.Mechanisms())
    await log_in(server, "X-NAMED")
    assert caplog.text == ""
