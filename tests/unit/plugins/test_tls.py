# SPDX-License-Identifier: MIT
"""tls finds its files, speaks safe versions, and refuses to start without what it needs."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.api import ConfigError, Entry
from qpsmtpd.metrics.catalogue import CERTIFICATE_EXPIRY
from qpsmtpd.metrics.counting import Figures
from qpsmtpd.plugins import tls
from qpsmtpd.plugins.tls import LOOK_EVERY, SAFE, VERSIONS, Tls, _parse_versions
from qpsmtpd.testing import FakeClock, a_plugin

AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("mx.example")
OTHER = AUTHORITY.issue_cert("other.example")

# The group ffdhe2048 of RFC 7919.
DHPARAM = """-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


def write_pair(directory: Path, cert: str = "cert.pem", key: str = "key.pem") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / cert).write_bytes(CERTIFICATE.cert_chain_pems[0].bytes())
    (directory / key).write_bytes(CERTIFICATE.private_key_pem.bytes())


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = "mx.example"
) -> ssl.SSLObject:
    """Negotiate in memory; returns the client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = client.wrap_bio(to_client, to_server, server_hostname=name)
    ends = [client_end, server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(5):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not ends
    return client_end


def a_client() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


async def test_named_files(tmp_path: Path) -> None:
    write_pair(tmp_path)
    plugin = await a_plugin(Tls, f"{tmp_path}/cert.pem {tmp_path}/key.pem")
    end = handshake(plugin.tls_context(), a_client())
    assert end.version() == "TLSv1.3"


async def test_defaults_are_safe_and_ask_for_no_client_certificate(tmp_path: Path) -> None:
    write_pair(tmp_path)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(AUTHORITY.cert_pem.bytes())
    plugin = await a_plugin(Tls, f"{tmp_path}/cert.pem {tmp_path}/key.pem {ca}")
    context = plugin.tls_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("directory", ["ssl", "config/ssl"])
async def test_default_files_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: str
) -> None:
    write_pair(tmp_path / directory, "qpsmtpd-server.crt", "qpsmtpd-server.key")
    monkeypatch.chdir(tmp_path)
    handshake((await a_plugin(Tls)).tls_context(), a_client())


@pytest.mark.parametrize("line", ["", "ssl/qpsmtpd-server.crt ssl/qpsmtpd-server.key"])
async def test_files_of_the_configuration_directory(tmp_path: Path, line: str) -> None:
    write_pair(tmp_path / "ssl", "qpsmtpd-server.crt", "qpsmtpd-server.key")
    plugin = await a_plugin(Tls, line, config_dir=tmp_path)
    handshake(plugin.tls_context(), a_client())


@pytest.mark.parametrize("line", ["", "qpsmtpd-server.crt qpsmtpd-server.key"])
async def test_credentials_of_systemd(tmp_path: Path, line: str) -> None:
    write_pair(tmp_path, "qpsmtpd-server.crt", "qpsmtpd-server.key")
    plugin = await a_plugin(Tls, line, environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    handshake(plugin.tls_context(), a_client())


async def test_credentials_come_first(tmp_path: Path) -> None:
    write_pair(tmp_path / "credentials", "qpsmtpd-server.crt", "qpsmtpd-server.key")
    (tmp_path / "ssl").mkdir()
    (tmp_path / "ssl/qpsmtpd-server.crt").write_text("junk")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    plugin = await a_plugin(Tls, config_dir=tmp_path, environment=environment)
    handshake(plugin.tls_context(), a_client())


async def test_missing_files_are_named(tmp_path: Path) -> None:
    write_pair(tmp_path)
    with pytest.raises(ConfigError, match=r"^/nonexistent/cert: cannot be read \(No such file"):
        await a_plugin(Tls, "/nonexistent/cert")
    with pytest.raises(ConfigError, match=r"^/nonexistent/key: cannot be read"):
        await a_plugin(Tls, f"{tmp_path}/cert.pem /nonexistent/key")
    with pytest.raises(ConfigError, match=r"^/nonexistent/ca: cannot be read"):
        await a_plugin(Tls, f"{tmp_path}/cert.pem {tmp_path}/key.pem /nonexistent/ca")
    with pytest.raises(ConfigError, match=r"^ssl/qpsmtpd-server.crt: cannot be read"):
        await a_plugin(Tls)


async def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    write_pair(tmp_path)
    (tmp_path / "key.pem").write_bytes(OTHER.private_key_pem.bytes())
    with pytest.raises(ConfigError, match=r"key\.pem: the key does not belong to /.*cert\.pem"):
        await a_plugin(Tls, f"{tmp_path}/cert.pem {tmp_path}/key.pem")


async def test_files_of_another_kind(tmp_path: Path) -> None:
    write_pair(tmp_path)
    junk = tmp_path / "junk"
    junk.write_text("junk")
    pair = f"{tmp_path}/cert.pem {tmp_path}/key.pem"
    with pytest.raises(ConfigError, match=r"junk: this and /.*key\.pem must be"):
        await a_plugin(Tls, f"{junk} {tmp_path}/key.pem")
    with pytest.raises(ConfigError, match="junk: holds no certificates"):
        await a_plugin(Tls, f"{pair} {junk}")
    with pytest.raises(ConfigError, match="junk: holds no Diffie-Hellman"):
        await a_plugin(Tls, f"{pair} {tmp_path}/cert.pem {junk}")


async def test_a_key_with_a_password_does_not_ask(tmp_path: Path) -> None:
    write_pair(tmp_path)
    key = serialization.load_pem_private_key(CERTIFICATE.private_key_pem.bytes(), None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="without a password"):
        await a_plugin(Tls, f"{tmp_path}/cert.pem {tmp_path}/key.pem")


async def test_ciphers(tmp_path: Path) -> None:
    write_pair(tmp_path)
    line = f"{tmp_path}/cert.pem {tmp_path}/key.pem"
    config = {"tls_ciphers": ["ECDHE-ECDSA-AES256-GCM-SHA384"], "tls_protocols": ["TLSv1_2"]}
    plugin = await a_plugin(Tls, line, config=config)
    cipher = handshake(plugin.tls_context(), a_client()).cipher()
    assert cipher is not None
    assert cipher[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
    with pytest.raises(ConfigError, match=r"^tls_ciphers:1: .NONSENSE. is not a list of ciphers"):
        await a_plugin(Tls, line, config={"tls_ciphers": ["NONSENSE"]})


async def test_dhparam_is_used(tmp_path: Path) -> None:
    write_pair(tmp_path / "ssl", "qpsmtpd-server.crt", "qpsmtpd-server.key")
    (tmp_path / "ssl/qpsmtpd-dhparam.pem").write_text(DHPARAM)
    rsa = AUTHORITY.issue_cert("mx.example", key_type=trustme.KeyType.RSA)
    (tmp_path / "ssl/qpsmtpd-server.crt").write_bytes(rsa.cert_chain_pems[0].bytes())
    (tmp_path / "ssl/qpsmtpd-server.key").write_bytes(rsa.private_key_pem.bytes())
    config = {"tls_ciphers": ["DHE-RSA-AES256-GCM-SHA384"], "tls_protocols": ["TLSv1_2"]}
    plugin = await a_plugin(Tls, config=config, config_dir=tmp_path)
    client = a_client()
    client.set_ciphers("DHE-RSA-AES256-GCM-SHA384")
    handshake(plugin.tls_context(), client)


@pytest.mark.parametrize(
    ("text", "lowest", "highest"),
    [
        ("SSLv23:!SSLv2:!SSLv3", "TLSv1_2", "TLSv1_3"),
        ("SSLv23:!TLSv1_3", "TLSv1_2", "TLSv1_2"),
        ("tlsv13", "TLSv1_3", "TLSv1_3"),
        ("TLSv1:TLSv1_2", "TLSv1", "TLSv1_2"),
    ],
)
async def test_versions(tmp_path: Path, text: str, lowest: str, highest: str) -> None:
    write_pair(tmp_path)
    line = f"{tmp_path}/cert.pem {tmp_path}/key.pem"
    context = (await a_plugin(Tls, line, config={"tls_protocols": [text]})).tls_context()
    assert context.minimum_version == ssl.TLSVersion[lowest]
    assert context.maximum_version == ssl.TLSVersion[highest]


@pytest.mark.parametrize("text", ["SSLv3", "!SSLv23", "TLSv2", "TLSv1_2:!TLSv1_2", ":", ""])
def test_wrong_versions(text: str) -> None:
    with pytest.raises(ConfigError, match="tls_protocols:1: "):
        _parse_versions(Entry(text, "tls_protocols:1"))


@given(st.lists(st.sampled_from([*VERSIONS, "SSLv23", "!SSLv2", "!TLSv1_3", "nonsense", "!"])))
def test_old_versions_only_by_name(words: list[str]) -> None:
    try:
        versions = _parse_versions(Entry(":".join(words), "tls_protocols:1"))
    except ConfigError:
        return
    assert versions
    assert versions <= SAFE | {VERSIONS[word] for word in words if word in VERSIONS}


# --- several certificates, and renewed ones ---------------------------------------------------


def put(directory: Path, name: str, certificate: trustme.LeafCert) -> str:
    """Write a pair; the words that name it."""
    cert, key = directory / f"{name}.crt", directory / f"{name}.key"
    cert.write_bytes(certificate.cert_chain_pems[0].bytes())
    key.write_bytes(certificate.private_key_pem.bytes())
    return f"{cert} {key}"


def shown(plugin: Tls, name: str | None) -> bytes:
    """The certificate that a client sees who asks for this name."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    found = handshake(plugin.tls_context(), client, name).getpeercert(binary_form=True)
    assert found is not None
    return found


