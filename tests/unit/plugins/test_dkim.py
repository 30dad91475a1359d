# SPDX-License-Identifier: MIT
"""dkim: where the results go, what is refused, who is not checked, and whose mail is signed."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from qpsmtpd.api import (
    DKIM_RESULTS,
    ConfigError,
    Decision,
    DkimVerifier,
    DnsAnswer,
    RecordType,
    Resolver,
    Session,
    Transaction,
    Verdict,
)
from qpsmtpd.plugins.dkim import DKIM_PASS_DOMAINS, DKIM_RESULT, TEXT_FAIL, TEXT_TEMPERROR, Dkim
from qpsmtpd.testing import (
    FakeClock,
    FakeConfig,
    FakeResolver,
    FakeSystem,
    Records,
    a_plugin,
    a_session,
    a_transaction,
    dns_failure,
    findings_of,
    give_body,
)
from tests.unit.mailauth.signing import (
    KEY_NAME,
    MESSAGE,
    ed25519_record,
    rsa_record,
    sign_ed25519,
    signature_of,
)
from tests.unit.plugin.dkimdirectories import add_key, key_text, record_of

TESTED = "testing._domainkey.a.example"
SILENT = "silent._domainkey.a.example"
DNS: Records = {
    ("TXT", KEY_NAME): [rsa_record()],
    ("TXT", TESTED): [rsa_record("t=y; ")],
    ("TXT", SILENT): dns_failure(),
}
PASS = signature_of()
FAIL = PASS.replace(b"relaxed/relaxed", b"simple/relaxed")
TESTING_FAIL = signature_of(changes={"s": "testing", "bh": "AAAA"})
PERMERROR = signature_of(changes={"h": "to"})
POLICY = signature_of(changes={"l": "3"})
TEMPERROR = signature_of(changes={"s": "silent"})


async def run(
    message: bytes, line: str = "", *, session: Session | None = None, **lent: Any
) -> tuple[Verdict | None, Transaction]:
    """What a message leads to, and the transaction once it is complete."""
    lent.setdefault("dns", DNS)
    plugin = await a_plugin(Dkim, line, **lent)
    tx = a_transaction(session=session, message=message)
    assert await plugin.hook_data_headers_end(tx) is None
    give_body(tx, 5)
    verdict = await plugin.hook_data_post_headers(tx)
    await tx.end_tasks()
    return verdict, tx


def results(tx: Transaction) -> list[str]:
    assert {each.method for each in tx.auth_results} <= {"dkim"}
    return [each.result for each in tx.auth_results]


async def test_results() -> None:
    verdict, tx = await run(PASS + TEMPERROR + FAIL + MESSAGE)
    assert verdict is None
    passed, temperror, fail = tx.auth_results
    assert (passed.result, passed.comment, passed.reason) == ("pass", "1024-bit key", "")
    b8 = PASS.rpartition(b"b=")[2][:8].decode()
    assert passed.properties == (
        ("header.d", "a.example"),
        ("header.s", "s"),
        ("header.a", "rsa-sha256"),
        ("header.b", b8),
    )
    assert (temperror.result, temperror.comment) == ("temperror", "")
    assert (fail.result, fail.reason) == ("fail", "signature did not verify")
    assert [each.result for each in tx.notes[DKIM_RESULTS]] == ["pass", "temperror", "fail"]


async def test_no_signature() -> None:
    verdict, tx = await run(MESSAGE, "reject 1 temperror defer")
    assert verdict is None
    assert results(tx) == ["none"]
    assert tx.notes[DKIM_RESULTS] == ()
    assert tx.taps is None
    assert tx.tasks is None


async def test_a_message_without_a_body() -> None:
    message = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n"
    _, tx = await run(signature_of(message) + message)
    assert results(tx) == ["pass"]


@pytest.mark.parametrize(
    ("fields", "of_all", "karma"),
    [
        (b"", "none", 0),
        (PASS, "pass", 0),
        (FAIL, "fail", -1),
        (PERMERROR, "invalid", -1),
        (POLICY, "invalid", 0),
        (TEMPERROR, "temperror", 0),
        (TESTING_FAIL, "none", 0),
        (FAIL + PASS, "pass", 0),
        (FAIL + TEMPERROR, "temperror", 0),
        (PERMERROR + FAIL, "fail", -1),
        (PERMERROR + POLICY, "invalid", 0),
        (TESTING_FAIL + FAIL, "fail", -1),
    ],
)
async def test_notes_of_the_perl_version_and_karma(fields: bytes, of_all: str, karma: int) -> None:
    _, tx = await run(fields + MESSAGE)
    assert tx.notes[DKIM_RESULT] == of_all
    assert tx.notes[DKIM_PASS_DOMAINS] == (["a.example"] if of_all == "pass" else [])
    assert tx.session.karma == karma


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "reject", "both"),
    [
        (PASS, "", ""),
        (FAIL, "5.7.20", "5.7.20"),
        (FAIL + PASS, "", ""),
        (FAIL + PERMERROR, "5.7.20", "5.7.20"),
        (FAIL + TEMPERROR, "", "4.4.3"),
        (TEMPERROR, "", "4.4.3"),
        (TEMPERROR + PASS, "", ""),
        (TESTING_FAIL, "", ""),
        (PERMERROR, "", ""),
        (POLICY, "", ""),
    ],
)
async def test_refusals(fields: bytes, reject: str, both: str) -> None:
    for line, status in (("", ""), ("reject 1", reject), ("reject 1 temperror defer", both)):
        verdict, _ = await run(fields + MESSAGE, line)
        assert (verdict.status if verdict else "") == status
        if verdict is not None:
            denied = status.startswith("5")
            assert verdict.decision is (Decision.DENY if denied else Decision.DEFER)
            assert verdict.text == (TEXT_FAIL if denied else TEXT_TEMPERROR)
            assert "d='a.example'" in verdict.reason


async def test_reject_types() -> None:
    verdict, _ = await run(FAIL + MESSAGE, "reject 1 reject_type temp")
    assert verdict is not None
    assert (verdict.decision, verdict.status) == (Decision.DEFER, "4.7.20")
    verdict, tx = await run(FAIL + MESSAGE, "reject naughty")
    assert verdict is None
    assert tx.session.deferred_rejects == [TEXT_FAIL]


async def test_a_part_of_the_body() -> None:
    _, tx = await run(POLICY + MESSAGE, "partial_body pass")
    assert results(tx) == ["pass"]
    assert tx.notes[DKIM_RESULTS][0].partial


# --- who is checked, and when ---------------------------------------------------------------------


@pytest.mark.parametrize("exempt", ["auth_user", "relay_client", "whitelisted_host"])
async def test_who_is_not_checked(exempt: str) -> None:
    session = a_session(ehlo="client.example")
    setattr(session, exempt, "user" if exempt == "auth_user" else True)
    verdict, tx = await run(FAIL + MESSAGE, "reject 1", session=session)
    assert verdict is None
    assert results(tx) == []
    assert DKIM_RESULTS not in tx.notes
    assert tx.tasks is None


async def test_an_allowlisted_sender_is_not_checked() -> None:
    plugin = await a_plugin(Dkim, dns=DNS)
    tx = a_transaction(message=PASS + MESSAGE)
    tx.whitelisted_sender = True
    await plugin.hook_data_headers_end(tx)
    assert tx.taps == ()


async def test_the_header_section_is_that_which_came() -> None:
    plugin = await a_plugin(Dkim, dns=DNS)
    tx = a_transaction(message=PASS + MESSAGE)
    assert tx.message is not None
    tx.message.headers.replace("Subject", "changed by another plugin")
    await plugin.hook_data_headers_end(tx)
    give_body(tx)
    await plugin.hook_data_post_headers(tx)
    assert results(tx) == ["pass"]
    await tx.end_tasks()


async def test_time() -> None:
    expiring = signature_of(changes={"x": "1000000000"}) + MESSAGE
    for now, result in ((1_000_000_000.0, "pass"), (1_000_000_001.0, "permerror")):
        _, tx = await run(expiring, clock=FakeClock(now))
        assert results(tx) == [result]


async def test_lookups_are_limited() -> None:
    limits = []

    class Limiting(FakeResolver):
        def limited(self, *, questions: int = 0, seconds: float = 0) -> Resolver:
            limits.append((questions, seconds))
            return self

        async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
            assert limits
            return await super().look_up(kind, name)

    await run(PASS + MESSAGE, dns=Limiting(DNS))
    assert limits == [(40, 20.0)]


async def test_signatures_that_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    _, tx = await run(PASS * 12 + MESSAGE)
    assert results(tx) == ["pass"] * 10
    assert "signatures ignored count=2" in caplog.text


async def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await run(PASS + FAIL + MESSAGE)
    assert [record.getMessage() for record in caplog.records] == [
        "dkim=fail d='a.example' s='s' why='signature did not verify'"
    ]


def test_without_cryptography() -> None:
    """The plugin's line is an error that says what is missing."""
    program = """
import sys
class WithoutCryptography:
    def find_spec(self, name, path=None, target=None):
        if name == "cryptography":
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, WithoutCryptography())
from qpsmtpd.config.pluginfinder import PluginFinder
PluginFinder().find("dkim")
"""
    said = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    ).stderr
    assert "PluginError: needs the Python module cryptography, which is not installed" in said


