# SPDX-License-Identifier: MIT
"""Cases of the Perl version's own tests of plugins, with its values, that are nowhere else.

The others are where each plugin is tested.  tests/conformance/differences.md says at its end which
cases there are not, and why.
"""

from __future__ import annotations

import pytest

from qpsmtpd.api import Decision, Verdict
from qpsmtpd.plugins.badmailfrom import Badmailfrom
from qpsmtpd.plugins.badmailfromto import Badmailfromto
from qpsmtpd.plugins.badrcptto import Badrcptto
from qpsmtpd.plugins.dmarc import Dmarc
from qpsmtpd.plugins.dnsbl import Dnsbl
from qpsmtpd.plugins.greylisting import Greylisting
from qpsmtpd.plugins.helo import Helo
from qpsmtpd.plugins.relay import Relay
from qpsmtpd.plugins.resolvable_fromhost import ResolvableFromhost
from qpsmtpd.plugins.spamassassin import Spamassassin
from qpsmtpd.plugins.virus.clamdscan import ClamdscanOptions
from qpsmtpd.scanners.spamd import SpamdVerdict, parse_answer, parse_verdict
from qpsmtpd.testing import FakeClock, a_plugin, a_recipient, a_session, a_transaction
from tests.unit.scanners.fake import fake_scanner, with_content_length

DENY, DENYSOFT = Decision.DENY, Decision.DEFER
DAY = 86400


def decision(verdict: Verdict | None) -> Decision | None:
    return verdict.decision if verdict else None


@pytest.mark.parametrize(
    ("bad", "refused"),
    [
        ("matt@test.net", True),
        ("matt@test.com", False),
        ("@test.net", True),
        ("@test.com", False),
        ("test.net$", True),
        ("test.not$", False),
    ],
)
async def test_badmailfrom_is_match(bad: str, refused: bool) -> None:
    plugin = await a_plugin(Badmailfrom, config={"badmailfrom": [bad]})
    tx = a_transaction("matt@test.net")
    assert (await plugin.hook_mail(tx, tx.reverse_path) is not None) == refused


async def test_badmailfrom_of_several() -> None:
    plugin = await a_plugin(Badmailfrom, config={"badmailfrom": ["matt@test.net", "matt@test.com"]})
    tx = a_transaction("matt@test.com")
    assert decision(await plugin.hook_mail(tx, tx.reverse_path)) is DENY


async def test_badmailfromto_spares_the_null_sender() -> None:
    plugin = await a_plugin(
        Badmailfromto, config={"badmailfromto": ["@example.com user@example.test"]}
    )
    tx = a_transaction("")
    assert await plugin.hook_rcpt(tx, a_recipient("user@example.test")) is None


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("user@example.com", False),
        ("bad@example.com", True),
        ("BAD@Example.COM", True),
        ("any@bad.example.com", True),
    ],
)
async def test_badrcptto(address: str, refused: bool) -> None:
    listed = ["bad@example.com", "@bad.example.com", "! Sorry, bang paths not accepted here"]
    plugin = await a_plugin(Badrcptto, config={"badrcptto": listed})
    found = decision(await plugin.hook_rcpt(a_transaction(), a_recipient(address)))
    assert found == (DENY if refused else None)


async def test_dmarc_without_an_author() -> None:
    plugin = await a_plugin(Dmarc)
    tx = a_transaction(message="Subject: x\n\nHello.\n")
    await plugin.hook_data_headers_end(tx)
    assert decision(await plugin.hook_data_post_headers(tx)) is DENY


@pytest.mark.parametrize(("ip", "refused"), [("192.168.99.5", False), ("192.168.99.6", True)])
async def test_dnsbl_allow(ip: str, refused: bool) -> None:
    config = {"dnsbl_zones": ["bl.test"], "dnsbl_allow": ["192.168.99.5"]}
    listed = {("A", f"{last}.99.168.192.bl.test"): ["127.0.0.2"] for last in (5, 6)}
    plugin = await a_plugin(Dnsbl, config=config, dns=listed)
    assert (await plugin.hook_connect(a_session(ip)) is not None) == refused


async def test_dnsbl_of_the_address_that_each_list_has() -> None:
    dns = {("A", "2.0.0.127.bl.test"): ["127.0.0.2"]}
    plugin = await a_plugin(Dnsbl, config={"dnsbl_zones": ["bl.test"]}, dns=dns)
    assert decision(await plugin.hook_connect(a_session("127.0.0.2"))) is DENY


async def test_greylisting_forgets() -> None:
    """Records of 60 and 30 days ago, with a white_timeout of 36 days."""
    clock = FakeClock()
    plugin = await a_plugin(Greylisting, "white_timeout 36d", clock=clock)
    for key, ago in (("old", 0), ("new", 30)):
        clock.advance(ago * DAY)
        await plugin._memory.make_known(key, clock.now())
    clock.advance(30 * DAY)
    assert [bool(await plugin._memory.known(key)) for key in ("old", "new")] == [False, True]
    clock.advance(7 * DAY)
    assert not await plugin._memory.known("new")


async def test_greylisting_takes_arguments_for_redis() -> None:
    plugin = await a_plugin(Greylisting, "redis testredis db_dir /var/spool nfslock 1")
    assert "testredis" in plugin.services.config.warnings[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("yahoo.com", True),
        ("aol.com", True),
        ("example.com", False),
        ("yoda.com", False),
        ("host", True),
        ("1.0.0.0", True),
        ("254.254.254.254", True),
        ("localhost", True),
        ("not-localhost.example", False),
        ("", False),
    ],
)
async def test_helo(host: str, refused: bool) -> None:
    config = {"badhelo": ["aol.com", r"ya.oo\.com$", r"!\."]}
    session = a_session("192.0.2.7")
    verdict = await (await a_plugin(Helo, config=config)).hook_ehlo(session, host)
    assert decision(verdict) == (DENY if refused else None)


