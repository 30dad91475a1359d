# SPDX-License-Identifier: MIT
"""Every *.smtp script here, against our own server, on asyncio's event loop and on uvloop.

In the `config:` lines of a script @TMP@ stands for an empty directory, @HERE@ for this one, @CERT@
and @KEY@ for a certificate of mx.example.  Beside NAME.smtp, NAME.delivered is the message that the
Maildir @TMP@/Maildir must then hold, below the headers we add.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trustme

from qpsmtpd.dialogue.player import Script, load, parse, run
from qpsmtpd.plugin import options
from qpsmtpd.testing import Records
from tests.unit.client import uvloop_factory

HERE = Path(__file__).parent
SCRIPTS = sorted(HERE.glob("*.smtp"))
#: What opens a connection to a host and a port.
Opener = Callable[..., Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
#: Those about the message itself, to one recipient.
MESSAGES = [
    path for kind in ("smuggling", "message") for path in sorted(HERE.glob(f"{kind}_*.smtp"))
]
#: Those about extensions of SMTP, and the commands that have parameters of theirs.
EXTENSIONS = [
    path
    for kind in ("chunks", "dsn", "ehlo", "expn", "lmtp", "mail", "rcpt", "xclient", "xforward")
    for path in sorted(HERE.glob(f"{kind}_*.smtp")) + sorted(HERE.glob(f"{kind}.smtp"))
]
LONGEST = 60.0

#: What the DNS knows; no other name exists.
RECORDS: Records = {
    ("A", "spam.example.uribl.example"): ["127.0.0.2"],
    ("TXT", "spam.example.uribl.example"): ["see https://uribl.example/"],
    ("A", "7.2.0.192.bl.example"): ["127.0.0.2"],
    ("TXT", "7.2.0.192.bl.example"): ["see https://bl.example/"],
    ("A", "8.2.0.192.bl.example"): ["127.0.0.2"],
    ("A", "8.2.0.192.wl.example"): ["127.0.5.1"],
}

#: Plugins that judge clients, recipients, logins and messages.  Those that judge senders have
#: their dialogues in test_forgeries.py and tests/conformance.
FILTERS = {
    *("greylisting", "karma", "fcrdns", "dnsbl", "dns_whitelist_soft", "uribl"),
    *("ident/geoip", "ident/p0f", "spamassassin", "rspamd", "dspam", "bogus_bounce", "headers"),
    *("virus/clamdscan", "virus/clamav", "virus/command", "virus/klez_filter", "milter"),
    *("qmail_deliverable", "http_config", "rcpt_ldap", "rcpt_sql", "rcpt_socketmap"),
    *("auth/auth_flat_file", "auth/auth_checkpassword", "auth/auth_imap", "auth/auth_ldap_bind"),
    *("auth/auth_vpopmaild", "auth/auth_cvm_unix_local", "auth/auth_dovecot", "auth/auth_pam"),
    *("auth/auth_vpopmail", "auth/auth_vpopmail_sql"),
    "auth/auth_oauth",
}


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return uvloop_factory() if request.param == "uvloop" else asyncio.new_event_loop


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scripts have time-outs of less than a second."""
    monkeypatch.setattr(options, "check_value", lambda *_: None)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate chain of mx.example and its key, as files."""
    folder = tmp_path_factory.mktemp("certificate")
    issued = trustme.CA().issue_cert("mx.example")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "key.pem").chmod(0o640)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(folder / "cert.pem"), append=True)
    return folder / "cert.pem", folder / "key.pem"


def filled_in(script: Script, tmp: Path, certificate: tuple[Path, Path]) -> dict[str, list[str]]:
    """The configuration of a script with its placeholders replaced."""
    values = {"@TMP@": tmp, "@HERE@": HERE, "@CERT@": certificate[0], "@KEY@": certificate[1]}

    def fill_in(line: str) -> str:
        for placeholder, value in values.items():
            line = line.replace(placeholder, str(value))
        return line

    return {name: [fill_in(line) for line in lines] for name, lines in script.config.items()}


class OneByOne(asyncio.StreamWriter):
    """Sends octets one by one, each in a turn of the event loop."""

    _waiting = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._waiting += bytes(data)

    async def drain(self) -> None:
        octets, self._waiting = self._waiting, b""
        for place in range(len(octets)):
            super().write(octets[place : place + 1])
            await super().drain()
            await asyncio.sleep(0)


async def connect_slowly(host: str, port: int) -> tuple[asyncio.StreamReader, OneByOne]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, host, port)
    return reader, OneByOne(transport, protocol, reader, loop)


async def hold_server_to(
    script: Script, config: dict[str, list[str]], connect: Opener = asyncio.open_connection
) -> None:
    from qpsmtpd.testing import serve

    async with asyncio.timeout(LONGEST), serve(config, dns=RECORDS) as server:
        port = server.tls_port if script.implicit_tls else server.port
        port = server.fronts["lmtp"] if script.lmtp else port
        await run(script, lambda: connect(server.host, port))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_dialogue(
    path: Path,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    tmp_path: Path,
    certificate: tuple[Path, Path],
) -> None:
    script = load(path)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(hold_server_to(script, filled_in(script, tmp_path, certificate)))
    wanted = path.with_suffix(".delivered")
    if wanted.exists():
        (delivered,) = (tmp_path / "Maildir" / "new").iterdir()
        text = delivered.read_bytes().replace(b"\r\n", b"\n")
        assert text.endswith(b"\n" + wanted.read_bytes())


@pytest.mark.parametrize("path", EXTENSIONS, ids=lambda path: path.stem)
def test_in_single_octets(path: Path, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """Where what a client sends is cut does not matter."""
    script = load(path)
    config = filled_in(script, tmp_path, certificate)
    asyncio.run(hold_server_to(script, config, connect_slowly))


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_over_lmtp(path: Path, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """What ends a message, and what may be in it, is the same there."""
    text = path.read_text().replace("EHLO", "LHLO").replace(" ESMTP ", " LMTP ")
    script = parse(text, str(path))
    assert script.lmtp
    asyncio.run(hold_server_to(script, filled_in(script, tmp_path, certificate)))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_says_what_it_proves(path: Path) -> None:
    script = load(path)
    assert script.summary
    assert script.steps
    assert set(script.config) >= {"plugins"}


def test_every_filter_has_a_script() -> None:
    lines = [line for path in SCRIPTS for line in load(path).config.get("plugins", [])]
    assert {line.split()[0].partition(":")[0] for line in lines} >= FILTERS