async def test_ed25519() -> None:
    field = signature_of(sign=sign_ed25519)
    _, tx = await run(field + MESSAGE, dns={("TXT", KEY_NAME): [ed25519_record()]})
    assert [each.comment for each in tx.auth_results] == ["256-bit key"]


# --- our own signatures ---------------------------------------------------------------------------

FROM_US = b"From: U <u@a.example>\r\nTo: x@y.example\r\nSubject: s\r\n\r\nHello.  \r\n\r\n"


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    add_key(tmp_path / "dkim/a.example", "s.private", key_text("rsa"))
    add_key(tmp_path / "dkim/a.example", "e.private")
    add_key(tmp_path / "dkim/b.example", "s.private")
    return tmp_path


async def signed(
    config_dir: Path,
    message: bytes = FROM_US,
    line: str = "",
    *,
    sender: str = "sender@b.example",
    session: Session | None = None,
    change: Callable[[Transaction], Awaitable[None]] | None = None,
) -> bytes:
    """The message as it is handed over; `change` is another plugin."""
    plugin = await a_plugin(Dkim, line, config_dir=config_dir)
    session = session or a_session(ehlo="client.example", relay_client=True)
    tx = a_transaction(sender, session=session, message=message)
    assert tx.message is not None
    await plugin.hook_data_headers_end(tx)
    give_body(tx, 5)
    await plugin.hook_data_post_headers(tx)
    tx.put_fields_on_top()
    if change is not None:
        await change(tx)
    assert await plugin.hook_sign(tx) is None
    assert results(tx) == []
    await tx.end_tasks()
    return await tx.message.read(1 << 20)


