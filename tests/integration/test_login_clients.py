# SPDX-License-Identifier: MIT
"""Programs of others log in: gsasl, swaks, curl, and Python's smtplib.

Without --no-cb, gsasl 2.2 gives up by itself where it could bind the channel and is not to.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from qpsmtpd.logins.verifier import make_verifier
from qpsmtpd.testing import Serving, serve
from tests.debian_system import RELEASES, System, layer_tar, unpacked
from tests.unit.plugins.auth.test_auth_oauth import USER, a_server, secret

pytestmark = pytest.mark.real_systems

CLIENTS = ("gsasl", "curl", "libnet-ssleay-perl", "swaks")

PASSWORD = "pässwörd, {1}="
ASCII_USER = "ascii@example.org"
TLS_1_2 = "--priority=NORMAL:-VERS-TLS1.3"


@pytest.fixture(scope="module", params=RELEASES)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A Debian with clients."""
    with unpacked(layer_tar(request.param, CLIENTS)) as system:
        system.run("mkdir", "-p", "/srv")
        yield system


@asynccontextmanager
async def a_daemon(system: System, tmp_path: Path, *plugins: str) -> AsyncIterator[Serving]:
    """A daemon with TLS, and a certificate that the clients of this system trust."""
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    ca.cert_pem.write_to_path(str(system.root / "srv/ca.pem"))
    tls = f"tls {tmp_path}/cert.pem {tmp_path}/key.pem"
    files = {
        "plugins": [tls, *plugins, "rcpt_ok", "queue/discard"],
        "flat_auth_pw": [
            f"{user}:{make_verifier(password, iterations=4096)}"
            for user, password in ((USER, PASSWORD), (ASCII_USER, "ascii"))
        ],
        "auth_failure_pause": ["0"],
        "max_auth_failures_from_ip": ["0"],
    }
    async with serve(files) as serving:
        yield serving


async def run(system: System, *command: str) -> tuple[int, str]:
    """The exit status of a client, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *system.command("env", "LC_ALL=C.UTF-8", *command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode("utf-8", "replace")


async def gsasl(
    system: System, serving: Serving, mechanism: str, *more: str, password: str = PASSWORD
) -> tuple[int, str]:
    command = (
        *("gsasl", "--client", "--smtp", f"--connect=127.0.0.1:{serving.port}"),
        *("--starttls", "--x509-ca-file=/srv/ca.pem", f"--mechanism={mechanism}"),
        *(f"--authentication-id={USER}", f"--password={password}", "--verbose", *more),
    )
    return await run(system, *command)


@pytest.mark.parametrize(
    ("mechanism", "more"),
    [
        ("PLAIN", ()),
        ("LOGIN", ()),
        ("SCRAM-SHA-256", ("--no-cb",)),
        ("SCRAM-SHA-256", ("--no-cb", TLS_1_2)),
        ("SCRAM-SHA-256-PLUS", (TLS_1_2,)),
    ],
)
async def test_gsasl(system: System, tmp_path: Path, mechanism: str, more: tuple[str, ...]) -> None:
    async with a_daemon(system, tmp_path, "auth/auth_flat_file") as serving:
        status, said = await gsasl(system, serving, mechanism, *more)
        assert (status, "235 2.7.0" in said) == (0, True), said
        status, said = await gsasl(system, serving, mechanism, *more, password="wrong")
        assert (status != 0, "535 5.7.8" in said) == (True, True), said


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize("token", ["good", "bad"])
async def test_curl(
    system: System,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    mechanism: str,
    token: str,
) -> None:
    """Some curls hang up when they are told why a token is refused: that is logged as well."""
    async with a_server() as server:
        line = f"auth/auth_oauth {server.url} client_id us secret_file {secret(tmp_path)}"
        async with a_daemon(system, tmp_path, f"{line} xoauth2 on") as serving:
            command = (
                *("curl", "--verbose", "--ssl-reqd", "--cacert", "/srv/ca.pem", "--user", USER),
                *("--login-options", f"AUTH={mechanism}", "--oauth2-bearer", token),
                f"smtp://127.0.0.1:{serving.port}",
            )
            with caplog.at_level("INFO"):
                _, said = await run(system, *command)
    assert server.asked == [token]
    assert ("235 2.7.0" if token == "good" else "curl: (67) Login denied") in said, said
    assert caplog.text.count("reply=535") == (token == "bad")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_swaks(system: System, tmp_path: Path, mechanism: str) -> None:
    async with a_daemon(system, tmp_path, "auth/auth_flat_file") as serving:
        command = (
            *("swaks", "--server", f"127.0.0.1:{serving.port}", "--tls", "--quit-after", "AUTH"),
            *("--auth", mechanism, "--auth-user", USER, "--to", USER, "--auth-password"),
        )
        status, said = await run(system, *command, PASSWORD)
        assert (status, "235 2.7.0" in said) == (0, True), said
        status, said = await run(system, *command, "wrong")
        assert (status != 0, "535 5.7.8" in said) == (True, True), said


async def test_smtplib(system: System, tmp_path: Path) -> None:
    def log_in(port: int, password: str) -> int:
        context = ssl.create_default_context(cafile=str(system.root / "srv/ca.pem"))
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.starttls(context=context)
            return client.login(ASCII_USER, password)[0]

    async with a_daemon(system, tmp_path, "auth/auth_flat_file") as serving:
        assert await asyncio.to_thread(log_in, serving.port, "ascii") == 235
        with pytest.raises(smtplib.SMTPAuthenticationError):
            await asyncio.to_thread(log_in, serving.port, "wrong")
