# SPDX-License-Identifier: MIT
"""Texts of the man pages that no declaration has: signals, environment, files and the like."""

from __future__ import annotations

DESCRIPTION = """\
qpsmtpd takes mail from the network, and a chain of plugins decides, while the client is still
connected, whether to take each message. What is unwanted is refused, so that nothing has to be
bounced. A message is accepted only after the next hop (Postfix, Exim, qmail, an SMTP or LMTP
server, or a Maildir) has taken it: qpsmtpd has no queue.

The configuration is described in qpsmtpd-config(5), the plugins in qpsmtpd-plugins(5).
"""

#: Signal → what the daemon does.
SIGNALS = {
    "SIGTERM, SIGINT": "Take no more connections, let transactions end, for up to a minute, then "
    "end. Clients between two transactions are told with 421.",
    "SIGHUP": "Read the configuration and certificates again. Sessions keep the configuration that "
    "they began with. One with errors is refused, and the old one stays in use.",
    "SIGUSR1": "Open log files again, after they were rotated.",
}

#: Exit status → meaning.
EXIT_STATUS = {
    "0": "Success; the daemon was told to stop; a configuration has no errors.",
    "1": "What was asked for failed, or a configuration has errors.",
    "2": "The command line is wrong.",
    "78": "The daemon does not start, because its configuration is wrong.",
    "130": "Interrupted by the keyboard.",
}

#: Variable → what it does.
ENVIRONMENT = {
    "QPSMTPD_CONFIG": "The directory of the configuration, instead of /etc/qpsmtpd.",
    "QPSMTPD_RESOLVER": "IP:PORT of the name server to ask, instead of those in /etc/resolv.conf.",
    "QPSMTPD_EVENT_LOOP": "`asyncio` keeps the daemon from using uvloop.",
    "QMAIL": "Home of qmail, instead of /var/qmail: its directory `control` is searched for "
    "configuration files after the others.",
    "QMAILQUEUE": "The program of the plugin queue/qmail-queue.",
    "POSTFIXQUEUE": "The socket of the plugin queue/postfix-queue.",
    "RELAYCLIENT, WHITELISTCLIENT, RBLSMTPD": "Of the plugins relay, whitelist and dnsbl. They are "
    "for tcpserver, which sets them for a connection; in the environment of the daemon they hold "
    "for every client.",
    "TCPREMOTEIP, TCPREMOTEPORT, TCPLOCALIP, TCPLOCALPORT": "The addresses of the connection, "
    "which tcpserver tells to `qpsmtpd inetd`.",
    "LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID, NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, "
    "JOURNAL_STREAM, CREDENTIALS_DIRECTORY, STATE_DIRECTORY": "Set by the service manager: sockets "
    "to listen on (those named smtps, submissions or tls speak TLS from the first byte), where to "
    "tell that the daemon is ready and alive, whether standard error is the journal, where "
    "certificates and keys are, and where to keep the store.",
    "NO_COLOR": "No colours on the terminal.",
}

#: File → what it is for.
FILES = {
    "/etc/qpsmtpd": "The configuration.",
    "/etc/qpsmtpd/plugins": "The chain of plugins.",
    "/etc/qpsmtpd/debian-queue-method, /etc/qpsmtpd/debian-rcpthosts": "What "
    "`dpkg-reconfigure qpsmtpd` writes: the plugin that hands messages over, and the domains that "
    "mail is taken for. Both may be edited.",
    "/var/spool/qpsmtpd": "Scratch files of large messages.",
    "/var/lib/qpsmtpd/store.sqlite": "What plugins remember, unless the file `store` says where. "
    "It may be removed at any time.",
    "/var/log/qpsmtpd/qpsmtpd.log": "The log, as the file `logging` has it.",
    "/run/qpsmtpd/handover.socket": "Where set-id programs (Exim, qmail-queue) are run for the "
    "daemon, which may not gain privileges itself.",
    "/usr/share/doc/qpsmtpd/README.Debian.gz": "How to put it in front of Exim or Postfix.",
}

CONFIGURATION = """\
The configuration is a directory of small files, and each file is one setting or one list. A file
that is not there has its default. All of them are read at start and on SIGHUP (qpsmtpd(8)).

A file is looked up in the directory that the option --config or the environment variable
QPSMTPD_CONFIG names, or else in /etc/qpsmtpd; then in the directory `config` beside the program,
if it was called by its path; then in the control files of qmail, /var/qmail/control. The first
one that is found counts.

Files are in UTF-8. Empty lines and lines that begin with `#` are comments; there are none behind a
line. `$include NAME` stands for the lines of another file, which may be a path or the name of a
configuration file; of a directory all its files, but for those whose names begin with a dot, in
alphabetical order. Files in circles are an error; one that is missing is a warning.

Durations are written as 5, 90s, 10m, 2h or 1d; sizes in bytes, or as 64k, 10M or 1G; yes and no
also as 1 and 0, true and false, on and off.

`qpsmtpd check-config` prints whatever is wrong, with file and line. A daemon whose configuration
has errors does not start, or goes on with the old configuration.
"""

