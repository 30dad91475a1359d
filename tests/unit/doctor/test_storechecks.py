# SPDX-License-Identifier: MIT
"""Store: a real server, and what may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from qpsmtpd.doctor.storechecks import check_store
from qpsmtpd.plugin.finding import Finding, Severity
from tests.redis_server import RedisServer, redis_server
from tests.unit.doctor.fakes import FakeMachine, an_installation


def found(machine: FakeMachine, store: str, timeout: str = "5") -> list[Finding]:
    return list(check_store(an_installation(machine, store=store, store_timeout=timeout)))


def only(machine: FakeMachine, store: str) -> Finding:
    """The one finding, an error that says what the server said."""
    (finding,) = found(machine, store)
    assert finding.severity is Severity.ERROR
    return finding


def test_a_wrong_location_is_not_examined(machine: FakeMachine) -> None:
    assert found(machine, "redis://:secret@") == []


def test_no_file_yet(machine: FakeMachine) -> None:
    assert found(machine, "") == []
    (finding,) = found(machine, "/srv/nowhere/store")
    assert finding.subject == "store /srv/nowhere"


@pytest.mark.parametrize("store", ["", "/srv/store"])
def test_a_file(machine: FakeMachine, store: str) -> None:
    unit = "[Service]\nStateDirectory=qpsmtpd\n"
    machine.file("/usr/lib/systemd/system/qpsmtpd.service", unit)
    name = store or "/var/lib/qpsmtpd/store.sqlite"
    path = machine.file(name, "")
    assert found(machine, store) == [Finding.ok(name, "can be written to", area="Store")]
    path.write_text("nonsense " * 1000)
    (finding,) = found(machine, store)
    assert finding.severity is Severity.WARNING
    assert finding.text == "is damaged: file is not a database"
    assert path.read_text() == "nonsense " * 1000
    path.unlink()
    path.mkdir()
    assert "cannot be used" in only(machine, store).text


def test_one_server(machine: FakeMachine) -> None:
    with redis_server() as server:
        assert found(machine, server.url) == [
            Finding.ok(f"unix://{server.socket}?db=0", "can be written to", area="Store")
        ]
        server.kill()
        assert only(machine, server.url).text


@pytest.mark.parametrize(
    ("commands", "who", "text", "advice"),
    [
        (
            ["CONFIG SET requirepass x"],
            ":guess@",
            "refuses the user or the password",
            "password_file",
        ),
        (["CONFIG SET requirepass x"], "", "wants a password", "password_file"),
        (
            ["ACL SETUSER mail on >x ~qpsmtpd|* -@all +get"],
            "mail:x@",
            "the user may not do what the store needs",
            "+eval",
        ),
        (["REPLICAOF 127.0.0.1 1"], "", "is a replica", "redis+sentinel://"),
        (["CONFIG SET maxmemory 1"], "", "memory is full", "qpsmtpd-scaling(7)"),
    ],
)
def test_what_a_server_refuses(
    machine: FakeMachine, commands: list[str], who: str, text: str, advice: str
) -> None:
    with redis_server() as server:
        for command in commands:
            assert server.command(*command.split()) == "+OK"
        finding = only(machine, f"unix://{who}{server.socket}")
        assert text in finding.text
        assert advice in finding.advice
        assert "guess" not in finding.text


def test_a_database_that_is_not_there(machine: FakeMachine) -> None:
    with redis_server() as server:
        assert "does not have this database" in only(machine, f"{server.url}?db=99").text


def test_tls(machine: FakeMachine, tmp_path: Path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    chain, ca_file = tmp_path / "chain", tmp_path / "ca"
    ours.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    ours.cert_pem.write_to_path(ca_file)
    theirs.cert_pem.write_to_path(tmp_path / "other")
    files = ("--tls-cert-file", str(chain), "--tls-key-file", str(chain))
    with redis_server(*files, "--tls-ca-cert-file", str(ca_file)) as server:
        server.listen("tls-port")
        place = f"rediss://127.0.0.1:{server.port}?ssl_ca_certs="
        pair = f"ssl_certfile={chain}&ssl_keyfile={chain}"
        (good,) = found(machine, f"{place}{ca_file}&{pair}")
        assert good.severity is Severity.OK
        assert "certificate" in only(machine, f"{place}{ca_file}").text
        assert "not signed by a CA that we know" in only(machine, f"{place}{tmp_path}/other").text
        _other_names(machine, server, ca_file, pair)


def _other_names(machine: FakeMachine, server: RedisServer, ca_file: Path, pair: str) -> None:
    name = f"rediss://localhost:{server.port}?ssl_ca_certs={ca_file}&{pair}"
    assert "for another name" in only(machine, name).text
    assert "may want TLS" in only(machine, f"redis://127.0.0.1:{server.port}").text
    server.command("CONFIG", "SET", "tls-port", "0")
    server.listen()
    plain = f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={ca_file}&{pair}"
    (silent,) = found(machine, plain, "0.5")
    assert "no answer in time" in silent.text
    assert "where there is no TLS" in silent.advice


def test_no_cluster(machine: FakeMachine) -> None:
    with redis_server() as server:
        server.listen()
        finding = only(machine, f"redis+cluster://127.0.0.1:{server.port}")
        assert "not a part of a Cluster" in finding.text
