# SPDX-License-Identifier: MIT
"""Who is let in: the limits, and what is logged about those who are not."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.config.loader import load
from qpsmtpd.daemon.admission import LOG_INTERVAL, Admission, Limits, Place, Refusal
from qpsmtpd.daemon.scoreboard import Scoreboard, Slot
from qpsmtpd.lists.hosts import HostList, parse_hosts
from tests.unit.daemon_process import configure
from tests.unit.fakewire import a_snapshot

ANY = Limits(total=0, here=10**9, from_client=0, from_network=0, prefixes={4: 24, 6: 64}, exempt=())
A1, A2, B1 = "192.0.2.1", "192.0.2.2", "198.51.100.1"


class Timers:
    """A loop whose timers expire when told to."""

    def __init__(self) -> None:
        self.due: list[tuple[Callable[..., None], Any]] = []

    def call_later(self, delay: float, callback: Callable[..., None], *arguments: Any) -> None:
        assert delay == LOG_INTERVAL
        self.due.append((callback, arguments))

    def expire(self) -> None:
        due, self.due = self.due, []
        for callback, arguments in due:
            callback(*arguments)


def admission(slot: Slot | None = None, **limits: Any) -> Admission:
    loop = cast("asyncio.AbstractEventLoop", Timers())
    return Admission(replace(ANY, **limits), loop, slot)


def timers_of(admission: Admission) -> Timers:
    return cast("Timers", admission._log._loop)


def enter(admission: Admission, *ips: str) -> list[int | Refusal]:
    """The number of connections of each client after it was admitted, or why it was not."""
    entered = [admission.enter(ip) for ip in ips]
    return [place.from_client if isinstance(place, Place) else place for place in entered]


def test_the_part_that_is_open() -> None:
    board = Scoreboard(2)
    here = admission(board.slot(0), total=8, here=10)
    there = admission(board.slot(1), total=8, here=4)
    assert (here.part, there.part) == (0, 0)
    enter(here, A1, A2)
    assert (here.part, here.part_here) == (0.25, 0.2)
    assert (there.part, there.part_here) == (0.25, 0)
    enter(there, A1, A2, B1)
    assert (there.part, there.part_here) == (0.75, 0.75)
    assert here.part == 5 / 8
    alone = admission(here=4)
    enter(alone, A1)
    assert alone.part == 0.25


def test_somebody_may_make_room(caplog: pytest.LogCaptureFixture) -> None:
    willing = [True, False]
    loop = cast("asyncio.AbstractEventLoop", Timers())
    for limits in (replace(ANY, total=1), replace(ANY, here=1)):
        here = Admission(limits, loop, None, iter(willing).__next__)
        found = enter(here, A1, A2, B1)
        assert found[:2] == [1, 1]
        assert found[2] in (Refusal.FULL, Refusal.FULL_HERE)
    assert len(caplog.messages) == 2


def test_all() -> None:
    assert enter(admission(total=2), A1, B1, A1) == [1, 1, Refusal.FULL]


def test_of_this_worker() -> None:
    assert enter(admission(here=2), A1, B1, A1) == [1, 1, Refusal.FULL_HERE]


def test_of_one_client() -> None:
    assert enter(admission(from_client=2), A1, A1, A1, A2) == [1, 2, Refusal.FROM_CLIENT, 1]


def test_of_one_network() -> None:
    assert enter(admission(from_network=2), A1, A2, A1, B1) == [1, 1, Refusal.FROM_NETWORK, 1]
    ipv6 = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1", "2001:db8::2"]
    assert enter(admission(from_network=2), *ipv6) == [1, 1, 1, Refusal.FROM_NETWORK]


def test_what_a_configuration_says() -> None:
    exempt = (parse_hosts("192.0.2.0/31"),)
    snapshot = a_snapshot(
        max_connections=7,
        max_from_ip=2,
        max_from_network=3,
        network_prefix_ipv4=20,
        network_prefix_ipv6=48,
        admission_exempt=exempt,
    )
    limits = Limits.of(snapshot)
    assert limits == Limits(7, limits.here, 2, 3, {4: 20, 6: 48}, (snapshot.settings.exempt,))
    assert limits.here > 0
    assert limits.spares(A1)
    assert not limits.spares(A2)
    ipv6 = ["2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1"]
    admission = Admission(limits, cast("asyncio.AbstractEventLoop", Timers()))
    assert enter(admission, *ipv6, "2001:db8:0:3::1", "2001:db8:1::1") == [
        *(1, 1, 1),
        Refusal.FROM_NETWORK,
        1,
    ]


def test_a_place_that_becomes_free() -> None:
    here = admission(total=2, from_client=1)
    first = here.enter(A1)
    assert isinstance(first, Place)
    assert enter(here, A1, B1, A2) == [Refusal.FROM_CLIENT, 1, Refusal.FULL]
    here.leave(first)
    assert enter(here, A1) == [1]


def test_a_place_that_becomes_anothers() -> None:
    full = admission(from_client=1, total=2)
    proxy, other = full.enter(A1), full.enter(A2)
    assert isinstance(proxy, Place)
    assert isinstance(other, Place)
    # There is no room for one more, but this one has a place.
    client = full.exchange(proxy, B1)
    assert isinstance(client, Place)
    assert full.exchange(client, A2) is Refusal.FROM_CLIENT
    assert full.exchange(client, A1) == proxy
    assert full.connections == 2


def test_exempt() -> None:
    exempt = (HostList([parse_hosts("192.0.2.0/31")]), HostList([parse_hosts(B1)]))
    here = admission(total=7, from_client=1, from_network=1, exempt=exempt)
    assert enter(here, A1, A1, A1, B1, B1) == [1, 1, 1, 1, 1]
    assert enter(here, A2, A2, A1, A1) == [1, Refusal.FROM_CLIENT, 1, Refusal.FULL]


def test_the_only_connection_of_a_client_is_within_its_limit_anyway() -> None:
    """So nothing is looked up for it."""
    exempt = (HostList([parse_hosts(A1)]),)
    here = admission(from_client=1, exempt=exempt)
    assert enter(here, A1, A1, A1, A2, A2) == [1, 1, 1, 1, Refusal.FROM_CLIENT]


async def test_who_may_open_any_number_without_a_word(tmp_path: Path) -> None:
    """This machine, and whoever may relay; of anybody else 50 at a time."""
    configure(
        tmp_path,
        {"plugins": "relay\nqueue/smtp-forward 127.0.0.1 25\n", "relayclients": "192.0.2.0/31\n"},
    )
    snapshot = await load([tmp_path], {})
    limits = Limits.of(snapshot)
    spared = ["127.0.0.1", "127.9.9.9", "::1", "192.0.2.0", A1]
    assert list(filter(limits.spares, [*spared, A2, "2001:db8::1", "::2", "128.0.0.1"])) == spared
    assert (limits.from_client, limits.from_network) == (50, 0)
    await snapshot.stop()


def test_clients_behind_a_proxy_count_in_the_total_only() -> None:
    here = admission(total=2, from_client=1)
    waiting = [here.enter_unnamed(A1) for _ in range(2)]
    assert here.enter_unnamed(A1) is Refusal.FULL
    assert enter(here, A1) == [Refusal.FULL]
    for place in waiting:
        assert isinstance(place, Place)
        here.leave(place)
    assert enter(here, A1, A1) == [1, Refusal.FROM_CLIENT]


def test_limits_that_change() -> None:
    """What was admitted before is counted as it was then."""
    here = admission()
    before = here.enter(A1)
    here.limits = replace(ANY, from_client=1, from_network=1)
    assert enter(here, A1, A2) == [Refusal.FROM_CLIENT, 1]
    assert isinstance(before, Place)
    here.leave(before)
    assert enter(here, A1) == [Refusal.FROM_NETWORK]


def test_two_workers() -> None:
    board = Scoreboard(2)
    one = admission(board.slot(0), total=4, from_client=2, from_network=3)
    two = admission(board.slot(1), total=4, from_client=2, from_network=3)
    assert enter(one, A1) == [1]
    assert enter(two, A1, A1) == [2, Refusal.FROM_CLIENT]
    assert enter(one, A2, A2) == [1, Refusal.FROM_NETWORK]
    assert enter(two, A2, B1, B1) == [Refusal.FROM_NETWORK, 1, Refusal.FULL]
    board.clear(0)
    assert enter(two, A1, A2, B1) == [2, 1, Refusal.FULL]


clients = st.sampled_from([A1, A2, B1, "2001:db8::1", "2001:db8::2", "::1"])


def test_limits_hold_and_nothing_is_left() -> None:
    board = Scoreboard(2)
    workers = [
        admission(board.slot(number), total=6, from_client=2, from_network=3) for number in (0, 1)
    ]

    @given(st.lists(st.tuples(st.integers(0, 1), clients, st.booleans())))
    def check(steps: list[tuple[int, str, bool]]) -> None:
        _enter_and_leave(workers, steps)
        assert [worker.connections for worker in workers] == [0, 0]
        assert not any(worker._open for worker in workers)

    check()
    assert not board.counters.tobytes().strip(b"\0")
    assert not any(board.connections)


def _enter_and_leave(workers: list[Admission], steps: list[tuple[int, str, bool]]) -> None:
    """Compare what is admitted with what may be; in the end all leave."""
    inside: list[tuple[Admission, str, Place]] = []
    for number, ip, leaves in steps:
        if leaves and inside:
            worker, _, place = inside.pop(len(inside) // 2)
            worker.leave(place)
            continue
        by_client = Counter(ip for _, ip, _ in inside)
        by_network = Counter(ANY.network(ip) for _, ip, _ in inside)
        room = len(inside) < 6 and by_client[ip] < 2 and by_network[ANY.network(ip)] < 3
        place_or_not = workers[number].enter(ip)
        assert isinstance(place_or_not, Place) is room
        if isinstance(place_or_not, Place):
            assert place_or_not.from_client == by_client[ip] + 1
            inside.append((workers[number], ip, place_or_not))
    for worker, _, place in inside:
        worker.leave(place)


lengths = st.one_of(
    st.fixed_dictionaries({4: st.integers(1, 32), 6: st.integers(1, 128)}),
    st.integers(1, 32).map(lambda length: {4: length, 6: length}),
)
addresses = st.one_of(
    st.ip_addresses(network="192.0.0.0/20"),
    st.ip_addresses(network="32.1.13.184/29"),
    st.ip_addresses(network="2001:db8::/56"),
)


@given(addresses, addresses, lengths)
def test_networks(one: Any, two: Any, prefixes: dict[int, int]) -> None:
    limits = replace(ANY, prefixes=prefixes)
    network = ipaddress.ip_network((one, prefixes[one.version]), strict=False)
    same = one.version == two.version and two in network
    named_alike = limits.network(str(one)) == limits.network(str(two))
    assert named_alike is same
    assert limits.network(str(one)) not in (str(one), str(two))


# --- the log ----------------------------------------------------------------------------------


def test_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    here = admission(total=1)
    enter(here, A1, A2, B1, A2)
    assert caplog.messages == ["too many connections limit=1 ip=192.0.2.2"]
    timers_of(here).expire()
    assert caplog.messages[1:] == [
        "too many connections limit=1 refused=2 in 10s, the last ip=192.0.2.2"
    ]
    timers_of(here).expire()
    assert len(caplog.messages) == 2
    assert timers_of(here).due == []
    enter(here, B1)
    assert caplog.messages[2:] == ["too many connections limit=1 ip=198.51.100.1"]


def test_each_kind_of_refusal_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    here = admission(total=3, from_client=1, from_network=2)
    assert enter(here, A1, A1, A2, "192.0.2.3", B1, "::1")[1::2] == [
        Refusal.FROM_CLIENT,
        Refusal.FROM_NETWORK,
        Refusal.FULL,
    ]
    assert [message.partition(" ip=")[0] for message in caplog.messages] == [
        "too many connections from one client limit=1",
        "too many connections from one network limit=2",
        "too many connections limit=3",
    ]


def test_a_flood_costs_no_memory(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    here = admission(Scoreboard(2).slot(0), total=1, from_client=1)
    flood = [str(ipaddress.IPv4Address(number)) for number in range(20_000)]
    assert enter(here, A1, A1) == [1, Refusal.FULL]
    tracemalloc.start()
    for ip in flood:
        assert here.enter(ip) is Refusal.FULL
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 2000
    assert len(caplog.messages) == 1
    assert len(timers_of(here).due) == 1
    assert here._open == {A1: 1}
