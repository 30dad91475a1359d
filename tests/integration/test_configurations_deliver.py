# SPDX-License-Identifier: MIT
"""Configurations as they are found in the wild load, and deliver what a stranger sends.

What an administrator of them has to do is done here as well: where a plugin is missing the setting
`missing_plugins` is skip; a scanner that this machine does not have may be down (`on_error pass`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from qpsmtpd.testing import FakeResolver, Serving, serve
from tests.integration.mixed import mixed_mail
from tests.integration.mixed.world import US, Sample
from tests.integration.test_mixed_mail import reply_to
from tests.unit.client import PATIENCE, Client
from tests.unit.nexthop.fake import FakeHop
from tests.unit.scripts import a_script

#: What the Perl version ships as its sample, without the lines that are comments there, and with
#: the one that it tells everybody to add.
SAMPLE = """
hosts_allow
ident/geoip
dont_require_anglebrackets
quit_fortune
check_earlytalker
count_unrecognized_commands 4
relay
resolvable_fromhost
rhsbl
dnsbl reject naughty
badmailfrom
badrcptto
helo
auth/auth_flat_file
auth/authdeny
rcpt_ok
headers days 5 reject_type temp require From,Date
domainkeys
virus/klez_filter
spamassassin reject 12 on_error pass spamd_socket /nonexistent/spamd
dspam learn_from_sa 7 reject 1
naughty
queue/maildir {directory}/Maildir
"""

#: SME Server's chain for strangers (the file peers/0), delivering by qmail.
SME_SERVER = """
logging/logterse
auth/auth_cvm_unix_local cvm_socket /nonexistent/cvm.socket enable_smtp no enable_ssmtp yes
check_earlytalker
count_unrecognized_commands 4
bcc mode cc
check_relay
check_norelay
require_resolvable_fromhost
check_basicheaders
rhsbl
dnsbl
check_badmailfrom
check_badrcptto_patterns
check_badrcptto
check_spamhelo
check_smtp_forward
check_goodrcptto extn -
rcpt_ok
virus/pattern_filter
tnef2mime
spamassassin reject_threshold 12 munge_subject_threshold 4 spamd_socket /nonexistent/s on_error pass
virus/clamav clamscan_path={directory}/clean declined_on_fail=1
queue/qmail-queue {directory}/qmail-queue
"""

#: A mail server as toasters build it: all that karma is fed by, and refusals at DATA.
TOASTER = """
hosts_allow
karma penalty_box 1 reject naughty
fcrdns has_reverse_dns has_forward_dns reject naughty
earlytalker
count_unrecognized_commands 4
relay
dnsbl reject naughty reject_type disconnect
rhsbl
helo policy strict reject 0
dont_require_anglebrackets
badmailfrom reject naughty
resolvable_fromhost reject 0
sender_permitted_from reject 1
badrcptto
rcpt_ok
headers reject 0 reject_type temp require From,Date future 2 past 15
bogus_bounce log
dkim reject 0
dmarc
virus/klez_filter
spamassassin reject 12 spamd_socket /nonexistent/spamd on_error pass
virus/clamdscan clamd_socket /nonexistent/clamd defer_on_error no
naughty reject data
queue/smtp-forward 127.0.0.1 {port}
"""

USUAL = {
    "rcpthosts": [US],
    "relayclients": ["127.0.0.1", "192.0.2."],
    "proxy_networks": ["127.0.0.1"],
    "reverse_lookup": ["yes"],
    "missing_plugins": ["skip"],
    "badrcptto_patterns": ["!  no bang paths", "%  no percent hack"],
    "flat_auth_pw": ["good@example.com:good_pass"],
}

#: What a configuration has delivered, as far as the test can see it.
Delivered = Callable[[], list[bytes]]


@dataclass
class Place:
    """A server with one of the configurations, and what came out of it."""

    serving: Serving
    delivered: Delivered


def a_sample(kind: str) -> Sample:
    return next(sample for sample in mixed_mail()[0] if sample.kind == kind)


def maildir(directory: Path) -> list[bytes]:
    return [file.read_bytes() for file in (directory / "Maildir").glob("new/*")]


def of_qmail(directory: Path) -> list[bytes]:
    """What the program that stands in for qmail-queue was given."""
    file = directory / "message"
    return [file.read_bytes()] if file.exists() else []


@asynccontextmanager
async def running(name: str, directory: Path) -> AsyncIterator[Place]:
    a_script(directory / "qmail-queue", f"cat > {directory}/message; cat <&1 > {directory}/env")
    a_script(directory / "clean", "cat > /dev/null; exit 0")
    async with FakeHop() as hop:
        chain = {"sample": SAMPLE, "SME Server": SME_SERVER, "toaster": TOASTER}[name]
        lines = chain.replace("{directory}", str(directory)).replace("{port}", str(hop.port))
        files = {**USUAL, "plugins": lines.strip().split("\n")}
        async with serve(files, dns=FakeResolver(mixed_mail()[1].records)) as serving:
            found: dict[str, Delivered] = {
                "sample": lambda: maildir(directory),
                "SME Server": lambda: of_qmail(directory),
                "toaster": lambda: list(hop.messages),
            }
            yield Place(serving, found[name])


@pytest.mark.parametrize("name", ["sample", "SME Server", "toaster"])
async def test_it_delivers(name: str, tmp_path: Path) -> None:
    sample = a_sample("pgp_signed")
    async with asyncio.timeout(PATIENCE), running(name, tmp_path) as place:
        assert (await reply_to(sample, place.serving)).startswith("250 ")
        (message,) = place.delivered()
        body = sample.message.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")
        assert message.replace(b"\r\n", b"\n").endswith(body)


@pytest.mark.parametrize("name", ["sample", "SME Server", "toaster"])
@pytest.mark.parametrize("kind", ["early_talker", "wrong_hello", "unanswerable"])
async def test_it_refuses(name: str, kind: str, tmp_path: Path) -> None:
    """Its filters work: that of the toaster only notes a HELO name and an odd sender."""
    noted = name == "toaster" and kind != "early_talker"
    async with asyncio.timeout(PATIENCE), running(name, tmp_path) as place:
        reply = await reply_to(a_sample(kind), place.serving)
        assert reply.startswith("250 ") == noted, reply
        assert len(place.delivered()) == noted


@pytest.mark.parametrize("name", ["sample", "SME Server", "toaster"])
async def test_it_is_no_relay(name: str, tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE), running(name, tmp_path) as place:
        client = await Client.connect(place.serving.host, place.serving.port)
        sample = a_sample("personal")
        client.send(f"PROXY TCP4 {sample.client} 127.0.0.1 40000 25\r\n".encode())
        await client.greeted()
        codes = await client.commands(
            f"EHLO {sample.hello}", f"MAIL FROM:<{sample.sender}>", "RCPT TO:<x@elsewhere.test>"
        )
        assert codes == [250, 250, 550]
        await client.close()
