# SPDX-License-Identifier: MIT
"""Every list of every plugin knows a domain in each spelling, and takes no other one for it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings

from qpsmtpd.api import Address, AuthAttempt, Recipient, Transaction, accept
from qpsmtpd.mail.domain import canonical_domain, is_domain, looks_like_address, u_label_form
from qpsmtpd.plugins.auth.auth_flat_file import AuthFlatFile
from qpsmtpd.plugins.badmailfrom import Badmailfrom
from qpsmtpd.plugins.badmailfromto import Badmailfromto
from qpsmtpd.plugins.badrcptto import Badrcptto
from qpsmtpd.plugins.helo import Helo
from qpsmtpd.plugins.queue.maildir import Maildir, MaildirOptions
from qpsmtpd.plugins.rate_limit import RateLimit
from qpsmtpd.plugins.rcpt_map import RcptMap
from qpsmtpd.plugins.rcpt_ok import RcptOk
from qpsmtpd.plugins.rcpt_regexp import RcptRegexp
from qpsmtpd.plugins.resolvable_fromhost import ResolvableFromhost
from qpsmtpd.plugins.rhsbl import Rhsbl
from qpsmtpd.plugins.user_config import UserConfig
from qpsmtpd.plugins.whitelist import Whitelist
from qpsmtpd.testing import FakeResolver, a_plugin, a_session, a_transaction, services
from tests.unit.spellings import SPELLINGS, domains, spellings

#: Whether a list that has the one domain knows the other.
Known = Callable[[str, str], Awaitable[bool]]


def mail_from(domain: str) -> Transaction:
    tx = a_transaction()
    tx.reverse_path = Address("user", domain)
    return tx


def rcpt_to(domain: str) -> Recipient:
    return Recipient(Address("user", domain))


# --- senders --------------------------------------------------------------------------------


async def badmailfrom(line: str, domain: str) -> bool:
    plugin = await a_plugin(Badmailfrom, config={"badmailfrom": [line]})
    tx = mail_from(domain)
    return await plugin.hook_mail(tx, tx.reverse_path) is not None


async def badmailfrom_address(listed: str, domain: str) -> bool:
    return await badmailfrom(f"USER@{listed}", domain)


async def badmailfrom_domain(listed: str, domain: str) -> bool:
    return await badmailfrom(f"@{listed}", domain)


async def badmailfrom_a_label_pattern(listed: str, domain: str) -> bool:
    return await badmailfrom(f"/@{re.escape(canonical_domain(listed))}$/", domain)


async def badmailfrom_u_label_pattern(listed: str, domain: str) -> bool:
    pattern = re.escape(u_label_form(canonical_domain(listed)))
    return await badmailfrom(f"/@{pattern}$/", domain)


async def badmailfromto_sender(listed: str, domain: str) -> bool:
    config = {"badmailfromto": [f"@{listed} User@example.org"]}
    plugin = await a_plugin(Badmailfromto, config=config)
    return await plugin.hook_rcpt(mail_from(domain), rcpt_to("example.org")) is not None


async def badmailfromto_recipient(listed: str, domain: str) -> bool:
    config = {"badmailfromto": [f"user@example.org user@{listed}"]}
    plugin = await a_plugin(Badmailfromto, config=config)
    return await plugin.hook_rcpt(mail_from("example.org"), rcpt_to(domain)) is not None


async def whitelistsenders(listed: str, domain: str) -> bool:
    plugin = await a_plugin(Whitelist, config={"whitelistsenders": [listed]})
    tx = mail_from(domain)
    return await plugin.hook_mail(tx, tx.reverse_path) == accept()


async def rhsbl(listed: str, domain: str) -> bool:
    dns = FakeResolver({("A", f"{canonical_domain(listed)}.bl.test"): ["127.0.0.2"]})
    plugin = await a_plugin(Rhsbl, config={"rhsbl_zones": ["bl.test"]}, dns=dns)
    tx = mail_from(domain)
    return await plugin.hook_mail(tx, tx.reverse_path) is not None


async def resolvable_fromhost(listed: str, domain: str) -> bool:
    dns = FakeResolver({("A", listed): ["192.0.2.1"]})
    plugin = await a_plugin(ResolvableFromhost, dns=dns)
    tx = mail_from(domain)
    return await plugin.hook_mail(tx, tx.reverse_path) is None


async def rate_limit_domain(listed: str, domain: str) -> bool:
    plugin = await a_plugin(RateLimit, "messages_per_domain 1/1h")
    assert await plugin.hook_data(mail_from(listed)) is None
    return await plugin.hook_data(mail_from(domain)) is not None


# --- recipients -----------------------------------------------------------------------------


async def badrcptto(listed: str, domain: str) -> bool:
    plugin = await a_plugin(Badrcptto, config={"badrcptto": [f"@{listed}"]})
    return await plugin.hook_rcpt(a_transaction(), rcpt_to(domain)) is not None


async def rcpthosts(listed: str, domain: str) -> bool:
    plugin = await a_plugin(RcptOk, config={"rcpthosts": [listed]})
    return await plugin.hook_rcpt(a_transaction(), rcpt_to(domain)) == accept()


async def rcpthosts_below(listed: str, domain: str) -> bool:
    plugin = await a_plugin(RcptOk, config={"rcpthosts": [f".{listed}"]})
    return await plugin.hook_rcpt(a_transaction(), rcpt_to(f"mx.{domain}")) == accept()


async def our_own_name(listed: str, domain: str) -> bool:
    plugin = await a_plugin(RcptOk, me=listed)
    return await plugin.hook_rcpt(a_transaction(), rcpt_to(domain)) == accept()


async def whitelistrcpt(listed: str, domain: str) -> bool:
    plugin = await a_plugin(Whitelist, config={"whitelistrcpt": [f"user@{listed}"]})
    return await plugin.hook_rcpt(a_transaction(), rcpt_to(domain)) == accept()


async def rcpt_regexp(listed: str, domain: str) -> bool:
    plugin = await a_plugin(RcptRegexp, config={"rcpt_regexp": [f"User@{listed} OK"]})
    return await plugin.hook_rcpt(a_transaction(), rcpt_to(domain)) == accept()


async def rcpt_regexp_pattern(listed: str, domain: str) -> bool:
    lines = [
        f"/@{re.escape(form)}$/ OK"
        for form in {canonical_domain(listed), u_label_form(canonical_domain(listed))}
    ]
    answers = []
    for line in lines:
        plugin = await a_plugin(RcptRegexp, config={"rcpt_regexp": [line]})
        answers.append(await plugin.hook_rcpt(a_transaction(), rcpt_to(domain)) == accept())
    assert len(set(answers)) == 1
    return answers[0]


async def rcpt_map(listed: str, domain: str) -> bool:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(f"user@{listed} OK\n")
        file.flush()
        plugin = await a_plugin(RcptMap, f"domain {listed} file {file.name}")
    return await plugin.hook_rcpt(a_transaction(), rcpt_to(domain)) == accept()


async def maildir(listed: str, domain: str) -> bool:
    options = MaildirOptions(directory="/m", pattern="%d/%u")
    plugin = Maildir("maildir", options, services())
    return plugin._subdirectory(rcpt_to(listed)) == plugin._subdirectory(rcpt_to(domain))


async def user_config(listed: str, domain: str) -> bool:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name, canonical_domain(listed))
        directory.mkdir()
        (directory / "badhelo").write_text("x\n")
        plugin = await a_plugin(UserConfig, f"{name}/%h")
        return await plugin.hook_user_config(rcpt_to(domain), "badhelo") is not None


# --- clients --------------------------------------------------------------------------------


async def badhelo(listed: str, domain: str) -> bool:
    plugin = await a_plugin(Helo, config={"badhelo": [listed]})
    return await plugin.hook_ehlo(a_session(), domain) is not None


async def badhelo_pattern(listed: str, domain: str) -> bool:
    pattern = f"^mx\\.{re.escape(u_label_form(canonical_domain(listed)))}$"
    plugin = await a_plugin(Helo, config={"badhelo": [pattern]})
    return await plugin.hook_ehlo(a_session(), f"mx.{domain}") is not None


async def whitelisthelo(listed: str, domain: str) -> bool:
    plugin = await a_plugin(Whitelist, config={"whitelisthelo": [listed]})
    return await plugin.hook_ehlo(a_session(), domain) == accept()


async def flat_auth_pw(listed: str, domain: str) -> bool:
    plugin = await a_plugin(AuthFlatFile, config={"flat_auth_pw": [f"user@{listed}:word"]})
    attempt = AuthAttempt("PLAIN", f"User@{domain}", "word")
    return await plugin.hook_auth_plain(a_session(), attempt) == accept()


async def rate_limit_user(listed: str, domain: str) -> bool:
    plugin = await a_plugin(RateLimit, "messages_per_user 1/1h")
    verdicts = []
    for user in (f"user@{listed}", f"User@{domain}"):
        session = a_session()
        session.auth_user = user
        verdicts.append(await plugin.hook_data(a_transaction(session=session)))
    return verdicts[1] is not None


LISTS: Sequence[Known] = [
    badmailfrom_address,
    badmailfrom_domain,
    badmailfrom_a_label_pattern,
    badmailfrom_u_label_pattern,
    badmailfromto_sender,
    badmailfromto_recipient,
    whitelistsenders,
    rhsbl,
    resolvable_fromhost,
    rate_limit_domain,
    badrcptto,
    rcpthosts,
    rcpthosts_below,
    our_own_name,
    whitelistrcpt,
    rcpt_regexp,
    rcpt_regexp_pattern,
    rcpt_map,
    maildir,
    user_config,
    badhelo,
    badhelo_pattern,
    whitelisthelo,
    flat_auth_pw,
    rate_limit_user,
]


@pytest.mark.parametrize("known", LISTS)
@given(domains, spellings, spellings)
@example("bücher.example", "A-labels", "decomposed")
@example("bücher.example", "U-labels", "A-labels, upper case")
@example("straße.example", "full width", "final dot")
@settings(max_examples=20)
async def test_every_spelling_is_known(known: Known, domain: str, one: str, other: str) -> None:
    assume(is_domain(domain) and not looks_like_address(canonical_domain(domain)))
    assert await known(SPELLINGS[one](domain), SPELLINGS[other](domain))


@pytest.mark.parametrize("known", LISTS)
@pytest.mark.parametrize(
    ("listed", "domain"),
    [
        ("straße.example", "strasse.example"),
        ("strasse.example", "STRASSE.EXAMPLE.example"),
        ("bücher.example", "buecher.example"),
        ("example.com", "example.com.evil.test"),
        ("example.com", "notexample.com"),
        ("[192.0.2.1]", "[192.0.2.2]"),
    ],
)
async def test_another_domain_is_not(known: Known, listed: str, domain: str) -> None:
    no_domain = listed.startswith("[") and known in (
        resolvable_fromhost,  # asks nobody about a literal
        rhsbl,
        rcpthosts_below,
        badhelo,  # a character class
        badhelo_pattern,
    )
    if not no_domain:
        assert not await known(listed, domain)
        assert await known(listed, listed)
