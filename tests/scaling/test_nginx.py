# SPDX-License-Identifier: MIT
"""One daemon behind Debian's nginx as a mail proxy, which says by XCLIENT who the client is.

The clients are of this machine, and so is nginx: its address may relay, theirs may not.  Whom nginx
passes on to, and whose password is right, it asks by HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from qpsmtpd.testing import Serving, serve
from tests.debian_system import RELEASES, System, layer_tar, unpacked
from tests.isolation import ENVIRONMENT
from tests.ports import free_port
from tests.unit.client import ENVELOPE, Client, catcher, catching

pytestmark = pytest.mark.real_systems

START_TIMEOUT = 30.0  # seconds
PROXY, CLIENT = "127.0.0.1", "127.0.0.77"
USER, PASSWORD = "user@example.test", "right"
ELSEWHERE = ("MAIL FROM:<a@client.example>", "RCPT TO:<user@elsewhere.example>")

CONFIGURATION = """\
include /etc/nginx/modules-enabled/*.conf;
daemon off;
user www-data;
error_log /run/nginx.log info;
pid /run/nginx.pid;
events {{}}
mail {{
    server_name mx.example;
    auth_http {asked}/;
    xclient on;
    proxy_pass_error_message on;
    smtp_capabilities 8BITMIME;
    server {{ listen {incoming}; protocol smtp; smtp_auth none; }}
    server {{ listen {submission}; protocol smtp; smtp_auth plain login; }}
}}
"""


@dataclass
class Decider:
    """The HTTP server that nginx asks; questions are remembered."""

    target: int
    asked: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[1:]
        question = dict(line.split(": ", 1) for line in lines if line)
        self.asked.append(question)
        right = question["Auth-Method"] == "none" or question["Auth-Pass"] == PASSWORD
        status = "OK" if right else "Invalid login or password"
        head = f"Auth-Status: {status}\r\nAuth-Server: {PROXY}\r\nAuth-Port: {self.target}\r\n"
        writer.write(f"HTTP/1.0 200 OK\r\n{head}\r\n".encode())
        writer.close()


@dataclass
class Behind:
    """Our daemon, and the ports of nginx in front of it."""

    serving: Serving
    decider: Decider
    incoming: int
    submission: int

    async def connect(self, port: int) -> Client:
        client = await Client.connect(PROXY, port, local_addr=(CLIENT, 0))
        return await client.greeted()


@pytest.fixture(scope="module", params=RELEASES)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    with unpacked(layer_tar(request.param, ("nginx-core", "libnginx-mod-mail"))) as made:
        yield made


@pytest.fixture
async def behind(system: System, tmp_path: Path) -> AsyncIterator[Behind]:
    files = catching(tmp_path, "relay", "rcpt_ok") | {
        "xclient_networks": [PROXY],
        "relayclients": [PROXY],
        "rcpthosts": ["example.test"],
        "forbid_unauth_pipelining": ["1"],
    }
    async with serve(files) as serving:
        decider = Decider(serving.port)
        server = await asyncio.start_server(decider.answer, PROXY, 0)
        async with server:
            asked = f"{PROXY}:{server.sockets[0].getsockname()[1]}"
            ports = free_port(), free_port()
            async with _nginx(system, asked, *ports):
                yield Behind(serving, decider, *ports)


@asynccontextmanager
async def _nginx(system: System, asked: str, *ports: int) -> AsyncIterator[None]:
    incoming, submission = (f"{PROXY}:{port}" for port in ports)
    text = CONFIGURATION.format(asked=asked, incoming=incoming, submission=submission)
    system.write("/etc/nginx/test.conf", text)
    output = system.root / "run/output"
    with output.open("wb") as written:
        process = subprocess.Popen(
            system.command("nginx", "-c", "/etc/nginx/test.conf"),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            env=ENVIRONMENT,
        )
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while not await _answers(ports[0]):
                assert process.poll() is None, output.read_text()
                await asyncio.sleep(0.02)
        yield
    finally:
        # Its name space, and all that is left in it, ends with it.
        process.kill()
        process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(PROXY, port)
    except OSError:
        return False
    writer.transport.abort()
    return True


async def test_the_client_is_behind_the_proxy(behind: Behind) -> None:
    client = await behind.connect(behind.incoming)
    assert await client.commands(*ENVELOPE, "DATA") == [250, 250, 250, 354]
    assert (await client.deliver())[:3] == "250"
    assert await client.commands(*ELSEWHERE, "RSET") == [250, 550, 250]
    # From here on nginx passes everything on as it comes, in both directions.
    client.send(b"MAIL FROM:<>\r\nRCPT TO:<user@example.test>\r\nBDAT 6 LAST\r\na: b\r\n")
    assert [(await client.reply())[:3] for _ in range(3)] == ["250"] * 3
    assert await client.command("QUIT")
    await client.close()
    first, _ = catcher(behind.serving).messages
    assert f"([{CLIENT}])".encode() in first
    assert b"from client.example (" in first
    assert [each["Client-IP"] for each in behind.decider.asked] == [CLIENT]


async def test_a_refusal_reaches_the_client(behind: Behind) -> None:
    client = await behind.connect(behind.incoming)
    assert await client.commands("EHLO client.example", *ELSEWHERE) == [250, 250, 550]
    assert not catcher(behind.serving).messages
    await client.close()


async def test_who_has_logged_in_there_may_relay(behind: Behind) -> None:
    client = await behind.connect(behind.submission)
    assert await client.commands("EHLO client.example") == [250]
    wrong, right = (
        base64.b64encode(f"\0{USER}\0{password}".encode()).decode()
        for password in ("wrong", PASSWORD)
    )
    assert await client.commands(f"AUTH PLAIN {wrong}") == [535]
    await client.close()
    client = await behind.connect(behind.submission)
    assert await client.commands("EHLO client.example", f"AUTH PLAIN {right}") == [250, 235]
    assert await client.commands(*ELSEWHERE, "DATA") == [250, 250, 354]
    assert (await client.deliver())[:3] == "250"
    await client.close()
    (message,) = catcher(behind.serving).messages
    assert b"with ESMTPA" in message
    assert f"([{CLIENT}])".encode() in message
