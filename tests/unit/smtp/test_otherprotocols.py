# SPDX-License-Identifier: MIT
"""Other protocols end the connection at their first line; mistakes in SMTP do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.api import NoOptions, Plugin, accept, defer
from qpsmtpd.smtp.commands import COMMANDS
from qpsmtpd.smtp.otherprotocols import protocol_of
from qpsmtpd.testing import a_session, serve
from tests.unit.client import Client, catching, on_both_loops
from tests.unit.fakewire import ENVELOPE, MESSAGE, Catcher, a_plugin_with, always, talk

CLOSED = "521 5.5.1 This is an SMTP server, closing connection"

OTHERS = {
    "GET / HTTP/1.1": "HTTP or SIP",
    "get": "HTTP or SIP",
    "POST http://localhost:25/ HTTP/1.0": "HTTP or SIP",
    "CONNECT mx.example:25 HTTP/1.1": "HTTP or SIP",
    "PRI * HTTP/2.0": "HTTP or SIP",
    "FLY /high HTTP/1.1": "HTTP or SIP",
    "INVITE sip:bob@mx.example SIP/2.0": "HTTP or SIP",
    "OPTIONS sip:nm SIP/2.0": "HTTP or SIP",
    "DESCRIBE rtsp://x RTSP/1.0": "HTTP or SIP",
    "HTTP/1.1 200 OK": "HTTP",
    "SSH-2.0-OpenSSH_10.0": "SSH",
    "RFB 003.008": "RFB",
    "Host: localhost:25": "header field",
    "Content-Length: 99": "header field",
    "X-Forwarded-For:192.0.2.1": "header field",
    "Subject: hello": "header field",
    "mail:from:<a@b.example>": "header field",
    "USER joe": "POP3, FTP or IRC",
    "NICK joe": "IRC",
    "CAPA": "POP3",
    "a001 CAPABILITY": "IMAP",
    "1 LOGIN joe secret": "IMAP",
    "<?xml version='1.0'?>": "unknown protocol",
    "<stream:stream>": "unknown protocol",
    '{"id": 1}': "unknown protocol",
    "$4": "unknown protocol",
    "*1": "unknown protocol",
    "--boundary": "unknown protocol",
    "\x16\x03\x01\x02": "TLS",
    "\udc80\x2e\x01\x03\x01": "TLS",
    "\x03\0\0\x13\x0e": "RDP",
    "\0\0\0\x54": "binary",
}
MISTAKES = [
    "",
    " ",
    "\t",
    " MAIL FROM:<>",
    ".",
    "*",
    "FLY high",
    "MAILFROM <a@b.example>",
    "XCLIENT NAME=x",
    "XFORWARD ADDR=192.0.2.1",
    "PROXY TCP4 192.0.2.8 198.51.100.25 40000 25",
    "AUTHPLAIN AHg=",
    "c2VjcmV0",
    "1234",
    "+abc/w==",
    "/abc",
    "\x1b[A",
    "\b\b",
    "caf\xe9",
    "\udcff\udcfe",
]


@pytest.mark.parametrize(("line", "protocol"), OTHERS.items())
def test_other_protocols(line: str, protocol: str) -> None:
    assert protocol_of(line) == protocol


@pytest.mark.parametrize("line", [*MISTAKES, *COMMANDS])
def test_mistakes(line: str) -> None:
    assert protocol_of(line) == ""


@pytest.mark.parametrize("line", OTHERS)
@pytest.mark.parametrize("hello", [b"", b"EHLO x\r\n"])
async def test_the_first_line_ends_the_connection(
    line: str, hello: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    catcher = Catcher()
    session = a_session(relay_client=True)
    octets = line.encode("utf-8", "surrogateescape")
    script = hello + octets + b"\r\n" + ENVELOPE + b"DATA\r\n", MESSAGE
    wire = await talk(*script, plugins=(catcher,), session=session)
    assert wire.replies[-1] == CLOSED
    assert len(wire.replies) == (3 if hello else 2)
    assert catcher.messages == []
    assert f"refused ip=192.0.2.1 helo={'x' if hello else ''!r} about='{OTHERS[line]}'" in (
        caplog.text
    )
    assert "secret" not in caplog.text


@pytest.mark.parametrize("line", MISTAKES)
async def test_mistakes_are_forgiven(line: str) -> None:
    octets = line.encode("utf-8", "surrogateescape")
    assert (await talk(octets + b"\r\nNOOP\r\n")).codes == [220, 500, 250]


async def test_a_plugin_may_know_the_command() -> None:
    plugin = a_plugin_with(unrecognized_command=always(accept("Got it")))
    wire = await talk(b"GET stuff\r\nUSER joe\r\nNOOP\r\n", plugins=(plugin,))
    assert wire.codes == [220, 250, 250, 250]


@pytest.mark.parametrize("verdict", [None, defer(), defer(disconnect=True)])
async def test_a_plugin_that_refuses_does_not_keep_it(verdict: object) -> None:
    plugin: Plugin[NoOptions] = a_plugin_with(unrecognized_command=always(verdict))
    wire = await talk(b"GET / HTTP/1.1\r\nNOOP\r\n", plugins=(plugin,))
    assert wire.codes == [220, 521]


@on_both_loops
async def test_what_never_becomes_a_line_is_not_waited_for(tmp_path: Path) -> None:
    async with serve(catching(tmp_path)) as serving:
        client = await Client.of(serving)
        client.send(b"\x16\x03\x01\x02\0\x01")
        assert await client.reply() == CLOSED
        assert await client.closed()
        await client.close()
