# SPDX-License-Identifier: MIT
"""Programs of others deliver: swaks, curl, nodemailer, and Exim and Postfix as clients.

Each says what it can of STARTTLS, AUTH, SMTPUTF8, DSN, CHUNKING, XCLIENT and LMTP.  curl, swaks,
nodemailer and Postfix have no BDAT, swaks and Debian's curl no DSN.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from qpsmtpd.logins.verifier import make_verifier
from qpsmtpd.testing import Serving, serve
from tests.bench.trees import MAILAUTH, npm_tree
from tests.conformance.postfix_server import postfix_server, postfix_system
from tests.debian_system import RELEASES, System, layer_tar, unpacked
from tests.unit.client import PATIENCE, Client

pytestmark = pytest.mark.real_systems

CLIENTS = ("swaks", "curl", "libnet-ssleay-perl", "exim4-daemon-light")
USER, PASSWORD = "user@example.test", "pass word"
SENDER, UTF8_SENDER = "a@client.example", "größe@client.example"
TEXT = "Subject: test\r\n\r\nHello.\r\n.with a dot\r\n"
STUFFED = TEXT.replace(".with", "..with")

KEEPER = '''
"""Keeps what was delivered, and what was said about it."""

import asyncio

from qpsmtpd.api import NoOptions, Plugin, accept


class Keeper(Plugin[NoOptions]):
    passes_on = frozenset({"DSN", "BINARYMIME"})

    async def start(self):
        self.kept = asyncio.Queue()

    async def hook_queue(self, tx):
        said = {name: value for name, value in tx.mail_parameters.items() if name != "SIZE"}
        wishes = [recipient.parameters for recipient in tx.recipients]
        text = await tx.message.read(1 << 20)
        self.kept.put_nowait((tx.sender, said, wishes, text, tx.session))
        return accept("kept")
'''
EXIM = """\
primary_hostname = client.example
dsn_advertise_hosts = *
smtp_enforce_sync = false
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
all:
  driver = manualroute
  transport = out
  route_list = * 127.0.0.1
  self = send
begin transports
out:
  driver = smtp
  port = PORT
  hosts_require_tls = *
  tls_verify_certificates = /srv/ca.pem
"""
NODEMAILER = """\
const { nodemailer, transport, message } = JSON.parse(process.argv[1]);
require(nodemailer).createTransport(transport).sendMail(message).then(
  (sent) => console.log(sent.response), (error) => { console.error(error); process.exit(1); });
