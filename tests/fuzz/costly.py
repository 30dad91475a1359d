# SPDX-License-Identifier: MIT
"""Mail that is made to cost much, and what checking its sender costs a real daemon.

    python -m tests.fuzz.costly

Each message goes to a daemon that checks SPF, DKIM, DMARC and ARC, and to one that does not; what
the first one needs more is the cost of the checks.  The recorder tells for how long the loop was
held.  Both are CPU time; a cost that something else on the machine made longer is measured again.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from qpsmtpd.mailauth.dkim import MAX_SIGNATURES
from qpsmtpd.testing import Records
from tests.dns_server import DnsServer
from tests.fuzz import recorder
from tests.fuzz.laboratory import MOST_HELD, Log
from tests.unit.daemon_process import Daemon, configure, running
from tests.unit.mailauth.chains import chain_of
from tests.unit.mailauth.signing import FIELDS, FROM, KEY_NAME, MESSAGE, rsa_record, signature_of

#: Seconds of CPU that the checks may take for any message: four times what the worst one takes on
#: a quiet machine (25 MB of blanks and tabs).
MOST_COST = 1.0
#: How often each message is sent: the kernel counts in hundredths of a second.
TIMES = 3
#: How often a cost above the bound is measured: whatever disturbs a measurement makes it longer.
_ATTEMPTS = 4

KB = 1024
MB = 1024 * KB
#: The largest message that most servers take.
WHOLE = 25 * MB
#: No line may be longer.
LINE = 65_000

_FOR_EVER = 1e9

SENDER = "user@a.example"
_CHECKS = ("sender_permitted_from", "dkim", "arc a.example", "dmarc")
#: The recorder only watches the loop.
_CHAIN = ("rcpt_ok", "queue/discard", "recorder")
_FILES = {
    "databytes": str(2 * WHOLE),
    # More than the defaults, so that the checks get to see all of it.
    "max_header_size": str(2 * MB),
    "max_headers": "5000",
    "reverse_lookup": "no",
    "loglevel": "6",
}


@dataclass(frozen=True)
class Case:
    """A message, its sender, and what the DNS has beside OWN."""

    name: str
    message: bytes
    sender: str = SENDER
    dns: Records = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What the checks of a message cost, in seconds of CPU.

    held: the longest that the loop was held by this case or any before it.
    faults: what of the log looks like one.
    """

    name: str
    more: float
    held: float
    faults: Sequence[str]

    @property
    def problems(self) -> list[str]:
        """Where a bound is exceeded."""
        found = [f"{self.name}: {fault}" for fault in self.faults]
        if self.more > MOST_COST:
            found.append(f"{self.name}: costs {self.more:.2f} s")
        if self.held > MOST_HELD:
            found.append(f"{self.name}: the loop was held for {self.held * 1000:.0f} ms")
        return found

    def __str__(self) -> str:
        more, held = self.more * 1000, self.held * 1000
        return f"{self.name:44} {more:5.0f} ms more, loop held so far {held:4.1f} ms at most"


# --- bodies and signatures ----------------------------------------------------------------------

_BOTH_FORMS = signature_of() + signature_of(changes={"c": "simple/simple", "l": "99"})
_BEGUN = b"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s; bh=AAAA; "


