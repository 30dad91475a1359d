# SPDX-License-Identifier: MIT
"""One daemon behind Debian's HAProxy, which says who the client is, with either version's header.

The clients are of this machine, and so is HAProxy: its address may relay, theirs may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest
import trustme

from qpsmtpd.testing import serve
from tests.debian_system import CHECKOUT, RELEASES, System
from tests.scaling.haproxy import HaProxy, haproxy, haproxy_system
from tests.unit.client import ENVELOPE, Client
from tests.unit.daemon_process import Daemon, configure, running

pytestmark = pytest.mark.real_systems

PROXY, CLIENT = "127.0.0.1", "127.0.0.77"
#: What HAProxy is told of our daemon, by the name of the section; {implicit} begins with TLS.
SERVERS = {
    "version-1": "{plain} send-proxy check",
    "version-2": "{plain} send-proxy-v2 check",
    "vectors": "{plain} send-proxy-v2 proxy-v2-options crc32c,unique-id check",
    "asks": "{plain} send-proxy-v2 check",
    "implicit-tls": "{implicit} send-proxy-v2 check",
    "implicit-tls-1": "{implicit} send-proxy check",
    "checks-tls": "{implicit} send-proxy-v2 check check-ssl verify none",
    "no-header": "{plain}",
}
#: Further lines of a section.
LINES = {
    "vectors": "unique-id-format %ci-%cp",
    "asks": "option smtpchk EHLO haproxy.example",
    "checks-tls": "option smtpchk EHLO haproxy.example",
}
#: The section that our documentation shows.
RECIPE = "smtp"
README = CHECKOUT / "debian/README.Debian"
AUTHORITY = trustme.CA()
CONTEXT = ssl.create_default_context()
AUTHORITY.configure_trust(CONTEXT)


@pytest.fixture(scope="module", params=RELEASES)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    with haproxy_system(request.param) as made:
        yield made


@dataclass
class Balanced:
    """The daemon, HAProxy in front of it, and the port of each of its sections."""

    daemon: Daemon
    proxy: HaProxy
    ports: dict[str, int]
    maildir: Path

    async def connect(
        self, section: str, client: str = CLIENT, tls: ssl.SSLContext | None = None
    ) -> Client:
        host = "::1" if ":" in client else "127.0.0.1"
        name = "mx.example" if tls else None
        return await Client.connect(
            host, self.ports[section], local_addr=(client, 0), ssl=tls, server_hostname=name
        )

    def delivered(self) -> str:
        """The message that has arrived; it is taken away."""
        (path,) = self.maildir.glob("new/*")
        text = path.read_text()
        path.unlink()
        return text


@pytest.fixture(params=["asyncio", "uvloop"])
async def balanced(
    system: System, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Balanced]:
    async with _balanced(system, tmp_path, request.param) as made:
        yield made


@asynccontextmanager
async def _balanced(system: System, directory: Path, loop: str) -> AsyncIterator[Balanced]:
    issued = AUTHORITY.issue_cert("mx.example")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    tls = f"tls {directory}/cert.pem {directory}/key.pem"
    plugins = (tls, "relay", "rcpt_ok", f"queue/maildir {directory}/Maildir")
    files = {"plugins": plugins, "proxy_networks": PROXY, "relayclients": f"{PROXY}\n::1"}
    configure(directory, files)
    # As from systemd: with the names of the units' descriptors.
    environment = {"QPSMTPD_EVENT_LOOP": loop, "LISTEN_FDNAMES": "smtp:submissions"}
    with contextlib.ExitStack() as stack:
        ours = [stack.enter_context(socket.create_server((PROXY, 0))) for _ in range(2)]
        theirs = {name: stack.enter_context(_listening()) for name in (*SERVERS, RECIPE)}
        plain, implicit = (f"{PROXY}:{one.getsockname()[1]}" for one in ours)
        sections = "".join(_section(name, theirs[name], plain, implicit) for name in SERVERS)
        sections += _recipe(theirs[RECIPE], plain)
        descriptors = [one.fileno() for one in theirs.values()]
        ports = {name: one.getsockname()[1] for name, one in theirs.items()}
        async with running(directory, environment=environment, passed=ours, listen=[]) as daemon:
            await daemon.ready()
            async with haproxy(system, sections, inherits=descriptors) as proxy:
                yield Balanced(daemon, proxy, ports, directory / "Maildir")


def _listening() -> socket.socket:
    """Of both families: HAProxy sees clients of IPv4 as ::ffff:192.0.2.1."""
    return socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)


def _section(name: str, listening: socket.socket, plain: str, implicit: str) -> str:
    server = SERVERS[name].format(plain=plain, implicit=implicit)
    lines = (f"bind fd@{listening.fileno()}", LINES.get(name, ""), f"server mx {server}")
    return f"listen {name}\n" + "".join(f"    {line}\n" for line in lines)


def _recipe(listening: socket.socket, plain: str) -> str:
    text = README.read_text().partition("In /etc/haproxy/haproxy.cfg:\n\n")[2]
    section = textwrap.dedent("".join(takewhile(str.strip, text.splitlines(keepends=True))))
    here = {":25\n    mode": f"fd@{listening.fileno()}\n    mode"}
    here |= {f"198.51.100.{number}:25": plain for number in (11, 12)}
    for example, replacement in here.items():
        assert example in section
        section = section.replace(example, replacement)
    return section


async def test_the_client_is_behind_the_proxy(balanced: Balanced) -> None:
    for section in ("version-1", "version-2", "vectors", "asks"):
        client = await (await balanced.connect(section)).to_data()
        assert (await client.deliver())[:3] == "250"
        relayed = ("MAIL FROM:<>", "RCPT TO:<user@elsewhere.example>")
        assert await client.commands(*relayed) == [250, 550]
        assert await client.command("QUIT")
        await client.close()
        assert f"[{CLIENT}]" in balanced.delivered()
        assert await balanced.daemon.logged(f"connected ip={CLIENT}")


async def test_ipv6(balanced: Balanced) -> None:
    for section in ("version-1", "version-2"):
        client = await (await balanced.connect(section, "::1")).to_data()
        assert (await client.deliver())[:3] == "250"
        # It is listed by itself.
        relayed = ("MAIL FROM:<>", "RCPT TO:<user@elsewhere.example>")
        assert await client.commands(*relayed) == [250, 250]
        await client.close()
        assert "[IPv6:::1]" in balanced.delivered()


async def test_tls_passes_through(balanced: Balanced) -> None:
    for section in ("implicit-tls", "implicit-tls-1", "checks-tls", "version-2"):
        if section == "version-2":
            client = await (await balanced.connect(section)).greeted()
            await client.commands("EHLO x")
            await client.start_tls(CONTEXT)
        else:
            client = await (await balanced.connect(section, tls=CONTEXT)).greeted()
        assert await client.commands(*ENVELOPE, "DATA") == [250, 250, 250, 354]
        assert (await client.deliver())[:3] == "250"
        relayed = ("MAIL FROM:<>", "RCPT TO:<user@elsewhere.example>")
        assert await client.commands(*relayed) == [250, 550]
        await client.close()
        message = balanced.delivered()
        assert f"[{CLIENT}]" in message
        assert "with ESMTPS id" in message


async def test_health_checks(balanced: Balanced) -> None:
    for section in ("version-1", "version-2", "vectors", "implicit-tls"):
        await balanced.proxy.checked(f"{section}/mx", "L4OK")
    for section in ("asks", "checks-tls"):
        await balanced.proxy.checked(f"{section}/mx", "L7OK")
    await balanced.daemon.logged("command 'EHLO haproxy.example'")
    await balanced.daemon.logged(f"closed ip={PROXY} commands=2")
    assert not re.search("refused|hung up|fault|error", balanced.daemon.log)


async def test_a_proxy_that_is_not_told_to_send_headers(balanced: Balanced) -> None:
    client = await balanced.connect("no-header")
    client.send(b"EHLO client.example\r\n")
    assert await client.closed()
    await client.close()
    reason = "bad header: does not begin like a header"
    assert await balanced.daemon.logged(f"connection of proxy ip={PROXY} refused: {reason}")


async def test_the_recipe_of_our_documentation(balanced: Balanced) -> None:
    for server in ("mx1", "mx2"):
        await balanced.proxy.checked(f"{RECIPE}/{server}", "L7OK")
    for _ in range(2):
        client = await (await balanced.connect(RECIPE)).to_data()
        assert (await client.deliver())[:3] == "250"
        await client.close()
        assert f"[{CLIENT}]" in balanced.delivered()


async def test_many_at_once(balanced: Balanced) -> None:
    addresses = [f"127.0.1.{number}" for number in range(1, 31)]
    sections = ["version-1", "version-2"] * 15

    async def deliver(address: str, section: str) -> None:
        client = await (await balanced.connect(section, address)).to_data()
        assert (await client.deliver(f"X-Client: {address}\r\n\r\n".encode()))[:3] == "250"
        await client.close()

    await asyncio.gather(*map(deliver, addresses, sections))
    received = [path.read_text() for path in balanced.maildir.glob("new/*")]
    assert len(received) == len(addresses)
    for message in received:
        (address,) = re.findall(r"^X-Client: (.*)$", message, re.MULTILINE)
        assert f"([{address}])" in message


async def test_checks_are_not_teased(system: System) -> None:
    """HAProxy takes a greeting of two lines for a failure; those behind it get one."""
    files = {
        "plugins": ["earlytalker wait 1s teaser", "rcpt_ok", "queue/discard"],
        "proxy_networks": [PROXY],
    }
    with _listening() as listening:
        async with serve(files) as serving:
            section = _section("asks", listening, f"{PROXY}:{serving.port}", "")
            async with haproxy(system, section, inherits=[listening.fileno()]) as proxy:
                await proxy.checked("asks/mx", "L7OK")
                port = listening.getsockname()[1]
                client = await Client.connect("127.0.0.1", port, local_addr=(CLIENT, 0))
                greeting = [line[:4] for line in (await client.reply()).splitlines()]
                assert greeting == ["220-", "220 "]
                assert await client.commands(*ENVELOPE, "DATA") == [250, 250, 250, 354]
                assert (await client.deliver())[:3] == "250"
                await client.close()
