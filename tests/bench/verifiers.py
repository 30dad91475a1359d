# SPDX-License-Identifier: MIT
"""What it costs to check SPF, DKIM and DMARC: ours, dkimpy and pyspf, and mailauth, in one run.

    python -m tests.bench.verifiers [seconds]

Each checks the messages of the benchmark (signed.py) within its process, with the DNS in memory,
for so many seconds of CPU time; printed is the median of three rounds, in which all but mailauth
take turns.  A result that is not "pass" is an error.  mailauth comes from npm, and is left out when
it cannot be had or does not run with this node.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dkim
import spf

from qpsmtpd.api import (
    DkimVerifier,
    DmarcEvaluation,
    DmarcIdentifier,
    SpfQuery,
    check_host,
    parse_ip,
    read_author,
)
from qpsmtpd.dns.methods import ResolverMethods
from qpsmtpd.plugin.services import DnsAnswer, RecordType
from tests.bench.addresses import NAMED, source_address
from tests.bench.cases import KB, MB
from tests.bench.servers import PEERS
from tests.bench.signed import AUTHOR, DOMAIN, signed_message, texts
from tests.bench.trees import MAILAUTH, npm_tree

SECONDS, ROUNDS = 0.3, 3
CLIENT, HELLO = source_address(0, NAMED), "client.example.org"
BLOCK = 64 * KB  # octets that the daemon reads at a time, at most
MAILAUTH_PATIENCE = 300.0  # seconds

#: Does it once; the results.
Check = Callable[[], Awaitable[Sequence[str]]]
#: By what is checked.
Checks = dict[str, Check]


def messages() -> dict[str, bytes]:
    """The messages, by what is checked of them."""
    wanted = {
        "DKIM, 4 KB": (4 * KB, 1),
        "DKIM, 4 KB, 5 signatures": (4 * KB, 5),
        "DKIM, 1 MB": (MB, 1),
    }
    return {
        what: signed_message(size, signatures).removesuffix(b".\r\n")
        for what, (size, signatures) in wanted.items()
    }


# --- those that are compared ----------------------------------------------------------------


class InMemory(ResolverMethods):
    """Knows the texts of signed.py at once, as our resolver knows what is in its cache."""

    def __init__(self) -> None:
        self._answers = {name: DnsAnswer((text,), True) for name, text in texts().items()}

    def recall(self, kind: RecordType, name: str) -> DnsAnswer:
        answer = self._answers.get(name)
        return answer if answer and kind == "TXT" else DnsAnswer((), answer is not None)

    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
        return self.recall(kind, name)

    async def exists(self, name: str) -> bool:
        return name in self._answers


def ours() -> Checks:
    """As the plugins do it."""
    resolver = InMemory()
    client = parse_ip(CLIENT)
    assert client is not None
    query = SpfQuery(client, DOMAIN, AUTHOR.partition("@")[0], hello=HELLO)

    async def check_spf() -> Sequence[str]:
        return [(await check_host(query, resolver.limited())).result]

    async def check_dmarc() -> Sequence[str]:
        evaluation = DmarcEvaluation(read_author(header).domain, resolver.limited())
        await evaluation.discover()
        found = [DmarcIdentifier(method, DOMAIN) for method in ("spf", "dkim")]
        return [(await evaluation.result(found)).result]

    def dkim_check(message: bytes) -> Check:
        header, _, body = message.partition(b"\r\n\r\n")
        blocks = [body[at : at + BLOCK] for at in range(0, len(body), BLOCK)]

        async def check() -> Sequence[str]:
            verifier = DkimVerifier(header + b"\r\n", time.time())
            await verifier.ask(resolver.limited())
            for block in blocks:
                verifier.update(block)
            return [each.result for each in verifier.results()]

        return check

    wanted = messages()
    header = next(iter(wanted.values())).partition(b"\r\n\r\n")[0] + b"\r\n"
    signatures = {what: dkim_check(message) for what, message in wanted.items()}
    return {"SPF": check_spf, "DMARC": check_dmarc, **signatures}


def dkimpy_and_pyspf() -> Checks:
    """The libraries of Debian's milters; neither knows DMARC."""
    known = {name: text.encode() for name, text in texts().items()}

    def look_up(name: str, kind: str, *_: object, **__: object) -> list[Any]:
        text = known.get(name.rstrip("."))
        return [((name, kind), (text,))] if text and kind == "TXT" else []

    def key(name: bytes | str, timeout: float = 0) -> bytes | None:
        return known.get((name if isinstance(name, str) else name.decode()).rstrip("."))

    spf.DNSLookup = look_up

    async def check_spf() -> Sequence[str]:
        return [spf.check2(i=CLIENT, s=AUTHOR, h=HELLO, receiver="mx.example.test")[0]]

    def dkim_check(message: bytes) -> Check:
        async def check() -> Sequence[str]:
            verifier = dkim.DKIM(message)
            count = message.count(b"DKIM-Signature:")
            return [_verified(verifier, number, key) for number in range(count)]

        return check

    return {"SPF": check_spf, **{what: dkim_check(each) for what, each in messages().items()}}


