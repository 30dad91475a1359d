# SPDX-License-Identifier: MIT
"""Logging in to a next hop: mechanisms against a server's side written from the RFCs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.errors import ConfigError
from qpsmtpd.nexthop.client import connect
from qpsmtpd.nexthop.hopauth import Credentials, Scram, choose, read_password
from qpsmtpd.nexthop.hopoptions import NextHopOptions, make_pool
from qpsmtpd.nexthop.hopreply import NextHopError
from qpsmtpd.nexthop.target import Target
from tests.unit.nexthop.fake import FakeHop
from tests.unit.nexthop.sasl import Sasl

USER, PASSWORD = "mx=1,a", "s3cret ü"
MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN")


async def log_in(hop: FakeHop, password: str = PASSWORD) -> None:
    async with hop:
        credentials = Credentials(USER, password)
        target = Target(host="127.0.0.1", port=hop.port, hello="x", credentials=credentials)
        client = await connect(target)
        client.leave()
        await client.wait_closed(5)


def a_hop(*mechanisms: str, sasl: Sasl | None = None, **more: Any) -> FakeHop:
    words = " ".join(mechanisms)
    return FakeHop(keywords=(f"AUTH {words}",), sasl=sasl or Sasl(USER, PASSWORD), **more)


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_logs_in(mechanism: str) -> None:
    hop = a_hop(mechanism, "OTHER")
    await log_in(hop)
    assert hop.commands[1].split()[:2] == ["AUTH", mechanism]


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_wrong_password(mechanism: str) -> None:
    with pytest.raises(NextHopError, match=f"AUTH {mechanism}: 535") as caught:
        await log_in(a_hop(mechanism), "wrong")
    assert (caught.value.status, caught.value.ours) == ("4.7.0", True)


@pytest.mark.parametrize(
    ("sasl", "problem"),
    [
        (Sasl(USER, PASSWORD, proof=b"AAAA"), "does not know our password"),
        (Sasl(USER, PASSWORD, proof=b"!"), "senseless"),
        (Sasl(USER, PASSWORD, proves=False), "has not proved"),
    ],
)
async def test_somebody_who_does_not_know_the_password(sasl: Sasl, problem: str) -> None:
    with pytest.raises(NextHopError, match=problem):
        await log_in(a_hop("SCRAM-SHA-256", sasl=sasl))


@pytest.mark.parametrize(
    ("mechanism", "reply", "problem", "ours"),
    [
        ("PLAIN", "334 not base64", "base64", False),
        ("PLAIN", "334 QQ==", "where there is none", False),
        ("PLAIN", "454 4.7.0 later", "454", False),
        ("PLAIN", "535 5.7.8 no", "535", True),
        ("SCRAM-SHA-1", "235 fine", "has not proved", True),
    ],
)
async def test_replies(mechanism: str, reply: str, problem: str, ours: bool) -> None:
    hop = FakeHop(keywords=(f"AUTH {mechanism}",), AUTH=reply)
    with pytest.raises(NextHopError, match=problem) as caught:
        await log_in(hop)
    assert caught.value.ours is ours
    assert caught.value.status == "4.7.0"


def test_the_best_mechanism() -> None:
    credentials = Credentials(USER, PASSWORD)
    offered = list(reversed(MECHANISMS))
    for best in MECHANISMS:
        assert choose(" ".join(offered).lower(), credentials, private=True)[0] == best
        offered.remove(best)


@pytest.mark.parametrize(
    ("offered", "problem"),
    [("PLAIN LOGIN", "show the password"), ("GSSAPI", "GSSAPI"), ("", "none at all")],
)
def test_no_mechanism(offered: str, problem: str) -> None:
    with pytest.raises(NextHopError, match=problem) as caught:
        choose(offered, Credentials(USER, PASSWORD), private=False)
    assert caught.value.ours


@pytest.mark.parametrize(
    "challenge",
    [b"", b"\xff", b"r=other,s=AAAA,i=1", b"r=@,s=!,i=1", b"r=@,s=AAAA,i=0", b"r=@,s=AAAA,i=x",
     b"r=@,s=AAAA,i=999999999", b"r=@,s=AAAA"],
)  # fmt: skip
def test_senseless_challenges(challenge: bytes) -> None:
    scram = Scram(Credentials(USER, PASSWORD), "sha256")
    nonce = scram.begin().rpartition(b"r=")[2]
    with pytest.raises(NextHopError, match="senseless"):
        scram.answer(challenge.replace(b"@", nonce))


def test_password_is_not_shown() -> None:
    target = Target(host="h", hello="x", credentials=Credentials(USER, PASSWORD))
    assert PASSWORD not in repr(target)


# --- the password file ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "password"), [("a b\n", "a b"), ("a\r\nrest\n", "a"), ("ü", "ü")]
)
def test_password(tmp_path: Path, content: str, password: str) -> None:
    path = tmp_path / "password"
    path.write_text(content, newline="")
    path.chmod(0o640)
    assert read_password(path) == password


@pytest.mark.parametrize("content", [b"", b"\nx", b"\xff", b"a\0b", b"a\tb"])
def test_no_password(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="first line"):
        read_password(path)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
async def test_password_that_everybody_may_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "password"
    path.write_text("x\n")
    path.chmod(mode)
    options = NextHopOptions(user="u", password_file=path)
    with pytest.raises(ConfigError, match=rf"password_file: {path}: everybody may read"):
        await make_pool("queue/x", options, Target(host="h", hello="x"))


async def test_password_of_the_pool(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    options = NextHopOptions(user=USER, password_file=Path("password"))
    files = tmp_path.joinpath
    with caplog.at_level(logging.DEBUG):
        pool = await make_pool("queue/x", options, Target(host="h", hello="x"), files)
    assert pool.target.credentials == Credentials(USER, PASSWORD)
    assert PASSWORD not in caplog.text
