# SPDX-License-Identifier: MIT
"""Certificates: whether one can be read, fits its key, is for our name, and for how long.

The contents of a certificate show in a TLS handshake with ourselves, in memory: the client trusts
that very certificate, and gets its fields.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.system import System

#: Seconds before its expiry at which a certificate should have been renewed.
SOON = 30 * 86400

#: Numbers of X509_verify_cert_error_string(3).
_EXPIRED = 10
_NOT_YET_VALID = 9
_RENEW = "Renew it, and reload:"
_RELOAD = "systemctl reload qpsmtpd.service"


def check_certificate(system: System, cert: Path, key: Path, name: str) -> Iterator[Finding]:
    """A certificate and its key; `name` is the name that clients know us by (file me)."""
    findings = [found for path in (cert, key) for found in _unreadable(system, path)]
    yield from findings or _check(system, cert, key, name)


def _unreadable(system: System, path: Path) -> Iterator[Finding]:
    # systemd gives credentials to the service, whatever the permissions of the original files.
    if str(path).startswith("/run/credentials/"):
        return
    found = system.obstacle(path, os.R_OK)
    if found is None:
        return
    if found.kind == "denied":
        advice = "Let the user's group read it:"
        commands = (f"chgrp {system.user} {path}", f"chmod g+r {path}")
        yield Finding.error(str(path), str(found), advice, *commands)
    else:
        finding = Finding.notice if found.kind == "hidden" else Finding.error
        yield finding(str(path), str(found))


def _check(system: System, cert: Path, key: Path, name: str) -> Iterator[Finding]:
    subject = str(cert)
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(system.path(cert), system.path(key), password="")
        fields = shake_hands(server, system.path(cert))
        yield _validity(subject, fields)
        yield _name(subject, server, system.path(cert), name)
    except ssl.SSLCertVerificationError as failure:
        yield _refused(subject, failure)
    except ssl.SSLError as failure:
        reason = "does not belong to" if failure.reason == "KEY_VALUES_MISMATCH" else "or"
        text = f"cannot be used: {key} {reason} {cert} ({failure.reason})"
        yield Finding.error(subject, text)
    except FileNotFoundError:
        yield Finding.error(subject, f"this or {key} does not exist", "See qpsmtpd plugins tls.")
    except OSError as failure:
        text = f"cannot be read ({failure.strerror}); run this as root"
        yield Finding.notice(subject, text)


def _validity(subject: str, fields: dict[str, Any]) -> Finding:
    end = str(fields.get("notAfter", ""))
    left = ssl.cert_time_to_seconds(end) - time.time()
    if left < SOON:
        text = f"expires in {left / 86400:.0f} days ({end})"
        return Finding.warning(subject, text, _RENEW, _RELOAD)
    return Finding.ok(subject, f"is valid until {end}, and fits its key")


def _refused(subject: str, failure: ssl.SSLCertVerificationError) -> Finding:
    if failure.verify_code == _EXPIRED:
        return Finding.error(subject, "has expired", _RENEW, _RELOAD)
    if failure.verify_code == _NOT_YET_VALID:
        return Finding.error(subject, "is not valid yet; check the clock")
    return Finding.warning(subject, f"clients will not accept it: {failure.verify_message}")


def _name(subject: str, server: ssl.SSLContext, cert: Path, name: str) -> Finding:
    try:
        shake_hands(server, cert, name)
    except ssl.SSLCertVerificationError:
        text = f"is not for our name {name} (file me)"
        advice = "Clients that check names, by DANE or MTA-STS, will not deliver."
        return Finding.notice(subject, text, advice)
    return Finding.ok(subject, f"is for our name {name}")


def shake_hands(server: ssl.SSLContext, cert: Path, name: str | None = None) -> dict[str, Any]:
    """The fields of the server's certificate, as a client that trusts it sees them.

    Raises SSLCertVerificationError if even that client refuses it, or it is not for the name.
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
