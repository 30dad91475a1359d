# SPDX-License-Identifier: MIT
"""AUTH: the exchanges of the mechanisms, and what they lead to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import (
    AuthAttempt,
    AuthExchange,
    Challenge,
    HookResult,
    NoOptions,
    Plugin,
    Session,
    Store,
    TlsInfo,
    Verdict,
    accept,
    defer,
    deny,
    password_matches,
)
from qpsmtpd.smtp.authenticate import auth, offered
from qpsmtpd.smtp.connection import ClientGoneError, Connection
from qpsmtpd.smtp.conversation import converse
from qpsmtpd.testing import FakeClock, FakeStore, a_session, services
from tests.unit.fakewire import (
    ENVELOPE,
    FakeWire,
    a_connection,
    a_plugin_with,
    a_snapshot,
    always,
    fails,
    talk,
)

MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")
EHLO = b"EHLO client.example\r\n"


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def plain(user: str, password: str, identity: str = "") -> str:
    """The response of PLAIN."""
    return encoded(f"{identity}\0{user}\0{password}")


PLAIN = plain("user", "pass")
BAD_UTF8 = encoded(b"\0\xff\0pass")


async def check(_session: Session, attempt: AuthAttempt) -> Verdict | None:
    right = attempt.user == "user" and password_matches(attempt, "pass")
    return accept() if right else deny("No such user or password")


def the_checker() -> Plugin[Any]:
    return a_plugin_with("checker", auth=check)


async def replies_to(*lines: str, **more: Any) -> list[str]:
    more = {"plugins": (the_checker(),), "auth": MECHANISMS} | more
    text = "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")
    return (await talk(EHLO + text, **more)).replies[2:]


SUCCESS = "235 2.7.0 Authentication successful"
FAILED = "535 5.7.8 Authentication credentials invalid"


@pytest.mark.parametrize(
    ("lines", "replies"),
    [
        ([f"AUTH PLAIN {PLAIN}"], [SUCCESS]),
        ([f"auth plain {plain('user', 'pass', 'user')}"], [SUCCESS]),
        (["AUTH PLAIN", PLAIN], ["334 ", SUCCESS]),
        (["AUTH PLAIN", plain("user", "wrong")], ["334 ", FAILED]),
        ([f"AUTH PLAIN {plain('user', 'pass', 'other')}"], [FAILED]),
        ([f"AUTH PLAIN {plain('user', '')}"], [FAILED]),
        ([f"AUTH PLAIN {plain('', 'pass')}"], [FAILED]),
        (["AUTH PLAIN ="], ["501 5.5.2 Cannot decode response"]),
        (["AUTH PLAIN !!!"], ["501 5.5.2 Cannot decode response"]),
        (["AUTH PLAIN \udcff"], ["501 5.5.2 Cannot decode response"]),
        ([f"AUTH PLAIN {encoded('user')}"], ["501 5.5.2 Cannot decode response"]),
        ([f"AUTH PLAIN {BAD_UTF8}"], ["501 5.5.2 Cannot decode response"]),
        (["AUTH PLAIN", "*"], ["334 ", "501 5.7.0 Authentication cancelled"]),
        (["AUTH PLAIN", "x" * 12289], ["334 ", "500 5.5.6 Authentication exchange line too long"]),
        (
            ["AUTH LOGIN", encoded("user"), encoded("pass")],
            ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", SUCCESS],
        ),
        ([f"AUTH LOGIN {encoded('user')}", encoded("pass")], ["334 UGFzc3dvcmQ6", SUCCESS]),
        ([f"AUTH LOGIN {encoded('user')}", ""], ["334 UGFzc3dvcmQ6", FAILED]),
        (["AUTH LOGIN", "", encoded("pass")], ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", FAILED]),
        (["AUTH LOGIN", "*"], ["334 VXNlcm5hbWU6", "501 5.7.0 Authentication cancelled"]),
        (["AUTH CRAM-MD5 x"], ["501 5.5.4 Syntax error in command"]),
        (["AUTH"], ["501 5.5.4 Syntax error in command"]),
        (["AUTH PLAIN a b"], ["501 5.5.4 Syntax error in command"]),
        (["AUTH GSSAPI"], ["504 5.5.4 Unrecognized authentication mechanism"]),
        ([f"AUTH PLAIN {PLAIN}"] * 2, [SUCCESS, "503 5.5.1 Already authenticated"]),
    ],
)
async def test_exchanges(lines: list[str], replies: list[str]) -> None:
    assert await replies_to(*lines) == replies


class CramWire(FakeWire):
    """Answers the challenge of CRAM-MD5 as user with this password."""

    def __init__(self, user: str, password: str) -> None:
        super().__init__(EHLO, b"AUTH CRAM-MD5\r\n")
        self.user, self.password = user, password

    async def read_line(self, limit: int, *, answer: bool = False) -> bytes:
        await self.flush()
        last = self.replies[-1]
        if last.startswith("334 "):
            challenge = base64.b64decode(last[4:])
            digest = hmac.new(self.password.encode(), challenge, hashlib.md5).hexdigest()
            return encoded(f"{self.user} {digest}".strip()).encode()
        return await super().read_line(limit)


@pytest.mark.parametrize(
    ("user", "password", "reply"),
    [("user", "pass", SUCCESS), ("user", "wrong", FAILED), ("", "pass", FAILED)],
)
async def test_cram_md5(user: str, password: str, reply: str) -> None:
    challenges = set()
    for _ in range(2):
        wire = CramWire(user, password)
        await converse(a_connection(wire, the_checker(), auth=MECHANISMS))
        assert wire.replies[-1] == reply
        challenges.add(wire.replies[2])
    assert len(challenges) == 2


async def test_success_is_remembered() -> None:
    session = a_session()
    session.deferred_rejects.append("naughty")
    text = EHLO + f"AUTH PLAIN {PLAIN}\r\n".encode()
    await talk(text, session=session, plugins=(the_checker(),), auth=MECHANISMS)
    assert (session.auth_user, session.auth_mechanism) == ("user", "PLAIN")
    assert session.relay_client
    assert session.deferred_rejects == []


@pytest.mark.parametrize("verdict", [None, deny(), "fault"])
async def test_failure_gives_no_rights(verdict: Any) -> None:
    session = a_session()

    async def judge(*_args: Any) -> Any:
        if verdict == "fault":
            raise RuntimeError
        return verdict

    text = EHLO + f"AUTH PLAIN {PLAIN}\r\n".encode()
    await talk(text, session=session, plugins=(a_plugin_with(auth=judge),), auth=MECHANISMS)
    assert not session.relay_client
    assert session.auth_user == ""


async def test_the_hook_of_the_mechanism_comes_first() -> None:
    asked: list[str] = []

    def asks(name: str, verdict: Any) -> Any:
        async def hook(_session: Session, attempt: AuthAttempt) -> Any:
            asked.append(f"{name} {attempt.mechanism}")
            return verdict

        return hook

    plugin = a_plugin_with(
        auth=asks("any", accept()), auth_plain=asks("plain", None), auth_login=asks("login", deny())
    )
    lines = [f"AUTH LOGIN {encoded('user')}", encoded("pass"), f"AUTH PLAIN {PLAIN}"]
    replies = await replies_to(*lines, plugins=(plugin,))
    assert replies[1:] == [FAILED, SUCCESS]
    assert asked == ["login LOGIN", "plain PLAIN", "any PLAIN"]


async def test_guessing_ends_the_connection() -> None:
    replies = await replies_to(*[f"AUTH PLAIN {plain('user', 'x')}"] * 5, max_auth_failures=3)
    assert replies == [FAILED, FAILED, "421 4.7.0 Too many failed authentications"]


@pytest.mark.parametrize(
    ("lines", "counted"),
    [
        (["AUTH PLAIN !!!"], True),
        (["AUTH PLAIN", "!!!"], True),
        ([f"AUTH PLAIN {encoded('user')}"], True),
        ([f"AUTH PLAIN {BAD_UTF8}"], True),
        ([f"AUTH PLAIN {plain('user', '')}"], True),
        (["AUTH PLAIN", "x" * 12289], True),
        (["AUTH PLAIN", f"{PLAIN}\0"], True),
        (["AUTH LOGIN !!!"], True),
        ([f"AUTH LOGIN {encoded('user')}", "!!!"], True),
        (["AUTH CRAM-MD5 x"], True),
        (["AUTH CRAM-MD5", "!!!"], True),
        (["AUTH CRAM-MD5", encoded("user")], True),
        (["AUTH COUNT", "\0"], True),
        (["AUTH PLAIN", "*"], False),
        (["AUTH COUNT", "*"], False),
        (["AUTH"], False),
        (["AUTH GSSAPI"], False),
        (["AUTH PLAIN a b"], False),
    ],
)
async def test_what_is_a_failed_login(
    lines: list[str], counted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever an exchange ends with, unless the client gave it up."""
    caplog.set_level("INFO")
    plugins = (Counting(deny()), the_checker())
    last = (await replies_to(*lines, plugins=plugins, max_auth_failures=1, **COUNT))[-1]
    assert (last == "421 4.7.0 Too many failed authentications") is counted
    assert ("refused ip=192.0.2.1 " in caplog.text) is counted


