# SPDX-License-Identifier: MIT
"""The same dialogues with the Perl version and with ours: no difference but the listed ones.

differences.md lists them, with reasons.  When a test fails, it prints the lines as they would
stand there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from qpsmtpd.config.problems import ConfigErrors
from qpsmtpd.testing import serve
from tests.conformance.cases import CASES
from tests.conformance.delivered import in_maildir
from tests.conformance.dialogue import Case, Dialogue, Noted, hold
from tests.conformance.differences import (
    PERL,
    Difference,
    compared,
    complaints,
    read_differences,
)
from tests.conformance.next_hop import NextHop
from tests.conformance.perl_server import (
    filled_in,
    make_programs_executable,
    perl_server,
    perl_system,
)
from tests.debian_system import System
from tests.dns_server import DnsServer

CASE_TIMEOUT = 120.0  # seconds
END_TIMEOUT = 10.0  # seconds until processes that were killed are gone
STANDARD = {"me": ["mx.example"], "rcpthosts": ["example.test"], "loglevel": ["4"]}

pytestmark = pytest.mark.real_systems


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with perl_system() as system:
        yield system


@dataclass(frozen=True)
class Side:
    """One of the two servers, and where its mail goes."""

    port: int
    mail: Path
    next_hop: NextHop

    async def hold(self, dialogue: Dialogue) -> Noted:
        """Hold a dialogue; everything it caused."""
        noted = await hold(dialogue, self.port)
        return [*noted, *in_maildir(self.mail), *self.next_hop.take()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_as_the_perl_version(case: Case, system: System, tmp_path: Path) -> None:
    async with asyncio.timeout(CASE_TIMEOUT):
        observed = {found async for found in differences_in(case, system, tmp_path)}
    listed = read_differences(PERL.read_text())
    mine = {d: section for d, section in listed.items() if d.dialogue.startswith(f"{case.name}: ")}
    problems = list(complaints(mine, observed))
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


async def differences_in(case: Case, system: System, tmp_path: Path) -> AsyncIterator[Difference]:
    """Hold all dialogues of a case with both servers."""
    try:
        async with both(case, system, tmp_path) as sides:
            for dialogue in case.dialogues:
                results = await asyncio.gather(*(side.hold(dialogue) for side in sides))
                for found in compared(f"{case.name}: {dialogue.name}", *results):
                    yield found
    except ConfigErrors:
        yield Difference(f"{case.name}: start", "start", "runs", "refused")


@asynccontextmanager
async def both(case: Case, system: System, tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    """The Perl version and ours, with the configuration of the case."""
    async with (
        NextHop() as perls,
        NextHop() as our,
        DnsServer(case.dns) as dns,
        perl_server(system, STANDARD | dict(case.files), perls.values, dns.address[1]) as perl,
        serve(_our_files(case, tmp_path, our), dns=case.dns) as server,
    ):
        make_programs_executable(server.directory)
        yield Side(perl.port, perl.mail, perls), Side(server.port, tmp_path / "mail", our)


def _our_files(case: Case, tmp_path: Path, next_hop: NextHop) -> dict[str, list[str]]:
    values = {"@MAIL@": str(tmp_path / "mail"), "@CONFIG@": "{directory}", **next_hop.values}
    files = STANDARD | dict(case.files)
    return {name: filled_in(lines, values).splitlines() for name, lines in files.items()}


async def test_the_perl_version_leaves_no_process(system: System) -> None:
    files = STANDARD | {"plugins": ["rcpt_ok"]}
    async with DnsServer() as dns, perl_server(system, files, {}, dns.address[1]) as perl:
        await hold(Dialogue("greeting"), perl.port)
        assert processes_in(system)
    async with asyncio.timeout(END_TIMEOUT):
        while processes_in(system):
            await asyncio.sleep(0.01)


def processes_in(system: System) -> list[str]:
    """The processes whose root directory is that of this system."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "root").readlink() == system.root:
                found.append(process.name)
    return found
