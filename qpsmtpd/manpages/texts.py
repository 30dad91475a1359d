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
    "SIGTERM, SIGINT": "Stop: accept no more connections, let transactions finish for up to a "
    "minute, and exit. Clients between two transactions get a 421.",
    "SIGHUP": "Read the configuration and certificates again. Sessions keep the configuration that "
    "they began with. A configuration with errors is refused, and the old one stays in use.",
    "SIGUSR1": "Reopen the log files, after they were rotated.",
}

#: Exit status → meaning.
EXIT_STATUS = {
    "0": "Success: the daemon was told to stop, or the configuration has no errors.",
    "1": "The command failed, or the configuration has errors.",
    "2": "The command line is wrong.",
    "78": "The daemon does not start because its configuration is wrong.",
    "130": "Interrupted from the keyboard.",
}

#: Variable → what it does.
ENVIRONMENT = {
    "QPSMTPD_CONFIG": "The directory of the configuration, instead of /etc/qpsmtpd.",
    "QPSMTPD_RESOLVER": "IP:PORT of the name server to ask, instead of those in /etc/resolv.conf.",
    "QPSMTPD_EVENT_LOOP": "`asyncio` keeps the daemon from using uvloop.",
    "QMAIL": "The home directory of qmail, instead of /var/qmail: configuration files are looked "
    "for in its directory `control` last.",
    "QMAILQUEUE": "The program that the plugin queue/qmail-queue runs.",
    "POSTFIXQUEUE": "The socket that the plugin queue/postfix-queue connects to.",
    "RELAYCLIENT, WHITELISTCLIENT, RBLSMTPD": "Read by the plugins relay, whitelist and dnsbl. "
    "tcpserver sets them for one connection; in the environment of the daemon they hold for every "
    "client.",
    "TCPREMOTEIP, TCPREMOTEPORT, TCPLOCALIP, TCPLOCALPORT": "The addresses of the connection: "
    "tcpserver sets them for `qpsmtpd inetd`.",
    "LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID, NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, "
    "JOURNAL_STREAM, CREDENTIALS_DIRECTORY, STATE_DIRECTORY, RUNTIME_DIRECTORY": "Set by the "
    "service manager: sockets "
    "to listen on (those named smtps, submissions or tls speak TLS from the first byte; at those "
    "named milter or policy, mail systems ask), where to report that the daemon is ready and "
    "alive, whether standard error is the journal, where certificates and keys are, where to keep "
    "the store, and where to keep the figures that `qpsmtpd status` shows (without that, it shows "
    "none).",
    "NO_COLOR": "Print without colours.",
}

#: What qpsmtpd-metrics(7) says before the list.
METRICS = """\
The daemon counts what it does, in memory that `qpsmtpd status` and `qpsmtpd export-metrics` read.
All workers are summed, also those that have ended since; a reload changes nothing. A new start of
the daemon begins with zero. Counters are exact, also when a worker is killed; of what is measured
(histograms), a worker that is killed loses its last second. Gauges are a second old at most.

To have Prometheus fetch them:

    systemctl enable --now qpsmtpd-metrics.socket

and, in /etc/prometheus/prometheus.yml,

    scrape_configs:
      - job_name: qpsmtpd
        static_configs:
          - targets: ["127.0.0.1:9725"]

A drop-in of the socket unit sets another address, or a Unix socket. Alert rules (alerts.yml) and
a dashboard for Grafana (grafana-dashboard.json) are in /usr/share/doc/qpsmtpd/examples.

No value of a label comes from a client: what strangers say cannot make new series. A metric has at
most 500 series; whatever would be beyond that is counted together, with the labels `other`.
"""

