# SPDX-License-Identifier: MIT
"""rcpt_ldap: refuse recipients that an LDAP directory does not have.

    rcpt_ldap ldap_host ldap.example.com ldap_base dc=example,dc=com ldap_filter (mail=%s)

or, in the file `rcpt_ldap`, one option a line (where names and filters may have blanks in them):

    ldap_host ldap.example.com
    ldap_base ou=My People,dc=example,dc=com
    ldap_filter (|(mail=%s)(proxyAddresses=smtp:%s))

In the filter `%s` stands for the address of the recipient, `%u` for what is before its @ and `%d`
for the domain, in lower case, an international domain as `xn--...`. A recipient is known if the
filter finds an entry, or several. One that is not gets 550 5.1.1 No such user here.

Only recipients that other plugins have accepted are looked up, wherever the line is, and only those
in our own domains (the files `rcpthosts`, `morercpthosts.cdb` and `me`), or in those of the option
`domains`. So nobody can write to other domains because they are in the directory. For several
directories write `rcpt_ldap:1`, `rcpt_ldap:2` and so on, each with its `domains`; if a domain is in
more than one, all but the last have `unknown next`.

While the directory is down, does not answer in time, has no such base, or answers with any other
error, recipients get 451 4.3.0, so that the client tries again later, or are taken with
`on_error pass`. It is asked again after a second, and then less and less often, at least every ten
seconds; the log says when it is down and when it works again. A directory that finds nothing,
because it has lost its entries or does not show them any more, is not such an error: name an
address that it certainly has as `canary`.

A server on another machine has to have TLS, with port 636 from the start, else by StartTLS, and a
certificate that is valid for its name. With `ldap_tls require` the certificate is not looked at;
on this machine the default is `off`. Referrals are not followed.

It needs python3-ldap3 (Debian's name). Without that the line is an error.

Differences from the Perl version: the Perl version has no such plugin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from qpsmtpd.api import (
    OUR_DOMAINS,
    ConfigError,
    Finding,
    Plugin,
    Recipient,
    System,
    Transaction,
    Verdict,
    opt,
    our_domains,
    with_defaults,
)
from qpsmtpd.logins.directory import NAMES, DirectoryOptions, read_directory
from qpsmtpd.recipients import RecipientTable, TableOptions, check_backend
from qpsmtpd.recipients.ldap import LdapTable, check_filter

FILE = "rcpt_ldap"


@dataclass(frozen=True, kw_only=True)
class RcptLdapOptions(TableOptions, DirectoryOptions):
    """Options of rcpt_ldap."""

    ldap_filter: str = opt(
        "(mail=%s)", check=check_filter, doc="The filter that finds a recipient."
    )


class RcptLdap(Plugin[RcptLdapOptions]):
    """Recipients, in the opinion of an LDAP directory."""

    files = {**OUR_DOMAINS, FILE: "Options, one a line, that the line of the plugin does not name."}

    async def start(self) -> None:
        ours = await our_domains(self.services)
        backend = await self._backend()
        self._table = RecipientTable(self, self.options, [backend], ours)

    async def stop(self) -> None:
        await self._table.close()

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether the directory answers a search."""
        backend = await self._backend()
        yield await check_backend(self.name, self.options, backend)

    async def hook_verify_recipient(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        return await self._table.judge(tx, recipient)

    async def _backend(self) -> LdapTable:
        entries = await self.services.config.entries(FILE)
        options = self.options = with_defaults(self.options, entries, (*NAMES, "ldap_filter"))
        if not options.ldap_base:
            raise ConfigError(self.name, f"needs ldap_base, here or in the file {FILE}")
        directory = await read_directory(
            self.name, options, self.services.config, timeout=options.timeout
        )
        return LdapTable(directory, options.ldap_filter, self.services)