def _verified(verifier: dkim.DKIM, number: int, key: Callable[..., bytes | None]) -> str:
    try:
        return "pass" if verifier.verify(idx=number, dnsfunc=key) else "fail"
    except dkim.DKIMException as error:
        return f"fail: {error}"


def mailauth(seconds: float) -> dict[str, float]:
    """In a process of node.  Raises RuntimeError."""
    given = {
        "texts": texts(),
        "messages": {what: message.decode() for what, message in messages().items()},
        "sender": AUTHOR,
        "client": CLIENT,
        "hello": HELLO,
        "domain": DOMAIN,
        "seconds": seconds,
        "rounds": ROUNDS,
    }
    with npm_tree(MAILAUTH) as home:
        costs = _of_node(home, json.dumps(given))
    return {what: statistics.median(each) for what, each in costs.items()}


def _of_node(home: Path, given: str) -> Mapping[str, Sequence[float]]:
    command = ("node", str(PEERS / "mailauth/checks.js"), str(home))
    try:
        done = subprocess.run(
            command,
            input=given.encode(),
            capture_output=True,
            timeout=MAILAUTH_PATIENCE,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise RuntimeError(error.stderr.decode(errors="replace").strip()) from None
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(str(error)) from None
    found: Mapping[str, Sequence[float]] = json.loads(done.stdout)
    return found


# --- measuring ------------------------------------------------------------------------------


async def microseconds(check: Check, seconds: float) -> float:
    """CPU time of one check.  Raises ValueError when it does not pass."""
    number, spent = 0, 0.0
    started = time.process_time()
    while spent < seconds:
        results = await check()
        if set(results) != {"pass"}:
            raise ValueError(f"the results are {results}")
        number += 1
        spent = time.process_time() - started
    return spent / number * 1e6


async def in_turns(programs: Mapping[str, Checks], seconds: float) -> dict[tuple[str, str], float]:
    """The medians, by program and what it checks."""
    costs: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for program, checks in programs.items():
            for what, check in checks.items():
                cost = await microseconds(check, seconds)
                costs.setdefault((program, what), []).append(cost)
    return {key: statistics.median(found) for key, found in costs.items()}


def rows(costs: Mapping[tuple[str, str], float]) -> Iterator[str]:
    """A line for each of what is checked, with a column for each program."""
    programs = list(dict.fromkeys(program for program, _ in costs))
    yield f"{'us':26} " + " ".join(f"{program:>16}" for program in programs)
    for what in dict.fromkeys(what for _, what in costs):
        found = (costs.get((program, what)) for program in programs)
        yield f"{what:26} " + " ".join(
            f"{'-' if cost is None else f'{cost:.0f}':>16}" for cost in found
        )


def main(seconds: float = SECONDS) -> None:
    """Measure and print."""
    programs = {"ours": ours(), "dkimpy and pyspf": dkimpy_and_pyspf()}
    costs = asyncio.run(in_turns(programs, seconds))
    try:
        costs.update({("mailauth", what): cost for what, cost in mailauth(seconds).items()})
    except RuntimeError as error:
        print(f"mailauth is left out: {error}", file=sys.stderr)
    print(*rows(costs), sep="\n")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
