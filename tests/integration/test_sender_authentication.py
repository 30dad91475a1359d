# SPDX-License-Identifier: MIT
"""Mail authentication on the wire: replies, fields of what is delivered, and a DNS that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import SpfQuery, check_host, parse_ip
from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.mail.headers import Headers
from qpsmtpd.testing import Records, dns_failure, serve
from tests.dns_server import DnsServer
from tests.unit.client import Client, catcher, catching

HERE = "127.0.0.1"
DNS: Records = {
    ("PTR", HERE): ["client.example"],
    ("A", "client.example"): [HERE],
    ("TXT", "client.example"): ["v=spf1 a -all exp=why.example"],
    ("TXT", "forged.example"): ["v=spf1 -all exp=why.example"],
    ("TXT", "why.example"): ["%{c} is not ours"],
}


async def delivered(tmp_path: Path, line: str) -> Headers:
    files = {**catching(tmp_path, line), "reverse_lookup": ["yes"]}
    async with serve(files, dns=DNS) as serving:
        client = await (await Client.connect(serving.host, serving.port)).to_data()
        assert (await client.deliver()).startswith("250 ")
        await client.close()
        [message] = catcher(serving).messages
        return Headers.parse(message.partition(b"\r\n\r\n")[0] + b"\r\n")


async def test_the_results_are_delivered(tmp_path: Path) -> None:
    headers = await delivered(tmp_path, "sender_permitted_from received_spf yes")
    assert headers.names() == ["Received-SPF", "Received", "Authentication-Results", "Subject"]
    assert headers.get("Authentication-Results") == (
        "mx.example;\tauth=none;\tiprev=pass policy.iprev=127.0.0.1;"
        "\tspf=pass smtp.mailfrom=client.example"
    )


async def test_a_refusal(tmp_path: Path) -> None:
    files = catching(tmp_path, "sender_permitted_from reject 3")
    async with serve(files, dns=DNS) as serving:
        client = await Client.of(serving)
        await client.command("EHLO client.example")
        assert await client.command("MAIL FROM:<a@forged.example>") == (
            "550-5.7.23 The sender's domain does not let this client send its mail\n"
            "550 5.7.23 The domain explains: 127.0.0.1 is not ours"
        )
        assert (await client.command("MAIL FROM:<a@client.example>")).startswith("250 ")
        await client.close()


# --- a DNS that fails, with our resolver ----------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "result"),
    [
        ({}, "pass"),
        ({"silent": True}, "temperror"),
        ({"silent": {"include.example"}}, "temperror"),
        ({"silent": {"unasked.example"}}, "pass"),
        ({"truncated": {"include.example"}}, "pass"),
        ({"tamper": lambda wire: [wire[:-3]]}, "temperror"),
        ({"edns": "refused"}, "pass"),
    ],
)
async def test_name_servers(server: dict[str, Any], result: str) -> None:
    records: Records = {
        ("TXT", "a.example"): ["v=spf1 include:include.example a:unasked.example -all"],
        ("TXT", "include.example"): ["v=spf1 ip4:192.0.2.1"],
    }
    assert await asked(records, **server) == result


@pytest.mark.parametrize("failing", [("TXT", "a.example"), ("A", "host.example")])
async def test_a_server_failure(failing: tuple[str, str]) -> None:
    records: Records = {
        ("TXT", "a.example"): ["v=spf1 a:host.example -all"],
        ("A", "host.example"): ["192.0.2.1"],
    }
    assert await asked(records) == "pass"
    assert await asked({**records, failing: dns_failure()}) == "temperror"


async def asked(records: Records, **server: Any) -> str:
    async with DnsServer(records, **server) as name_server:
        resolver = DnsResolver([name_server.address], timeout=0.2, lifetime=0.5)
        try:
            query = SpfQuery(parse_ip("192.0.2.1"), "a.example")
            return (await check_host(query, resolver.limited())).result
        finally:
            await resolver.close()
