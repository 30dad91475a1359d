# SPDX-License-Identifier: MIT
"""auth/auth_vpopmail: check logins with the files of vpopmail.

    auth/auth_vpopmail [vpopmail_dir DIR] [qmail_dir DIR] [cram_md5 yes]

For each login (PLAIN, LOGIN: RFC 4954) the user is looked up in vpasswd.cdb, or in vpasswd where
there is no vpasswd.cdb, in the directory of the domain. Which directory that is says qmail's
users/cdb, else users/assign, else it is domains/DOMAIN in `vpopmail_dir`. The name is the whole
address; other names of a domain (vaddaliasdomain) work as well.

A user is let in with the right password and refused with a wrong one, whatever plugins after this
one would say. For a user that vpopmail does not have, or a name without a domain, the next plugin
is asked. Nobody is let in whom vpopmail forbids to send by SMTP (`vmoduser -s`) or to relay
(`vmoduser -r`), himself or by the limits of the domain (disable_smtp and disable_external_relay in
`.qmailadmin-limits` or etc/vlimits.default), which are not for users with `vmoduser -o`.

With `cram_md5 yes`, CRAM-MD5 (RFC 2195) is offered as well. That is right only if vpopmail keeps
all passwords in clear text (--enable-clear-passwd), for most programs prefer it: a user without
one could not log in.

The daemon's user must be able to read all these files, and keep that right when vpopmail replaces
them, which default entries of access control lists do:

    setfacl -R -m u:qpsmtpd:rX,d:u:qpsmtpd:rX ~vpopmail/domains ~vpopmail/etc
    setfacl -m u:qpsmtpd:x ~vpopmail

Its unit hides /home. Where vpopmail lives there, `systemctl edit qpsmtpd.service` with

    [Service]
    ProtectHome=tmpfs
    BindReadOnlyPaths=/home/vpopmail

shows it to the daemon. If that is too much, auth/auth_vpopmaild asks vpopmail's own daemon, and
auth/auth_checkpassword its program vchkpw. Where vpopmail keeps users in MySQL there are no such
files: see auth/auth_vpopmail_sql.

Files that cannot be read, or make no sense, are no wrong password: the answer is 454 4.7.0, and the
client tries again later.

Differences from the Perl version: it reads vpopmail's files and needs not be the user vpopmail;
unknown users are left to the next plugin; NO_SMTP, NO_RELAY and limits count; CRAM-MD5 is an
option.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qpsmtpd.api import AuthAttempt, Finding, Plugin, Session, System, Verdict, opt
from qpsmtpd.logins import LoginOptions
from qpsmtpd.logins.vpopmail import Account, VpopmailFiles, judge_account


@dataclass(frozen=True, kw_only=True)
class AuthVpopmailOptions(LoginOptions):
    """Options of auth/auth_vpopmail."""

    vpopmail_dir: Path = opt(Path("/home/vpopmail"), doc="The home directory of vpopmail.")
    qmail_dir: Path = opt(Path("/var/qmail"), doc="The directory of qmail.")
    cram_md5: bool = opt(
        False, doc="Whether to offer CRAM-MD5, as vpopmail keeps all passwords in clear text."
    )


class AuthVpopmail(Plugin[AuthVpopmailOptions]):
    """Logins, by what vpopmail keeps of its users."""

    async def start(self) -> None:
        self._files = VpopmailFiles(self.options.vpopmail_dir, self.options.qmail_dir)

    def unusable_mechanisms(self) -> Sequence[str]:
        return () if self.options.cram_md5 else ("CRAM-MD5",)

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

    async def hook_auth_plain(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self._judge(session, attempt)

    async def hook_auth_login(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self._judge(session, attempt)

    async def hook_auth_cram_md5(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        return await self._judge(session, attempt)

    async def _judge(self, session: Session, attempt: AuthAttempt) -> Verdict | None:
        timeout = self.options.timeout
        return await judge_account(
            self.log, self.services, session, attempt, self._find, timeout=timeout
        )

    async def _find(self, name: str, domain: str) -> Account | None:
        return await self.services.run_blocking(self._files.find, name, domain)