async def passes(message: bytes, *domains: str) -> bool:
    """Whether these domains, and no others, have signed the message."""
    header, _, body = message.partition(b"\r\n\r\n")
    verifier = DkimVerifier(header + b"\r\n", FakeClock().now())
    names = ("s._domainkey.a.example", key_text("rsa")), ("e._domainkey.a.example", key_text())
    records = {("TXT", name): [record_of(text)] for name, text in names}
    records["TXT", "s._domainkey.b.example"] = [record_of(key_text())]
    await verifier.ask(FakeResolver(records))
    verifier.update(body)
    found = verifier.results()
    assert {each.domain for each in found} == set(domains)
    return all(each.result == "pass" for each in found)


async def test_a_signed_message(config_dir: Path) -> None:
    message = await signed(config_dir)
    assert message.count(b"DKIM-Signature: ") == 2
    assert message.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=a.example;")
    assert message.endswith(FROM_US)
    assert await passes(message, "a.example")
    assert not await passes(message.replace(b"Hello", b"Hallo"), "a.example")
    assert not await passes(b"From: x@y.example\r\n" + message, "a.example")


@pytest.mark.parametrize("form", ["relaxed/simple", "simple/relaxed", "simple/simple"])
async def test_other_forms(config_dir: Path, form: str) -> None:
    line = f"canonicalization {form} lifetime 7d more_fields X-Mailer,x-other"
    message = await signed(config_dir, b"X-Mailer: m\r\n" + FROM_US, line)
    assert f"c={form};".encode() in message
    assert f"x={int(FakeClock().now()) + 7 * 86400};".encode() in message
    assert b"x-mailer" in message
    assert await passes(message, "a.example")


