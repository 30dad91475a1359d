# SPDX-License-Identifier: MIT
"""Connecting; what is said on a connection is tried by the tests of the plugins."""

from __future__ import annotations

import pytest

from qpsmtpd.nexthop.client import connect
from qpsmtpd.nexthop.hopreply import NextHopError
from qpsmtpd.nexthop.target import Target
from tests.unit.client import on_both_loops


@on_both_loops
async def test_a_name_that_cannot_be() -> None:
    with pytest.raises(NextHopError, match="cannot connect"):
        await connect(Target(host="mx..example", hello="me.example"))


@on_both_loops
async def test_nobody_there() -> None:
    with pytest.raises(NextHopError, match="cannot connect"):
        await connect(Target(host="127.0.0.1", port=1, hello="me.example"))