@pytest.mark.parametrize(
    ("end", "reply"),
    [
        (b"\n", "521 5.5.2 Lines must end with CRLF, closing connection"),
        (b"\r\r\n", "500 5.5.2 Bad characters in command"),
        (b"\0\r\n", "500 5.5.2 Bad characters in command"),
    ],
)
@pytest.mark.parametrize(
    ("command", "answers"),
    [
        ("PLAIN", [PLAIN]),
        ("LOGIN", [encoded("user")]),
        ("LOGIN", [encoded("user"), encoded("pass")]),
        ("CRAM-MD5", [encoded("user x")]),
        ("COUNT", ["x"]),
        ("COUNT", ["x", "y"]),
        ("PLAIN", ["*"]),
    ],
)
async def test_every_line_that_is_read_follows_one_rule(
    command: str, answers: list[str], end: bytes, reply: str
) -> None:
    *before, last = answers
    text = "".join(f"{line}\r\n" for line in (f"AUTH {command}", *before)).encode()
    session = a_session()
    plugins = (Counting(accept()), the_checker())
    wire = await talk(
        EHLO + text + last.encode() + end + b"NOOP\r\n", plugins=plugins, session=session, **COUNT
    )
    assert wire.replies[2 + len(answers) :][0] == reply
    assert wire.codes[-1] == (521 if end == b"\n" else 250)
    assert not session.auth_user