#: File → what it is for.
FILES = {
    "/etc/qpsmtpd": "The configuration.",
    "/etc/qpsmtpd/plugins": "The chain of plugins.",
    "/etc/qpsmtpd/dkim/DOMAIN/SELECTOR.private": "A key with which the plugin dkim signs mail of a "
    "domain; `qpsmtpd dkim-key DOMAIN` makes one.",
    "/run/qpsmtpd/metrics/figures": "What the running daemon has counted; readable for the group "
    "qpsmtpd.",
    "/etc/qpsmtpd/debian-queue-method, debian-rcpthosts, debian-protection": "Written by "
    "`dpkg-reconfigure qpsmtpd`: the plugin that hands messages over, the domains that mail is "
    "accepted for, and the filters. They may be edited.",
    "/etc/qpsmtpd/report_to": "Written by it as well: who gets a daily report.",
    "/usr/share/qpsmtpd/chains/minimal, standard, strict": "The graded chains, for the file "
    "`plugins` to include; see qpsmtpd-plugins(5).",
    "/var/spool/qpsmtpd": "Scratch files of large messages.",
    "/var/lib/qpsmtpd/store.sqlite": "What plugins remember, unless the file `store` names another "
    "place. It may be removed at any time.",
    "/var/log/qpsmtpd/qpsmtpd.log": "The log, as set in the file `logging`.",
    "/run/qpsmtpd/handover.socket": "Runs set-id programs (Exim, qmail-queue) for the daemon, "
    "which may not gain privileges itself.",
    "/run/qpsmtpd/pam.socket": "Asks PAM about logins for the daemon (auth/auth_pam), if "
    "qpsmtpd-pam.socket has been enabled.",
    "/run/qpsmtpd/dashboard.socket": "The dashboard, for a web server on this machine or for ssh, "
    "if qpsmtpd-dashboard.socket has been enabled.",
    "/var/spool/postfix/qpsmtpd/milter": "Where Postfix asks, if `dpkg-reconfigure qpsmtpd` was "
    'answered with "inside Postfix".',
    "/usr/share/doc/qpsmtpd/README.Debian.gz": "How to put qpsmtpd in front of Exim or Postfix, or "
    "inside Postfix.",
}

CONFIGURATION = """\
The configuration is a directory of small files, each of which is one setting or one list. A
setting whose file does not exist has its default. All files are read at start and on SIGHUP
(qpsmtpd(8)).

A file is looked for in three places, and the first one found counts: the directory that the option
--config or the environment variable QPSMTPD_CONFIG names, or else /etc/qpsmtpd; the directory
`config` beside the program, if the program was called by its path; and the control files of qmail,
/var/qmail/control.

Files are in UTF-8; a line that is not is taken for Latin-1, with a warning. Empty lines and lines
that begin with `#` are ignored; a comment cannot follow a value on the same line. `$include NAME`
stands for the lines of another file, which may be a path or the name of a configuration file. If it
is a directory, all its files are included in alphabetical order, except those whose names begin
with a dot. Files that include each other in a circle are an error; one that is missing is a
warning.

Durations are written as 5, 90s, 10m, 2h or 1d; sizes in bytes, or as 64k, 10M or 1G; yes and no
also as 1 and 0, true and false, on and off.

`qpsmtpd check-config` prints every problem, with file and line. With errors in its configuration
the daemon does not start; if it is running, it keeps the old configuration.
"""

STRESS = """\
While most connections are taken, clients that do nothing useful keep others out. So, from
`stress_percent` of `max_connections` on (or of the connections for which a worker may open files),
clients get less time for commands and messages, and may err less often before they are told 421.
There are three grades:
"""

#: After the grades.
STRESS_ENDS = """\
A grade ends when a tenth fewer connections are open than it took to begin. Connections are counted
once a second; what changes applies to those that are open as well. No time-out becomes less than
10 seconds, and 5 errors and 10 useless commands are always allowed, which is enough for any client
that speaks SMTP. For clients that may relay or are on an allowlist only the times change. The log
has a line when stress begins and one when it ends. Meanwhile the plugin tarpit does nothing.
"""

#: Files of the chain → what is in them.
CHAIN_FILES = {
    "plugins": "The chain of plugins, one per line; see qpsmtpd-plugins(5). It must exist.",
    "logging": "The plugins that write the log, one per line: those named logging/... in "
    "qpsmtpd-plugins(5). Without any, log lines go to standard error; see `loglevel`.",
}

