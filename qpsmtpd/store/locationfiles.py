# SPDX-License-Identifier: MIT
"""The files that a location of Redis names: whether they can be used."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from qpsmtpd.nexthop.hopauth import read_password
from qpsmtpd.store.location import RedisLocation


def problems_of_files(location: RedisLocation) -> Iterator[str]:
    """What is wrong with each file, and what would be right."""
    if location.ca_file:
        yield from _problem("ssl_ca_certs", location.ca_file, _check_authorities)
    if location.certificate:
        pair = f"{location.certificate} with {location.key}"
        yield from _problem("ssl_certfile", pair, lambda _pair: _check_certificate(location))
    for name, path in location.password_files.items():
        yield from _problem(name, path, lambda path: read_password(Path(path)))


def _problem(name: str, path: str, check: Callable[[str], object]) -> Iterator[str]:
    try:
        check(path)
    except ssl.SSLError as error:
        yield f"{name}: {path}: has to be in PEM form: {error.reason or error}"
    except OSError as error:
        yield f"{name}: {path}: {error.strerror}"
    except ValueError as error:
        yield f"{name}: {path}: {error}"


def _check_authorities(path: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)


def _check_certificate(location: RedisLocation) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Without a password OpenSSL would ask for one at the terminal.
    context.load_cert_chain(location.certificate, location.key, password="")
