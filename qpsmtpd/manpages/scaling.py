# SPDX-License-Identifier: MIT
"""qpsmtpd-scaling(7): several machines, the store that they share, and what a site needs.

The table of what a site needs is computed from `MEASURED`; tests/unit/manpages/test_scaling.py
holds these figures to tests/bench/results.json.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qpsmtpd.manpages.roff import Page
from qpsmtpd.store.location import PARAMETERS
from qpsmtpd.store.operation import PROBE
from qpsmtpd.store.redisentries import ACL, PREFIX

DAY = 86400


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured, on one core of an AMD EPYC, with Python 3.11 and Redis 7.0.

    per_cpu_second: messages of 4 KB, each on a connection of its own, through SPF, DKIM and DMARC;
    worker: bytes of a worker then; both from tests/bench/results.json, case `authentication`.
    ours, redis: seconds of CPU time of one operation of the store, for us and for the server, and
    bytes of entries: tests/bench/storecost.py, with 100,000 entries.
    operations: of the store for one message, counted by tests/integration/test_store_entries.py.
    """

    per_cpu_second: float = 1483
    worker: int = 40_356_864
    ours: float = 27e-6
    redis: float = 12e-6
    first_attempt: int = 490
    known: int = 245
    record: int = 213
    operations: int = 8


MEASURED = Measured()

#: DNS look-ups for a message when nothing is cached about its client and sender.
LOOKUPS = {
    "the client's name": 2,
    "its SPF record, and two that it includes": 3,
    "the key of a signature": 1,
    "the DMARC record": 2,
    "two DNS lists": 2,
}

#: What a core is loaded with at the most, so that there is room for peaks and for a failure.
LOAD = 0.5
#: One message in this many comes from a network that was not known.
STRANGERS = 100
#: Of those that try a first time, one in this many comes back.
RETURNING = 2
#: There are not more: IPv4 networks of 24 bits, which is what greylisting goes by.
MOST_NETWORKS = 1 << 24
#: Days: of a first attempt, of a known network, of a record of karma, by default.
ATTEMPT_DAYS, KNOWN_DAYS, RECORD_DAYS = 2, 36, 30
#: A replica has everything once more, and the allocator needs room.
COPIES, ROOM = 2, 1.5
#: Cores of a machine, and machines to spare.
CORES, SPARE = 16, 1


@dataclass(frozen=True)
class Site:
    """What a site needs for `rate` messages a second, on average of a busy hour."""

    rate: int

    @property
    def cores(self) -> int:
        """Of all machines with qpsmtpd, which is also the number of workers."""
        seconds = 1 / MEASURED.per_cpu_second + MEASURED.operations * MEASURED.ours
        return math.ceil(self.rate * seconds / LOAD)

    @property
    def machines(self) -> int:
        """Of CORES cores, with one to spare."""
        return math.ceil(self.cores / CORES) + SPARE

    @property
    def memory(self) -> float:
        """Bytes of all workers."""
        return self.cores * float(MEASURED.worker)

    @property
    def operations(self) -> int:
        """Of the store, in a second."""
        return self.rate * MEASURED.operations

    @property
    def masters(self) -> int:
        """Servers of Redis, each of which uses one core for operations."""
        return math.ceil(self.operations * MEASURED.redis / LOAD)

    @property
    def entries(self) -> float:
        """Bytes of all entries, once."""
        day = self.rate * DAY / STRANGERS
        attempts = min(day * RETURNING * ATTEMPT_DAYS, MOST_NETWORKS)
        known = min(day * KNOWN_DAYS, MOST_NETWORKS)
        records = min(day * RECORD_DAYS, MOST_NETWORKS)
        return (
            attempts * MEASURED.first_attempt + known * MEASURED.known + records * MEASURED.record
        )

    @property
    def store_memory(self) -> float:
        """Bytes of all servers of Redis."""
        return self.entries * COPIES * ROOM

    @property
    def lookups(self) -> int:
        """In a second, if nothing is in any cache."""
        return self.rate * sum(LOOKUPS.values())


SITES = tuple(map(Site, (10, 1_000, 100_000)))

_ROWS: Mapping[str, Callable[[Site], str]] = {
    "messages a second": lambda site: f"{site.rate:,}",
    "qpsmtpd: cores, workers": lambda site: f"{site.cores:,}",
    f"machines of {CORES} cores": lambda site: f"{site.machines:,}",
    "memory of all workers": lambda site: _bytes(site.memory),
    "store: operations a second": lambda site: f"{site.operations:,}",
    "masters of Redis": lambda site: f"{site.masters:,}",
    "memory, with replicas": lambda site: _bytes(site.store_memory),
    "DNS: look-ups a second": lambda site: f"{site.lookups:,}",
}


