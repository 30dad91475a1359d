# SPDX-License-Identifier: MIT
"""EximVerifier, with programs that talk as `exim -bv` does, or do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qpsmtpd.nexthop import eximverify
from qpsmtpd.nexthop.eximverify import PROCESSES, EximVerifier, meaning
from tests.unit.client import PATIENCE
from tests.unit.scripts import a_script

USER = "u@example.test"
#: Answers every question, and counts the processes.
TALKS = """echo started >> "$(dirname "$0")/log"
printf '> '
while read -r line; do printf '%s verified\\n> ' "$line"; done
echo ended >> "$(dirname "$0")/log"
"""


@asynccontextmanager
async def asking(directory: Path, text: str = TALKS) -> AsyncIterator[EximVerifier]:
    verifier = EximVerifier([a_script(directory / "exim", text), "-bv"])
    yield verifier
    await verifier.close()
    assert not verifier._ending


def log(directory: Path) -> list[str]:
    return (directory / "log").read_text().split()


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (f"{USER} verified", "known"),
        (f"{USER} failed to verify", "unknown"),
        (f"{USER} failed to verify: Unrouteable address", "unknown"),
        (f"{USER} cannot be resolved at this time", "unsure"),
        (f"{USER} cannot be resolved at this time: host lookup did not complete", "unsure"),
        (f"a line before it\n{USER} failed to verify", "unknown"),
        ("", "unavailable"),
        ("another@example.test failed to verify", "unavailable"),
        (f"{USER} is odd", "unavailable"),
        (f"{USER} verified not", "unavailable"),
        (f"x{USER} failed to verify", "unavailable"),
    ],
)
def test_meaning(said: str, answer: str) -> None:
    assert meaning(USER, said).answer == answer


def test_an_address_that_looks_like_an_answer() -> None:
    address = '"u@x failed to verify"@example.test'
    assert meaning(address, f"{address} verified").answer == "known"


async def test_one_process_answers_many_questions(tmp_path: Path) -> None:
    async with asking(tmp_path) as verifier:
        for number in range(20):
            assert (await verifier.verify(f"{number}@example.test")).answer == "known"
        assert log(tmp_path) == ["started"]
    assert log(tmp_path) == ["started", "ended"]


async def test_few_processes_at_a_time(tmp_path: Path) -> None:
    async with asking(tmp_path) as verifier:
        questions = [verifier.verify(f"{number}@example.test") for number in range(20)]
        answers = await asyncio.gather(*questions)
        assert {answer.answer for answer in answers} == {"known"}
        assert 0 < log(tmp_path).count("started") <= PROCESSES


async def test_a_process_does_not_get_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eximverify, "LIFE", 0.0)
    async with asking(tmp_path) as verifier:
        await verifier.verify(USER)
        async with asyncio.timeout(PATIENCE):
            while log(tmp_path) != ["started", "ended"]:
                await asyncio.sleep(0)
        assert (await verifier.verify(USER)).answer == "known"


async def test_one_that_has_ended_is_replaced(tmp_path: Path) -> None:
    once = """echo started >> "$(dirname "$0")/log"
    printf '> '; read -r line; printf '%s verified\\n> ' "$line" """
    async with asking(tmp_path, once) as verifier:
        for _ in range(3):
            assert (await verifier.verify(USER)).answer == "known"
    assert log(tmp_path) == ["started"] * 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo 'Exim configuration error'; exit 1", "has ended: Exim configuration error"),
        ("exit 1", "exim -bv has ended"),
        ("printf 'odd> '; read -r line", "odd"),
        ("printf '> '; read -r line; exit 1", "exim -bv has ended"),
        ("printf '> '; read -r line; head -c 200000 /dev/zero; read -r line", "says too much"),
    ],
)
async def test_one_that_does_not_answer(tmp_path: Path, text: str, reason: str) -> None:
    async with asking(tmp_path, text) as verifier:
        verification = await verifier.verify(USER)
    assert verification.answer == "unavailable"
    assert reason in verification.reason


async def test_no_such_program(tmp_path: Path) -> None:
    verifier = EximVerifier([f"{tmp_path}/none", "-bv"])
    assert (await verifier.verify(USER)).answer == "unavailable"
    await verifier.close()


async def test_a_question_that_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that still owes an answer is not asked again, and ends, if need be killed."""
    monkeypatch.setattr(eximverify, "ENDING", 0.01)
    asked = tmp_path / "asked"
    silent = f"printf '> '; read -r line; touch {asked}; exec sleep 1000"
    async with asking(tmp_path, silent) as verifier:
        question = asyncio.create_task(verifier.verify(USER))
        async with asyncio.timeout(PATIENCE):
            while not asked.exists():
                await asyncio.sleep(0)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        assert not verifier._idle
