# SPDX-License-Identifier: MIT
import subprocess
import sys
from pathlib import Path

import pytest

from qpsmtpd.commands.main import main


def test_without_the_library() -> None:
    program = (
        "import sys; sys.modules['aiohttp'] = None; from qpsmtpd.commands.main import main; "
        "sys.exit(main(['dashboard']))"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True)
    assert (done.returncode, "apt install python3-aiohttp" in done.stderr) == (1, True)


@pytest.mark.parametrize("place", ["", "nonsense:x", "127.0.0.1:99999"])
def test_what_is_not_a_place(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["dashboard", "--listen", place])
    assert "is not a path or ADDRESS:PORT" in capsys.readouterr().err


def test_where_others_could_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--config", str(tmp_path), "--listen", "0.0.0.0:0"]) == 1
    assert "other machines can read it" in capsys.readouterr().err


def test_where_nobody_can_listen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--listen", f"{tmp_path}/no/socket"]) == 1
    assert f"cannot listen on {tmp_path}/no/socket: No such file" in capsys.readouterr().err