def _bytes(number: float) -> str:
    """In the unit that fits, rounded up."""
    for unit in ("MB", "GB"):
        number /= 1000 if unit == "GB" else 1_000_000
        if number < 1000:
            break
    return f"{math.ceil(number):,} {unit}"


def table() -> str:
    """What the sites need, in columns."""
    names = max(map(len, _ROWS))
    cells = [[cell(site) for site in SITES] for cell in _ROWS.values()]
    width = max(len(cell) for row in cells for cell in row)
    return "\n".join(
        f"{name:{names}}" + "".join(f"  {cell:>{width}}" for cell in row)
        for name, row in zip(_ROWS, cells, strict=True)
    )


def write(page: Page) -> None:
    """All sections."""
    for heading, text in SECTIONS.items():
        page.heading(heading)
        page.prose(text)
    page.heading("Parameters of the store")
    for name, text in PARAMETERS.items():
        page.term(name, f"{text[:1].upper()}{text[1:]}.", "VALUE")
    page.heading("What is in Redis")
    page.prose(LAYOUT)
    for scope, text in SCOPES.items():
        page.term(scope, text)
    page.heading("What a site needs")
    page.prose(_needs())
    page.example(table())
    page.prose(ASSUMPTIONS)


_ACL_LINES = "\n      ".join(textwrap.wrap(ACL, 60))

SECTIONS = {
    "Description": """\
One machine needs none of this: its workers share an SQLite file. Several machines behind one
address, be it by HAProxy or by MX records, work without anything in common as well; but then each
of them has its own counters (`rate_limit`), has strangers wait by itself (`greylisting`) and learns
by itself how clients behave (`karma`). To have them act as one, name the same Redis or Valkey
server in the file `store` on each, and install python3-redis there.

No mail depends on it. Nobody waits for it longer than `store_timeout`; while it is down, plugins
that need it have no opinion, and the log has one line when that begins and one when it ends. What
is in it can be learned again. What cannot be told from the truth is believed, so nobody but the
machines should be able to write to it.
""",
    "Which Redis": """\
The file `store` has one line, in one of these forms:

    redis://HOST[:PORT][/DB]
    unix:///PATH[?db=DB]
    redis+sentinel://HOST[:PORT][,HOST[:PORT]].../NAME[/DB]
    redis+cluster://HOST[:PORT][,HOST[:PORT]]...

With `rediss` in place of `redis`, all connections use TLS, and certificates are verified, with the
names that we connect to. After the slashes `USER@` may follow, or `USER:PASSWORD@`; in a password
write % and two hexadecimal digits for each of `/ ? # @ : %`. A password in a file of its own, which
only the daemon's user can read, is better (`password_file`): it is read for each connection, so a
new one needs no reload. The line is never logged, only what it names, without passwords.

    rediss://qpsmtpd@redis.example.com?password_file=/etc/qpsmtpd/redis-password

`qpsmtpd check-config` says what is wrong with the line and the files that it names; `qpsmtpd
doctor` asks every server and Sentinel that is named, and says in plain words what is wrong there.
""",
    "Users": f"""\
This user of Redis (6 or newer) may do what the store needs, and nothing else:

    ACL SETUSER qpsmtpd on >PASSWORD
      {_ACL_LINES}
""",
    "Sentinel": """\
NAME is what follows `sentinel monitor` in sentinel.conf. Name all Sentinels, three at least: they
are asked in turn, each for a part of `store_timeout`, whenever a connection is made, and the server
that they name has to say itself that it is the master. USER and password are those of the servers;
Sentinels that want a login have `sentinel_user` and `sentinel_password_file`.

In a fail-over the store is down until Sentinels have chosen another master (after
`down-after-milliseconds` and a second or two), and the last writes may be lost, as replicas follow
with a delay. A master that is cut off together with one of our machines takes writes that are lost
later: `min-replicas-to-write 1` has it refuse them. With TLS, certificates have to have the names
that Sentinels announce: addresses, or names with `resolve-hostnames` and `announce-hostnames`.
""",
    "Cluster": """\
Name a few nodes; they tell of the others. Database is 0. Each entry is on one node, and a node that
does not answer costs only what is on it: a third of the counters with three masters, if
`cluster-require-full-coverage` is no; with yes, as by default, the others stop as well. After half
of `store_timeout` its operations fail, and for some seconds at once. The log names it. With TLS,
nodes announce their addresses, or names with `cluster-announce-hostname` and
`cluster-preferred-endpoint-type`.

A list of entries (`qpsmtpd karma list`) goes from node to node; of slots that move meanwhile, some
entries may be left out.
""",
}