CHAIN = """\
The file `plugins` is the chain: one plugin per line, its name and its arguments, separated by
blanks. Quotes have no meaning, and a comment cannot follow on the same line. At each step of a
session (hook) the plugins are asked from top to bottom; most have no opinion, and the first that
accepts or refuses ends the step. So `rcpt_ok`, which accepts recipients, comes after every plugin
that may refuse them, and the chain ends with a plugin that hands messages over, one of those named
queue/...

    earlytalker
    relay
    dnsbl on_fault=skip
    badmailfrom
    rcpt_ok
    queue/smtp-forward 192.0.2.25

An argument is `NAME VALUE` or `NAME=VALUE`; for a switch, the name alone is enough. Some names may
be left out, as the manuals say. In names `-` and `_` are the same. A misspelt argument is an error.
Any other that a plugin does not know has no effect, and a warning, if the plugin is one of the Perl
version, which ignored it; on the line of another plugin it is an error.

To use a plugin more than once, write its name as `NAME:1`, `NAME:2` and so on.

The filters come in three grades, each a file in /usr/share/qpsmtpd/chains that `plugins` includes,
above `rcpt_ok`, by a line such as `$include /usr/share/qpsmtpd/chains/standard` (on Debian, the one
that `dpkg-reconfigure qpsmtpd` writes into debian-protection). Each file says what it does, what it
costs and what it refuses, and has all the plugins of the grade before it:

- minimal adds the results of SPF, DKIM and DMARC, and refuses nothing because of them;
- standard, that of a new installation, also asks the blocklists in the DNS that are named in the
  files `dnsbl_zones` and `rhsbl_zones`, and refuses messages whose author is unclear;
- strict also refuses messages that fail DMARC where the author's domain wants that, and what breaks
  the rules of SMTP.

Local plugins are files NAME.py in a directory of the file `plugin_dirs`; see
qpsmtpd-plugin-api(7). Plugins in Perl cannot be used, and are reported. A line whose plugin does
not exist stops the start, unless the file `missing_plugins` says otherwise.

"""

PLUGINS = """\
Each has a manual of its own, qpsmtpd-plugin-NAME(5), with a hyphen for the slash in a name:
qpsmtpd-plugin-dnsbl(5), qpsmtpd-plugin-queue-smtp-forward(5). `qpsmtpd plugins NAME` prints it as
well, also that of a local plugin.
"""

#: At the end of the arguments of each plugin.
COMMON_ARGUMENTS = (
    "Every plugin also has on_fault, mode, hook_timeout, loglevel and if_enabled: see \
qpsmtpd-plugins(5)."
)

PERL = """\
What has become of each plugin of the Perl version (1.03):

- same: it does here what it did there;
- differs: it does that, but for what is said; where there is more, its manual has the rest;
- built in: the daemon itself does what it did;
- stands in: it is not here, and another plugin or program does what it did;
- idle: it does nothing, and its line may stay until somebody removes it.

A line with one that is built in, or for which something stands in, stops the start, as mail would
pass that the plugin refused; with `skip` in the file `missing_plugins` such lines are left out,
with a warning. Those without which mail would be lost, or relayed for strangers, always stop the
start.
"""

EXEMPT = """\
Most tests do not apply to exempt clients. A client is exempt

- if it is a relay client: the plugin `relay` lists it, or it has logged in;
- if it is on an allowlist: `whitelist` has it in its file `whitelisthosts`, or
  `dns_whitelist_soft` has found it on a list in the DNS;
- for one message, if the sender of that message is on an allowlist: the file `whitelistsenders`.

A manual that speaks of exempt clients means all of these. Only relay clients may relay; the
others are spared tests and gain no other right. The plugins that exempt a client must come before
those whose tests it is to be spared, and some tests are made too early for a client that logs in
later.
"""

API = """\
A plugin is a file NAME.py in a directory that the file `plugin_dirs` names, or in a subdirectory,
which becomes part of the plugin's name. It defines one subclass of Plugin. Each of its methods
named `hook_...` is called in every session; there is nothing to register. It imports `qpsmtpd.api`
and nothing else of qpsmtpd.
"""