@pytest.mark.parametrize(
    ("author", "sender", "domains"),
    [
        ("u@A.example", "x@b.example", ["a.example"]),
        ("u@sub.a.example", "", ["a.example"]),
        ("u@c.example", "x@b.example", ["b.example"]),
        ("u@a.example, v@b.example", "x@c.example", []),
        ("u@c.example", "x@sub.b.example", ["b.example"]),
        ("u@c.example", "", []),
        ("u@c.example", "x@c.example", []),
    ],
)
async def test_whose_keys_sign(
    config_dir: Path, author: str, sender: str, domains: list[str]
) -> None:
    message = FROM_US.replace(b"u@a.example", author.encode())
    assert await passes(await signed(config_dir, message, sender=sender), *domains)


async def test_whose_mail_is_signed(config_dir: Path) -> None:
    stranger, user, friend = (a_session(ehlo="client.example") for _ in range(3))
    user.auth_user = "user"
    friend.whitelisted_host = "yes"
    assert (await signed(config_dir, session=user)).startswith(b"DKIM-Signature: ")
    assert await signed(config_dir, session=friend) == FROM_US
    plugin = await a_plugin(Dkim, config_dir=config_dir)
    tx = a_transaction(session=stranger, message=FROM_US)
    assert await plugin.hook_sign(tx) is None
    assert tx.message is not None
    assert bytes(tx.message.headers) == FROM_US.partition(b"\r\n\r\n")[0] + b"\r\n"


async def test_what_other_plugins_change_is_signed(config_dir: Path) -> None:
    async def change(tx: Transaction) -> None:
        assert tx.message is not None
        tx.message.headers.replace("Subject", "changed")
        tx.message.headers.prepend("X-Tag", "y")
        await tx.message.replace_body(b"Another body.\r\n")

    message = await signed(config_dir, change=change)
    assert b"Subject: changed" in message
    assert message.endswith(b"\r\n\r\nAnother body.\r\n")
    assert await passes(message, "a.example")


async def test_the_domain_may_change(config_dir: Path) -> None:
    async def change(tx: Transaction) -> None:
        assert tx.message is not None
        tx.message.headers.replace("From", "u@a.example")

    message = FROM_US.replace(b"u@a.example", b"u@c.example")
    assert await passes(await signed(config_dir, message, sender="", change=change), "a.example")


async def test_without_a_key_no_body_is_hashed(config_dir: Path) -> None:
    plugin = await a_plugin(Dkim, config_dir=config_dir)
    session = a_session(ehlo="client.example", relay_client=True)
    for sender, tapped in (("x@c.example", False), ("x@b.example", True)):
        tx = a_transaction(sender, session=session, message="From: u@c.example\n\nx\n")
        await plugin.hook_data_headers_end(tx)
        assert bool(tx.taps) is tapped


async def test_what_cannot_be_signed(config_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    message = b"From: v@a.example\r\n" + FROM_US
    assert await signed(config_dir, message) == message
    assert "not signed: the message has 2 fields From" in caplog.text


async def test_keys_that_are_wrong(config_dir: Path) -> None:
    add_key(config_dir / "dkim/a.example", "x.private", b"x")
    add_key(config_dir / "dkim/b.example", "x.private", key_text("rsa", 1024))
    with pytest.raises(ConfigError, match=r"a\.example/x\.private: is not a private key"):
        await a_plugin(Dkim, config_dir=config_dir)
    (config_dir / "dkim/a.example/x.private").unlink()
    plugin = await a_plugin(Dkim, config_dir=config_dir)
    assert isinstance(plugin.services.config, FakeConfig)
    [warning] = plugin.services.config.warnings
    assert warning.startswith(f"{config_dir}/dkim/b.example/x.private: has 1024 bits")


@pytest.mark.parametrize("line", ["more_fields a:b", "canonicalization x", "lifetime soon"])
async def test_options_that_are_wrong(line: str) -> None:
    with pytest.raises(ConfigError):
        await a_plugin(Dkim, line)


async def test_examination(config_dir: Path) -> None:
    records = {("TXT", "s._domainkey.b.example"): [record_of(key_text())]}
    plugin = await a_plugin(Dkim, config_dir=config_dir, dns=records)
    found = await findings_of(plugin, FakeSystem(Path("/")))
    assert [(finding.subject, finding.severity.name) for finding in found] == [
        ("e._domainkey.a.example", "WARNING"),
        ("s._domainkey.a.example", "WARNING"),
        ("s._domainkey.b.example", "OK"),
    ]
