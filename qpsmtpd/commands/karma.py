# SPDX-License-Identifier: MIT
"""`qpsmtpd karma`: lists and changes what the plugin karma remembers (`karma_tool` in Perl).

The store is that of the running daemon.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, NamedTuple

from qpsmtpd.commands.arguments import add_command, add_config, directories_of, silence
from qpsmtpd.commands.daemonstore import DaemonStore
from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.pluginfinder import PluginFinder
from qpsmtpd.config.pluginlines import plugin_name
from qpsmtpd.errors import QpsmtpdError, StoreError
from qpsmtpd.lists.clientrecords import DAY, ClientRecord, ClientRecords, client_key
from qpsmtpd.mail.ip import IPAddress, parse_ip
from qpsmtpd.plugin.options import read_words
from qpsmtpd.terminal import styled

_PLUGIN = "karma"
_PRUNE_DAYS = "7"

_HEADING = f"{'CLIENT':39}  {'PENALTY UNTIL':16}  NAUGHTY  NICE  CONNECTS  LAST SEEN"


def add_karma(commands: Any) -> None:
    """Add the command `karma`."""
    text = "List and change what the plugin karma remembers of clients."
    parser = add_command(commands, "karma", _karma, text)
    parser.add_argument("action", choices=_ACTIONS, metavar="ACTION", help=_HELP)
    parser.add_argument(
        "wanted", nargs="?", default="", metavar="WHAT", help="a client's address, or as above"
    )
    add_config(parser)
    parser.epilog = (
        "The store is that of the running daemon; root becomes the owner of its file. The exit "
        "status is 1 when there is no such client."
    )


def _karma(arguments: argparse.Namespace) -> int:
    action, wanted = _ACTIONS[arguments.action], _read(arguments.action, arguments.wanted)
    site = _site(directories_of(arguments.config))
    site.store.become_owner()
    try:
        with silence():
            return asyncio.run(_act(site, action, wanted))
    except StoreError as error:
        raise QpsmtpdError(f"the store {site.store.place} does not answer: {error}") from None


class _Site(NamedTuple):
    """What the configuration says: the store, and the line of the plugin."""

    store: DaemonStore
    name: str
    options: Any

    @asynccontextmanager
    async def records(self) -> AsyncIterator[ClientRecords]:
        """The records, for as long as the store is open."""
        days = max(self.options.history_days, self.options.penalty_days)
        async with self.store.opened() as store:
            yield ClientRecords(store.scoped(self.name), days)


def _site(directories: tuple[Path, ...]) -> _Site:
    files = ConfigFiles(directories)
    cls = PluginFinder().find(_PLUGIN)
    name, options = _PLUGIN, cls.Options()
    for entry in files.entries("plugins"):
        if plugin_name(entry).partition(":")[0] == _PLUGIN:
            name = plugin_name(entry)
            options = read_words(cls.Options, entry.text.split()[1:]).options or options
            break
    return _Site(DaemonStore.of(files), name, options)


# --- actions --------------------------------------------------------------------------------


async def _act(site: _Site, action: _Action, wanted: _Wanted) -> int:
    async with site.records() as records:
        return await action(records, wanted, site.options)


async def _list(records: ClientRecords, wanted: _Wanted, _options: Any) -> int:
    penalties = await records.penalties()
    found = await _found(records, wanted)
    print(styled(sys.stdout, "bold", _HEADING))
    for name in sorted(found):
        print(_line(name, found[name], penalties.get(name)))
    print(_totals(list(found.values())))
    return 0 if found or isinstance(wanted, str) else 1


async def _found(records: ClientRecords, wanted: _Wanted) -> Mapping[str, ClientRecord]:
    fits = _FILTERS[wanted] if isinstance(wanted, str) else None
    client = client_key(wanted) if isinstance(wanted, IPv4Address | IPv6Address) else ""
    # A record may come twice.
    return {
        name: record
        async for name, record in records.all()
        if (fits(record) if fits else name == client)
    }


async def _capture(records: ClientRecords, wanted: _Wanted, options: Any) -> int:
    client, now = _client(wanted), _now()
    days = options.penalty_days

    def naughty(record: ClientRecord) -> ClientRecord:
        return ClientRecord(record.naughty + 1, record.nice, record.connects, int(now), "")

    await records.change(client, naughty)
    await records.capture(client, days, now)
    print(f"{client}: in the penalty box for {days:g} day{'s' * (days != 1)}")
    return 0


async def _release(records: ClientRecords, wanted: _Wanted, _options: Any) -> int:
    client = _client(wanted)
    if await records.get(client) == ClientRecord():
        print(f"{client}: nothing is known")
        return 1

    def forgiven(record: ClientRecord) -> ClientRecord:
        return ClientRecord(0, record.nice, record.connects, record.last, record.session)

    await records.change(client, forgiven)
    await records.release(client)
    print(f"{client}: released")
    return 0


async def _prune(records: ClientRecords, wanted: _Wanted, _options: Any) -> int:
    oldest = _now() - float(str(wanted)) * DAY
    penalties = await records.penalties()
    found = {name: record async for name, record in records.all()}
    old = [name for name, record in found.items() if record.last < oldest and name not in penalties]
    for name in old:
        await records.forget(name)
    print(f"forgot {len(old)} of {len(found)} clients")
    return 0


def _client(wanted: _Wanted) -> str:
    assert not isinstance(wanted, str)
    return client_key(wanted)


#: What an action is about: a client, the name of a filter, or a number of days.
_Wanted = str | IPAddress
_Action = Callable[[ClientRecords, _Wanted, Any], Awaitable[int]]

_ACTIONS: dict[str, _Action] = {
    "list": _list,
    "search": _list,
    "capture": _capture,
    "release": _release,
    "prune": _prune,
}
_HELP = (
    "list: all clients; search: those who were `naughty`, `nice` or `both`, or one address; "
    "capture: send an address to the penalty box; release: let it out, and forget that it was "
    "naughty; prune: forget clients that were not seen for WHAT days (7)"
)


def _read(action: str, text: str) -> _Wanted:
    """The argument of an action.  Raises QpsmtpdError."""
    if action == "list" and not text:
        return "all"
    if action == "search" and text in _FILTERS:
        return text
    if action == "prune" and (text or _PRUNE_DAYS).isdecimal() and text.isascii():
        return text or _PRUNE_DAYS
    if action in ("search", "capture", "release"):
        with suppress(ValueError):
            return parse_ip(text)
    wanted = _ARGUMENTS[action]
    raise QpsmtpdError(f"`karma {action}` takes {wanted}, not {text!r}")


_ARGUMENTS = {
    "list": "nothing",
    "search": "naughty, nice, both or an address",
    "capture": "an address",
    "release": "an address",
    "prune": "a number of days",
}

_FILTERS: dict[str, Callable[[ClientRecord], bool]] = {
    "all": lambda record: True,
    "naughty": lambda record: record.naughty > 0,
    "nice": lambda record: record.nice > 0,
    "both": lambda record: record.naughty > 0 and record.nice > 0,
}


def _line(client: str, record: ClientRecord, penalty: int | None) -> str:
    return (
        f"{client:39}  {_date(penalty):16}  {record.naughty:7}  {record.nice:4}  "
        f"{record.connects:8}  {_date(record.last)}"
    )


def _totals(records: list[ClientRecord]) -> str:
    naughty = sum(record.naughty for record in records)
    nice = sum(record.nice for record in records)
    connects = sum(record.connects for record in records)
    return f"{len(records)} clients, {naughty} naughty, {nice} nice, {connects} connects"


def _date(seconds: int | None) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%Y-%m-%d %H:%M}" if seconds else ""


def _now() -> float:
    return datetime.now(UTC).timestamp()