def der(certificate: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())


async def test_a_client_gets_the_certificate_that_it_asks_for(tmp_path: Path) -> None:
    wide = AUTHORITY.issue_cert("*.wide.example", "Third.example")
    config = {"tls_certificates": [put(tmp_path, "other", OTHER), put(tmp_path, "wide", wide)]}
    plugin = await a_plugin(Tls, put(tmp_path, "mx", CERTIFICATE), config=config)
    for name in ("other.example", "OTHER.example"):
        assert shown(plugin, name) == der(OTHER)
    for name in ("a.wide.example", "third.example"):
        assert shown(plugin, name) == der(wide)
    unknown = ("unknown.example", "a.b.wide.example", "wide.example")
    for asked in ("mx.example", None, *unknown):
        assert shown(plugin, asked) == der(CERTIFICATE)


@pytest.mark.parametrize("line", ["only.crt", "a.crt a.key more"])
async def test_a_line_that_is_no_pair(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match="tls_certificates:1: a certificate and its key are"):
        config = {"tls_certificates": [line]}
        await a_plugin(Tls, put(tmp_path, "mx", CERTIFICATE), config=config)


async def test_a_renewed_certificate_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    config = {"tls_certificates": [put(tmp_path, "other", OTHER)]}
    plugin = await a_plugin(Tls, put(tmp_path, "mx", CERTIFICATE), config=config, clock=clock)
    new, new_other = AUTHORITY.issue_cert("mx.example"), AUTHORITY.issue_cert("other.example")
    put(tmp_path, "mx", new)
    put(tmp_path, "other", new_other)
    assert shown(plugin, "mx.example") == der(CERTIFICATE)
    clock.time += LOOK_EVERY
    assert shown(plugin, "mx.example") == der(new)
    assert shown(plugin, "other.example") == der(new_other)
    assert caplog.text == ""


