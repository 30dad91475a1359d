# SPDX-License-Identifier: MIT
"""Processes run by the hand-over, with the real program of setid_runner.py behind a socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest

from qpsmtpd.nexthop import process, setid_runner
from qpsmtpd.nexthop.program import Finished, ProgramError, feed, once
from tests.unit.client import PATIENCE, until
from tests.unit.nexthop.test_program import gone, written
from tests.unit.scripts import a_script

Listening = Callable[..., None]


@pytest.fixture
def confined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """We may not gain privileges, says the kernel; and where the hand-over's socket would be."""
    monkeypatch.setattr(process, "HANDOVER", tmp_path / "socket")
    status = tmp_path / "status"
    status.write_text("Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t2\n")
    monkeypatch.setattr(process, "_STATUS", status)
    return tmp_path / "socket"


@pytest.fixture
def listen(confined: Path) -> Iterator[Listening]:
    """Start a hand-over that runs these command lines, or answers as a function does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(confined))
        threads: list[threading.Thread] = []

        def start(*allowed: str, answer: Callable[[socket.socket], None] | None = None) -> None:
            listening.listen()
            serve = answer or (lambda connection: run_handover(connection, allowed))
            threads.append(threading.Thread(target=accept, args=(listening, serve)))
            threads[-1].start()

        yield start
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def accept(listening: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    listening.settimeout(PATIENCE)
    with listening.accept()[0] as connection:
        connection.settimeout(PATIENCE)
        serve(connection)


def run_handover(connection: socket.socket, allowed: tuple[str, ...]) -> None:
    """As the service manager does."""
    program = (sys.executable, "-IS", setid_runner.__file__, *allowed)
    subprocess.run(program, stdin=connection.fileno(), check=True, timeout=PATIENCE)


def a_set_id_program(tmp_path: Path, text: str) -> str:
    # The kernel heeds the bit of no script, but what decides is whether it is there.
    program = a_script(tmp_path / "program", text)
    Path(program).chmod(0o4755)
    return program


async def fed(*words: str) -> Finished:
    return await feed(words, {0: once(b"message "), 1: once(b"envelope")}, timeout=PATIENCE)


async def test_inputs_output_status_and_process_id(tmp_path: Path, listen: Listening) -> None:
    program = a_set_id_program(
        tmp_path,
        f"cat >{tmp_path}/input; cat <&1 >>{tmp_path}/input; echo $$ $PPID $# $1 >&2; exit 7",
    )
    listen(f"{program} -bS")
    finished = await fed(program, "-bS")
    assert (tmp_path / "input").read_bytes() == b"message envelope"
    pid, parent, *rest = finished.output.split()
    assert (finished.status, finished.pid) == (7, int(pid))
    assert int(parent) != os.getpid()
    assert rest == ["1", "-bS"]


async def test_environment_is_closed(
    tmp_path: Path, listen: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    program = a_set_id_program(tmp_path, "exec env >&2")
    listen(program)
    output = (await fed(program)).output
    assert "PATH=/usr/local/sbin" in output
    assert "SECRET" not in output


async def test_signals_are_as_programs_expect_them(tmp_path: Path, listen: Listening) -> None:
    program = a_set_id_program(tmp_path, "kill -PIPE $$; exit 0")
    listen(program)
    assert (await fed(program)).status == -13


async def test_descriptor_three(tmp_path: Path, listen: Listening) -> None:
    program = a_set_id_program(tmp_path, "cat <&3; cat")
    listen(program)
    finished = await feed([program], {3: once(b"three")}, timeout=PATIENCE)
    assert (finished.status, finished.output) == (0, "three")


@pytest.mark.parametrize("words", [("-bS", "-be"), ("-be",), (), ("-bS -be",)])
async def test_nothing_else_is_run(
    tmp_path: Path, listen: Listening, words: tuple[str, ...]
) -> None:
    program = a_set_id_program(tmp_path, f"touch {tmp_path}/done")
    listen(f"{program} -bS", "/bin/true")
    with pytest.raises(ProgramError, match="not among the commands"):
        await fed(program, *words)
    assert not (tmp_path / "done").exists()


async def test_a_program_that_is_not_there(tmp_path: Path, listen: Listening) -> None:
    program = a_set_id_program(tmp_path, "")
    Path(program).write_text("#!/does/not/exist\n")
    listen(program)
    with pytest.raises(ProgramError, match="No such file"):
        await fed(program)


async def test_it_is_killed_before_its_input_ends(tmp_path: Path, listen: Listening) -> None:
    program = a_set_id_program(tmp_path, f"cat >/dev/null; touch {tmp_path}/whole")
    listen(program)
    with pytest.raises(RuntimeError, match="disk"):
        await feed([program], {0: broken()}, timeout=PATIENCE)
    assert not (tmp_path / "whole").exists()


async def broken() -> AsyncGenerator[bytes, None]:
    yield b"x"
    raise RuntimeError("disk")


async def test_one_that_takes_too_long_is_killed(tmp_path: Path, listen: Listening) -> None:
    program = a_set_id_program(tmp_path, f"echo $$ >{tmp_path}/pid; cat >/dev/null; sleep 1000")
    listen(program)

    async def when_started() -> AsyncGenerator[bytes, None]:
        await until(lambda: written(tmp_path / "pid"))
        yield b"x"

    with pytest.raises(ProgramError, match="too long"):
        await feed([program], {0: when_started()}, timeout=0.01)
    assert gone(int((tmp_path / "pid").read_text()))


async def test_it_is_killed_when_we_are_gone(tmp_path: Path, listen: Listening) -> None:
    os.mkfifo(tmp_path / "fifo")
    program = a_set_id_program(tmp_path, f"exec cat {tmp_path}/fifo")
    listen(program)
    devnull = os.open(os.devnull, os.O_RDWR)
    running = await process.HandedOver.start([program], (devnull, devnull, devnull))
    os.close(devnull)
    running.close()
    # The fixture waits for the hand-over, which ends when the program has.


async def test_a_hand_over_that_hangs_up(tmp_path: Path, listen: Listening) -> None:
    program = a_set_id_program(tmp_path, "")
    listen(answer=receive)
    with pytest.raises(ProgramError, match="handover service ended"):
        await fed(program)


async def test_a_hand_over_that_dies_later(tmp_path: Path, listen: Listening) -> None:
    def answer(connection: socket.socket) -> None:
        receive(connection)
        connection.send(b"started 1")

    program = a_set_id_program(tmp_path, "")
    listen(answer=answer)
    with pytest.raises(ProgramError, match="without reporting the exit status"):
        await fed(program)


async def test_a_hand_over_that_dies_when_the_command_is_to_be_killed(
    tmp_path: Path, listen: Listening
) -> None:
    def answer(connection: socket.socket) -> None:
        descriptors = socket.recv_fds(connection, 4096, 3)[1]
        connection.send(b"started 1")
        connection.recv(10, socket.MSG_PEEK)
        for descriptor in descriptors:
            os.close(descriptor)

    program = a_set_id_program(tmp_path, "")
    listen(answer=answer)
    with pytest.raises(RuntimeError, match="disk"):
        await feed([program], {0: broken()}, timeout=PATIENCE)


async def test_a_connection_that_is_reset() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    running = process.HandedOver(ours)
    ours.send(b"kill")
    theirs.close()
    with pytest.raises(ProgramError, match="without reporting the exit status"):
        await running.ended()
    running.close()


async def test_a_hand_over_that_is_too_slow(
    tmp_path: Path, listen: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "HANDOVER_WAIT", 0.05)
    program = a_set_id_program(tmp_path, "")
    listen(answer=wait)
    with pytest.raises(ProgramError, match="too slow"):
        await fed(program)


def receive(connection: socket.socket) -> None:
    for descriptor in socket.recv_fds(connection, 4096, 3)[1]:
        os.close(descriptor)


def wait(connection: socket.socket) -> None:
    """Say nothing until the caller has given up."""
    receive(connection)
    connection.recv(1)


async def test_nobody_listens(tmp_path: Path, confined: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bound:
        bound.bind(str(confined))
        with pytest.raises(ProgramError, match="Connection refused"):
            await fed(a_set_id_program(tmp_path, ""))


async def test_a_program_that_is_not_set_id_is_a_child(tmp_path: Path, confined: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bound:
        bound.bind(str(confined))
        program = a_script(tmp_path / "plain", "echo $PPID >&2")
        assert (await fed(program)).output == f"{os.getpid()}\n"


async def test_without_the_socket_it_is_a_child(tmp_path: Path, confined: Path) -> None:
    assert (await fed(a_set_id_program(tmp_path, "echo $PPID >&2"))).output == f"{os.getpid()}\n"


async def test_where_privileges_may_be_gained_it_is_a_child(
    tmp_path: Path, confined: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bound:
        bound.bind(str(confined))
        (tmp_path / "status").write_text("Name:\tx\nNoNewPrivs:\t0\n")
        program = a_set_id_program(tmp_path, "echo $PPID >&2")
        assert (await fed(program)).output == f"{os.getpid()}\n"


def test_the_kernel_tells_whether_privileges_may_be_gained() -> None:
    assert isinstance(process._confined(), bool)
    asked = "from qpsmtpd.nexthop.process import _confined; print(_confined())"
    told = subprocess.run(
        ("setpriv", "--no-new-privs", sys.executable, "-c", asked),
        stdout=subprocess.PIPE,
        check=True,
        timeout=PATIENCE,
    )
    assert told.stdout == b"True\n"
