# SPDX-License-Identifier: MIT
"""tls: encryption, by STARTTLS (RFC 3207), and from the first byte on the listeners set up for it.

    tls [CERTIFICATE [KEY [CA [DHPARAM]]]]

The plugin supplies certificate and key; the daemon speaks TLS itself. The place of the plugin in
the file `plugins` does not matter. All files are PEM. By default they are `qpsmtpd-server.crt`,
`qpsmtpd-server.key`, `qpsmtpd-ca.crt` and `qpsmtpd-dhparam.pem` in the directory `ssl` or
`config/ssl`; the last two need not exist.

A relative name is looked up in the directory of the configuration, then in the working directory.
A name without a slash (and the default names) is first looked up in the directory of systemd's
credentials ($CREDENTIALS_DIRECTORY).

CERTIFICATE holds the server's certificate, followed by those of the authorities between it and the
root; authorities may be in CA instead. Clients are never asked for a certificate.

File `tls_ciphers`: the ciphers up to TLS 1.2 as OpenSSL's ciphers(1) writes them, on one line;
without it the safe ones. File `tls_protocols`: the versions to speak, without it
`TLSv1_2:TLSv1_3`. `SSLv23` means these two, `!NAME` takes one away; everything between the lowest
and the highest is spoken. To serve clients with TLS 1.0, write `TLSv1:TLSv1_1:TLSv1_2:TLSv1_3`, and
usually `DEFAULT@SECLEVEL=0` in `tls_ciphers` as well.

A file that cannot be read, or a key that does not belong to the certificate, is an error: the
daemon does not start, and a reload keeps the old certificate. New ones are read on reload.

Differences from the Perl version: that ran without TLS when a file was missing. TLS before 1.2 has
to be named explicitly. STARTTLS works after MAIL and RSET too. Commands after a failed negotiation
are not refused one by one: the connection is closed.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.api import ConfigError, Entry, Finding, Plugin, System, check_certificate, opt

VERSIONS = {
    "tlsv1": ssl.TLSVersion.TLSv1,
    "tlsv1_1": ssl.TLSVersion.TLSv1_1,
    "tlsv11": ssl.TLSVersion.TLSv1_1,
    "tlsv1_2": ssl.TLSVersion.TLSv1_2,
    "tlsv12": ssl.TLSVersion.TLSv1_2,
    "tlsv1_3": ssl.TLSVersion.TLSv1_3,
    "tlsv13": ssl.TLSVersion.TLSv1_3,
}
SAFE = frozenset({ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3})
ANY = frozenset({"sslv23", "sslv2/3"})
NEVER = frozenset({"sslv2", "sslv3"})


@dataclass(frozen=True, kw_only=True)
class TlsOptions:
    """Options of tls."""

    cert: str = opt("", positional=True, doc="The server's certificate (qpsmtpd-server.crt).")
    key: str = opt("", positional=True, doc="Its private key (qpsmtpd-server.key).")
    ca: str = opt("", positional=True, doc="Certificates of authorities (qpsmtpd-ca.crt).")
    dhparam: str = opt(
        "", positional=True, doc="Parameters for Diffie-Hellman (qpsmtpd-dhparam.pem)."
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # in a directory that we may not enter; reading it will say so


class Tls(Plugin[TlsOptions]):
    """Lends the daemon an SSL context."""

    files = {
        "tls_ciphers": "Ciphers up to TLS 1.2, as ciphers(1ssl) has them.",
        "tls_protocols": "Versions of TLS, such as TLSv1_2:TLSv1_3.",
    }

    async def start(self) -> None:
        config = self.services.config
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_RENEGOTIATION
        _set_versions(context, next(iter(await config.entries("tls_protocols")), None))
        _set_ciphers(context, next(iter(await config.entries("tls_ciphers")), None))
        self._load_files(context)
        self._context = context

    def tls_context(self) -> ssl.SSLContext:
        return self._context

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether certificate and key can be read, fit, are for our name, and for how long."""
        options = self.options
        cert = self._first(options.cert, "qpsmtpd-server.crt", system.exists)
        key = self._first(options.key, "qpsmtpd-server.key", system.exists)
        yield from check_certificate(system, cert, key, self.services.me)

    def _load_files(self, context: ssl.SSLContext) -> None:
        options = self.options
        _load_pair(
            context,
            self._first(options.cert, "qpsmtpd-server.crt"),
            self._first(options.key, "qpsmtpd-server.key"),
        )
        if ca := self._optional(options.ca, "qpsmtpd-ca.crt"):
            _load_authorities(context, ca)
        if dhparam := self._optional(options.dhparam, "qpsmtpd-dhparam.pem"):
            _load_dhparam(context, dhparam)

    def _first(self, name: str, default: str, exists: Callable[[Path], bool] = _exists) -> Path:
        """The first candidate that exists, or the first one of all, for the error message."""
        candidates = self._candidates(name, default)
        return next(filter(exists, candidates), candidates[0])

    def _optional(self, name: str, default: str) -> Path | None:
        path = self._first(name, default)
        return path if name or _exists(path) else None

    def _candidates(self, name: str, default: str) -> list[Path]:
        names = [name] if name else [f"ssl/{default}", f"config/ssl/{default}"]
        paths = list(map(self.services.config.path, names))
        credentials = self.services.environment.get("CREDENTIALS_DIRECTORY")
        if credentials and "/" not in name:
            paths.insert(0, Path(credentials, name or default))
        return paths