async def test_not_during_a_transaction() -> None:
    line = f"AUTH PLAIN {PLAIN}\r\n".encode()
    wire = await talk(ENVELOPE, line, plugins=(the_checker(),), auth=MECHANISMS)
    assert wire.replies[-1] == "503 5.5.1 AUTH not permitted during a transaction"


async def test_not_before_tls() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    replies = await replies_to(f"AUTH PLAIN {PLAIN}", tls=context)
    assert replies == ["538 5.7.11 Encryption required for authentication"]


@pytest.mark.parametrize(
    ("hello", "auth"), [(b"", MECHANISMS), (b"HELO x\r\n", MECHANISMS), (EHLO, ())]
)
async def test_not_offered(hello: bytes, auth: tuple[str, ...]) -> None:
    line = f"AUTH PLAIN {PLAIN}\r\n".encode()
    wire = await talk(hello + line, plugins=(the_checker(),), auth=auth)
    assert wire.replies[-1] == "500 5.5.1 Command not recognized"


async def test_a_plugin_parses() -> None:
    plugins = (a_plugin_with(auth_parse=always(("plain", PLAIN))), the_checker())
    assert await replies_to("AUTH nonsense", plugins=plugins) == [SUCCESS]
    plugins = (a_plugin_with(auth_parse=always(deny("Nonsense"))), the_checker())
    assert await replies_to(f"AUTH PLAIN {PLAIN}", plugins=plugins) == ["501 5.5.4 Nonsense"]


