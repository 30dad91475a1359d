# SPDX-License-Identifier: MIT
"""Sending reports: when, to whom, once; and a failure in each step."""

from __future__ import annotations

import asyncio
import email
import email.policy
import gzip
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from typing import Any, cast

import pytest

from qpsmtpd.errors import StoreError
from qpsmtpd.mail.address import Address, parse_mailbox
from qpsmtpd.mailauth.aggregatecounts import DAY as SECONDS
from qpsmtpd.mailauth.aggregatecounts import LEASE, AggregateCounts
from qpsmtpd.reports import sending
from qpsmtpd.reports.handover import HandOverError, hand_over_by
from qpsmtpd.reports.sending import (
    GRACE,
    KEPT_DAYS,
    MARK_ATTEMPTS,
    TRIED_DAYS,
    Identity,
    Reporter,
    due_days,
)
from qpsmtpd.store.operation import Add, Operation, Put
from qpsmtpd.testing import FakeClock, FakeResolver, FakeStore, Records, dns_failure
from tests.unit.mailauth.reporting import DAY, PUBLISHED, ROW, a_row, parsed, text_at
from tests.unit.nexthop.fake import FakeHop

IDENTITY = Identity(parse_mailbox("reports@receiver.test"), "qpsmtpd 2.0")
DNS: Records = {
    ("TXT", "_dmarc.author.test"): ["v=DMARC1; p=none"],
    ("TXT", "author.test._report._dmarc.silent.test"): dns_failure(),
    ("TXT", "author.test._report._dmarc.willing.test"): ["v=DMARC1"],
}


