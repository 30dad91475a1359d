# SPDX-License-Identifier: MIT
"""Feeding commands: inputs, output, exit status, and giving up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from qpsmtpd.nexthop import program
from qpsmtpd.nexthop.program import MOST_OUTPUT, ProgramError, Programs, feed, once
from tests.unit.client import PATIENCE, until
from tests.unit.scripts import a_script

pytestmark = pytest.mark.usefixtures("no_descriptor_leaks")


@pytest.fixture
async def no_descriptor_leaks() -> AsyncGenerator[None, None]:
    # The first command makes the loop open descriptors of its own.
    await feed(["true"], {}, timeout=PATIENCE)
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def blocks_of(*blocks: bytes) -> AsyncGenerator[bytes, None]:
    for block in blocks:
        yield block


async def endless() -> AsyncGenerator[bytes, None]:
    while True:
        yield b"x" * 65536


def written(path: Path) -> bool:
    """Whether there is anything in a file."""
    return path.exists() and bool(path.read_text())


def gone(pid: int) -> bool:
    """Whether a process has ended, and was waited for."""
    return not Path(f"/proc/{pid}").exists()


async def test_input_output_and_status(tmp_path: Path) -> None:
    script = a_script(tmp_path / "s", "cat; echo problem >&2; exit 3")
    finished = await feed([script], {0: blocks_of(b"one ", b"", b"two ")}, timeout=PATIENCE)
    assert (finished.status, finished.output) == (3, "one two problem\n")


async def test_arguments_are_not_for_a_shell(tmp_path: Path) -> None:
    script = a_script(tmp_path / "s", 'printf "%s|" "$@"')
    finished = await feed([script, "a b", "$HOME", ";"], {0: once(b"")}, timeout=PATIENCE)
    assert finished.output == "a b|$HOME|;|"


async def test_environment_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    finished = await feed(["env"], {}, timeout=PATIENCE)
    assert [line.partition("=")[0] for line in finished.output.splitlines()] == ["PATH"]


async def test_inputs_come_one_after_the_other(tmp_path: Path) -> None:
    script = a_script(tmp_path / "s", f"cat > {tmp_path}/0; cat <&1 > {tmp_path}/1; echo done >&2")
    inputs = {0: once(b"message"), 1: once(b"envelope")}
    finished = await feed([script], inputs, timeout=PATIENCE)
    assert finished.output == "done\n"
    assert ((tmp_path / "0").read_bytes(), (tmp_path / "1").read_bytes()) == (
        b"message",
        b"envelope",
    )


async def test_large_input_passes(tmp_path: Path) -> None:
    block = bytes(range(256)) * 4096
    script = a_script(tmp_path / "s", "wc -c")
    finished = await feed([script], {0: blocks_of(*[block] * 8)}, timeout=PATIENCE)
    assert finished.output.strip() == str(8 << 20)


async def test_output_is_kept_in_part_and_never_blocks(tmp_path: Path) -> None:
    script = a_script(tmp_path / "s", "head -c 1000000 /dev/zero | tr '\\0' x; cat; echo")
    finished = await feed([script], {0: once(b"end")}, timeout=PATIENCE)
    assert finished.output == "x" * MOST_OUTPUT
    assert finished.status == 0


async def test_command_that_does_not_read(tmp_path: Path) -> None:
    script = a_script(tmp_path / "s", f"exec 0<&-; cat <&1 > {tmp_path}/1; exit 5")
    inputs = {0: endless(), 1: once(b"envelope")}
    finished = await feed([script], inputs, timeout=PATIENCE)
    assert finished.status == 5
    assert (tmp_path / "1").read_bytes() == b""


async def test_signal_is_a_negative_status(tmp_path: Path) -> None:
    finished = await feed([a_script(tmp_path / "s", "kill -TERM $$")], {}, timeout=PATIENCE)
    assert finished.status == -15


@pytest.mark.parametrize("program", ["/nonexistent/program", "/etc/passwd"])
async def test_command_that_cannot_start(program: str) -> None:
    with pytest.raises(ProgramError, match="cannot start"):
        await feed([program], {0: once(b"")}, timeout=PATIENCE)


@pytest.mark.parametrize("source", [endless, lambda: once(b"little")])
async def test_slow_command_is_killed_and_waited_for(
    tmp_path: Path, source: Callable[[], AsyncGenerator[bytes, None]]
) -> None:
    script = a_script(tmp_path / "s", f"echo $$ > {tmp_path}/pid; exec sleep 1000")

    async def when_started() -> AsyncGenerator[bytes, None]:
        await until(lambda: written(tmp_path / "pid"))
        async for block in source():
            yield block

    with pytest.raises(ProgramError, match="too long"):
        await feed([script], {0: when_started()}, timeout=0.01)
    assert gone(int((tmp_path / "pid").read_text()))


async def test_broken_source_kills(tmp_path: Path) -> None:
    async def source() -> AsyncGenerator[bytes, None]:
        yield b"part"
        await until(lambda: written(tmp_path / "pid"))
        raise ValueError("spool")

    script = a_script(
        tmp_path / "s", f"echo $$ > {tmp_path}/pid; cat > /dev/null; cat <&1 > {tmp_path}/1"
    )
    with pytest.raises(ValueError, match="spool"):
        await feed([script], {0: source(), 1: once(b"envelope")}, timeout=PATIENCE)
    assert gone(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "1").exists() or (tmp_path / "1").read_bytes() == b""


async def test_cancelled_kills(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        await until(lambda: written(tmp_path / "pid"))
        started.set()
        yield b"little"

    script = a_script(tmp_path / "s", f"echo $$ > {tmp_path}/pid; exec sleep 1000")
    task = asyncio.create_task(feed([script], {0: source()}, timeout=PATIENCE))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(int((tmp_path / "pid").read_text()))


async def test_children_that_live_on_do_not_delay(tmp_path: Path) -> None:
    script = a_script(tmp_path / "s", f"sleep 1000 & echo $! > {tmp_path}/pid; echo taken")
    finished = await feed([script], {0: once(b"")}, timeout=PATIENCE)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert finished.output == "taken\n"


async def test_unreachable_command_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set-uid program need not take our signals."""
    processes: list[subprocess.Popen[bytes]] = []

    def refuse(process: subprocess.Popen[bytes]) -> None:
        processes.append(process)
        raise PermissionError

    async def never_ready() -> AsyncGenerator[bytes, None]:
        yield b"part"
        raise ValueError("spool")

    monkeypatch.setattr(subprocess.Popen, "kill", refuse)
    monkeypatch.setattr(program, "KILL_WAIT", 0.05)
    os.mkfifo(tmp_path / "end")
    script = a_script(
        tmp_path / "s", f"cat > {tmp_path}/0; cat <&1 > {tmp_path}/1; read end < {tmp_path}/end"
    )
    with pytest.raises(ValueError, match="spool"):
        await feed([script], {0: never_ready(), 1: once(b"envelope")}, timeout=PATIENCE)
    await asyncio.to_thread((tmp_path / "end").write_text, "end\n")
    await asyncio.to_thread(processes[0].wait)
    assert ((tmp_path / "0").read_bytes(), (tmp_path / "1").read_bytes()) == (b"part", b"")


async def test_no_more_than_the_limit(tmp_path: Path) -> None:
    commands = Programs(1)
    script = a_script(tmp_path / "s", f"mkdir {tmp_path}/d && cat && rmdir {tmp_path}/d")
    both = await asyncio.gather(
        *[commands.feed([script], {0: once(b"")}, timeout=PATIENCE) for _ in range(3)]
    )
    assert [finished.status for finished in both] == [0, 0, 0]


async def test_waiting_for_a_turn_ends() -> None:
    commands = Programs(1)
    first = asyncio.create_task(commands.feed(["sleep", "1000"], {}, timeout=PATIENCE))
    await asyncio.sleep(0)
    with pytest.raises(ProgramError, match="too many"):
        await commands.feed(["true"], {}, timeout=0.01)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_descriptor_three(tmp_path: Path) -> None:
    script = a_script(tmp_path / "s", 'cat <&3; cat; printf "|%s" "$@"; ls -l /proc/self/fd >&2')
    finished = await feed([script, "a b", "$HOME"], {3: once(b"three")}, timeout=PATIENCE)
    assert finished.output.startswith("three|a b|$HOME")
    # Nothing else: 4 is the directory that ls reads.
    assert " 5 -> " not in finished.output