async def test_half_a_renewal_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    plugin = await a_plugin(Tls, put(tmp_path, "mx", CERTIFICATE), clock=clock)
    new = AUTHORITY.issue_cert("mx.example")
    (tmp_path / "mx.crt").write_bytes(new.cert_chain_pems[0].bytes())
    for _ in range(3):
        clock.time += LOOK_EVERY
        assert shown(plugin, None) == der(CERTIFICATE)
    assert caplog.text.count("the old certificate stays in use") == 1
    (tmp_path / "mx.key").write_bytes(new.private_key_pem.bytes())
    clock.time += LOOK_EVERY
    assert shown(plugin, None) == der(new)
    (tmp_path / "mx.crt").unlink()
    clock.time += LOOK_EVERY
    assert shown(plugin, None) == der(new)


async def test_when_certificates_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Those of the process may have no room left, after so many other tests.
    monkeypatch.setattr(tls, "FIGURES", figures := Figures())
    write_pair(tmp_path)
    plugin = await a_plugin(Tls, f"{tmp_path}/cert.pem {tmp_path}/key.pem")
    expiry = figures.series(CERTIFICATE_EXPIRY, f"{tmp_path}/cert.pem")
    figures.sample(lambda: None)
    with (tmp_path / "cert.pem").open("rb") as file:
        end = load_pem_x509_certificate(file.read()).not_valid_after_utc
    assert figures.values[expiry.cell] == end.timestamp()
    assert plugin.tls_context() is not None
