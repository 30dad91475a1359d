# SPDX-License-Identifier: MIT
"""Certificates: whether that of the plugin tls can be read, fits its key, is for us, and how long.

What is in a certificate shows in a TLS handshake with ourselves, in memory: the client trusts it
for what it is, and gets its fields.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qpsmtpd.doctor.access import READ, obstacle
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugin.finding import Finding

#: Seconds before its end at which a certificate should have been renewed.
SOON = 30 * 86400

#: Numbers of X509_verify_cert_error_string(3).
_EXPIRED = 10
_NOT_YET_VALID = 9
_RENEW = "Renew it, and reload:"
_RELOAD = "systemctl reload qpsmtpd.service"


def check_certificates(installation: Installation) -> Iterator[Finding]:
    """The certificate of the plugin tls; nothing without that plugin."""
    for line in installation.plugins("tls"):
        cert = _file(installation, line.options.cert, "qpsmtpd-server.crt")
        key = _file(installation, line.options.key, "qpsmtpd-server.key")
        findings = [found for path in (cert, key) for found in _unreadable(installation, path)]
        yield from findings or _check(installation, cert, key)


def _file(installation: Installation, name: str, default: str) -> Path:
    """Where the plugin finds a file (see its manual); the first place when it is nowhere."""
    places = _places(installation, name, default)
    return next((path for path in places if installation.machine.exists(path)), places[0])


def _places(installation: Installation, name: str, default: str) -> list[Path]:
    directory = installation.directories[0]
    credentials = installation.environment.get("CREDENTIALS_DIRECTORY")
    names = [name] if name else [f"ssl/{default}", f"config/ssl/{default}"]
    places = [directory / name for name in names]
    if credentials and "/" not in name:
        places.insert(0, Path(credentials, name or default))
    return places


def _unreadable(installation: Installation, path: Path) -> Iterator[Finding]:
    account, machine = installation.account, installation.machine
    # systemd gives credentials to the service, whatever the permissions of the files behind them.
    if account is None or str(path).startswith("/run/credentials/"):
        return
    found = obstacle(machine, path, account, READ)
    if found is None:
        return
    if found.kind == "denied":
        advice = "Give the group of the user the right to read it:"
        yield Finding.error(
            str(path), str(found), advice, f"chgrp {account.name} {path}", f"chmod g+r {path}"
        )
    else:
        finding = Finding.notice if found.kind == "hidden" else Finding.error
        yield finding(str(path), str(found))


def _check(installation: Installation, cert: Path, key: Path) -> Iterator[Finding]:
    machine, subject = installation.machine, str(cert)
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(machine.path(cert), machine.path(key), password="")
        fields = shake_hands(server, machine.path(cert))
        yield _validity(subject, fields)
        yield _name(installation, server, cert)
    except ssl.SSLCertVerificationError as failure:
        yield _refused(subject, failure)
    except ssl.SSLError as failure:
        reason = "does not belong to" if failure.reason == "KEY_VALUES_MISMATCH" else "or"
        yield Finding.error(subject, f"cannot be used: {key} {reason} {cert} ({failure.reason})")
    except FileNotFoundError:
        yield Finding.error(subject, f"this or {key} does not exist", "See qpsmtpd plugins tls.")
    except OSError as failure:
        yield Finding.notice(
            subject, f"cannot be read by us ({failure.strerror}); run this as root"
        )


def _validity(subject: str, fields: dict[str, Any]) -> Finding:
    end = str(fields.get("notAfter", ""))
    left = ssl.cert_time_to_seconds(end) - time.time()
    if left < SOON:
        return Finding.warning(subject, f"ends in {left / 86400:.0f} days ({end})", _RENEW, _RELOAD)
    return Finding.ok(subject, f"is good until {end}, and fits its key")


def _refused(subject: str, failure: ssl.SSLCertVerificationError) -> Finding:
    if failure.verify_code == _EXPIRED:
        return Finding.error(subject, "has expired", _RENEW, _RELOAD)
    if failure.verify_code == _NOT_YET_VALID:
        return Finding.error(subject, "is not valid yet; see whether the clock is right")
    return Finding.warning(subject, f"clients will not take it: {failure.verify_message}")


def _name(installation: Installation, server: ssl.SSLContext, cert: Path) -> Finding:
    me = installation.settings.me
    try:
        shake_hands(server, installation.machine.path(cert), me)
    except ssl.SSLCertVerificationError:
        text = f"is not for our name {me} (file me)"
        advice = "Clients that check names, by DANE or MTA-STS, will not deliver."
        return Finding.notice(str(cert), text, advice)
    return Finding.ok(str(cert), f"is for our name {me}")


def shake_hands(server: ssl.SSLContext, cert: Path, name: str | None = None) -> dict[str, Any]:
    """The fields of the server's certificate, as a client that trusts it sees them.

    Raises SSLCertVerificationError when even that client refuses it, or it is not for the name.
    """
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = name is not None
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server, server_hostname=name)
    for side in (client, ours, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    fields: dict[str, Any] = client.getpeercert() or {}
    return fields
