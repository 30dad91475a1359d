# SPDX-License-Identifier: MIT
"""Store: whether the daemon's user can use the Redis that the file `store` names, or its file.

Every part is asked by itself, for the daemon needs only one Sentinel, or one node of a Cluster, to
find the rest: the others would be missed when that one goes.  An entry that ends within a minute is
written, as the daemon does when it looks whether the store works again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from qpsmtpd.doctor.examination import Examination
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.storefile import AREA, check_store_file, default_file
from qpsmtpd.doctor.storewords import meaning_of
from qpsmtpd.errors import StoreError
from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.services import Clock
from qpsmtpd.store.cluster import SLOTS, ClusterBackend, slot_of
from qpsmtpd.store.location import Address, Location, RedisLocation, missing_package, parse_location
from qpsmtpd.store.operation import PROBE, Put
from qpsmtpd.store.redis import RedisBackend
from qpsmtpd.store.redisentries import key_of
from qpsmtpd.store.sentinel import ask_sentinel

#: Fewer Sentinels cannot agree when one of them is gone.
_ENOUGH_SENTINELS = 3


def check_store(installation: Installation) -> Iterator[Finding]:
    """The findings about a Redis or a file; none for a location that is wrong."""
    yield from installation.found(AREA)
    location = _location(installation)
    if location is None or not installation.machine.can_be(installation.account):
        return
    try:
        if isinstance(location, RedisLocation):
            yield from _of_redis(installation, location)
        else:
            yield from check_store_file(installation, location)
    except (OSError, ValueError) as failure:
        yield Finding.warning("store", f"cannot be examined: {failure}")


def _location(installation: Installation) -> Location | None:
    """What the file `store` says, or the default; None if it is wrong, which is said elsewhere."""
    text = installation.settings.store
    location = parse_location(text) if text else default_file(installation)
    return None if isinstance(location, RedisLocation) and missing_package(location) else location


def _of_redis(installation: Installation, location: RedisLocation) -> Sequence[Finding]:
    timeout = float(installation.settings.store_timeout)
    ask = partial(_in_process, location, timeout)
    words = installation.machine.as_user(installation.account, ask)
    return Examination.of("store", words).findings


def _in_process(location: RedisLocation, timeout: float) -> list[Any]:
    findings = asyncio.run(findings_about(location, timeout))
    placed = tuple(replace(finding, area=AREA) for finding in findings)
    return Examination("store", (), placed).words()


async def findings_about(location: RedisLocation, timeout: float) -> list[Finding]:
    """What is to be said of a Redis.  timeout: seconds to wait for each of its parts."""
    if location.cluster:
        return [found async for found in _of_cluster(location, timeout)]
    findings = [found async for found in _of_sentinels(location, timeout)]
    return [*findings, await _of_server(location, timeout)]


# --- one server -----------------------------------------------------------------------------


async def _of_server(location: RedisLocation, timeout: float) -> Finding:
    backend = RedisBackend(location, timeout)
    try:
        async with asyncio.timeout(timeout):
            await backend.run([PROBE])
    except (StoreError, TimeoutError) as error:
        return _trouble(str(location), error, timeout)
    finally:
        await backend.close()
    return Finding.ok(str(location), "can be written to")


def _trouble(place: str, error: Exception, timeout: float) -> Finding:
    meaning = meaning_of(str(error) or f"no answer within {timeout:g}s")
    return Finding.error(place, meaning.text, meaning.advice)


# --- Sentinels ------------------------------------------------------------------------------


async def _of_sentinels(location: RedisLocation, timeout: float) -> AsyncIterator[Finding]:
    if not location.service:
        return
    masters: dict[Address, list[Address]] = {}
    for sentinel in location.addresses:
        try:
            async with asyncio.timeout(timeout):
                named = await ask_sentinel(location, sentinel, timeout)
        except (StoreError, TimeoutError) as error:
            trouble = _trouble(f"Sentinel {sentinel}", error, timeout)
            yield Finding.warning(trouble.subject, trouble.text, trouble.advice)
        else:
            masters.setdefault(named, []).append(sentinel)
            yield Finding.ok(f"Sentinel {sentinel}", f"names {named} as the master")
    if len(masters) > 1:
        text = f"do not agree about the master: {', '.join(map(str, masters))}"
        yield Finding.warning("Sentinels", text, "Run this again in a minute.")
    if len(location.addresses) < _ENOUGH_SENTINELS:
        text = f"the file `store` names {len(location.addresses)}; with three, one may be down"
        yield Finding.notice("Sentinels", text)


# --- Cluster --------------------------------------------------------------------------------


async def _of_cluster(location: RedisLocation, timeout: float) -> AsyncIterator[Finding]:
    backend = ClusterBackend(location, timeout, Clock())
    try:
        async with asyncio.timeout(timeout):
            nodes = await backend.nodes()
        if (missing := SLOTS - sum(nodes.values())) > 0:
            meaning = meaning_of(f"CLUSTERDOWN {missing} of {SLOTS} slots have no node")
            yield Finding.error(str(location), meaning.text, meaning.advice)
        for node, slots in nodes.items():
            yield await _of_node(backend, node, slots, timeout)
    except (StoreError, TimeoutError) as error:
        yield _trouble(str(location), error, timeout)
    finally:
        await backend.close()


async def _of_node(backend: ClusterBackend, node: Address, slots: int, timeout: float) -> Finding:
    place = f"Cluster node {node}"
    try:
        async with asyncio.timeout(timeout):
            (answer,) = await backend.run([_probe_of(backend, node)])
        if isinstance(answer, StoreError):
            raise answer
    except (StoreError, TimeoutError) as error:
        return _trouble(place, error, timeout)
    return Finding.ok(place, f"can be written to; it has {slots} of {SLOTS} slots")


def _probe_of(backend: ClusterBackend, node: Address) -> Put:
    """A probe whose entry is on this node."""
    names = (b"probe|%d" % number for number in range(100 * SLOTS))
    name = next(name for name in names if backend.owner(slot_of(key_of(name))) == node)
    return Put(name, PROBE.value, PROBE.ttl)
