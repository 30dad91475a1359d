# SPDX-License-Identifier: MIT
"""From messages that a real server takes and refuses to the report that their domain gets."""

from __future__ import annotations

import email
import email.policy
import gzip
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest

from qpsmtpd.mail.address import parse_mailbox
from qpsmtpd.mailauth import aggregatecounts
from qpsmtpd.mailauth.aggregate import bounds_of
from qpsmtpd.mailauth.aggregatecounts import DAY, AggregateCounts
from qpsmtpd.reports.handover import hand_over_by
from qpsmtpd.reports.sending import Identity, Reporter, due_days
from qpsmtpd.store.opening import shared_store
from qpsmtpd.testing import FakeClock, FakeResolver, Records, serve
from tests.unit.client import Client, catching
from tests.unit.mailauth.reporting import DAY as TODAY
from tests.unit.mailauth.reporting import all_at, parsed, text_at
from tests.unit.mailauth.test_aggregatexml import faults_of
from tests.unit.nexthop.fake import FakeHop

HERE = "127.0.0.1"
DNS: Records = {
    ("A", "client.example"): [HERE],
    ("TXT", "client.example"): ["v=spf1 a -all"],
    ("TXT", "_dmarc.client.example"): ["v=DMARC1; p=reject; rua=mailto:dmarc@client.example"],
    ("TXT", "_dmarc.victim.example"): ["v=DMARC1; p=reject; rua=mailto:all@reports.example!1m"],
    ("TXT", "victim.example._report._dmarc.reports.example"): ["v=DMARC1"],
}
OPTIONS = "reporting report_sender reports@mx.example report_via"


def message(author: str) -> bytes:
    return f"From: {author}\r\nSubject: x\r\n\r\nHello.\r\n".encode()


async def send_messages(configuration: dict[str, list[str]]) -> None:
    """Two of the client's own domain, and one in a victim's name, which is refused."""
    async with serve(configuration, dns=DNS) as serving:
        client = await Client.connect(serving.host, serving.port)
        await client.reply()
        for author, reply in [
            ("a@client.example", "250 "),
            ("b@client.example", "250 "),
            ("ceo@victim.example", "550 5.7.1"),
        ]:
            assert await client.commands(
                *("EHLO client.example", "MAIL FROM:<x@client.example>"),
                *("RCPT TO:<user@example.test>", "DATA"),
            ) == [250, 250, 250, 354]
            assert (await client.deliver(message(author))).startswith(reply)
        await client.close()


async def reports_of_the_day_after(database: Path) -> dict[str, bytes]:
    """What is mailed then: the XML of each report, by its destination."""
    store = shared_store(database, 10.0)
    tomorrow = FakeClock(bounds_of(TODAY)[1] + DAY)
    said: list[str] = []
    async with FakeHop() as hop:
        hand_over = hand_over_by(f"{HERE}:{hop.port}", "mx.example")
        reporter = Reporter(
            AggregateCounts(store, tomorrow), FakeResolver(DNS), tomorrow,
            Identity(parse_mailbox("reports@mx.example"), "qpsmtpd"), hand_over, said.append,
        )  # fmt: skip
        assert await reporter.run(due_days(tomorrow.now()))
        await hand_over.close()
    await store.close()
    assert len(said) == 2
    return dict(map(attachment_of, hop.messages))


def attachment_of(data: bytes) -> tuple[str, bytes]:
    mail = email.message_from_bytes(data, policy=email.policy.SMTP)
    _, attachment = cast(list[EmailMessage], mail.get_payload())
    content = attachment.get_payload(decode=True)
    assert isinstance(content, bytes)
    return mail["To"], gzip.decompress(content)


async def test_from_messages_to_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no midnight between two messages.
    monkeypatch.setattr(aggregatecounts, "day_of", lambda _seconds: TODAY)
    database = tmp_path / "store.sqlite"
    chain = ("sender_permitted_from", "dkim", f"dmarc reject 1 {OPTIONS} 127.0.0.1:1")
    await send_messages({**catching(tmp_path, *chain), "store": [str(database)]})
    reports = await reports_of_the_day_after(database)
    assert [faults_of(xml) for xml in reports.values()] == [[], []]

    root = parsed(reports["dmarc@client.example"])
    assert len(all_at(root, "record")) == 1
    assert text_at(root, "record/row/count") == "2"
    assert text_at(root, "record/row/source_ip") == HERE
    assert text_at(root, "record/row/policy_evaluated/disposition") == "pass"
    assert text_at(root, "record/row/policy_evaluated/spf") == "pass"
    assert text_at(root, "record/auth_results/spf/domain") == "client.example"
    assert not all_at(root, "record/identifiers/envelope_to")

    root = parsed(reports["all@reports.example"])
    assert text_at(root, "policy_published/domain") == "victim.example"
    assert text_at(root, "record/row/policy_evaluated/disposition") == "reject"
    assert text_at(root, "record/row/policy_evaluated/spf") == "fail"
    assert text_at(root, "record/identifiers/envelope_from") == "client.example"
