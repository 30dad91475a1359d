# SPDX-License-Identifier: MIT
"""virus/clamav: what exit status and output of the program mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpsmtpd.api import VIRUS_RESULTS, ConfigError, Decision, Transaction, Verdict
from qpsmtpd.plugin.options import parse
from qpsmtpd.plugins.virus.clamav import Clamav, ClamavOptions
from qpsmtpd.testing import FakeSystem, a_plugin, a_transaction, findings_of
from tests.unit.scripts import a_script

MESSAGE = "From: a@b.example\n\nHello.\n"
FOUND = 'echo "stdin: Eicar-Test-Signature FOUND"; exit 1'


async def run(
    tmp_path: Path, script: str, line: str = "", message: str = MESSAGE
) -> tuple[Verdict | None, Transaction]:
    """What a message leads to if the program is this script."""
    program = a_script(tmp_path / "clamscan", script)
    plugin = await a_plugin(Clamav, f"{program} {line}")
    tx = a_transaction(message=message)
    return await plugin.hook_data_post(tx), tx


def fields(tx: Transaction) -> dict[str, str]:
    assert tx.message is not None
    tx.put_fields_on_top()
    return {field.name: field.value for field in tx.message.headers.fields()}


async def test_a_good_message(tmp_path: Path) -> None:
    said = tmp_path / "said"
    verdict, tx = await run(tmp_path, f'echo "$@" >{said}; cat >>{said}', f"tmp_dir={tmp_path}")
    assert verdict is None
    words, _, message = said.read_bytes().partition(b"\n")
    assert words.decode() == f"--stdout --no-summary --tempdir={tmp_path} -"
    assert message == MESSAGE.replace("\n", "\r\n").encode()
    assert fields(tx)["X-Virus-Checked"] == "by ClamAV on mx.example"


async def test_a_virus(tmp_path: Path) -> None:
    verdict, tx = await run(tmp_path, FOUND)
    assert verdict is not None
    assert verdict.decision is Decision.DENY
    assert verdict.text == "Virus found: Eicar-Test-Signature"
    assert tx.notes[VIRUS_RESULTS][0].name == "Eicar-Test-Signature"


async def test_several_viruses(tmp_path: Path) -> None:
    lines = "; ".join(f'echo "x: V{n} FOUND"' for n in range(9))
    verdict, _ = await run(tmp_path, f"{lines}; exit 1")
    assert verdict is not None
    assert verdict.text == "Virus found: V0, V1, V2"


async def test_a_virus_that_is_only_marked(tmp_path: Path) -> None:
    verdict, tx = await run(tmp_path, FOUND, "action=add-header")
    assert verdict is None
    assert fields(tx)["X-Virus-Details"] == "Eicar-Test-Signature"


@pytest.mark.parametrize(
    "script", ["echo oops; exit 2", "kill -9 $$", "exit 127", "exec sleep 600"]
)
@pytest.mark.parametrize("option", ["", "declined_on_fail", "declined_on_fail=1", "on_error=pass"])
async def test_failures(tmp_path: Path, script: str, option: str) -> None:
    timeout = 0.1 if "sleep" in script else 60
    verdict, tx = await run(tmp_path, script, f"{option} timeout={timeout}")
    if option:
        assert verdict is None
    else:
        assert verdict is not None
        assert (verdict.decision, verdict.code) == (Decision.DEFER, 451)
    assert VIRUS_RESULTS not in tx.notes


async def test_no_program(tmp_path: Path) -> None:
    plugin = await a_plugin(Clamav, f"clamscan_path={tmp_path}/none")
    verdict = await plugin.hook_data_post(a_transaction(message=MESSAGE))
    assert verdict is not None
    assert verdict.decision is Decision.DEFER


async def test_a_program_that_fails_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = tmp_path / "runs"
    program = a_script(tmp_path / "clamscan", f"echo >>{runs}; exit 2")
    plugin = await a_plugin(Clamav, program)
    for _ in range(5):
        await plugin.hook_data_post(a_transaction(message=MESSAGE))
    assert runs.read_text().count("\n") == 3
    assert caplog.text.count("scanner down") == 1


async def test_a_large_message_is_not_scanned(tmp_path: Path) -> None:
    verdict, _ = await run(tmp_path, FOUND, "max_size=10")
    assert verdict is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ["/usr/bin/clamscan", "--stdout", "--no-summary", "-"]),
        ("/opt/clamdscan", ["/opt/clamdscan", "--stdout", "--no-summary", "-"]),
        (
            "clamscan_path=/usr/bin/clamdscan clamd_conf=/etc/c.conf tmp_dir=/tmp back_compat",
            ["/usr/bin/clamdscan", "--stdout", "--no-summary", "--config-file=/etc/c.conf", "-"],
        ),
    ],
)
def test_commands(line: str, words: list[str]) -> None:
    options, problems = parse(ClamavOptions, line.split())
    assert problems == []
    assert options is not None
    assert options.command == words


async def test_wrong_options() -> None:
    with pytest.raises(ConfigError, match="an absolute path"):
        await a_plugin(Clamav, "clamscan")


async def test_doctor(tmp_path: Path) -> None:
    a_script(tmp_path / "good", "")
    (tmp_path / "bad").write_text("")
    system = FakeSystem(tmp_path)
    texts = []
    for name in ("good", "bad", "none"):
        [finding] = await findings_of(await a_plugin(Clamav, f"/{name}"), system)
        texts.append(finding.text)
    assert texts == ["can be run", "is not a program", "does not exist"]