BEGINNING = """\
`qpsmtpd plugin new NAME` writes a plugin that works and refuses nothing, with the hooks that are
wanted, and a test of it that passes:

    qpsmtpd plugin new quiet_hours --hook rcpt
    qpsmtpd plugin test quiet_hours.py

The second command prints every slip with file and line: what `check-config` would say of the
plugin, and then what fails in its test, quiet_hours_test.py beside it. A test is a function
test_..., as a rule a coroutine, that gives fakes to a hook and looks at the verdict:

    async def test_night() -> None:
        plugin = await a_plugin(QuietHours, "example.test begin 0")
        to = a_recipient("me@example.test")
        verdict = await plugin.hook_rcpt(a_transaction(), to)
        assert verdict is not None

`qpsmtpd.testing` has `a_plugin`, `a_session`, `a_transaction`, `a_recipient`, `a_message`, a fake
DNS (`a_plugin(..., dns={("A", "name"): ["192.0.2.1"]})`), configuration files (`config={"FILE":
["line"]}`), a clock and a store; `serve` runs the real daemon. pytest with pytest-asyncio runs such
tests if both are installed, and fixtures can be used then; otherwise the command runs them itself.

Once it is in a directory of the file `plugin_dirs`, `qpsmtpd try` shows what it does with real
messages, and with `mode=shadow` on its line `qpsmtpd report --shadow` tells after some days what it
would have refused.
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
A client can spell a domain in many ways: in upper case, with A-labels or U-labels (RFC 5890), in
full-width characters, in HELO also with a final dot. `address.domain` has one canonical form (lower
case, A-labels, no final dot), and `address.key` is the whole address for comparisons.
`canonical_domain()`, `address_key()` and options of the type `Domain` bring other text into that
form. Lists are best kept in an `AddressList`, `AddressSet`, `DomainList` or `HelloList`, which
know every spelling; a `Pattern` is a regular expression that refuses by any spelling and admits by
canonical ones only. What the client wrote is in `address.address`, for the next hop and the log.
"""

VERDICTS = """\
A hook that returns None has no opinion, and the next plugin is asked. `accept()`, `deny()` and
`defer()` make a verdict, which ends the hook. Their arguments are the text that the client reads
and `status`, an enhanced status code such as 5.7.1; `deny()` and `defer()` also have `disconnect`,
which ends the session, `code`, a reply code to use in place of the hook's own, and `reason`, for
the log. Only an accept in hook_rcpt takes a recipient, and only one in hook_queue takes a message.

An exception, or a hook that takes longer than `hook_timeout`, is a fault: the client gets a 451
for this transaction, and the log gets a traceback. With `on_fault=skip` on the plugin's line the
next plugin is asked instead. A store that does not answer is not a fault: the plugin has no
opinion.

Hooks must not wait without `await`, and every wait needs a timeout (`with time_limit(seconds):`, or
`asyncio.timeout`). Call what blocks with
`self.services.run_blocking(function, ...)`.

`self.log` is the plugin's logger. What it says of many clients, it says with
`self.log_about(session, "text %s", value)`, which costs a fraction of `self.log.info`.
"""

LEGACY = """\
This program is for scripts that were written for the Perl version: it takes the old options and
runs `qpsmtpd run` with one worker. Options may be spelled as in Perl: with one dash, in any case,
and cut short as long as that is unique. It starts no child process per connection; one process
serves them all. New installations use qpsmtpd(8), or the units qpsmtpd.socket and qpsmtpd.service.

Signals, exit status, environment and files are those of qpsmtpd(8); the exit status for wrong
options is 2.
"""

