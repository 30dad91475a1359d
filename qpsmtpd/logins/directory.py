# SPDX-License-Identifier: MIT
"""DirectoryOptions: where an LDAP directory is, for all plugins that ask one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qpsmtpd.errors import ConfigError
from qpsmtpd.logins.credentials import password_of
from qpsmtpd.logins.hosts import check_host, is_here
from qpsmtpd.logins.ldap import LDAPS_PORT, PORT, Directory, is_installed
from qpsmtpd.plugin.options import opt
from qpsmtpd.plugin.services import Config

MISSING = "needs python3-ldap3, which is not installed"

#: The options whose values may have blanks in them.
NAMES = ("ldap_base", "ldap_bind_dn")


@dataclass(frozen=True, kw_only=True)
class DirectoryOptions:
    """Where the directory is; subclass it with how it is searched."""

    ldap_base: str = opt("", doc="The distinguished name below which users are searched for.")
    ldap_host: str = opt("127.0.0.1", check=check_host, doc="The server.")
    ldap_port: int = opt(PORT, least=1, most=65535, doc=f"Its port; {LDAPS_PORT} has TLS.")
    ldap_tls: Literal["off", "require", "verify"] | None = opt(
        None,
        doc="Whether the server has to have TLS, and with a valid certificate; by default verify, "
        "or off for a server on this machine.",
    )
    ldap_ca: Path | None = opt(
        None, doc="Certificates of who vouches for the server; without it, those of the system."
    )
    ldap_bind_dn: str = opt("", doc="The DN to search as; without it, the search is anonymous.")
    ldap_password_file: Path | None = opt(
        None, doc="File whose first line is the password of that entry; mode 0640 or less."
    )

    def check(self) -> list[str]:
        """Problems that show only once all options are known."""
        if bool(self.ldap_bind_dn) != bool(self.ldap_password_file):
            return ["ldap_bind_dn, ldap_password_file: each needs the other"]
        return []


async def read_directory(
    plugin: str, options: DirectoryOptions, config: Config, *, timeout: float, attribute: str = ""
) -> Directory:
    """The directory that options describe.  Raises ConfigError."""
    if not is_installed():
        raise ConfigError(plugin, MISSING)
    here = is_here(options.ldap_host)
    return Directory(
        host=options.ldap_host,
        port=options.ldap_port,
        base=options.ldap_base,
        attribute=attribute,
        tls=options.ldap_tls or ("off" if here else "verify"),
        ca=str(config.path(options.ldap_ca)) if options.ldap_ca else None,
        timeout=timeout,
        user=options.ldap_bind_dn,
        password=await asyncio.to_thread(
            password_of, plugin, "ldap_password_file", options.ldap_password_file, config
        ),
    )