# --- mechanisms of plugins ------------------------------------------------------------------


class Counting(Plugin[NoOptions]):
    """Logs in who answers 1, 2 and 3; the last step does what it is told."""

    def __init__(self, last: Any, user: str = "counter") -> None:
        super().__init__("counting", NoOptions(), services())
        self.last, self.user = last, user
        self.heard: list[bytes | None] = []

    def sasl_mechanisms(self) -> Sequence[str]:
        return ("COUNT",)

    async def hook_auth_exchange(
        self, session: Session, exchange: AuthExchange
    ) -> Challenge | Verdict | None:
        assert exchange.mechanism == "COUNT"
        self.heard.append(exchange.response)
        if len(self.heard) < 3:
            return Challenge(encoded(str(len(self.heard))))
        exchange.user = self.user
        if self.last == "fault":
            raise RuntimeError("a secret of the plugin")
        verdict: Verdict | None = self.last
        return verdict


ACCEPT = accept()
COUNT = {"auth": (*MECHANISMS, "COUNT"), "exchanges": ("COUNT",)}


async def count(
    *lines: str, last: Any = ACCEPT, user: str = "counter"
) -> tuple[Counting, Session, list[str]]:
    plugin, session = Counting(last, user), a_session()
    replies = await replies_to(*lines, plugins=(plugin,), session=session, **COUNT)
    return plugin, session, replies


async def test_a_plugin_brings_a_mechanism() -> None:
    plugin, session, replies = await count("auth count", "b25l", "dHdv")
    assert replies == ["334 MQ==", "334 Mg==", SUCCESS]
    assert plugin.heard == [None, b"b25l", b"dHdv"]
    assert (session.auth_user, session.auth_mechanism) == ("counter", "COUNT")
    assert session.relay_client


async def test_the_initial_response_is_the_first_answer() -> None:
    plugin, _, _ = await count("AUTH COUNT =", "x", "y")
    assert plugin.heard == [b"=", b"x", b"y"]


@pytest.mark.parametrize(
    ("last", "user", "reply"),
    [
        (None, "counter", FAILED),
        (deny("Wrong"), "counter", FAILED),
        (deny("Disabled", code=550), "counter", FAILED),
        (deny("No such user", status="5.1.1"), "counter", FAILED),
        (deny("Too weak", status="5.7.9", code=534), "counter", "534 5.7.9 Too weak"),
        (defer(code=454), "counter", "454 4.7.8 Authentication credentials invalid"),
        (accept(), "", "451 4.3.0 Internal error, please try again later"),
        ("nonsense", "counter", "451 4.3.0 Internal error, please try again later"),
        ("fault", "counter", "451 4.3.0 Internal error, please try again later"),
    ],
)
async def test_a_plugin_does_not_log_in(last: Any, user: str, reply: str) -> None:
    _, session, replies = await count("AUTH COUNT", "x", "y", last=last, user=user)
    assert replies[2:] == [reply]
    assert (session.auth_user, session.relay_client) == ("", False)


async def test_who_gives_up_is_not_logged_in_whatever_the_plugin_says() -> None:
    plugin, session, replies = await count("AUTH COUNT", "x", "*")
    assert replies[2:] == ["501 5.7.0 Authentication cancelled"]
    assert plugin.heard == [None, b"x", b"*"]
    assert not session.auth_user


async def test_who_gives_up_is_asked_no_more() -> None:
    plugin, _, replies = await count("AUTH COUNT", "*", "NOOP")
    assert replies == ["334 MQ==", "501 5.7.0 Authentication cancelled", "250 2.0.0 OK"]
    assert plugin.heard == [None, b"*"]


async def test_an_answer_that_is_too_long_ends_the_exchange() -> None:
    _, _, replies = await count("AUTH COUNT", "x" * 12289)
    assert replies == ["334 MQ==", "500 5.5.6 Authentication exchange line too long"]


