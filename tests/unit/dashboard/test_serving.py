# SPDX-License-Identifier: MIT
import socket
from pathlib import Path

import pytest

from qpsmtpd.dashboard.serving import check_private
from qpsmtpd.errors import QpsmtpdError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_addresses(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        check_private(listening)


def test_a_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        check_private(listening)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_no_other_machine_can_connect(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_server((host, 0), family=family) as listening,
        pytest.raises(QpsmtpdError, match="other machines can read it"),
    ):
        check_private(listening)