LAYOUT = f"""\
This is version {PREFIX.decode().split("|")[1]} of the layout. The version is a part of every key:
machines that have another one neither see nor spoil these entries, and a new version begins with
an empty store, the old entries ending by themselves. Keys are

    {PREFIX.decode()}KIND|{{SCOPE|KEY}}

KIND is `value` or `count`. SCOPE is who it belongs to: a plugin, by the name on its line, or a part
of the daemon. What is in braces is the hash tag of a Cluster: value and count of one KEY are always
on the same node, and a script may use both. A client can write braces into its KEY as well; that
changes nothing of this. One more key, `{PREFIX.decode()}{PROBE.name.decode()}|{{}}`, shows whether
the store can be written to.

Every entry is a hash with two fields: `v` is the value or the count, `t` the milliseconds that it
lives. It has that time to live (PTTL), or less. There is no entry without an end; the server needs
neither backup nor persistence, and `maxmemory-policy volatile-ttl` is safe: what would end first is
forgotten first.
"""

SCOPES = {
    "auth_flat_file": "value `scram secret`, from which users who do not exist get "
    "their salts: ten years.",
    "decisions kept": "value `state`, and NUMBER with about 100 decisions: decisions_days; `key`, "
    "the secret for hashes of addresses: ten years.",
    "dmarc reports": "value `policy`, `domains`, `rows`, `claim`, `sent`, `done` and count `row`, "
    "`all`, each with |DAY and what it is about: eight days.",
    "failed logins": "count CLIENT: an hour.",
    "greylisting": "value `wait/`, `seen/`, `known/` and what an attempt is recognised by "
    "(network, sender, recipient, as its options say); `good/NETWORK`; count `new/NETWORK`. They "
    "live as long as the options black_timeout, grey_timeout and white_timeout say; the last, an "
    "hour.",
    "jobs": "value JOB: 95 % of the time between two of its runs.",
    "karma": "value `record/CLIENT`: history_days, or longer than a penalty; `penalty/CLIENT`: "
    "penalty_days, and more for whoever is punished again.",
    "rate_limit": "count LIMIT/SECONDS/SUBJECT: these seconds from the first event on.",
    "rcpt_ldap, rcpt_sql, rcpt_socketmap": "value `is/KEY`; count `number/ANSWER`; as long as the "
    "options positive and negative say.",
    "rspamd": "value `known KEY`, `waits KEY`, of messages that rspamd wants greylisted.",
    "verify_recipients": "value `is/KEY`, `asking/KEY`; count `number/ANSWER`.",
}


def _needs() -> str:
    m = MEASURED
    return f"""\
Measured on one core of an AMD EPYC, with Python 3.11, and Redis 7.0 of Debian 12:

- {m.per_cpu_second:,.0f} messages of 4 KB for each second of CPU time, each on its own connection
and through SPF, DKIM and DMARC (tests/bench/README.md of the sources), with {m.worker / 1e6:.0f} MB
for a worker;
- {m.ours * 1e6:.0f} microseconds for each operation of the store, and {m.redis * 1e6:.0f} on the
side of Redis; a message of a client that is known, with karma, greylisting, rate_limit and reports
of DMARC, has {m.operations} at the most;
- {m.first_attempt} bytes in Redis for a first attempt of greylisting, {m.known} for a network that
is known, {m.record} for a record of karma: for a million of each {_bytes(m.first_attempt * 1e6)},
{_bytes(m.known * 1e6)} and {_bytes(m.record * 1e6)}. That was measured with 100,000 entries
(tests/bench/storecost.py) and multiplied by ten.

From this follows, by multiplication alone:
"""


ASSUMPTIONS = f"""\
Cores, also those of Redis, are loaded to {LOAD:.0%}: a busy hour has peaks. One in {STRANGERS}
messages is of a network that nobody knows; as many as that again try once and never come back; and
there are no more than {MOST_NETWORKS / 1e6:.0f} million networks. Entries live as long as by
default ({ATTEMPT_DAYS}, {KNOWN_DAYS} and {RECORD_DAYS} days). Every master of Redis has a replica,
and half as much memory again to spare. Machines are one more than needed. More than one master is a
Cluster. The DNS is asked {sum(LOOKUPS.values())} times for a message
({", ".join(f"{count} for {what}" for what, count in LOOKUPS.items())}) if nothing is in a cache;
much is in that of qpsmtpd or of the resolver, which has to be a near one, as DNS lists count
clients by it.

Not in it: what scans messages (clamd, rspamd, spamd), which takes ten milliseconds and more for
each, many times all of the above; where mail is delivered to; and the bandwidth.
"""
