# SPDX-License-Identifier: MIT
"""Mail authentication on the wire: replies, fields of what is delivered, and a DNS that fails."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import DkimVerifier, SpfQuery, check_host, parse_ip
from qpsmtpd.config.loader import load
from qpsmtpd.config.problems import ConfigErrors
from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.mail.headers import Headers
from qpsmtpd.testing import FakeResolver, Records, Serving, dns_failure, serve
from tests.dns_server import DnsServer
from tests.unit.client import Client, catcher, catching
from tests.unit.mailauth.chains import chain_of
from tests.unit.mailauth.signing import (
    BODY,
    FIELDS,
    KEY_NAME,
    MESSAGE,
    ed25519_record,
    rsa_record,
    sign_ed25519,
    signature_of,
)
from tests.unit.plugin.dkimdirectories import add_key, key_text, record_of

TEXT_FAIL = "552 5.7.20 No DKIM signature of this message is valid"
TEXT_TEMPERROR = "452 4.4.3 DKIM key cannot be looked up now, try again later"

HERE = "127.0.0.1"
DNS: Records = {
    ("PTR", HERE): ["client.example"],
    ("A", "client.example"): [HERE],
    ("TXT", "client.example"): ["v=spf1 a -all exp=why.example"],
    ("TXT", "forged.example"): ["v=spf1 -all exp=why.example"],
    ("TXT", "why.example"): ["%{c} is not ours"],
    ("TXT", KEY_NAME): [rsa_record()],
    ("TXT", "ed._domainkey.a.example"): [ed25519_record()],
    ("TXT", "none._domainkey.a.example"): [],
    ("TXT", "silent._domainkey.a.example"): dns_failure(),
}


async def delivered(
    tmp_path: Path, line: str, text: bytes = b"Subject: x\r\n\r\nHello.\r\n"
) -> Headers:
    files = {**catching(tmp_path, line), "reverse_lookup": ["yes"]}
    async with serve(files, dns=DNS) as serving:
        client = await (await Client.connect(serving.host, serving.port)).to_data()
        assert (await client.deliver(text)).startswith("250 ")
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


async def test_the_result_of_a_chain(tmp_path: Path) -> None:
    message = chain_of(2, BODY) + b"\r\n" + BODY
    headers = await delivered(tmp_path, "arc a.example", message)
    assert "arc=pass header.oldest-pass=0" in (headers.get("Authentication-Results") or "")
    headers = await delivered(tmp_path, "arc", message.replace(b"matter", b"motter"))
    results = headers.get("Authentication-Results") or ""
    assert 'arc=fail reason="message signature did not verify"' in results


# --- our own signatures ---------------------------------------------------------------------------

#: Other plugins change what there is to sign, after the line of dkim.
CHANGING = """
from qpsmtpd.api import NoOptions, Plugin, deny


class Changing(Plugin[NoOptions]):
    async def hook_data_post(self, tx):
        tx.message.headers.replace("Subject", "changed")
        tx.add_header("Reply-To", "added@a.example")
        return deny("Odd")

    async def hook_queue_pre(self, tx):
        if "X-Body" in tx.message.headers:
            await tx.message.replace_body(b"Another body  \\r\\n")