async def test_other_mechanisms_stay_ours() -> None:
    plugins = (Counting(accept()), the_checker())
    assert await replies_to(f"AUTH PLAIN {PLAIN}", plugins=plugins, **COUNT) == [SUCCESS]


@given(st.sampled_from(MECHANISMS), st.lists(st.binary(max_size=40), max_size=4), st.booleans())
async def test_any_exchange_ends(mechanism: str, answers: list[bytes], raw: bool) -> None:
    lines = [a if raw else base64.b64encode(a) for a in answers]
    lines = [line.replace(b"\n", b"").replace(b"\r", b"") + b"\r\n" for line in lines]
    text = f"AUTH {mechanism}\r\n".encode()
    wire = await talk(EHLO, text, *lines, plugins=(the_checker(),), auth=MECHANISMS)
    assert 235 not in wire.codes
    assert not {451} & set(wire.codes)
    assert not any("Internal" in reply for reply in wire.replies)


# --- the brake ------------------------------------------------------------------------------

WRONG = f"AUTH PLAIN {plain('user', 'x')}\r\n".encode()
UNKNOWN = f"AUTH PLAIN {plain('nobody', 'x')}\r\n".encode()


class Judge(Plugin[NoOptions]):
    """Knows one user, whom it judges slowly; remembers the refusals it hears of."""

    def __init__(self, clock: FakeClock, seconds: float = 0.0) -> None:
        super().__init__("judge", NoOptions(), services())
        self.clock, self.seconds = clock, seconds
        self.judged = 0
        self.refusals: list[str] = []

    async def hook_auth(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        self.judged += 1
        if attempt.user != "user":
            return None
        self.clock.advance(self.seconds)
        return accept() if attempt.password == "pass" else deny("Wrong password")

    async def hook_deny(self, session: Session, result: HookResult) -> None:
        assert result.verdict is not None
        self.refusals.append(f"{result.plugin} {result.hook} {result.verdict.decision.value}")


class Guarded:
    """Connections that share one configuration, and so its count of failures."""

    def __init__(self, *, store: Store | None = None, seconds: float = 0.0, **more: Any) -> None:
        self.clock = FakeClock()
        self.judge = Judge(self.clock, seconds)
        self.snapshot = a_snapshot(
            self.judge, auth=MECHANISMS, clock=self.clock, store=store, **more
        )

    async def talk(self, *script: bytes | Exception, ip: str = "192.0.2.1") -> FakeWire:
        wire = FakeWire(EHLO, *script)
        await converse(Connection(a_session(ip), self.snapshot, wire))
        return wire


@pytest.mark.parametrize("seconds", [0.0, 0.25, 0.875])
async def test_the_answer_to_a_failed_login_comes_at_one_moment(seconds: float) -> None:
    """Whether the user exists and however long the judgement takes, with one text."""
    known, unknown = Guarded(seconds=seconds), Guarded(seconds=seconds)
    one, other = await known.talk(WRONG), await unknown.talk(UNKNOWN)
    assert one.replies[2:] == other.replies[2:] == [FAILED]
    assert one.pauses == [1 - seconds]
    assert other.pauses == [1.0]


async def test_a_judgement_that_takes_longer_than_the_pause() -> None:
    assert (await Guarded(seconds=2.25).talk(WRONG)).pauses == [0.75]


async def test_a_right_password_does_not_wait() -> None:
    wire = await Guarded().talk(f"AUTH PLAIN {PLAIN}\r\n".encode())
    assert (wire.replies[2:], wire.pauses) == ([SUCCESS], [])


async def test_every_failure_of_a_client_doubles_its_pause() -> None:
    guarded = Guarded(max_auth_failures=100)
    wires = [await guarded.talk(WRONG, UNKNOWN) for _ in range(4)]
    assert [wire.pauses for wire in wires] == [[1, 2], [4, 8], [16, 30], [30, 30]]
    assert (await guarded.talk(WRONG, ip="192.0.2.2")).pauses == [1]
    guarded.clock.advance(3600)
    assert (await guarded.talk(WRONG)).pauses == [1]


async def test_right_passwords_do_not_count_and_forgive_nothing() -> None:
    guarded = Guarded()
    right = f"AUTH PLAIN {PLAIN}\r\n".encode()
    for script in (right, WRONG, right, b"AUTH PLAIN\r\n*\r\n", b"AUTH PLAIN\r\n"):
        await guarded.talk(script)
    assert (await guarded.talk(WRONG)).pauses == [2]


async def test_a_fault_is_no_failure_of_the_client() -> None:
    guarded = Guarded()
    broken = a_plugin_with("broken", auth=fails)
    guarded.snapshot = a_snapshot(broken, auth=MECHANISMS, clock=guarded.clock)
    wire = await guarded.talk(WRONG)
    assert (wire.codes[2:], wire.pauses) == ([451], [])
    assert await guarded.snapshot.failed_logins.add("192.0.2.1") == 1


@pytest.mark.parametrize(
    ("one", "other", "pauses"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", [2]),
        ("2001:db8::1", "2001:db8:0:1::1", [1]),
        ("192.0.2.1", "192.0.2.2", [1]),
    ],
)
async def test_whose_failures_are_counted(one: str, other: str, pauses: list[float]) -> None:
    guarded = Guarded()
    await guarded.talk(WRONG, ip=one)
    assert (await guarded.talk(WRONG, ip=other)).pauses == pauses


TURNED_AWAY = "421 4.7.0 Too many failed authentications from you, try again later"


async def test_who_has_failed_too_often_is_not_judged() -> None:
    guarded = Guarded(max_auth_failures_from_ip=2)
    assert (await guarded.talk(WRONG, UNKNOWN)).codes[2:] == [535, 535]
    for _ in range(2):
        wire = await guarded.talk(f"AUTH PLAIN {PLAIN}\r\n".encode())
        assert (wire.replies[2:], wire.pauses) == ([TURNED_AWAY], [])
    assert guarded.judge.judged == 2
    assert (await guarded.talk(WRONG, ip="192.0.2.2")).codes[2:] == [535]
    guarded.clock.advance(3600)
    assert (await guarded.talk(f"AUTH PLAIN {PLAIN}\r\n".encode())).replies[2:] == [SUCCESS]


@pytest.mark.parametrize(
    "settings",
    [
        {"max_auth_failures_from_ip": 0},
        {"max_auth_failures_from_ip": 1, "admission_exempt": (ip_network("192.0.2.0/24"),)},
    ],
)
async def test_who_may_fail_as_often_as_he_likes(settings: dict[str, Any]) -> None:
    guarded = Guarded(max_auth_failures=9, **settings)
    wire = await guarded.talk(WRONG, WRONG, WRONG)
    assert (wire.codes[2:], wire.pauses) == ([535, 535, 535], [1, 2, 4])


async def test_many_connections_at_once_gain_nothing() -> None:
    """Who has not failed yet counts as failed."""
    guarded = Guarded(max_auth_failures_from_ip=10)
    everybody = asyncio.Event()
    waiting = 0

    async def judges_when_all_are_there(_session: Session, attempt: AuthAttempt) -> Verdict:
        nonlocal waiting
        waiting += 1
        if waiting == 10:
            everybody.set()
        await everybody.wait()
        return deny()

    slow = a_plugin_with("slow", auth=judges_when_all_are_there)
    guarded.snapshot = a_snapshot(
        slow, auth=MECHANISMS, clock=guarded.clock, max_auth_failures_from_ip=10
    )
    wires = await asyncio.gather(*(guarded.talk(WRONG) for _ in range(30)))
    assert waiting == 10
    assert sum(wire.codes[2:] == [421] for wire in wires) == 20
    pauses = sorted(pause for wire in wires for pause in wire.pauses)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]


