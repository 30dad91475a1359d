# SPDX-License-Identifier: MIT
"""Whatever a mail system says, in whatever order: no fault of ours, and nothing is left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qpsmtpd.api import Transaction, Verdict, deny
from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.fronts.hosting import FrontConnection, FrontError
from qpsmtpd.fronts.milterfront import speak_milter
from qpsmtpd.fronts.policycodec import PolicyStage
from qpsmtpd.fronts.policyfront import speak_policy
from qpsmtpd.fronts.visit import Client, Visit
from qpsmtpd.mail.session import ReverseNames
from qpsmtpd.mail.spoolmemory import SpoolMemory
from qpsmtpd.milter import packets
from qpsmtpd.milter.codec import Splitter, encode, read_reply
from qpsmtpd.milter.negotiation import offer
from qpsmtpd.milter.packets import Packet
from tests.unit.fakewire import a_plugin_with, a_snapshot, always


class FakeConnection:
    """A mail system that says all at once what it has to say."""

    def __init__(self, snapshot: Snapshot, said: bytes) -> None:
        self.snapshot = snapshot
        self.host = self
        self.memory = SpoolMemory()
        self.busy = self.draining = False
        self.answers = b""
        self.visits = 0
        self._said = said

    async def exchange(self, answers: bytes, seconds: float) -> bytes:
        self.answers += answers
        said, self._said = self._said, b""
        return said

    def visit(self, client: Client) -> Visit:
        async def nobody_knows() -> ReverseNames:
            return ReverseNames(asked=False)

        self.visits += 1
        return Visit(self.snapshot, self.memory, client, nobody_knows)

    async def leave(self, visit: Visit) -> None:
        self.visits -= 1
        await visit.close()


async def change(tx: Transaction) -> Verdict | None:
    assert tx.message is not None
    tx.message.headers.remove("X-A")
    tx.message.headers.append("X-B", "1")
    return deny("No") if "Subject" in tx.message.headers else None


SNAPSHOT = a_snapshot(
    a_plugin_with(
        data_post=change,
        data=always(None),
        mail=always(None),
        unrecognized_command=always(None),
    )
)

COMMANDS: list[Packet] = [
    offer(),
    packets.Macros(b"C", ((b"{daemon_port}", b"x"),)),
    packets.Connect(b"a.example", b"4", 1, b"192.0.2.1"),
    packets.Connect(b"a.example", b"U"),
    packets.Helo(b"a.example"),
    packets.Helo(b"\xff\n"),
    packets.Mail((b"<a@client.example>", b"SIZE=1")),
    packets.Mail((b"<>",)),
    packets.Mail((b"<\xff>", b"=", b"SIZE=x")),
    packets.Rcpt((b"<user@example.test>",)),
    packets.Rcpt((b"", b"NOTIFY=NEVER")),
    packets.Data(),
    packets.Header(b"Subject", b" x"),
    packets.Header(b"X-A", b" y\n\tz"),
    packets.EndOfHeaders(),
    packets.Body(b"text\r\n"),
    packets.Body(b"\0\n\r"),
    packets.Body(b"x" * 65535),
    packets.EndOfMessage(),
    packets.EndOfMessage(b"end"),
    packets.Unknown(b"FOO \xff bar"),
    packets.Abort(),
    packets.QuitNewClient(),
    packets.Quit(),
]
#: A way that goes well, from which others begin.
GOOD = [COMMANDS[0], *(COMMANDS[n] for n in (2, 4, 6, 9, 11, 13, 14, 15, 18))]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def spoken(runner: asyncio.Runner, front: Any, said: bytes) -> FakeConnection:
    connection = FakeConnection(SNAPSHOT, said)
    with suppress(FrontError):
        runner.run(front(cast("FrontConnection", connection)))
    assert connection.visits == 0
    assert connection.memory.used == 0
    return connection


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    kept=st.integers(0, len(GOOD)),
    others=st.lists(st.sampled_from(COMMANDS), max_size=12),
    junk=st.binary(max_size=8),
)
def test_any_packets(
    runner: asyncio.Runner,
    caplog: pytest.LogCaptureFixture,
    kept: int,
    others: list[Packet],
    junk: bytes,
) -> None:
    said = b"".join(map(encode, (*GOOD[:kept], *others))) + junk
    with caplog.at_level(logging.ERROR):
        connection = spoken(runner, speak_milter, said)
    assert caplog.records == []
    splitter = Splitter()
    splitter.feed(connection.answers)
    while (found := splitter.next()) is not None:
        read_reply(*found)
    assert not splitter.waiting


NAMES = ("client_address", "client_port", "client_name", "helo_name", "protocol_name", "sender")
ATTRIBUTES = st.dictionaries(
    st.sampled_from((*NAMES, "recipient", "instance", "size", "sasl_username")),
    st.sampled_from(["", "1", "a@b.example", "192.0.2.1", "unknown", "x y", "é", "SMTP"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(requests=st.lists(st.tuples(st.sampled_from(PolicyStage), ATTRIBUTES), max_size=6))
def test_any_requests(
    runner: asyncio.Runner,
    caplog: pytest.LogCaptureFixture,
    requests: list[tuple[PolicyStage, dict[str, str]]],
) -> None:
    said = ""
    for stage, attributes in requests:
        state = stage.name.replace("_OF_", "-OF-")
        said += f"request=smtpd_access_policy\nprotocol_state={state}\n"
        said += "".join(f"{name}={value}\n" for name, value in attributes.items()) + "\n"
    with caplog.at_level(logging.ERROR):
        connection = spoken(runner, speak_policy, said.encode())
    assert caplog.records == []
    answers = connection.answers.decode().split("\n\n")[:-1]
    assert len(answers) <= len(requests)
    allowed = ("action=DUNNO", "action=PREPEND ", "action=4", "action=5")
    assert all(answer.startswith(allowed) for answer in answers)