"""


@pytest.mark.parametrize("more", [b"", b"X-Body: other\r\n"])
async def test_a_message_is_signed_as_it_is_delivered(tmp_path: Path, more: bytes) -> None:
    (tmp_path / "changing.py").write_text(CHANGING)
    lines = ("relay", "dkim", "rcpt_ok", "changing mode=tag")
    files = {**catching(tmp_path, *lines), "relayclients": [HERE], "me": ["mx.example"]}
    async with serve(files) as serving:
        add_key(serving.directory / "dkim/a.example", "s.private")
        message = b"Subject: x\r\nFrom: u@a.example\r\n" + more + b"\r\nA body\t \r\n..dots\r\n\r\n"
        assert not (await sent(serving, message)).startswith(b"DKIM-Signature: ")
        serving.server.reload(await load([serving.directory], {}, resolver=FakeResolver()))
        delivered = await sent(serving, message)
    header, _, body = delivered.partition(b"\r\n\r\n")
    names = Headers.parse(header + b"\r\n").names()
    assert names[:4] == ["DKIM-Signature", "X-Qpsmtpd-Tag", "Reply-To", "Received"]
    assert b"Subject: changed\r\n" in header
    assert body == (b"Another body  \r\n" if more else b"A body\t \r\n.dots\r\n\r\n")
    for changed, result in ((header, "pass"), (header.replace(b"added@", b"other@"), "fail")):
        verifier = DkimVerifier(changed + b"\r\n", 0.0)
        await verifier.ask(FakeResolver({("TXT", KEY_NAME): [record_of(key_text())]}))
        verifier.update(body)
        assert [each.result for each in verifier.results()] == [result]


async def sent(serving: Serving, message: bytes) -> bytes:
    """What is delivered of a message."""
    client = await (await Client.connect(serving.host, serving.port)).to_data()
    assert (await client.deliver(message)).startswith("250 ")
    await client.close()
    delivered: bytes = catcher(serving).messages[-1]
    return delivered


async def test_a_reload_with_a_bad_key_changes_nothing(tmp_path: Path) -> None:
    async with serve(catching(tmp_path, "dkim")) as serving:
        add_key(serving.directory / "dkim/a.example", "s.private", b"x")
        with pytest.raises(ConfigErrors) as caught:
            await load([serving.directory], {})
        [problem] = caught.value.problems
        assert problem.where == f"{serving.directory}/dkim/a.example/s.private"
        assert problem.text == "dkim: is not a private key (PEM)"


# --- signatures -----------------------------------------------------------------------------------


async def test_the_results_of_signatures(tmp_path: Path) -> None:
    """Above them is a field of ours that a signature would not have covered."""
    signatures = (
        signature_of(changes={"s": "silent"}),
        signature_of(changes={"s": "ed", "c": "simple/simple"}, sign=sign_ed25519),
        signature_of().replace(b"c=relaxed", b"c=simple"),
        signature_of(changes={"s": "none", "d": "A.example"}),
        signature_of(changes={"d": "bank.example;dkim=pass"}),
        signature_of(changes={"d": "bank.example'(x", "a": "rsa-sha1"}),
    )
    forged = b"Authentication-Results: mx.example; dkim=pass header.d=bank.example\r\n"
    headers = await delivered(tmp_path, "dkim", b"".join((forged, *signatures, MESSAGE)))
    results = headers.get_all("Authentication-Results")
    assert len(results) == 1
    found = [result.strip() for result in results[0].split(";") if "dkim" in result]
    said = [re.sub(r"\s+", " ", re.sub(r'"?[\w/+]{8}"?$', "...", result)) for result in found]
    key, of = "header.a=rsa-sha256 header.b=...", "header.d=a.example header.s="
    assert said == [
        f'dkim=temperror reason="key cannot be looked up" {of}silent {key}',
        f"dkim=pass (256-bit key) {of}ed header.a=ed25519-sha256 header.b=...",
        f'dkim=fail (1024-bit key) reason="signature did not verify" {of}s {key}',
        f'dkim=permerror reason="no key" {of}none {key}',
        f'dkim=permerror reason="no key" header.d=bank.example header.s=s {key}',
        'dkim=policy reason="rsa-sha1" header.s=s header.a=rsa-sha1 header.b=...',
    ]


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (signature_of() + MESSAGE, "250 2.0.0 Caught"),
        (MESSAGE, "250 2.0.0 Caught"),
        (signature_of() + FIELDS + b"\r\nx" + BODY, TEXT_FAIL),
        (signature_of(changes={"s": "silent"}) + MESSAGE, TEXT_TEMPERROR),
    ],
)
async def test_refusals_of_signatures(tmp_path: Path, text: bytes, reply: str) -> None:
    """However the message is cut, which must not change what is hashed."""
    files = catching(tmp_path, "dkim reject 1 temperror defer")
    async with serve(files, dns=DNS) as serving:
        for cut in (len(text), text.index(b"\r\n\r\n") + 3, text.index(b"Line") + 5):
            client = await (await Client.connect(serving.host, serving.port)).to_data()
            client.send(text[:cut])
            assert await client.deliver(text[cut:]) == reply
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


@pytest.mark.parametrize(
    ("server", "result"),
    [
        ({}, "pass"),
        ({"silent": True}, "temperror"),
        ({"truncated": {KEY_NAME}}, "pass"),
        ({"tamper": lambda wire: [wire[:-3]]}, "temperror"),
        ({"edns": "refused"}, "pass"),
    ],
)
async def test_name_servers_with_keys(server: dict[str, Any], result: str) -> None:
    """A key has two strings, as most are too long for one."""
    key = rsa_record(f"v=DKIM1; n={'a note ' * 40}; ")
    async with DnsServer({("TXT", KEY_NAME): [key]}, **server) as name_server:
        resolver = DnsResolver([name_server.address], timeout=0.2, lifetime=0.5)
        verifier = DkimVerifier(signature_of() + FIELDS, 0.0)
        try:
            await verifier.ask(resolver.limited())
        finally:
            await resolver.close()
    verifier.update(BODY)
    assert [each.result for each in verifier.results()] == [result]


#: What the DNS has about the sender, the author and the signer of a message, which all pass.
OF_A_MESSAGE: Records = {
    ("TXT", "a.example"): ["v=spf1 ip4:127.0.0.1 -all"],
    ("TXT", KEY_NAME): [rsa_record()],
    ("TXT", "_dmarc.a.example"): ["v=DMARC1; p=reject"],
}
_NAMES = {name for _, name in OF_A_MESSAGE}
PASS = {"spf": "pass", "dkim": "pass", "arc": "pass", "dmarc": "pass"}
#: ARC has no word for it in what others read, and refuses nothing.
UNKNOWN = {"spf": "temperror", "dkim": "temperror", "arc": "fail", "dmarc": "temperror"}


def forged(wire: bytes) -> bytes:
    """By somebody who does not see the question, and can only guess its number."""
    return bytes([wire[0] ^ 1]) + wire[1:]


FAILURES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "none": ({}, PASS),
    "SERVFAIL": ({"records": {name: dns_failure() for name in OF_A_MESSAGE}}, UNKNOWN),
    "silent": ({"silent": True}, UNKNOWN),
    "late": ({"late": True}, UNKNOWN),
    "truncated": ({"truncated": _NAMES}, PASS),
    "truncated and silent": ({"truncated": _NAMES, "silent_tcp": True}, UNKNOWN),
    "forged": ({"tamper": lambda wire: [forged(wire)]}, UNKNOWN),
    "forged and true": ({"tamper": lambda wire: [forged(wire), wire]}, PASS),
    "broken": ({"tamper": lambda wire: [wire[:-3]]}, UNKNOWN),
    "silent about the policy": ({"silent": {"_dmarc.a.example"}}, {**PASS, "dmarc": "temperror"}),
    "silent about the key": ({"silent": {KEY_NAME}}, {**PASS, "dkim": "temperror", "arc": "fail"}),
    "silent about the sender": ({"silent": {"a.example"}}, {**PASS, "spf": "temperror"}),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_dns_that_fails_refuses_nothing(tmp_path: Path, failure: str) -> None:
    """Unless that is asked for: then the message is deferred."""
    server, results = FAILURES[failure]
    async with DnsServer(**{"records": OF_A_MESSAGE, **server}) as name_server:
        resolver = DnsResolver([name_server.address], timeout=0.2, lifetime=0.4)
        try:
            told, reply = await told_of(tmp_path, resolver)
            assert reply == "250 2.0.0 Caught"
            assert dict(re.findall(r"(?<![.\w])(spf|dkim|arc|dmarc)=(\w+)", told)) == results
            _, reply = await told_of(tmp_path, resolver, "temperror defer")
            deferred = results["dmarc"] == "temperror"
            assert reply.startswith("452 4.4.3 " if deferred else "250 ")
            name_server.send_late()
        finally:
            await resolver.close()


async def told_of(tmp_path: Path, resolver: DnsResolver, more: str = "") -> tuple[str, str]:
    """What Authentication-Results says of a message that all vouch for, and the reply to it.

    more: options of dmarc.
    """
    message = signature_of() + chain_of(1, BODY) + b"\r\n" + BODY
    lines = ("sender_permitted_from", "dkim reject 1", "arc", f"dmarc reject 1 {more}")
    async with serve(catching(tmp_path, *lines), dns=resolver) as serving:
        client = await Client.of(serving)
        await client.commands("EHLO client.example", "MAIL FROM:<user@a.example>")
        await client.commands("RCPT TO:<user@example.test>", "DATA")
        reply = await client.deliver(message)
        await client.close()
        delivered = b"".join(catcher(serving).messages)
    headers = Headers.parse(delivered.partition(b"\r\n\r\n")[0] + b"\r\n")
    return headers.get("Authentication-Results") or "", reply


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