class Catcher:
    """Takes mail, unless `problem` is set."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.messages: list[bytes] = []
        self.problem: Exception | None = None
        self.refused: set[str] = set()
        self.before: Callable[[], Any] = lambda: None

    async def send(self, sender: Address, recipient: Address, message: bytes) -> None:
        if (result := self.before()) is not None:
            await result
        if self.problem is not None:
            raise self.problem
        if str(recipient) in self.refused:
            raise HandOverError("refused")
        self.sent.append((str(sender), str(recipient)))
        self.messages.append(message)

    async def close(self) -> None: ...


class Store(FakeStore):
    """Fails when it writes what begins like this."""

    failing = b"nothing"
    failures = 10**6

    async def _carry_out(self, operation: Operation) -> Any:
        if isinstance(operation, Put | Add) and self.failing in operation.name and self.failures:
            self.failures -= 1
            raise StoreError("cannot write")
        return await super()._carry_out(operation)


@dataclass
class Place:
    """A receiver of mail whose day has ended."""

    clock: FakeClock = field(default_factory=FakeClock)
    catcher: Catcher = field(default_factory=Catcher)
    said: list[str] = field(default_factory=list)
    dns: Records = field(default_factory=lambda: DNS)

    def __post_init__(self) -> None:
        self.store = Store(self.clock)
        self.counts = AggregateCounts(self.store, self.clock)

    async def count(self, *rua: str, **changes: Any) -> None:
        published = replace(PUBLISHED, rua=rua or PUBLISHED.rua, **changes)
        await self.counts.count(published, ROW)

    def reporter(self, hand_over: Any = None) -> Reporter:
        return Reporter(
            AggregateCounts(self.store, self.clock),
            FakeResolver(self.dns),
            self.clock,
            IDENTITY,
            hand_over or self.catcher,
            self.said.append,
        )

    async def run(self) -> bool:
        return await self.reporter().run(due_days(self.clock.now()))

    def tomorrow(self) -> None:
        self.clock.advance(SECONDS)

    @property
    def recipients(self) -> list[str]:
        return [recipient for _, recipient in self.catcher.sent]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(sending, "MARK_WAIT", 0)
    return Place()


# --- when -----------------------------------------------------------------------------------------


def test_due_days() -> None:
    midnight = 1_800_057_600.0
    days = list(due_days(midnight + GRACE))
    assert days[:2] == ["2027-01-15", "2027-01-14"]
    assert len(days) == KEPT_DAYS - 1
    assert next(due_days(midnight + GRACE - 1)) == "2027-01-14"


async def test_a_day_is_reported_when_it_has_ended(place: Place) -> None:
    await place.count()
    assert await place.run()
    assert place.recipients == []
    place.tomorrow()
    assert await place.run()
    assert place.catcher.sent == [("reports@receiver.test", "dmarc@author.test")]
    assert place.said == ["2027-01-15 author.test: sent to dmarc@author.test: 1 messages"]


async def test_a_report_is_sent_once(place: Place) -> None:
    await place.count()
    for _ in range(10):
        place.tomorrow()
        await place.run()
    assert place.recipients == ["dmarc@author.test"]
    assert len(place.said) == 1


async def test_two_machines_at_once(place: Place) -> None:
    """Each has its own counts over the same store, and sending takes time."""
    for n in range(5):
        await place.count(f"mailto:a@d{n}.test", domain=f"d{n}.test")
    place.tomorrow()
    started = asyncio.Event()

    async def slowly() -> None:
        started.set()
        await asyncio.sleep(0)

    place.catcher.before = slowly
    days = list(due_days(place.clock.now()))
    reporters = [place.reporter() for _ in range(4)]
    assert all(await asyncio.gather(*(each.run(days) for each in reporters)))
    assert started.is_set()
    assert sorted(place.recipients) == [f"a@d{n}.test" for n in range(5)]


async def test_the_second_machine_looks_again_when_it_has_the_claim(place: Place) -> None:
    """The first one finished between the look and the claim of the second."""
    await place.count()
    await place.count("mailto:c@unwilling.test", domain="a.test")
    place.tomorrow()
    second = place.reporter()
    claim = second._counts.claim

    async def late(day: str, domain: str) -> bool:
        await place.run()
        return await claim(day, domain)

    second._counts.claim = late  # type: ignore[method-assign]
    assert await second.run([DAY])
    assert place.recipients == ["dmarc@author.test"]
    assert len(place.said) == 2


# --- what -----------------------------------------------------------------------------------------


async def test_a_real_next_hop_gets_the_report(place: Place) -> None:
    for n in (1, 1, 2):
        await place.counts.count(PUBLISHED, a_row(source=f"192.0.2.{n}"))
    place.tomorrow()
    async with FakeHop() as hop:
        hand_over = hand_over_by(f"127.0.0.1:{hop.port}", "mx.receiver.test")
        assert await place.reporter(hand_over).run([DAY])
        await hand_over.close()
        [data] = hop.messages
    mail = email.message_from_bytes(data, policy=email.policy.SMTP)
    _, attachment = cast(list[EmailMessage], mail.get_payload())
    content = attachment.get_payload(decode=True)
    assert isinstance(content, bytes)
    root = parsed(gzip.decompress(content))
    assert text_at(root, "report_metadata/org_name") == "receiver.test"
    assert text_at(root, "report_metadata/email") == "reports@receiver.test"
    assert text_at(root, "policy_published/domain") == "author.test"
    [one, two] = sorted(
        (text_at(record, "row/source_ip"), text_at(record, "row/count"))
        for record in root.iterfind("{*}record")
    )
    assert (one, two) == (("192.0.2.1", "2"), ("192.0.2.2", "1"))


async def test_destinations(place: Place) -> None:
    await place.count("mailto:a@author.test", "mailto:b@willing.test", "mailto:c@unwilling.test")
    place.tomorrow()
    assert await place.run()
    assert place.recipients == ["a@author.test", "b@willing.test"]


async def test_nobody_wants_it(place: Place) -> None:
    await place.count("mailto:c@unwilling.test")
    place.tomorrow()
    assert await place.run()
    assert await place.run()
    assert place.recipients == []
    assert place.said == ["2027-01-15 author.test: no destination wants it"]
    assert await place.counts.outcome(DAY, "author.test") == "not wanted"


async def test_a_limit_of_size(place: Place) -> None:
    await place.count("mailto:a@author.test!1k", "mailto:b@author.test!1m")
    place.tomorrow()
    assert await place.run()
    assert place.recipients == ["b@author.test"]
    assert "too big for a@author.test" in place.said[0]
    assert await place.counts.outcome(DAY, "author.test") == "sent"


async def test_a_row_without_messages_is_no_report(place: Place) -> None:
    await place.counts._enter(DAY, PUBLISHED, ROW)
    place.tomorrow()
    assert await place.run()
    assert place.recipients == []
    assert await place.counts.outcome(DAY, "author.test") == "nothing counted"


# --- failures -------------------------------------------------------------------------------------


async def test_a_mail_system_that_refuses(place: Place) -> None:
    await place.count("mailto:a@author.test", "mailto:b@author.test")
    place.tomorrow()
    place.catcher.refused = {"b@author.test"}
    assert not await place.run()
    assert place.recipients == ["a@author.test"]
    assert not await place.run()
    place.catcher.refused = set()
    assert await place.run()
    assert place.recipients == ["a@author.test", "b@author.test"]


async def test_a_report_is_given_up(place: Place) -> None:
    await place.count()
    place.catcher.problem = HandOverError("127.0.0.1:25: cannot connect")
    tries = []
    for _ in range(10):
        place.tomorrow()
        tries.append(await place.run())
    assert tries == [False] * TRIED_DAYS + [True] * (10 - TRIED_DAYS)
    problem = "2027-01-15 author.test: not sent to dmarc@author.test: 127.0.0.1:25: cannot connect"
    assert place.said == [problem] * TRIED_DAYS + ["2027-01-15 author.test: given up"]


async def test_a_dns_that_does_not_answer(place: Place) -> None:
    """Neither destination gets it, and it is not a failure of the mail system."""
    await place.count("mailto:a@author.test", "mailto:b@silent.test")
    place.tomorrow()
    assert await place.run()
    assert place.recipients == []
    assert place.said == ["2027-01-15 author.test: not yet: SERVFAIL"]
    place.dns = {**DNS, ("TXT", "author.test._report._dmarc.silent.test"): ["v=DMARC1"]}
    assert await place.run()
    assert place.recipients == ["a@author.test", "b@silent.test"]


async def test_one_bad_domain_does_not_stop_the_others(place: Place) -> None:
    await place.count("mailto:b@silent.test")
    await place.count("mailto:a@other.test", domain="other.test")
    await place.count("mailto:a@last.test", domain="last.test")
    place.tomorrow()
    place.catcher.refused = {"a@last.test"}
    assert not await place.run()
    assert place.recipients == ["a@other.test"]


async def test_what_is_damaged_in_the_store(place: Place) -> None:
    await place.count()
    scoped = place.store.scoped("dmarc reports")
    await scoped.put(f"policy|{DAY}|author.test", b"{", 10 * SECONDS)
    place.tomorrow()
    assert await place.run()
    assert "cannot be read" in place.said[0]
    assert await place.counts.outcome(DAY, "author.test") == "unreadable"


async def test_a_process_that_dies_before_it_has_sent(place: Place) -> None:
    """Its claim ends, and another process sends the report."""
    await place.count()
    place.tomorrow()

    def die() -> None:
        raise SystemExit

    place.catcher.before = die

    async def dead(day: str, domain: str) -> None: ...

    reporter = place.reporter()
    reporter._counts.release = dead  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        await reporter.run([DAY])
    place.catcher.before = lambda: None
    await place.run()
    assert place.recipients == []
    place.clock.advance(LEASE)
    await place.run()
    assert place.recipients == ["dmarc@author.test"]


async def test_a_hand_over_that_hangs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SEND_SECONDS", 0.01)
    await place.count()
    place.tomorrow()
    place.catcher.before = asyncio.Event().wait
    assert not await place.run()
    assert place.said == ["2027-01-15 author.test: not sent to dmarc@author.test: took too long"]
    place.catcher.before = lambda: None
    assert await place.run()
    assert place.recipients == ["dmarc@author.test"]


async def test_a_store_that_forgets_for_a_moment_that_it_was_sent(place: Place) -> None:
    await place.count()
    place.tomorrow()
    place.store.failing, place.store.failures = b"|sent|", MARK_ATTEMPTS - 1
    assert await place.run()
    assert await place.run()
    assert place.recipients == ["dmarc@author.test"]


async def test_a_store_that_cannot_write_that_it_was_sent(place: Place) -> None:
    """Then the claim stays; after that, it is sent again as the same report."""
    await place.count()
    place.tomorrow()
    place.store.failing = b"|sent|"
    with pytest.raises(StoreError):
        await place.run()
    assert place.said == [
        "2027-01-15 author.test: sent to dmarc@author.test, which cannot be written down"
    ]
    place.store.failing = b"nothing"
    assert await place.run()
    assert len(place.recipients) == 1
    place.clock.advance(LEASE)
    assert await place.run()
    first, again = (
        email.message_from_bytes(message, policy=email.policy.SMTP)
        for message in place.catcher.messages
    )
    assert first["Message-ID"] == again["Message-ID"]
    assert first["Subject"] == again["Subject"]


async def test_a_store_that_is_down(place: Place) -> None:
    await place.count()
    place.tomorrow()
    place.store.down = True
    with pytest.raises(StoreError):
        await place.run()
    place.store.down = False
    place.store.failing = b"|done|"
    with pytest.raises(StoreError):
        await place.run()
    assert place.recipients == ["dmarc@author.test"]
    # What was marked for the destination is enough, and nobody has the claim.
    place.store.failing = b"nothing"
    assert await place.run()
    assert place.recipients == ["dmarc@author.test"]
    assert await place.counts.outcome(DAY, "author.test") == "sent"