#: Those of the Perl version's own tests.
RELAYCLIENTS = ["127.0.0.1", "192.0.", "2001:0DB8:", "2001:DB8::1", "192.0.1.0/24"]


@pytest.mark.parametrize(
    ("ip", "relays"),
    [
        ("127.0.0.1", True),
        ("192.0.1.1", True),
        ("192.51.1.1", False),
        ("203.0.113.0", False),
        ("2001:db8::1", True),
        ("2001:db8:0:0:0:0:0:2", True),
        ("192.0.99.5", False),
        ("192.0.98.1", False),
        ("192.0.98.255", False),
        ("192.0.99.7", True),
        ("192.0.109.7", True),
    ],
)
async def test_relay(ip: str, relays: bool) -> None:
    refused = ["192.0.99.5", "192.0.99.6", "192.0.98."]
    config = {"relayclients": RELAYCLIENTS, "norelayclients": refused}
    session = a_session(ip)
    assert await (await a_plugin(Relay, config=config)).hook_connect(session) is None
    assert session.relay_client == relays


@pytest.mark.parametrize(("kind", "wanted"), [("soft", DENYSOFT), ("perm", DENY)])
@pytest.mark.parametrize(
    ("domain", "refused"),
    [("perl.com", False), ("no-such-mx.perl.com", True), ("fake-domain-name-for-test.com", True)],
)
async def test_resolvable_fromhost(kind: str, wanted: Decision, domain: str, refused: bool) -> None:
    dns = {("MX", "perl.com"): [(10, "mx.perl.com")], ("A", "mx.perl.com"): ["192.0.2.1"]}
    plugin = await a_plugin(ResolvableFromhost, f"reject_type {kind}", dns=dns)
    tx = a_transaction(f"user@{domain}")
    found = decision(await plugin.hook_mail(tx, tx.reverse_path))
    assert found == (wanted if refused else None)


@pytest.mark.parametrize(
    ("networks", "refused"), [([], False), (["127.0.0.0/8", "10.0.0.0/8"], True)]
)
async def test_resolvable_fromhost_with_invalid_networks(
    networks: list[str], refused: bool
) -> None:
    dns = {("A", "example.com"): ["10.9.8.7"]}
    config = {"invalid_resolvable_fromhost": networks}
    plugin = await a_plugin(ResolvableFromhost, config=config, dns=dns)
    tx = a_transaction("user@example.com")
    assert (await plugin.hook_mail(tx, tx.reverse_path) is not None) == refused


@pytest.mark.parametrize(("score", "wanted"), [(10, None), (15, DENY)])
async def test_spamassassin_reject_12(score: int, wanted: Decision | None) -> None:
    answer = f"SPAMD/1.1 0 EX_OK\r\nContent-length: 2\r\nSpam: True ; {score} / 5\r\n\r\n\r\n"
    async with fake_scanner(with_content_length, answer.encode()) as scanner:
        plugin = await a_plugin(Spamassassin, f"spamd_socket {scanner.place} reject 12")
        tx = a_transaction(message="Subject: x\n\nHello.\n")
        assert decision(await plugin.hook_data_post(tx)) == wanted


def a_status(status: str) -> bytes:
    """A header section with this X-Spam-Status."""
    return f"X-Spam-Flag: NO\r\nX-Spam-Status: {status}\r\nSubject: x\r\n\r\n".encode()


#: X-Spam-Status as versions 2.6 to 4.0 write it, tests, and autolearn.  The score is none of it: it
#: comes from spamd's own field Spam, which has one spelling.
STATUSES = [
    ("No, score=-1.9 required=5.0 tests=BAYES_00 autolearn=ham version=3.3.2", "BAYES_00", "ham"),
    ("Yes, score=12.0 required=5.0 tests=A,B_2 autolearn=spam version=3.4.6", "A B_2", "spam"),
    ("No, hits=-2.6 required=5.0 tests=BAYES_00 autolearn=ham version=2.64", "BAYES_00", "ham"),
    ("Yes, hits=9 required=5\r\n\ttests=A,B\r\n\tversion=2.55", "A B", ""),
    ("No, score=0.0 required=5.0 tests=none autolearn=no autolearn_force=no", "none", "no"),
    (
        "No, score=0.1 required=5.0 tests=A,\r\n\tB,\r\n\tC autolearn=unavailable",
        "A B C",
        "unavailable",
    ),
    ("No, score=-0.0 required=5.0 autolearn=disabled tests=A", "A", "disabled"),
    ("No, score=1 required=5 tests= autolearn=failed version=4.0.1", "", "failed"),
    ("No, tests=bogofilter, spamicity=0.0, version=1.2.4", "bogofilter", ""),
    ("No", "", ""),
]


@pytest.mark.parametrize(("status", "tests", "autolearn"), STATUSES)
def test_spamassassin_status(status: str, tests: str, autolearn: str) -> None:
    verdict = parse_verdict("False ; 1.5 / 5.0")
    answer = parse_answer(verdict, a_status(status))
    assert (answer.tests, answer.autolearn) == (tuple(tests.split()), autolearn)
    assert answer.verdict == SpamdVerdict(False, 1.5, 5.0)
    assert dict(answer.fields)["X-Spam-Status"] == status.replace("\r\n", "\n")


def test_clamdscan_register() -> None:
    """The defaults of old are those of today."""
    options = ClamdscanOptions()
    assert options.deny_viruses
    assert options.scan_all
    assert options.max_size == 1024 * 1024