#: Files of the chain → what is in them.
CHAIN_FILES = {
    "plugins": "The chain of plugins, one a line; see qpsmtpd-plugins(5). It must be there.",
    "logging": "Plugins that write the log, one a line: those named logging/... in "
    "qpsmtpd-plugins(5). Without any, log lines go to standard error; see `loglevel`.",
}

CHAIN = """\
The file `plugins` is the chain: one plugin a line, its name and its arguments, separated by
blanks. There are no quotes, and no comments behind a line. In each step of a session (hook) the
plugins are asked from top to bottom; the first that accepts or refuses ends the step, and most
have no opinion. So what accepts recipients, `rcpt_ok`, comes after all that may refuse them, and
the chain ends with a plugin that hands messages over, named queue/... below.

    earlytalker
    relay
    dnsbl on_fault=skip
    badmailfrom
    rcpt_ok
    queue/smtp-forward 192.0.2.25

An argument is `NAME VALUE` or `NAME=VALUE`; the name of a switch alone is enough. Where it is said
below, the name may be left out. In names `-` and `_` are the same. An argument that is not known
is an error.

To have a plugin several times in the chain, write its name as `NAME:1`, `NAME:2` and so on.

Local plugins are files NAME.py in a directory of the file `plugin_dirs`; see
qpsmtpd-plugin-api(7). Plugins in Perl cannot be used, and are reported.

`qpsmtpd plugins` shows the chain with the hooks of each plugin; `qpsmtpd plugins NAME` shows what
is below of one.
"""

API = """\
A plugin is a file NAME.py in a directory of the file `plugin_dirs`, or in a subdirectory, which
becomes part of its name. It defines one subclass of Plugin. Every method `hook_...` that it has is
called for every session; there is nothing to register. It imports `qpsmtpd.api` and nothing else
of qpsmtpd.
"""

EXAMPLE = '''\
"""quiet_domain: defer mail to one domain while a file is there."""

import os
from dataclasses import dataclass

from qpsmtpd.api import (
    Domain, Plugin, Recipient, Transaction, Verdict, defer, opt
)


@dataclass(frozen=True, kw_only=True)
class Options:
    domain: Domain = opt(positional=True, doc="The domain.")
    file: str = opt("/run/quiet", doc="The file.")


class QuietDomain(Plugin[Options]):
    async def hook_rcpt(
        self, tx: Transaction, recipient: Recipient
    ) -> Verdict | None:
        if recipient.address.domain != self.options.domain:
            return None
        if not os.path.exists(self.options.file):
            return None
        return defer("Please try again later", status="4.7.1")
'''

COMPARISONS = """\
A client may write a domain in many ways: in upper case, with A-labels or U-labels (RFC 5890), as a
domain of HELO with a final dot or in full-width characters. `address.domain` is in one canonical
form (lower case, A-labels, no final dot), and `address.key` is the whole address for comparisons.
`canonical_domain()`, `address_key()` and options of the type `Domain` bring other text into that
form. Lists are better kept in an `AddressList`, `AddressSet`, `DomainList` or `HelloList`, which
know every spelling; a `Pattern` is a regular expression that refuses by any spelling and admits by
canonical ones only. What a client wrote is in `address.address`, for the next hop and the log.
"""

VERDICTS = """\
A hook that returns nothing (None) has no opinion, and the next plugin is asked. `accept()`,
`deny()` and `defer()` make a verdict, which ends the hook. Their arguments are the text that the
client reads, `status` (an enhanced status code such as 5.7.1), and of the last two `disconnect`,
which ends the session, and `code`, a reply code where that of the hook is wrong. Only an accept in
hook_rcpt takes a recipient, and only one in hook_queue takes a message.

An exception, or a hook that takes longer than `hook_timeout`, is a fault: the transaction costs
the client a 451, and the log has a traceback; with `on_fault=skip` on the plugin's line the next
plugin is asked. A store that does not answer is not a fault: the plugin has no opinion.

Hooks must not wait without `await`, and every wait needs a time-out. What blocks belongs into
`self.services.run_blocking(function, ...)`.
"""

LEGACY = """\
This program is for scripts that were written for the Perl version: it takes the options of that,
and runs `qpsmtpd run` with one worker. It has no child processes for connections; one process
serves them all. New installations use qpsmtpd(8), or the units qpsmtpd.socket and qpsmtpd.service.

Signals, exit status, environment and files are those of qpsmtpd(8), but for wrong options, whose
exit status is 2.
"""