#: Command → examples of it.
EXAMPLES = {
    "run": """\
Serve a configuration in another directory, on a port that needs no rights:

    qpsmtpd run --config ./config --listen 127.0.0.1:2525 --workers 1

As root: SMTP, and TLS from the first byte, as the user qpsmtpd:

    qpsmtpd run --listen :25 --listen-tls :465 --user qpsmtpd

Between a mail system and a mail store, by LMTP (RFC 2033), on a Unix socket in a directory that
only the mail system may enter:

    qpsmtpd run --listen lmtp:/var/spool/postfix/private/qpsmtpd

For a Postfix that asks, as its milter, and in a list of restrictions (check_policy_service):

    qpsmtpd run --listen milter:127.0.0.1:8891 --listen policy:/run/qpsmtpd/policy
""",
    "inetd": """\
With tcpserver, as the daemon's user:

    tcpserver -HRl0 -u $(id -u qpsmtpd) -g $(id -g qpsmtpd) 0 25 qpsmtpd inetd
""",
    "reload": """\
Without systemd, where the daemon was started with --pid-file:

    qpsmtpd reload $(cat /run/qpsmtpd.pid)
""",
    "check-config": """\
Before a reload, or for a configuration that is not in use yet:

    qpsmtpd check-config && systemctl reload qpsmtpd
    qpsmtpd check-config ./config

What of a chain does not work where Postfix asks it as a policy service:

    qpsmtpd check-config ./config --front policy
""",
    "plugins": """\
Show the chain, the manual of a plugin, and the chain of a configuration that is not in use yet:

    qpsmtpd plugins
    qpsmtpd plugins queue/smtp-forward
    qpsmtpd plugins --config ./config
""",
    "plugin": """\
Begin a plugin with two hooks, test it, and test it with the arguments that its line will have:

    qpsmtpd plugin new quiet_hours --hook mail --hook rcpt
    qpsmtpd plugin test quiet_hours.py
    qpsmtpd plugin test quiet_hours.py begin 23
""",
    "karma": """\
See who is in the penalty box or was, and let one of them out:

    qpsmtpd karma search naughty
    qpsmtpd karma release 192.0.2.25
""",
    "log": """\
See what was refused today, follow what happens, and keep a month for a spreadsheet:

    qpsmtpd log --outcome refused --since 1d
    qpsmtpd log --follow
    qpsmtpd log --since 30d --format csv >decisions.csv
""",
    "report": """\
Sum up the last 24 hours, yesterday as a page with charts, and a week for one of our domains:

    qpsmtpd report
    qpsmtpd report --since yesterday --until today --format html >report.html
    qpsmtpd report --since 7d --address @example.org

See what lines with mode=shadow would have refused, and what a higher level of filters would do:

    qpsmtpd report --shadow --since 14d

Have yesterday's report mailed every night:

    echo postmaster@example.org >>/etc/qpsmtpd/report_to
    systemctl enable --now qpsmtpd-report.timer
""",
    "status": """\
Look at it once, keep looking, and have Nagios or Icinga look:

    qpsmtpd status
    qpsmtpd status --watch
    qpsmtpd status --check --warning certificate_days=21 --critical store_down=1
""",
    "export-metrics": """\
Serve the figures where Prometheus can fetch them, or leave them where the node exporter does:

    qpsmtpd export-metrics --listen 127.0.0.1:9725
    qpsmtpd export-metrics --prometheus >/var/lib/prometheus/node-exporter/qpsmtpd.prom
""",
    "explain": """\
Somebody says that mail does not arrive, or came without its attachment:

    qpsmtpd explain last refused for anna@example.org
    qpsmtpd explain 192.0.2.25
""",
    "try": """\
Ask what would happen to a message, and what another configuration would change for a whole folder:

    qpsmtpd try message.eml
    qpsmtpd try --client 192.0.2.25 --from news@example.org --to anna@example.org message.eml
    qpsmtpd try --compare ./config ~/Maildir
""",
    "dashboard": """\
For the browser of this machine, or that of another one by way of ssh (then the page is
http://localhost:8425/ there):

    qpsmtpd dashboard
    ssh -L 8425:127.0.0.1:8425 root@mx.example.org qpsmtpd dashboard

For a web server, or ssh alone, without a command that runs in a terminal:

    systemctl enable --now qpsmtpd-dashboard.socket
    ssh -N -L 8425:/run/qpsmtpd/dashboard.socket root@mx.example.org
""",
    "dialogue": """\
Lines of a script are sent (C:) or expected (S:), where an asterisk stands for any text:

    S: 220 *
    C: HELO client.example
    S: 250 *
    C: QUIT
    S: 221 *

With that in the file greeting.smtp:

    qpsmtpd dialogue greeting.smtp --to 127.0.0.1:25
""",
    "doctor": """\
Examine everything, or, for a monitoring system, only what keeps mail from being taken:

    qpsmtpd doctor
    qpsmtpd doctor --errors --json
""",
    "dkim-key": """\
Make a key for a domain and print its record; once that is published, compare them, and have the
daemon sign with it:

    qpsmtpd dkim-key example.org
    qpsmtpd dkim-key example.org --check
    systemctl reload qpsmtpd
""",
    "dmarc-report": """\
Look at what was counted, and at one report as it will be sent; then have all be sent daily:

    qpsmtpd dmarc-report
    qpsmtpd dmarc-report --show example.org --day 2026-11-22
    systemctl enable --now qpsmtpd-dmarc-report.timer
""",
    "scram-verifier": """\
Add a user to the file flat_auth_pw:

    qpsmtpd scram-verifier anna@example.org >>/etc/qpsmtpd/flat_auth_pw
    systemctl reload qpsmtpd
""",
}