async def test_workers_count_together_and_alone_while_the_store_is_down() -> None:
    clock = FakeClock()
    store = FakeStore(clock)
    one, other = Guarded(store=store), Guarded(store=store)
    await one.talk(WRONG)
    assert (await other.talk(WRONG)).pauses == [2]
    alone = Guarded(store=FakeStore(clock, down=True))
    assert [(await alone.talk(WRONG)).pauses for _ in range(3)] == [[1], [2], [4]]


async def test_no_pause_if_the_administrator_wants_none() -> None:
    assert (await Guarded(auth_failure_pause=0).talk(WRONG)).pauses == []


async def test_observers_hear_of_every_failed_login() -> None:
    guarded = Guarded(max_auth_failures=9)
    await guarded.talk(WRONG, UNKNOWN, b"AUTH PLAIN !!!\r\n", b"AUTH PLAIN\r\n*\r\n")
    assert guarded.judge.refusals == ["judge auth deny", "core auth deny", "core auth deny"]


async def test_the_log_says_what_the_plugin_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await Guarded().talk(WRONG)
    assert "about='user' reply=535 5.7.8 Wrong password" in caplog.text


async def test_who_leaves_during_the_pause_has_failed() -> None:
    class Impatient(FakeWire):
        async def pause(self, seconds: float) -> None:
            raise ClientGoneError

    guarded = Guarded()
    wire = Impatient(EHLO, WRONG)
    await converse(Connection(a_session(), guarded.snapshot, wire))
    assert wire.codes == [220, 250]
    assert (await guarded.talk(WRONG)).pauses == [2]