def _set_versions(context: ssl.SSLContext, entry: Entry | None) -> None:
    versions = _parse_versions(entry) if entry else SAFE
    with warnings.catch_warnings():
        # Python calls TLS 1.0 and 1.1 deprecated; the administrator asked for them by name.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = max(versions)
        context.minimum_version = min(versions)


def _parse_versions(entry: Entry) -> set[ssl.TLSVersion]:
    versions: set[ssl.TLSVersion] = set()
    for word in entry.text.lower().split(":"):
        name = word.strip().removeprefix("!")
        excluded = "!" in word
        if name in ANY and not excluded:
            versions |= SAFE
        elif name in VERSIONS:
            (versions.discard if excluded else versions.add)(VERSIONS[name])
        elif name not in NEVER or not excluded:
            raise ConfigError(entry.where, f"{word!r} is not one of {', '.join(VERSIONS)}, sslv23")
    if not versions:
        raise ConfigError(entry.where, "no version is left; write e.g. TLSv1_2:TLSv1_3")
    return versions


def _set_ciphers(context: ssl.SSLContext, entry: Entry | None) -> None:
    if entry is None:
        return
    try:
        context.set_ciphers(entry.text)
    except ssl.SSLError:
        raise ConfigError(
            entry.where, f"{entry.text!r} is not a list of ciphers, such as HIGH; see ciphers(1)"
        ) from None


def _load_pair(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    _check_readable(cert)
    _check_readable(key)
    try:
        # An empty password: without one, OpenSSL would ask for it at the terminal.
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(str(key), f"the key does not belong to {cert}") from None
        raise ConfigError(
            str(cert), f"this and {key} must be a certificate and its key, PEM, without a password"
        ) from None


def _load_authorities(context: ssl.SSLContext, ca: Path) -> None:
    """Complete our own chain from these; clients are not asked, as their certificates vary."""
    _check_readable(ca)
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError:
        raise ConfigError(str(ca), "holds no certificates (PEM)") from None


def _load_dhparam(context: ssl.SSLContext, dhparam: Path) -> None:
    _check_readable(dhparam)
    try:
        context.load_dh_params(str(dhparam))
    except ssl.SSLError:
        raise ConfigError(str(dhparam), "holds no Diffie-Hellman parameters (PEM)") from None


def _check_readable(path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})") from None
