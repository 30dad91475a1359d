# SPDX-License-Identifier: MIT
"""A daemon with several workers that plays thousands of dialogues, and what must hold for it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from qpsmtpd.testing import Records
from tests.dns_server import DnsServer
from tests.fuzz import recorder
from tests.fuzz.dialogues import PASSWORD, USER, dialogue
from tests.fuzz.talking import Delivered, Outcome, Ports, judge, play
from tests.unit.client import PATIENCE
from tests.unit.daemon_process import Daemon, configure, running

WORKERS = 2
#: Seconds of CPU that the loop may be held, whatever a client sends.
MOST_HELD = 0.05
_FOR_EVER = 1e9
#: Descriptors that a worker opens when the store is first needed: SQLite's three files.
OPENED_LATER = 3
#: Dialogues at the same time.
AT_ONCE = 24
#: What no log may have: a fault of ours, or of Python's.
_FAULT = re.compile(
    r"Traceback|\bfault\b|: error: |Exception|never retrieved|Warning:|Error:|CRITICAL"
)

#: Every plugin that can do its work here; those that hand over are replaced by the recorder, and
#: a few are left out: authdeny refuses all logins, and random_error is no respecter of seeds.
ALL = """
logging/connection_id
logging/transaction_id
logging/file loglevel 7 {directory}/log
logging/adaptive accept 6 reject 3
logging/devnull
hosts_allow
loadcheck max_load 10000
earlytalker wait 0s teaser check-at CONNECT check-at DATA
connection_time
relay
tls {directory}/cert.pem {directory}/key.pem
whitelist
dns_whitelist_soft
dnsbl
rhsbl
auth/auth_flat_file
count_unrecognized_commands 4
noop_counter 6
help
helo policy lenient reject naughty
tarpit delay 0.01 session 0.1
parse_addr_withhelo
badmailfrom
badmailfromto
badrcptto
resolvable_fromhost
rate_limit messages_per_client 1000/1h recipients_per_client 1000/1h connections_per_client 1000/1h
user_config {directory}/users/%a
rcpt_regexp
rcpt_map domain mapped.test file {directory}/mapped
aiosmtpd handled:Handler filter
naughty
loop
bogus_bounce log
headers
uribl check_headers yes
content_log
rcpt_ok
quit_fortune
recorder
"""
FEW = """
tls {directory}/cert.pem {directory}/key.pem
auth/auth_flat_file
dont_require_anglebrackets
rcpt_ok
recorder
"""
#: What each is played with besides: connections are scarce, and nobody is forgiven; or all are.
SETTINGS = {
    ALL: {"max_connections": "30", "stress_percent": "20", "barelf": "close"},
    FEW: {"forbid_unauth_pipelining": "0"},
}
HANDLER = """
class Handler:
    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return responses

    async def handle_RCPT(self, server, session, envelope, address, options):
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        return "250 OK" if envelope.content else "554 nothing"
"""
#: Half of the clients may speak for others (`Dialogue.address`).
_SPEAKERS = "\n".join(f"127.{a}.{b}.128/25" for a in range(1, 9) for b in range(256))
#: Who has which address, and what is on which list.
RECORDS: Records = {
    ("A", "client.example"): ["127.0.0.1"],
    ("MX", "client.example"): [(10, "client.example")],
    ("A", "xn--bcher-kva.example"): ["127.0.0.1"],
}


@dataclass
class Report:
    """What came of a number of dialogues."""

    dialogues: int = 0
    replies: int = 0
    accepted: int = 0
    problems: list[str] = field(default_factory=list)
    held: float = 0.0  # seconds of CPU, the longest turn of the loop of any worker
    cpu_seconds: float = 0.0
    descriptors: tuple[int, int] = (0, 0)  # of all workers, before and after
    memory: list[int] = field(default_factory=list)  # of all workers, in bytes, in the course

    def __str__(self) -> str:
        shown = self.memory[:: max(1, len(self.memory) // 8)]
        mebibytes = ", ".join(f"{octets / 2**20:.0f}" for octets in shown)
        return (
            f"{self.dialogues} dialogues, {self.replies} replies, {self.accepted} messages,"
            f" {len(self.problems)} problems; {self.cpu_seconds:.1f} s of CPU, loop held at most"
            f" {self.held * 1000:.1f} ms; descriptors {self.descriptors[0]} -> "
            f"{self.descriptors[1]}; memory {mebibytes} MiB"
        )


#: Dialogues after which everything is looked at.
LAP = 2000


async def fuzz(
    directory: Path, plugins: str, loop: str, *, seed: int, first: int, number: int
) -> Report:
    """Play so many dialogues, from `first` on."""
    report = Report()
    async with _daemon(directory, plugins, loop) as (daemon, ports, context, log):
        # What is made for the first clients stays.
        await _play_all(range(first, first + AT_ONCE), seed, ports, context)
        before = await _descriptors(daemon)
        most = before + OPENED_LATER * WORKERS
        report.memory.append(_memory(daemon))
        for begin in range(first, first + number, LAP):
            (directory / recorder.RECORDED).write_text("")
            numbers = range(begin, min(begin + LAP, first + number))
            outcomes = await _play_all(numbers, seed, ports, context)
            report.descriptors = before, await _descriptors(daemon, most)
            _judge(report, outcomes, _recorded(directory))
            report.memory.append(_memory(daemon))
            log.look()
        report.cpu_seconds = sum(map(_cpu_seconds, daemon.children()))
    log.look()
    if report.descriptors[1] > most:
        report.problems.append(f"descriptors stay open: {report.descriptors}")
    report.held = recorder.held_in(directory)
    report.problems += [f"in the log: {line}" for line in log.faults]
    left = [int(path.read_text()) for path in directory.glob("left-*")]
    if len(left) < WORKERS or any(left):
        report.problems.append(f"connections are left behind, in each process: {left}")
    return report


def _judge(
    report: Report, outcomes: Iterable[Outcome], recorded: dict[str, list[Delivered]]
) -> None:
    for outcome in outcomes:
        found = recorded.pop(outcome.dialogue.address, [])
        report.dialogues += 1
        report.replies += len(outcome.ledger.replies)
        report.accepted += len(found)
        for problem in judge(outcome, found):
            seed, number = outcome.dialogue.seed, outcome.dialogue.number
            report.problems.append(f"SEED={seed} FIRST={number} DIALOGUES=1: {problem}")
    report.problems += [f"{address}: nobody sent this" for address in recorded]


async def _play_all(
    numbers: Iterable[int], seed: int, ports: Ports, context: ssl.SSLContext
) -> list[Outcome]:
    waiting = iter(numbers)
    outcomes: list[Outcome] = []

    async def one_after_the_other() -> None:
        for number in waiting:
            outcomes.append(await play(dialogue(seed, number), ports, context))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_the_other())
    return outcomes


@asynccontextmanager
async def _daemon(
    directory: Path, plugins: str, loop: str
) -> AsyncIterator[tuple[Daemon, Ports, ssl.SSLContext, Log]]:
    context = _prepare(directory, plugins)
    log = Log(directory / "log")
    async with DnsServer(RECORDS) as dns:
        host, port = dns.address
        environment = {
            "QPSMTPD_RESOLVER": f"{host}:{port}",
            "QPSMTPD_EVENT_LOOP": loop,
            "LISTEN_FDNAMES": "smtp:lmtp",
            "PYTHONWARNINGS": "default::RuntimeWarning",
        }
        with _listening() as smtp, _listening() as lmtp:
            ports = Ports(smtp.getsockname()[1], lmtp.getsockname()[1])
            async with running(
                directory,
                environment=environment,
                passed=[smtp, lmtp],
                patience=_FOR_EVER,
                listen=[],
                workers=WORKERS,
                debug=False,
            ) as daemon:
                reading = asyncio.create_task(log.read(daemon))
                try:
                    async with asyncio.timeout(PATIENCE):
                        await daemon.ready()
                except TimeoutError:
                    raise AssertionError(f"does not start: {log.faults}") from None
                yield daemon, ports, context, log
                daemon.process.terminate()
                await reading
                await daemon.process.wait()


def _listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=4096)


class Log:
    """What the daemon logs: to stderr, and with its plugin into a file.  Only faults are kept."""

    def __init__(self, file: Path) -> None:
        self.faults: list[str] = []
        self._file = file

    async def read(self, daemon: Daemon) -> None:
        """Read stderr: a pipe that nobody reads would stop the daemon."""
        assert daemon.process.stderr is not None
        while line := await daemon.process.stderr.readline():
            self._note(line.decode("utf-8", "replace").rstrip())

    def look(self) -> None:
        """Read the file, and empty it: the daemon appends to it."""
        if self._file.exists():
            for line in self._file.read_text("utf-8", "replace").splitlines():
                self._note(line)
            os.truncate(self._file, 0)

    def _note(self, line: str) -> None:
        # What clients said stands in quotes.
        if len(self.faults) < 20 and _FAULT.search(re.sub(r"'[^']*'|\"[^\"]*\"", "", line)):
            self.faults.append(line)


def _prepare(directory: Path, plugins: str) -> ssl.SSLContext:
    """Write the configuration; what clients need to trust its certificate."""
    shutil.copy(recorder.__file__, directory / "recorder.py")
    (directory / "handled.py").write_text(HANDLER)
    (directory / "mapped").write_text("user@mapped.test OK\n")
    (directory / "users").mkdir(exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert("mx.example")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    files = {
        "plugins": plugins.format(directory=directory),
        "plugin_dirs": str(directory),
        "rcpthosts": "example.test\nmapped.test",
        "flat_auth_pw": f"{USER}:{PASSWORD}",
        "auth_failure_pause": "0.1",
        "store": f"{directory}/store.sqlite",
        "loglevel": "6",
        "size_threshold": "65536",
        "databytes": "1000000",
        "content_log_file": str(directory / "content"),
        "dnsbl_zones": "bl.test",
        "rhsbl_zones": "rhsbl.test",
        "whitelist_zones": "wl.test",
        "uribl_zones": "uribl.test 2 deny",
        "badmailfrom": "bad@example.com not you\n/^bad.*@/ nor you",
        "badmailfromto": "a@client.example former@example.test",
        "badrcptto": "bad@example.test not here",
        "rcpt_regexp": "/^nobody@/ DENY nobody there",
        "badhelo": "^localhost$",
        "dsn": "always",
        "xclient_networks": _SPEAKERS,
        "xforward_networks": _SPEAKERS,
    }
    configure(directory, files | SETTINGS[plugins])
    (directory / "flat_auth_pw").chmod(0o600)
    context = ssl.create_default_context()
    context.check_hostname = False
    authority.configure_trust(context)
    return context


def _recorded(directory: Path) -> dict[str, list[Delivered]]:
    """What was handed over, by the address of the client, in the order of its arrival."""
    found: dict[str, list[Delivered]] = defaultdict(list)
    for line in (directory / recorder.RECORDED).read_text().splitlines():
        record = json.loads(line)
        octets = record["octets"].encode("latin-1")
        delivered = Delivered(record["address"], tuple(record["recipients"]), octets)
        found[delivered.address].append(delivered)
    return found


async def _descriptors(daemon: Daemon, enough: int = 1 << 30) -> int:
    """Open descriptors of all workers, once no client is left; the least of several looks.

    enough: if there are more, some may just be about to be closed.
    """
    least = 1 << 30
    for _ in range(100):
        now = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in daemon.children())
        if least <= min(now, enough):
            return least
        least = min(least, now)
        await asyncio.sleep(0.2)
    return least


def _memory(daemon: Daemon) -> int:
    """Octets in memory that no other process shares, of all workers."""
    total = 0
    for pid in daemon.children():
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += sum(
            int(text.partition(f"\n{name}:")[2].split()[0]) * 1024
            for name in ("Private_Clean", "Private_Dirty")
        )
    return total


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
