# SPDX-License-Identifier: MIT
"""STARTTLS with a next hop: off, may, require, verify."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from qpsmtpd.errors import ConfigError
from qpsmtpd.nexthop.client import Client, connect
from qpsmtpd.nexthop.hopoptions import NextHopOptions, make_pool
from qpsmtpd.nexthop.hopreply import NextHopError
from qpsmtpd.nexthop.pool import Pool
from qpsmtpd.nexthop.target import Target, TlsMode
from qpsmtpd.nexthop.wire import HopWire
from qpsmtpd.plugin.options import Seconds
from tests.unit.client import PATIENCE
from tests.unit.nexthop.fake import DROP, KEYWORDS, SILENT, FakeHop

TLS = (*KEYWORDS, "STARTTLS")


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return path


def server_context(ca: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    return context


async def talk(
    hop: FakeHop,
    tls: TlsMode,
    ca_file: Path | None = None,
    timeout: float = PATIENCE,
    **more: Any,
) -> bool:
    """Say hello and leave; whether that was encrypted."""
    options = NextHopOptions(tls=tls, ca=ca_file, timeout=Seconds(timeout), **more)
    async with hop:
        target = Target(host="127.0.0.1", port=hop.port, hello="mx.example")
        pool = await make_pool("queue/x", options, target, keep=False)
        encrypted: bool = await pool.run(_encrypted)
        await pool.close()
    return encrypted


async def _encrypted(client: Client) -> bool:
    await client.begin("MAIL FROM:<>", (), data=False)
    return client.encrypted


async def test_off(ca: trustme.CA) -> None:
    hop = FakeHop(keywords=TLS, context=server_context(ca))
    assert not await talk(hop, "off")
    assert "STARTTLS" not in hop.verbs()


@pytest.mark.parametrize("tls", ["may", "require"])
async def test_encrypts_without_looking_at_the_name(ca: trustme.CA, tls: TlsMode) -> None:
    hop = FakeHop(keywords=TLS, context=server_context(ca, "other.example"))
    assert await talk(hop, tls)
    assert hop.verbs()[:4] == ["EHLO", "STARTTLS", "EHLO", "MAIL"]


async def test_verify(ca: trustme.CA, ca_file: Path) -> None:
    assert await talk(FakeHop(keywords=TLS, context=server_context(ca)), "verify", ca_file)


@pytest.mark.parametrize(("name", "trusted"), [("other.example", True), ("127.0.0.1", False)])
async def test_verify_refuses(ca: trustme.CA, ca_file: Path, name: str, trusted: bool) -> None:
    hop = FakeHop(keywords=TLS, context=server_context(ca, name))
    with pytest.raises(NextHopError, match="certificate") as caught:
        await talk(hop, "verify", ca_file if trusted else None)
    assert caught.value.status == "4.7.5"
    assert hop.verbs() == ["EHLO", "STARTTLS"]


@pytest.mark.parametrize("tls", ["require", "verify"])
@pytest.mark.parametrize(
    "more",
    [
        {"keywords": KEYWORDS},
        {"STARTTLS": "454 4.7.0 not now"},
        {"STARTTLS": "220 go\n250 injected"},
        {"STARTTLS": DROP},
    ],
)
async def test_no_mail_in_clear(ca: trustme.CA, tls: TlsMode, more: dict[str, Any]) -> None:
    arguments = {"keywords": TLS, "context": server_context(ca), **more}
    hop = FakeHop(**arguments)
    with pytest.raises(NextHopError) as caught:
        await talk(hop, tls)
    assert caught.value.status == ("4.4.2" if more.get("STARTTLS") == DROP else "4.7.5")
    assert "MAIL" not in hop.verbs()


@pytest.mark.parametrize("more", [{"keywords": KEYWORDS}, {"STARTTLS": "454 4.7.0 not now"}])
async def test_may_goes_on_in_clear(ca: trustme.CA, more: dict[str, Any]) -> None:
    arguments = {"keywords": TLS, "context": server_context(ca), **more}
    hop = FakeHop(**arguments)
    assert not await talk(hop, "may")
    assert hop.connections == 1


async def test_may_tries_in_clear_when_the_handshake_fails() -> None:
    broken = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # it has no certificate
    hop = FakeHop(keywords=TLS, context=broken)
    assert not await talk(hop, "may")
    assert hop.connections == 2


async def test_handshake_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    start_tls = HopWire.start_tls

    async def soon(wire: HopWire, context: ssl.SSLContext, host: str, _timeout: float) -> None:
        await start_tls(wire, context, host, 0.01)

    monkeypatch.setattr(HopWire, "start_tls", soon)
    hop = FakeHop(keywords=TLS, context=None)
    with pytest.raises(NextHopError, match="TLS") as caught:
        await talk(hop, "require")
    assert caught.value.status == "4.7.5"


async def test_capabilities_said_in_clear_do_not_count(ca: trustme.CA) -> None:
    hop = FakeHop(
        EHLO=["250-x\n250-STARTTLS\n250 XCLIENT NAME", "250-x\n250 SIZE 10"],
        context=server_context(ca),
    )
    async with hop:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = await connect(
            Target(host="127.0.0.1", port=hop.port, hello="x", tls="require", context=context)
        )
        assert client.extensions == {"SIZE": "10"}
        client.leave()
        await client.wait_closed(5)


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_wrong_ca_file(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    options = NextHopOptions(tls="verify", ca=path)
    with pytest.raises(ConfigError, match="PEM"):
        await make_pool("queue/x", options, Target(host="h", hello="x"))


@pytest.mark.parametrize("tls", ["require", "verify"])
async def test_implicit(ca: trustme.CA, ca_file: Path, tls: TlsMode) -> None:
    hop = FakeHop(context=server_context(ca), implicit_tls=True)
    assert await talk(hop, tls, ca_file if tls == "verify" else None, implicit_tls=True)
    assert hop.verbs()[:2] == ["EHLO", "MAIL"]


async def test_implicit_verifies(ca: trustme.CA, ca_file: Path) -> None:
    hop = FakeHop(context=server_context(ca, "other.example"), implicit_tls=True)
    with pytest.raises(NextHopError, match="certificate") as caught:
        await talk(hop, "verify", ca_file, implicit_tls=True)
    assert caught.value.status == "4.7.5"
    assert hop.verbs() == []


async def test_implicit_with_a_server_in_the_clear() -> None:
    with pytest.raises(NextHopError, match="TLS failed") as caught:
        await talk(FakeHop(), "require", implicit_tls=True)
    assert caught.value.status == "4.7.5"


async def test_another_name(ca: trustme.CA, ca_file: Path) -> None:
    hop = FakeHop(keywords=TLS, context=server_context(ca, "other.example"))
    assert await talk(hop, "verify", ca_file, tls_name="other.example")
    with pytest.raises(NextHopError, match="certificate"):
        await talk(
            FakeHop(keywords=TLS, context=server_context(ca)),
            "verify",
            ca_file,
            tls_name="x.example",
        )


@pytest.mark.parametrize("implicit_tls", [False, True])
async def test_fingerprint(ca: trustme.CA, implicit_tls: bool) -> None:
    """It needs no authority and no name, and nothing stands in for it."""
    context, certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ca.issue_cert("other.example")
    certificate.configure_cert(context)
    pem = certificate.cert_chain_pems[0].bytes().decode()
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    colons = ":".join(digest[n : n + 2] for n in range(0, 64, 2)).upper()
    other = "0" * 64
    for fingerprints in ((digest,), (other, colons)):
        hop = FakeHop(keywords=TLS, context=context, implicit_tls=implicit_tls)
        assert await talk(hop, "verify", implicit_tls=implicit_tls, fingerprint=fingerprints)
    hop = FakeHop(keywords=TLS, context=context, implicit_tls=implicit_tls)
    with pytest.raises(NextHopError, match=f"another certificate: fingerprint={digest}") as caught:
        await talk(hop, "verify", implicit_tls=implicit_tls, fingerprint=(other,))
    assert (caught.value.status, caught.value.ours) == ("4.7.5", True)
    assert "MAIL" not in hop.verbs()


async def test_silent_before_tls(ca: trustme.CA) -> None:
    hop = FakeHop(keywords=TLS, context=server_context(ca), STARTTLS=SILENT)
    with pytest.raises(NextHopError, match="does not reply"):
        await talk(hop, "require", timeout=0.05)


async def test_pool_that_was_never_used_closes() -> None:
    await Pool(Target(host="h", hello="x"), size=1, idle=1).close()
