# SPDX-License-Identifier: MIT
"""The private keys of DKIM in the directory of the configuration.

    dkim/DOMAIN/SELECTOR.private    a key, as opendkim-genkey names them too
    dkim/DOMAIN/selector, private   the selector and the key of the Perl version

A message is signed with every key of its domain, or else with those of the nearest domain above it
that has a directory.  A directory that is a symbolic link stands for the domain that it leads to,
which then is the one that signs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.lines import read_each
from qpsmtpd.mail.domain import canonical_domain, is_domain
from qpsmtpd.mailauth.dkimprivate import (
    MOST_CHECKED_RSA_BITS,
    USUAL_RSA_BITS,
    PrivateKey,
    PrivateKeyError,
    parse_private_key,
)
from qpsmtpd.mailauth.dkimsigning import SigningKey
from qpsmtpd.mailauth.dnsnames import is_askable

#: The directory, in that of the configuration.
DIRECTORY = "dkim"
SUFFIX = ".private"

_PERL_KEY = "private"
_PERL_SELECTOR = "selector"
_OTHERS = 0o007

is_selector = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*").fullmatch

#: Reports what is odd about a file, but not wrong.
Warn = Callable[[str, str], None]


@dataclass(frozen=True)
class Keyring:
    """All keys, by the domains whose mail they sign."""

    by_domain: Mapping[str, tuple[SigningKey, ...]] = field(default_factory=dict)

    def keys_for(self, domain: str) -> tuple[SigningKey, ...]:
        """The keys for mail of a domain, which is in canonical form."""
        if not is_askable(domain):
            return ()
        while domain:
            if domain in self.by_domain:
                return self.by_domain[domain]
            domain = domain.partition(".")[2]
        return ()


def read_keys(directory: Path, warn: Warn) -> Keyring:
    """All keys in a directory, which need not exist.  Raises ConfigError with all its parts."""
    homes = key_directories(directory)
    names = [canonical_domain(home.name) for home in homes]
    keys = read_each(homes, lambda home: read_domain(home, warn))
    return Keyring(dict(zip(names, keys, strict=True)))


def key_directories(directory: Path) -> list[Path]:
    """The directories of domains.  Raises ConfigError."""
    try:
        if not directory.exists():
            return []
        return sorted(
            path for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    except OSError as error:
        raise ConfigError(str(directory), f"cannot be read: {error.strerror}") from None


def read_domain(directory: Path, warn: Warn) -> tuple[SigningKey, ...]:
    """The keys in the directory of one domain.  Raises ConfigError with all its parts."""
    domain = signing_domain(directory)
    if not is_domain(domain):
        raise ConfigError(str(directory), f"{domain!r} is not a domain")
    try:
        files = list(_key_files(directory))
    except OSError as error:
        raise ConfigError(str(directory), f"cannot be read: {error.strerror}") from None
    if not files:
        text = f"has no key, so mail of {directory.name} is not signed: qpsmtpd dkim-key makes one"
        warn(str(directory), text)
    keys = read_each(files, lambda path: _read_key(path, domain, warn))
    return tuple(keys)


def signing_domain(directory: Path) -> str:
    """The domain that signs with the keys of a directory: where it leads to, if it is a link."""
    return canonical_domain((directory.resolve() if directory.is_symlink() else directory).name)


def _key_files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        ours = path.name.endswith(SUFFIX) and not path.name.startswith(".")
        if ours or path.name == _PERL_KEY:
            yield path


def _read_key(path: Path, domain: str, warn: Warn) -> SigningKey:
    text = _read(path)
    if path.stat().st_mode & _OTHERS and _is_open(path.parent) and _is_open(path.parent.parent):
        raise ConfigError(str(path), f"everybody can get at this private key: chmod o= {path}")
    try:
        private = parse_private_key(text)
    except PrivateKeyError as error:
        raise ConfigError(str(path), str(error)) from None
    if oddity := _oddity(private):
        warn(str(path), oddity)
    key = SigningKey(_selector(path), domain, private)
    if not (is_selector(key.selector) and is_askable(key.name)):
        raise ConfigError(str(path), f"{key.selector!r} is not a selector, such as 202611")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None


def _is_open(directory: Path) -> bool:
    """Whether everybody may enter a directory."""
    return bool(directory.stat().st_mode & 0o001)


def _selector(path: Path) -> str:
    if path.name != _PERL_KEY:
        return path.name.removesuffix(SUFFIX).lower()
    beside = path.with_name(_PERL_SELECTOR)
    return _read(beside).decode("ascii", "replace").strip().lower()


def _oddity(key: PrivateKey) -> str:
    """What is odd about the size of a key (RFC 8301 section 3.2)."""
    if key.type != "rsa":
        return ""
    if key.bits < USUAL_RSA_BITS:
        return f"has {key.bits} bits: keys should have {USUAL_RSA_BITS}, so make a new one"
    if key.bits > MOST_CHECKED_RSA_BITS:
        return f"has {key.bits} bits: not everybody checks more than {MOST_CHECKED_RSA_BITS}"
    return ""