"""


@dataclass
class Kept:
    """One message that has arrived."""

    sender: str
    said: dict[str, str | None]
    wishes: list[dict[str, str | None]]
    text: bytes
    session: Any


@dataclass
class Keeping:
    """A daemon with TLS and a user; it keeps what it is given."""

    serving: Serving
    ca: str

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.serving.port}"

    async def next(self) -> Kept:
        plugin: Any = self.serving.server.snapshot.chain.plugins[-1].plugin
        async with asyncio.timeout(PATIENCE):
            return Kept(*await plugin.kept.get())


@pytest.fixture(scope="module", params=RELEASES)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    with unpacked(layer_tar(request.param, CLIENTS)) as system:
        system.run("mkdir", "-p", "/srv")
        yield system


@asynccontextmanager
async def keeping(directory: Path, **more: str) -> AsyncIterator[Keeping]:
    """The daemon, with further settings."""
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    (directory / "keeper.py").write_text(KEEPER)
    tls = f"tls {directory}/cert.pem {directory}/key.pem"
    files = {
        "plugin_dirs": [str(directory)],
        "plugins": [tls, "auth/auth_flat_file", "rcpt_ok", "keeper"],
        "flat_auth_pw": [f"{USER}:{make_verifier(PASSWORD, iterations=4096)}"],
        "dsn": ["always"],
    }
    async with serve(files | {name: [value] for name, value in more.items()}) as serving:
        yield Keeping(serving, ca.cert_pem.bytes().decode())


async def in_system(system: System, ca: str, *command: str, stdin: str = "") -> str:
    """What a client prints, which trusts this authority in /srv/ca.pem."""
    system.write("/srv/ca.pem", ca)
    system.write("/srv/message", TEXT)
    words = ("env", "LC_ALL=C.UTF-8", *command)
    return await asyncio.to_thread(system.run, *words, stdin=stdin, timeout=PATIENCE)


def is_whole(kept: Kept) -> bool:
    return b"\r\nSubject: test\r\n" in kept.text and b"Hello.\r\n.with a dot\r\n" in kept.text


async def test_swaks(system: System, tmp_path: Path) -> None:
    """STARTTLS, AUTH and pipelining; to whom it may relay shows that the login counts."""
    async with keeping(tmp_path) as keeper:
        await in_system(
            *(system, keeper.ca, "swaks", "--server", keeper.place, "--tls", "--pipeline"),
            *("--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD),
            *("--from", SENDER, "--to", "x@elsewhere.example", "--data", "@/srv/message"),
        )
        kept = await keeper.next()
    assert is_whole(kept)
    assert (kept.sender, kept.session.auth_user) == (SENDER, USER)
    assert kept.session.tls is not None


async def test_swaks_speaks_for_a_client(system: System, tmp_path: Path) -> None:
    async with keeping(tmp_path, xclient_networks="127.0.0.1") as keeper:
        await in_system(
            *(system, keeper.ca, "swaks", "--server", keeper.place, "--from", SENDER, "--to", USER),
            *("--xclient-addr", "192.0.2.7", "--xclient-name", "client.example"),
            *("--xclient-optional", "--data", "@/srv/message"),
        )
        kept = await keeper.next()
    assert kept.session.client.ip == "192.0.2.7"
    assert b"(client.example [192.0.2.7])" in kept.text


async def test_swaks_by_lmtp(system: System, tmp_path: Path) -> None:
    async with keeping(tmp_path) as keeper:
        place = f"127.0.0.1:{keeper.serving.fronts['lmtp']}"
        said = await in_system(
            *(system, keeper.ca, "swaks", "--server", place, "--protocol", "LMTP"),
            *("--from", SENDER, "--to", f"{USER},other@example.test", "--data", "@/srv/message"),
        )
        assert (await keeper.next()).session.lmtp
    assert said.count("250 2.0.0 kept") == 2


@pytest.mark.parametrize("sender", [SENDER, UTF8_SENDER])
async def test_curl(system: System, tmp_path: Path, sender: str) -> None:
    """STARTTLS, AUTH, SIZE, and SMTPUTF8 where it is needed."""
    async with keeping(tmp_path) as keeper:
        await in_system(
            *(system, keeper.ca, "curl", "--silent", "--show-error", "--ssl-reqd"),
            *("--cacert", "/srv/ca.pem", "--user", f"{USER}:{PASSWORD}", "--mail-from", sender),
            *("--mail-rcpt", "x@elsewhere.example", "--upload-file", "/srv/message"),
            f"smtp://{keeper.place}/client.example",
        )
        kept = await keeper.next()
    assert is_whole(kept)
    assert (kept.sender, "SMTPUTF8" in kept.said) == (sender, sender == UTF8_SENDER)
    assert kept.session.auth_user == USER


@pytest.mark.parametrize("sender", [SENDER, UTF8_SENDER])
async def test_nodemailer(tmp_path: Path, sender: str) -> None:
    """STARTTLS, AUTH, DSN, and SMTPUTF8 where it is needed."""
    try:
        with npm_tree(MAILAUTH) as home:
            nodemailer = str(home / "node_modules/nodemailer")
    except RuntimeError as error:
        pytest.skip(str(error))
    async with keeping(tmp_path) as keeper:
        transport = {
            "host": "127.0.0.1",
            "port": keeper.serving.port,
            "requireTLS": True,
            "tls": {"ca": keeper.ca},
            "auth": {"user": USER, "pass": PASSWORD},
        }
        message = {
            "envelope": {
                "from": sender,
                "to": ["x@elsewhere.example"],
                "dsn": {
                    "return": "headers",
                    "id": "QQ+1",
                    "notify": ["success", "delay"],
                    "recipient": "orig@example.test",
                },
            },
            "raw": TEXT,
        }
        asked = {"nodemailer": nodemailer, "transport": transport, "message": message}
        command = ("node", "-e", NODEMAILER, json.dumps(asked))
        said = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert "250 2.0.0 kept" in said.stdout, said.stderr
        kept = await keeper.next()
    assert is_whole(kept)
    assert (kept.sender, "SMTPUTF8" in kept.said) == (sender, sender == UTF8_SENDER)
    assert (kept.said["RET"], kept.said["ENVID"]) == ("HDRS", "QQ+2B1")
    assert kept.wishes == [{"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;orig@example.test"}]
    assert kept.session.auth_user == USER


ENVELOPE_WITH_WISHES = (
    f"MAIL FROM:<{UTF8_SENDER}> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1",
    f"RCPT TO:<{USER}> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;orig@example.test",
)


def has_wishes(kept: Kept) -> bool:
    """Whether all of them have come through another mail system."""
    (wishes,) = kept.wishes
    return (
        (kept.sender, "SMTPUTF8" in kept.said) == (UTF8_SENDER, True)
        and (kept.said["RET"], kept.said["ENVID"]) == ("HDRS", "QQ+2B1")
        and (wishes["NOTIFY"], wishes["ORCPT"]) == ("SUCCESS,DELAY", "rfc822;orig@example.test")
    )


async def test_exim(system: System, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """STARTTLS, SMTPUTF8, DSN and BDAT, from Exim's queue."""
    async with keeping(tmp_path, loglevel="7") as keeper:
        config = EXIM.replace("PORT", str(keeper.serving.port))
        system.write("/etc/exim4/exim4.conf", config)
        lines = ("EHLO localhost", *ENVELOPE_WITH_WISHES, f"DATA\r\n{STUFFED}.", "QUIT")
        dialogue = "".join(f"{line}\r\n" for line in lines)
        with caplog.at_level("DEBUG"):
            await in_system(system, keeper.ca, "exim4", "-bs", "-odf", stdin=dialogue)
            kept = await keeper.next()
    assert is_whole(kept)
    assert has_wishes(kept)
    assert kept.session.tls is not None
    assert "command 'BDAT " in caplog.text


@pytest.mark.parametrize("release", RELEASES)
async def test_postfix(release: str, tmp_path: Path) -> None:
    """STARTTLS, SMTPUTF8 and DSN, from Postfix's queue."""
    with postfix_system(release) as system:
        async with keeping(tmp_path) as keeper:
            settings = {
                "default_transport": "smtp:",
                "local_transport": "smtp:",
                "relayhost": f"[127.0.0.1]:{keeper.serving.port}",
                "mynetworks": "127.0.0.1/32",
                "smtp_tls_security_level": "encrypt",
                "smtpd_peername_lookup": "no",
            }
            settings["smtpd_relay_restrictions"] = "permit_mynetworks, reject"
            settings["mydestination"] = ""
            async with postfix_server(system, settings) as port:
                client = await (await Client.connect("127.0.0.1", port)).greeted()
                lines = ("EHLO client.example", *ENVELOPE_WITH_WISHES, "DATA")
                assert await client.commands(*lines) == [250, 250, 250, 354]
                assert (await client.deliver(STUFFED.encode()))[:3] == "250"
                await client.close()
                kept = await keeper.next()
    assert is_whole(kept)
    assert has_wishes(kept)
    assert kept.session.tls is not None
