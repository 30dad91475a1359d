# SPDX-License-Identifier: MIT
"""auth/auth_vpopmail: check logins with the files of vpopmail.

    auth/auth_vpopmail [vpopmail_dir DIR] [qmail_dir DIR] [cram_md5 yes]

For each login (PLAIN, LOGIN: RFC 4954) the user is looked up in the directory of the domain, in
vpasswd.cdb or, if that does not exist, in vpasswd. The directory is the one that qmail's users/cdb
or users/assign names, or else domains/DOMAIN in `vpopmail_dir`. The name must be the whole address;
other names of a domain (vaddaliasdomain) work as well.

A user with the right password is let in, and one with a wrong password is refused without asking
any plugin after this one. If vpopmail does not have the user, or the name has no domain, the next
plugin is asked. Users are refused if vpopmail does not let them send by SMTP (`vmoduser -s`) or
relay (`vmoduser -r`), or if the limits of their domain do not (disable_smtp and
disable_external_relay in `.qmailadmin-limits` or etc/vlimits.default); these limits do not apply to
users with `vmoduser -o`.

With `cram_md5 yes`, CRAM-MD5 (RFC 2195) is offered as well. Most mail programs prefer it, so use it
only if vpopmail keeps all passwords in clear text (--enable-clear-passwd): a user without one could
not log in.

The daemon's user must be able to read all these files, and keep that right when vpopmail replaces
them, which default entries of access control lists do:

    setfacl -R -m u:qpsmtpd:rX,d:u:qpsmtpd:rX ~vpopmail/domains ~vpopmail/etc
    setfacl -m u:qpsmtpd:x ~vpopmail

Its unit hides /home. Where vpopmail lives there, `systemctl edit qpsmtpd.service` with

    [Service]
    ProtectHome=tmpfs
    BindReadOnlyPaths=/home/vpopmail

shows it to the daemon. If that is too much, auth/auth_vpopmaild asks vpopmail's own daemon, and
auth/auth_checkpassword its program vchkpw. If vpopmail keeps its users in MySQL, these
files do not exist: see auth/auth_vpopmail_sql.

If a file cannot be read or makes no sense, the answer is 454 4.7.0 and not that the password is
wrong: the client tries again later.

Differences from the Perl version: it reads vpopmail's files and need not run as the user vpopmail;
unknown users are left to the next plugin; NO_SMTP, NO_RELAY and limits count; CRAM-MD5 is an
option.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.api import Finding, System, opt
from qpsmtpd.logins.vpopmail import Account, VpopmailFiles
from qpsmtpd.logins.vpopmailplugin import VpopmailOptions, VpopmailPlugin


@dataclass(frozen=True, kw_only=True)
class AuthVpopmailOptions(VpopmailOptions):
    """Options of auth/auth_vpopmail."""

    vpopmail_dir: Path = opt(Path("/home/vpopmail"), doc="The home directory of vpopmail.")
    qmail_dir: Path = opt(Path("/var/qmail"), doc="The directory of qmail.")


class AuthVpopmail(VpopmailPlugin[AuthVpopmailOptions]):
    """Logins, by what vpopmail keeps of its users."""

    async def start(self) -> None:
        self._files = VpopmailFiles(self.options.vpopmail_dir, self.options.qmail_dir)

    def examine(self, system: System) -> Iterator[Finding]:
        """Whether the daemon can read which domains there are."""
        options = self.options
        users = options.qmail_dir / "users"
        places = [users / "cdb", users / "assign", options.vpopmail_dir / "domains"]
        place = next(filter(system.exists, places), None)
        subject = f"{self.name} {place or places[-1]}"
        advice = "Nobody can log in until it works: see `qpsmtpd plugins auth/auth_vpopmail`."
        found = place and system.obstacle(place, os.R_OK)
        if place is None:
            yield Finding.error(subject, "does not exist", advice)
        elif found is not None:
            yield Finding.error(subject, str(found), advice)
        else:
            yield Finding.ok(subject, f"user {system.user} can read it")

    async def find(self, name: str, domain: str) -> Account | None:
        return await self.services.run_blocking(self._files.find, name, domain)
