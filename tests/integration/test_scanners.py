# SPDX-License-Identifier: MIT
"""Real scanners: each passes a good message, refuses a bad one, and may die while mail flows."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import SPAM_RESULTS, Decision, Plugin, Transaction, Verdict
from qpsmtpd.plugins.rspamd import Rspamd
from qpsmtpd.plugins.spamassassin import Spamassassin
from qpsmtpd.plugins.virus.clamav import Clamav
from qpsmtpd.plugins.virus.clamdscan import Clamdscan
from qpsmtpd.testing import FakeSystem, a_plugin, a_session, a_transaction, findings_of
from tests.integration.test_store_outage import ENVELOPE, connected, serving
from tests.scanner_servers import (
    EICAR,
    GTUBE,
    RealScanner,
    real_clamd,
    real_rspamd,
    real_spamd,
)
from tests.unit.daemon_process import configure
from tests.unit.scripts import a_script

pytestmark = pytest.mark.real_systems

HEADER = (
    "From: a@client.example\nTo: user@example.test\nSubject: test\n"
    "Message-ID: <1@client.example>\nDate: Fri, 11 Jul 2025 21:00:37 -0700\n"
)
GOOD = f"{HEADER}\nHello.\n"
SPAM = f"{HEADER}\n{GTUBE}\n"
VIRUS = (
    f"{HEADER}MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
    "--b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"
    f"{base64.b64encode(EICAR.encode()).decode()}\n--b--\n"
)

#: Seconds that a scanner has for a message: much more than it needs, even on a busy machine.
TIMEOUT = 20
SENDERS = 4
#: Seconds for all that happens to one scanner.
PATIENCE = 900


@pytest.fixture(scope="module")
def spamd() -> Iterator[RealScanner]:
    with real_spamd() as scanner:
        yield scanner


@pytest.fixture(scope="module")
def clamd() -> Iterator[RealScanner]:
    with real_clamd() as scanner:
        yield scanner


@pytest.fixture(scope="module")
def rspamd() -> Iterator[RealScanner]:
    with real_rspamd() as scanner:
        yield scanner


async def judged(plugin: Plugin[Any], message: str) -> tuple[Verdict | None, Transaction]:
    session = a_session(ehlo="client.example", client_name="client.example")
    tx = a_transaction("a@client.example", "user@example.test", message=message, session=session)
    verdict = await plugin.hook_data_post(tx)
    tx.put_fields_on_top()
    return verdict, tx


def fields(tx: Transaction) -> dict[str, str]:
    assert tx.message is not None
    return {field.name: field.value for field in tx.message.headers.fields()}


async def is_well(plugin: Plugin[Any]) -> bool:
    [finding] = await findings_of(plugin, FakeSystem(Path("/")))
    return finding.severity.name == "OK"


# --- one message ---


async def test_spamassassin(spamd: RealScanner) -> None:
    line = f"spamd_socket {spamd.place} reject 100 munge_subject_threshold 10"
    plugin = await a_plugin(Spamassassin, line)
    verdict, tx = await judged(plugin, f"X-Spam-Flag: NO\nX-Spam-Foo: x\n{GOOD}")
    assert verdict is None
    found = fields(tx)
    assert found["X-Spam-Status"].startswith("No, ")
    assert (found["X-Old-Spam-Flag"], found["X-Old-Spam-Foo"]) == ("NO", "x")
    assert found["Subject"] == "test"
    verdict, tx = await judged(plugin, SPAM)
    assert verdict is not None
    assert verdict.decision is Decision.DENY
    assert fields(tx)["X-Spam-Flag"] == "YES"
    assert fields(tx)["Subject"] == "*** SPAM *** test"
    assert "GTUBE" in tx.notes[SPAM_RESULTS][0].tests
    assert await is_well(plugin)


async def test_clamdscan(clamd: RealScanner, caplog: pytest.LogCaptureFixture) -> None:
    plugin = await a_plugin(Clamdscan, f"clamd_socket {clamd.place} max_size 10M")
    verdict, tx = await judged(plugin, GOOD)
    assert verdict is None
    assert fields(tx)["X-Virus-Found"] == "No"
    verdict, _ = await judged(plugin, VIRUS)
    assert verdict is not None
    assert verdict.decision is Decision.DENY
    assert verdict.text == "Virus found: Eicar-Test-Signature.UNOFFICIAL"
    # More than its StreamMaxLength.
    verdict, tx = await judged(plugin, GOOD + "x" * 3_000_000)
    assert verdict is None
    assert "StreamMaxLength" in caplog.text
    assert await is_well(plugin)


@pytest.mark.parametrize("program", ["clamscan", "clamdscan"])
async def test_clamav(clamd: RealScanner, tmp_path: Path, program: str) -> None:
    options = {
        "clamscan": "--database=/srv/signatures",
        "clamdscan": "--config-file=/srv/clamd.conf",
    }
    # It is in another system; and without its usual configuration.
    words = " ".join(f"'{word}'" for word in clamd.system.command(f"/usr/bin/{program}"))
    script = a_script(tmp_path / program, f'exec {words} {options[program]} "$@"')
    plugin = await a_plugin(Clamav, script)
    verdict, _ = await judged(plugin, GOOD)
    assert verdict is None
    verdict, _ = await judged(plugin, VIRUS)
    assert verdict is not None
    assert verdict.text == "Virus found: Eicar-Test-Signature.UNOFFICIAL"


@pytest.mark.parametrize(
    ("wanted", "decision", "marked"),
    [
        ("", None, False),
        ("no action", None, False),
        ("greylist", None, False),
        ("add header", None, True),
        ("rewrite subject", None, True),
        ("soft reject", Decision.DEFER, False),
        ("reject", Decision.DENY, True),
    ],
)
async def test_rspamd(
    rspamd: RealScanner, wanted: str, decision: Decision | None, marked: bool
) -> None:
    plugin = await a_plugin(Rspamd, f"{rspamd.place} words yes")
    want = f"X-Want: {wanted}\n" if wanted else ""
    verdict, tx = await judged(plugin, f"X-Remove: 1\n{want}{GOOD}")
    assert (verdict and verdict.decision) == decision
    assert verdict is None or verdict.text == "as you like it"
    found = fields(tx)
    assert "X-Remove" not in found
    assert found["X-Known"] == "192.0.2.1 client.example  user@example.test"
    assert found["X-Folded"] == "one\ttwo"
    assert ("X-Spam" in found) == marked
    assert found["Subject"] == ("*** SPAM *** test" if wanted == "rewrite subject" else "test")
    assert await is_well(plugin)


async def test_rspamd_and_gtube(rspamd: RealScanner) -> None:
    plugin = await a_plugin(Rspamd, rspamd.place)
    verdict, _ = await judged(plugin, SPAM)
    assert verdict is not None
    assert verdict.decision is Decision.DENY


# --- mail that flows ---


class Traffic:
    """Clients that send good and bad messages, and what they were told."""

    def __init__(self, bad: str) -> None:
        self._bad = bad
        self.told: Counter[str] = Counter()
        self.stopped = False
        self._more = asyncio.Condition()

    async def send(self, port: int, kind: str) -> None:
        text = (GOOD if kind == "good" else self._bad).replace("\n", "\r\n").encode()
        while not self.stopped:
            async with connected(port) as client:
                for line in ENVELOPE:
                    await client.command(line)
                reply = await client.deliver(text)
            async with self._more:
                self.told[f"{kind} {reply[:3]}"] += 1
                self._more.notify_all()

    async def flows(self, *kinds: str, messages: int = 3) -> None:
        """Wait until so many more messages of each kind were answered so."""
        wanted = {kind: self.told[kind] + messages for kind in kinds}
        async with self._more:
            await self._more.wait_for(
                lambda: all(self.told[kind] >= count for kind, count in wanted.items())
            )


@contextlib.asynccontextmanager
async def traffic(port: int, bad: str) -> AsyncIterator[Traffic]:
    flow = Traffic(bad)
    async with asyncio.TaskGroup() as group:
        kinds = ["good"] * SENDERS + ["bad"]
        for kind in kinds:
            group.create_task(flow.send(port, kind))
        yield flow
        flow.stopped = True


Real = Callable[[], AbstractContextManager[RealScanner]]


@pytest.mark.parametrize(
    ("loop", "real", "line", "bad"),
    [
        ("uvloop", real_spamd, "spamassassin reject 100 spamd_socket=", SPAM),
        ("uvloop", real_clamd, "virus/clamdscan clamd_socket=", VIRUS),
        ("asyncio", real_clamd, "virus/clamdscan clamd_socket=", VIRUS),
        ("asyncio", real_rspamd, "rspamd server=", SPAM),
    ],
    ids=["spamd", "clamd-uvloop", "clamd-asyncio", "rspamd"],
)
async def test_it_comes_and_goes_while_mail_flows(
    loop: str, real: Real, line: str, bad: str, tmp_path: Path
) -> None:
    """Whatever happens to it, good mail is accepted or deferred, and bad mail never accepted."""
    with real() as scanner:
        plugins = [f"{line}{scanner.place} timeout={TIMEOUT}", "rcpt_ok"]
        delivered = tmp_path / "delivered"
        files = {"plugins": [*plugins, f"queue/maildir {delivered}"], "max_from_ip": "0"}
        configure(tmp_path, files)
        async with serving(tmp_path, loop, patience=PATIENCE) as (daemon, port):
            async with traffic(port, bad) as flow:
                await flow.flows("good 250", "bad 552")
                scanner.kill()
                await daemon.logged("scanner down")
                await flow.flows("good 451", "bad 451")
                await asyncio.to_thread(scanner.start)
                await daemon.logged("scanner up again")
                await flow.flows("good 250", "bad 552")
                scanner.pause()
                await daemon.logged("scanner down")
                await flow.flows("good 451", "bad 451")
                scanner.resume()
                await daemon.logged("scanner up again")
                await flow.flows("good 250", "bad 552")
            daemon.signal(signal.SIGTERM)
            assert await daemon.ended() == 0
    assert set(flow.told) == {"good 250", "good 451", "bad 552", "bad 451"}
    # On a busy machine it may have been too slow once more.
    about_it = re.findall("scanner (down|up)", daemon.log)
    assert about_it == ["down", "up"] * (len(about_it) // 2)
    assert 4 <= len(about_it) <= 12
    assert "Traceback" not in daemon.log
    assert len(list((delivered / "new").iterdir())) == flow.told["good 250"]


async def test_mail_passes_unscanned_if_it_is_to(tmp_path: Path) -> None:
    with real_clamd() as scanner:
        line = f"virus/clamdscan on_error=pass clamd_socket={scanner.place}"
        files = {"plugins": [line, "rcpt_ok", "queue/discard"], "max_from_ip": "0"}
        configure(tmp_path, files)
        async with (
            serving(tmp_path, patience=PATIENCE) as (daemon, port),
            traffic(port, VIRUS) as flow,
        ):
            await flow.flows("good 250", "bad 552")
            scanner.kill()
            await daemon.logged("scanner down")
            await flow.flows("good 250", "bad 250")
            await asyncio.to_thread(scanner.start)
            await daemon.logged("scanner up again")
            await flow.flows("good 250", "bad 552")
    assert set(flow.told) == {"good 250", "bad 250", "bad 552"}