def _body(unit: bytes) -> bytes:
    return _BOTH_FORMS + FIELDS + b"\r\n" + unit * (WHOLE // len(unit))


def _header(*fields: bytes) -> bytes:
    return b"".join(each + b"\r\n" for each in fields) + _BOTH_FORMS + MESSAGE


def _signed_by(selectors: int) -> bytes:
    """By so many keys of their own."""
    signatures = (signature_of(changes={"s": f"s{number}"}) for number in range(selectors))
    return b"".join(signatures) + MESSAGE


def _keys(text: str) -> Records:
    names = (f"s{number}._domainkey.a.example" for number in range(MAX_SIGNATURES))
    return {("TXT", name): [text] for name in names}


def _covering() -> bytes:
    """Ten signatures, each of which covers a long field and 200 names."""
    names = "from:subject" + ":x" * 198
    long = b"Subject: " + b"x y\r\n " * 40_000 + b"z\r\n"
    message = long + FROM + b"\r\nx\r\n"
    signature = signature_of(message, {"h": names})
    return signature * MAX_SIGNATURES + message


# --- the DNS ------------------------------------------------------------------------------------


def _spf(*records: str, **more: list[str]) -> Records:
    """Records of the sender's domain, and of names below it."""
    others: Records = {("TXT", f"{name}.a.example"): data for name, data in more.items()}
    return {("TXT", "a.example"): list(records), **others}


def _tree() -> Records:
    """Each record includes ten others."""
    names = ["a.example"]
    for _ in range(12):
        names.append(f"0.{names[-1]}")
    return {
        ("TXT", name): ["v=spf1 " + " ".join(f"?include:{n}.{name}" for n in range(10))]
        for name in names
    }


def _exchangers() -> Records:
    """Ninety hosts, none of which is the client."""
    hosts = {n: [f"h{n}{host}.a.example" for host in range(10)] for n in range(9)}
    return {
        **_spf("v=spf1 " + "".join(f"mx:m{n}.a.example " for n in hosts) + "-all"),
        **{("MX", f"m{n}.a.example"): [(1, host) for host in each] for n, each in hosts.items()},
        **{("A", host): ["192.0.2.1"] for each in hosts.values() for host in each},
    }


def _dmarc(*records: str) -> Records:
    return {("TXT", "_dmarc.a.example"): list(records)}


def _author(address: str) -> bytes:
    return f"From: <{address}>\r\nSubject: x\r\n\r\nx\r\n".encode()


#: What the DNS has for all cases.
OWN: Records = {
    ("TXT", KEY_NAME): [rsa_record()],
    ("TXT", "a.example"): ["v=spf1 -all"],
    ("TXT", "_dmarc.a.example"): ["v=DMARC1; p=none"],
}
_DEEP = ".".join(["a"] * 118 + ["example"])


def cases() -> list[Case]:
    """All of them."""
    odd = "".join(f"%{{{letter}}}" for letter in "SLODIVHslodivhp" * 4)
    return [
        Case("25 MB, lines of 65,000 blanks", _body(b" " * LINE + b"x\r\n")),
        Case("25 MB, lines of blanks and tabs", _body(b" \t" * (LINE // 2) + b"\r\n")),
        Case("25 MB of empty lines", _body(b"\r\n")),
        Case("25 MB, lines that end with a blank", _body(b"x \r\n")),
        Case("25 MB of text", _body(b"Some words, with blanks between them, as in all text.\r\n")),
        Case("60 KB of blanks in b=", _header(_BEGUN + b"h=from; b=A" + b" " * 60_000 + b"!")),
        Case("180 KB of folds in b=", _header(_BEGUN + b"h=from; b=A" + b"\r\n " * 60_000 + b"!")),
        Case("60 KB of names in h=", _header(_BEGUN + b"b=AAAA; h=from" + b":to" * 20_000)),
        Case("64 KB of tags", _header(_BEGUN + b"h=from" + b";a=b" * 16_000)),
        Case("1000 signatures", signature_of() * 1000 + MESSAGE),
        Case("10 signatures that cover 240 KB each", _covering()),
        Case("4000 fields", _header(*(b"X-Field: x y" for _ in range(4000)))),
        Case("1000 fields Authentication-Results", _header(*[b"Authentication-Results: x"] * 1000)),
        Case("10 keys of 60 KB", _signed_by(10), dns=_keys("v=DKIM1; p=" + "A" * 60_000)),
        Case("10 keys of 60 KB, of tags", _signed_by(10), dns=_keys("v=DKIM1" + ";a=b" * 15_000)),
        Case("10 keys that are not ASCII", _signed_by(10), dns=_keys("v=DKIM1; n=é; p=AAAA")),
        Case("SPF: a tree that fans out", MESSAGE, dns=_tree()),
        Case("SPF: 90 hosts", MESSAGE, dns=_exchangers()),
        Case("SPF: 60 KB of networks", MESSAGE, dns=_spf("v=spf1" + " ip4:10.1.2.3" * 4500)),
        Case("SPF: 60 KB of macros", MESSAGE, dns=_spf(f"v=spf1 exists:{'%{S}' * 15_000}.b.test")),
        Case(
            "SPF: names of 60 macros",
            MESSAGE,
            '"a..b \\" @ c"@a.example',
            _spf("v=spf1" + f" exists:{odd}.b.example" * 9 + " -all exp=%{l}.a.example"),
        ),
        Case(
            "SPF: an explanation of 60 KB",
            MESSAGE,
            dns=_spf("v=spf1 -all exp=why.a.example", why=["%{S}" * 15_000]),
        ),
        Case("DMARC: a walk of 120 labels", _author(f"u@{_DEEP}")),
        Case("DMARC: 60 KB", MESSAGE, dns=_dmarc("v=DMARC1" + ";p=x" * 15_000)),
        Case(
            "DMARC: 20 records", MESSAGE, dns=_dmarc(*(f"v=DMARC1; n={n:02000}" for n in range(20)))
        ),
        Case("From: 60 KB of comments", b"From: " + b"(" * 60_000 + b"\r\n" + MESSAGE),
        Case("From: 60 KB of addresses", b"From: " + b"<a@a.example>," * 4_500 + b"\r\n\r\nx\r\n"),
        Case("1000 fields From", FROM * 1000 + b"\r\nx\r\n"),
        Case("ARC: 50 sets", chain_of(50) + b"\r\n"),
        Case("ARC: 1000 sets", chain_of(50) * 20 + b"\r\n"),
    ]


# --- measuring ----------------------------------------------------------------------------------


async def costs(directory: Path, wanted: Sequence[Case]) -> AsyncIterator[Cost]:
    """The cost of each, as soon as it is known.

    No answer of the DNS is remembered: each message meets a server that knows nothing of it.
    """
    async with (
        DnsServer(ttl=0, negative_ttl=0) as dns,
        _server(directory / "checking", (*_CHECKS, *_CHAIN), dns) as checking,
        _server(directory / "other", _CHAIN, dns) as other,
    ):
        for case in wanted:
            dns.records = {**OWN, **case.dns}
            more = await _least_cost(case, checking, other)
            yield Cost(case.name, more, checking.held(), checking.log.faults)


async def _least_cost(case: Case, checking: _Server, other: _Server) -> float:
    """Seconds of CPU that `checking` needs more: the first within the bound, or else the least."""
    costs = []
    for _ in range(_ATTEMPTS):
        costs.append(await checking.cost(case) - await other.cost(case))
        if costs[-1] <= MOST_COST:
            break
    return min(costs)


class _Server:
    """A daemon, and what it tells."""

    def __init__(self, directory: Path, daemon: Daemon, port: int) -> None:
        self.log = Log(directory / "log")
        self._directory = directory
        self._daemon = daemon
        self._port = port

    async def cost(self, case: Case) -> float:
        """Seconds of CPU for a message."""
        before = self._daemon.cpu_seconds()
        for _ in range(TIMES):
            await self._send(case)
        return (self._daemon.cpu_seconds() - before) / TIMES

    async def _send(self, case: Case) -> None:
        """Whatever the reply is, the checks are over then."""
        client = await self._daemon.client(self._port)
        await client.command("EHLO client.example")
        replies = [await client.command(f"MAIL FROM:<{case.sender}>")]
        replies += [await client.command(line) for line in ("RCPT TO:<user@example.test>", "DATA")]
        assert [reply[:3] for reply in replies] == ["250", "250", "354"], replies
        reply = await client.deliver(case.message)
        assert reply[:3] in ("250", "550"), (case.name, reply)
        await client.close()

    def held(self) -> float:
        """The longest that the loop was held, in seconds of CPU."""
        return recorder.held_in(self._directory)


@asynccontextmanager
async def _server(
    directory: Path, plugins: Sequence[str], dns: DnsServer
) -> AsyncIterator[_Server]:
    directory.mkdir()
    shutil.copy(recorder.__file__, directory / "recorder.py")
    files = {**_FILES, "plugins": plugins, "plugin_dirs": str(directory)}
    host, port = dns.address
    environment = {"QPSMTPD_RESOLVER": f"{host}:{port}"}
    configure(directory, files)
    async with running(directory, environment=environment, patience=_FOR_EVER) as daemon:
        server = _Server(directory, daemon, await daemon.port())
        reading = asyncio.create_task(server.log.read(daemon))
        yield server
        daemon.process.terminate()
        await reading


def main() -> int:
    """The exit status: 0 if nothing costs too much."""
    return asyncio.run(_main())


async def _main() -> int:
    problems = []
    with tempfile.TemporaryDirectory(prefix="qpsmtpd-costly-") as name:
        async for cost in costs(Path(name), cases()):
            print(cost, flush=True)
            problems += cost.problems
    print(*problems, sep="\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
