# SPDX-License-Identifier: MIT
"""virus/clamdscan: what becomes of a message, whatever clamd says or does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import VIRUS_RESULTS, ConfigError, Decision, Transaction, Verdict, VirusResult
from qpsmtpd.plugin.options import parse
from qpsmtpd.plugins.virus.clamdscan import SOCKET, Clamdscan, ClamdscanOptions
from qpsmtpd.testing import FakeSystem, a_plugin, a_session, a_transaction, findings_of
from tests.unit.scanners.fake import (
    NONSENSE,
    SILENT,
    Answer,
    Early,
    FakeScanner,
    fake_scanner,
)
from tests.unit.scanners.test_clamd import clamd_request

CLEAN = b"stream: OK\0"
VIRUS = b"stream: Eicar-Test-Signature FOUND\0"
MESSAGE = "X-Virus-Found: No, honestly\nFrom: a@b.example\n\nHello.\n"


async def run(
    answer: Answer, line: str = "", *, message: str = MESSAGE, mode: str = "enforce", **more: Any
) -> tuple[Verdict | None, Transaction, FakeScanner]:
    """What a message leads to if clamd answers so."""
    tx = a_transaction(message=message, session=a_session(**more))
    async with fake_scanner(clamd_request, answer) as scanner:
        plugin = await a_plugin(Clamdscan, f"clamd_socket {scanner.place} {line}")
        plugin.mode = mode  # type: ignore[assignment]
        await plugin.start()
        verdict = await plugin.hook_data_post(tx)
    return verdict, tx, scanner


def fields(tx: Transaction) -> dict[str, str]:
    assert tx.message is not None
    tx.put_fields_on_top()
    return {
        field.name: field.value
        for field in tx.message.headers.fields()
        if field.name.startswith("X-")
    }


async def test_a_good_message() -> None:
    verdict, tx, _ = await run(CLEAN)
    assert verdict is None
    assert fields(tx) == {
        "X-Virus-Found": "No",
        "X-Virus-Checked": "by ClamAV on mx.example",
        "X-Old-Virus-Found": "No, honestly",
    }
    assert tx.notes[VIRUS_RESULTS] == (VirusResult("clamdscan", ""),)
    assert tx.session.karma == 0


async def test_a_virus() -> None:
    verdict, tx, _ = await run(VIRUS)
    assert verdict is not None
    assert (verdict.decision, verdict.status) == (Decision.DENY, "5.7.1")
    assert verdict.text == "Virus found: Eicar-Test-Signature"
    assert tx.notes[VIRUS_RESULTS] == (VirusResult("clamdscan", "Eicar-Test-Signature"),)
    assert tx.session.karma == -1


async def test_a_virus_that_is_only_marked() -> None:
    verdict, tx, _ = await run(VIRUS, "deny_viruses no")
    assert verdict is None
    assert fields(tx)["X-Virus-Found"] == "Yes"
    assert fields(tx)["X-Virus-Details"] == "Eicar-Test-Signature"


async def test_shadow_changes_nothing() -> None:
    verdict, tx, _ = await run(VIRUS, mode="shadow")
    assert verdict is not None
    assert fields(tx) == {"X-Virus-Found": "No, honestly"}


@pytest.mark.parametrize("option", ["on_error defer", "on_error pass", "defer_on_error 0"])
@pytest.mark.parametrize("answer", NONSENSE)
async def test_nonsense_is_no_verdict(answer: Answer, option: str) -> None:
    # It waits for an answer that ends with NUL.
    waits = answer == SILENT or isinstance(answer, Early)
    timeout = 0.1 if waits else 60
    verdict, tx, _ = await run(answer, f"{option} timeout {timeout}")
    if option == "on_error defer":
        assert verdict is not None
        assert (verdict.decision, verdict.code, verdict.status) == (Decision.DEFER, 451, "4.3.0")
    else:
        assert verdict is None
    assert VIRUS_RESULTS not in tx.notes
    assert set(fields(tx)) == {"X-Old-Virus-Found"}


async def test_a_message_that_clamd_does_not_take(caplog: pytest.LogCaptureFixture) -> None:
    answer = Early(b"INSTREAM size limit exceeded. ERROR\0")
    verdict, tx, _ = await run(answer, "max_size 10M", message=MESSAGE * 50_000)
    assert verdict is None
    assert VIRUS_RESULTS not in tx.notes
    assert "StreamMaxLength" in caplog.text


async def test_the_next_host(tmp_path: Path, nowhere: str) -> None:
    async with fake_scanner(clamd_request, VIRUS, path=tmp_path / "s"):
        line = f"clamd_socket {nowhere},{tmp_path / 's'}"
        plugin = await a_plugin(Clamdscan, line)
        verdict = await plugin.hook_data_post(a_transaction(message=MESSAGE))
    assert verdict is not None
    assert verdict.decision is Decision.DENY


@pytest.mark.parametrize(
    ("line", "message", "scanned"),
    [
        ("max_size 8", "a\n\n" + "x" * 7168, True),
        ("max_size 8", "a\n\n" + "x" * 9216, False),
        ("scan_all 0", MESSAGE, False),
        ("scan_all 0", f"Content-Type: MULTIPART/mixed; boundary=b\n{MESSAGE}", True),
        ("scan_all 1", MESSAGE, True),
    ],
)
async def test_what_is_scanned(line: str, message: str, scanned: bool) -> None:
    _, _, scanner = await run(CLEAN, line, message=message)
    assert bool(scanner.requests) == scanned


async def test_who_is_refused_anyway_is_not_scanned() -> None:
    session = a_session()
    session.deferred_rejects.append("no")
    async with fake_scanner(clamd_request, VIRUS) as scanner:
        plugin = await a_plugin(Clamdscan, f"clamd_socket {scanner.place}")
        tx = a_transaction(message=MESSAGE, session=session)
        assert await plugin.hook_data_post(tx) is None
    assert scanner.requests == []


async def test_relay_clients_are_scanned() -> None:
    verdict, _, _ = await run(VIRUS, relay_client=True)
    assert verdict is not None


@pytest.mark.parametrize(
    ("line", "places"),
    [
        ("", [f"unix:{SOCKET}"]),
        ("clamd_socket /run/x", ["unix:/run/x"]),
        ("clamd_host scan.example", ["scan.example:3310"]),
        ("clamd_host ::1,b clamd_port 3311", ["[::1]:3311", "b:3311"]),
        ("clamd_socket a,/b", ["a:3310", "unix:/b"]),
    ],
)
def test_places(line: str, places: list[str]) -> None:
    options, problems = parse(ClamdscanOptions, line.split())
    assert problems == []
    assert options is not None
    assert list(map(str, options.places)) == places


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", (1 << 20, True, True, "defer")),
        ("scan_all 0 max_size 200 deny_viruses no", (200 << 10, False, False, "defer")),
        ("max_size=2M defer_on_error=1", (2 << 20, True, True, "defer")),
        ("defer_on_error no", (1 << 20, True, True, "pass")),
    ],
)
def test_options(line: str, expected: tuple[int, bool, bool, str]) -> None:
    options, problems = parse(ClamdscanOptions, line.split())
    assert problems == []
    assert options is not None
    found = options.max_size, options.scan_all, options.deny_viruses, options.on_error
    assert found == expected


async def test_wrong_options() -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        await a_plugin(Clamdscan, "clamd_socket run/x")
    with pytest.raises(ConfigError, match="max_size"):
        await a_plugin(Clamdscan, "max_size")


async def test_doctor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with fake_scanner(clamd_request, b"ClamAV 1.4.6\0") as scanner:
        line = f"on_error pass clamd_socket {scanner.place},{tmp_path}/none"
        system = FakeSystem(Path("/"))
        good, bad = await findings_of(await a_plugin(Clamdscan, line), system)
    assert good.text == "answers: ClamAV 1.4.6"
    assert bad.text == "cannot connect: No such file or directory"
    assert bad.advice.startswith("Messages pass unscanned")
