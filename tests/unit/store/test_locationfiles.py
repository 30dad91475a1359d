# SPDX-License-Identifier: MIT
"""Files that a location names."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from qpsmtpd.store.location import RedisLocation, parse_location
from qpsmtpd.store.locationfiles import problems_of_files

AUTHORITY = trustme.CA()


def problems(text: str) -> list[str]:
    location = parse_location(text)
    assert isinstance(location, RedisLocation)
    return list(problems_of_files(location))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    issued = AUTHORITY.issue_cert("mx.example")
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    issued.private_key_pem.write_to_path(tmp_path / "key")
    (tmp_path / "junk").write_text("junk")
    for name, mode in (("password", 0o640), ("public", 0o644)):
        (tmp_path / name).write_text("secret\n")
        (tmp_path / name).chmod(mode)
    return tmp_path


def test_all_is_well(files: Path) -> None:
    assert problems("redis://h") == []
    tls = f"ssl_ca_certs={files}/ca&ssl_certfile={files}/cert&ssl_keyfile={files}/key"
    assert problems(f"rediss://h?{tls}&password_file={files}/password") == []


def test_authorities(files: Path) -> None:
    (text,) = problems(f"rediss://h?ssl_ca_certs={files}/none")
    assert text == f"ssl_ca_certs: {files}/none: No such file or directory"
    (text,) = problems(f"rediss://h?ssl_ca_certs={files}/junk")
    assert text.startswith(f"ssl_ca_certs: {files}/junk: has to be in PEM form: ")


def test_our_certificate(files: Path) -> None:
    for certificate, key in (("cert", "none"), ("junk", "key"), ("ca", "key")):
        place = f"{files}/{certificate}", f"{files}/{key}"
        (text,) = problems("rediss://h?ssl_certfile={}&ssl_keyfile={}".format(*place))
        assert text.startswith("ssl_certfile: {} with {}: ".format(*place))


def test_passwords(files: Path) -> None:
    (text,) = problems(f"redis://h?password_file={files}/public")
    assert text.startswith(f"password_file: {files}/public: everybody may read")
    both = f"password_file={files}/none&sentinel_password_file={files}/public"
    texts = problems(f"redis+sentinel://h/mail?{both}")
    assert [text.partition(":")[0] for text in texts] == ["password_file", "sentinel_password_file"]
    assert "secret" not in str(texts)