# --- mechanisms that need TLS ---------------------------------------------------------------

NEED_TLS = (*MECHANISMS, "OAUTHBEARER", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "XOAUTH2")
IN_THE_CLEAR = (*MECHANISMS, "SCRAM-SHA-256")
NOT_BOUND = tuple(name for name in NEED_TLS if not name.endswith("-PLUS"))


@pytest.mark.parametrize(
    ("tls", "names"),
    [
        (None, IN_THE_CLEAR),
        (TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384"), NOT_BOUND),
        (TlsInfo("TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384", unique=b"x"), NEED_TLS),
    ],
)
async def test_what_is_offered_depends_on_tls(tls: TlsInfo | None, names: Sequence[str]) -> None:
    session = a_session(ehlo="client.example")
    session.tls = tls
    connection = a_connection(FakeWire(), session=session, auth=NEED_TLS, exchanges=NEED_TLS)
    assert offered(connection) == tuple(names)
    for name in set(NEED_TLS) - set(names):
        reply = await auth(connection, name)
        assert reply.code == (538 if tls is None else 504), name


# --- refusals that are told before the end --------------------------------------------------


class Telling(Plugin[NoOptions]):
    """Refuses everybody, and says why in a challenge."""

    def __init__(self) -> None:
        super().__init__("telling", NoOptions(), services())

    async def hook_auth_exchange(
        self, session: Session, exchange: AuthExchange
    ) -> Challenge | Verdict | None:
        if exchange.refused:
            return Challenge("Zm9yZXZlcg==") if exchange.response == b"*" else deny()
        exchange.refused = True
        return Challenge("d2h5")


@pytest.mark.parametrize("answer", [b"", b"AQ==", b"*"])
async def test_who_was_refused_has_failed_whatever_he_says(answer: bytes) -> None:
    clock = FakeClock()
    snapshot = a_snapshot(Telling(), auth=("TELL",), exchanges=("TELL",), clock=clock)
    wire = FakeWire(EHLO, b"AUTH TELL x\r\n" + answer + b"\r\n")
    await converse(Connection(a_session(), snapshot, wire))
    assert wire.replies[2:] == ["334 d2h5", FAILED]
    assert wire.pauses == [1]
    assert await snapshot.failed_logins.add("192.0.2.1") == 2


async def test_who_was_refused_and_leaves_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = FakeClock()
    snapshot = a_snapshot(Telling(), auth=("TELL",), exchanges=("TELL",), clock=clock)
    wire = FakeWire(EHLO, b"AUTH TELL x\r\n")
    await converse(Connection(a_session(), snapshot, wire))
    assert wire.replies[2:] == ["334 d2h5"]
    assert await snapshot.failed_logins.add("192.0.2.1") == 2
    assert caplog.text.count("reply=535 ") == 1
