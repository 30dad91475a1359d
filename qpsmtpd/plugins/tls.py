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

File `tls_certificates`: certificates for other names, on each line a certificate and its key, which
are looked up as the first ones are. A client that asks for one of the names in a certificate (SNI)
gets that one; all others get the first. With `*.example.org` a certificate is for one label more.

File `tls_ciphers`: the ciphers up to TLS 1.2 as OpenSSL's ciphers(1) writes them, on one line;
without it the safe ones. File `tls_protocols`: the versions to speak, without it
`TLSv1_2:TLSv1_3`. `SSLv23` means these two, `!NAME` takes one away; everything between the lowest
and the highest is spoken. To serve clients with TLS 1.0, write `TLSv1:TLSv1_1:TLSv1_2:TLSv1_3`, and
usually `DEFAULT@SECLEVEL=0` in `tls_ciphers` as well.

A file that cannot be read, or a key that does not belong to the certificate, is an error: the
daemon does not start, and a reload keeps the old certificate. A renewed certificate is used within
ten seconds, without a reload, as soon as both files are there and fit. What systemd passes as
credentials stays as it was when the daemon started.

Differences from the Perl version: that ran without TLS when a file was missing. TLS before 1.2 has
to be named explicitly. STARTTLS works after MAIL and RSET too. Commands after a failed negotiation
are not refused one by one: the connection is closed.
"""

from __future__ import annotations

import logging
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

from qpsmtpd.api import ConfigError, Entry, Finding, Plugin, System, check_certificate, opt
from qpsmtpd.metrics.catalogue import CERTIFICATE_EXPIRY
from qpsmtpd.metrics.counting import FIGURES

log = logging.getLogger(__name__)

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

#: Seconds between two looks at the files.
LOOK_EVERY = 10.0


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


@dataclass
class Pair:
    """A certificate, its key, and what a client is shown of them.

    make: makes a context without a certificate.
    seen: what the files looked like when they were read.
    names: those that the certificate is for, in lower case.
    expires: when, in seconds since the epoch; None if that cannot be read.
    """

    cert: Path
    key: Path
    make: Callable[[], ssl.SSLContext]
    seen: object = None
    names: frozenset[str] = frozenset()
    expires: float | None = None
    context: ssl.SSLContext = field(init=False)

    def load(self) -> None:
        """Read the files.  Raises ConfigError, and then goes on with what was read before."""
        self.seen = self._looks()
        context = self.make()
        _load_pair(context, self.cert, self.key)
        self.names = _names_in(self.cert)
        self.expires = _expiry_of(self.cert)
        self.context = context

    def renew(self) -> None:
        """Read the files again if they have changed since."""
        if self._looks() == self.seen:
            return
        try:
            self.load()
        except ConfigError as error:
            # One file may have come already, and the other not yet.
            log.warning("the old certificate stays in use: %s", error)
        else:
            log.info("certificate renewed file=%s", self.cert)

    def is_for(self, name: str) -> bool:
        """Whether a client that asks for this name gets this certificate (RFC 6125 6.4.3)."""
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names

    def _looks(self) -> list[tuple[int, int, int]]:
        try:
            found = [path.stat() for path in (self.cert, self.key)]
        except OSError:
            return []
        return [(each.st_ino, each.st_size, each.st_mtime_ns) for each in found]


class Tls(Plugin[TlsOptions]):
    """Lends the daemon an SSL context, which has the right certificate for each client."""

    files = {
        "tls_certificates": "Certificates for other names: a certificate and its key on each line.",
        "tls_ciphers": "Ciphers up to TLS 1.2, as ciphers(1ssl) has them.",
        "tls_protocols": "Versions of TLS, such as TLSv1_2:TLSv1_3.",
    }

    async def start(self) -> None:
        config = self.services.config
        protocols = next(iter(await config.entries("tls_protocols")), None)
        ciphers = next(iter(await config.entries("tls_ciphers")), None)

        def make() -> ssl.SSLContext:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.options |= ssl.OP_NO_RENEGOTIATION
            _set_versions(context, protocols)
            _set_ciphers(context, ciphers)
            self._load_extras(context)
            return context

        self._pairs = [Pair(*files, make) for files in await self._files()]
        for pair in self._pairs:
            pair.load()
        self._context = make()
        _load_pair(self._context, self._pairs[0].cert, self._pairs[0].key)
        self._context.sni_callback = self._choose
        self._look_at = self.services.clock.monotonic() + LOOK_EVERY
        FIGURES.each_second(self._say_expiry)

    def _say_expiry(self) -> None:
        for pair in self._pairs:
            if pair.expires is not None:
                FIGURES.add_sample(CERTIFICATE_EXPIRY, pair.expires, str(pair.cert))

    def tls_context(self) -> ssl.SSLContext:
        return self._context

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether certificates and keys can be read, fit, are for our name, and for how long."""
        first, *others = await self._files(system.exists)
        for found in check_certificate(system, *first, self.services.me):
            yield found
        for cert, key in others:
            name = min(_names_in(system.path(cert)), default=self.services.me)
            for found in check_certificate(system, cert, key, name):
                yield found

    # --- in a handshake ---------------------------------------------------------------------

    def _choose(self, handshake: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """Called for every client, with the name that it asks for (RFC 6066 section 3)."""
        self._look_for_renewed()
        wanted = (name or "").lower()
        pair = next((pair for pair in self._pairs if pair.is_for(wanted)), self._pairs[0])
        handshake.context = pair.context

    def _look_for_renewed(self) -> None:
        now = self.services.clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            for pair in self._pairs:
                pair.renew()

    # --- files ------------------------------------------------------------------------------

    async def _files(self, exists: Callable[[Path], bool] = _exists) -> list[tuple[Path, Path]]:
        """The certificates with their keys, the one for everybody first.  Raises ConfigError."""
        options = self.options
        first = (
            self._first(options.cert, "qpsmtpd-server.crt", exists),
            self._first(options.key, "qpsmtpd-server.key", exists),
        )
        entries = await self.services.config.entries("tls_certificates")
        return [first, *(self._pair_of(entry, exists) for entry in entries)]

    def _pair_of(self, entry: Entry, exists: Callable[[Path], bool]) -> tuple[Path, Path]:
        words = entry.text.split()
        if len(words) != 2:
            raise ConfigError(entry.where, "a certificate and its key are wanted: CERTIFICATE KEY")
        cert, key = (self._first(word, "", exists) for word in words)
        return cert, key

    def _load_extras(self, context: ssl.SSLContext) -> None:
        options = self.options
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


def _names_in(cert: Path) -> frozenset[str]:
    """The names that a certificate is for; none if it cannot be read, which is said elsewhere."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = names.get_values_for_type(x509.DNSName)
    except (OSError, ValueError, x509.ExtensionNotFound):
        return frozenset()
    return frozenset(str(name).lower() for name in found)


def _expiry_of(cert: Path) -> float | None:
    """When a certificate expires; None if it cannot be read, which is said elsewhere."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
    except (OSError, ValueError):
        return None
    # The newer name is of cryptography 42; the older one has no time zone.
    end = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after
    return float(end.replace(tzinfo=UTC).timestamp())


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
