# SPDX-License-Identifier: MIT
"""In the guest: the same milters behind Postfix and behind us do the same.

Called as `python3 -m tests.packaging.guest.milters`.  Postfix and we ask the same opendkim and
opendmarc, and the same milter that does what messages tell it to, and hand over to the same sink.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import re
import signal
import smtplib
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from qpsmtpd.milter.dialogue import Dialogue
from qpsmtpd.milter.link import Manner
from qpsmtpd.milter.links import Links
from qpsmtpd.milter.macros import Server
from qpsmtpd.plugin.place import Place
from qpsmtpd.testing import Serving, a_session, a_transaction, serve
from tests.dns_server import DnsServer
from tests.packaging.guest.report import check, expect, keep_log, note_figure, run, wait_for
from tests.unit.mailauth.signing import rsa_key, rsa_record, signature_of

ME = "mx.example"
RECIPIENT = "user@b.example"
STRANGER, FRIEND = "127.0.0.9", "127.0.0.1"
SINK = 2600
OPENDKIM, OPENDMARC, EVERY_ACTION, RSPAMD = 8891, 8893, 8899, 11332
#: Of a milter that is killed and paused.
FRAIL = 8898
#: Where Postfix's SMTP servers listen, by the milters that they ask.
POSTFIX = {"authentication": 2501, "actions": 2502, "rspamd": 2503}
MILTERS = {
    "authentication": (OPENDKIM, OPENDMARC),
    "actions": (EVERY_ACTION,),
    "rspamd": (RSPAMD,),
}

MESSAGES = 200
EDITED = 100
SEED = 20

DNS = {
    ("TXT", "s._domainkey.good.example"): [rsa_record()],
    ("TXT", "s._domainkey.lax.example"): [rsa_record()],
    ("TXT", "s._domainkey.testing.example"): [rsa_record("v=DKIM1; t=y; ")],
    ("TXT", "s._domainkey.revoked.example"): ["v=DKIM1; p="],
    ("TXT", "good.example"): [f"v=spf1 ip4:{STRANGER} -all"],
    ("TXT", "lax.example"): ["v=spf1 ?all"],
    ("TXT", "strict.example"): ["v=spf1 -all"],
    ("TXT", "_dmarc.good.example"): ["v=DMARC1; p=reject"],
    ("TXT", "_dmarc.strict.example"): ["v=DMARC1; p=reject; adkim=s; aspf=s"],
    ("TXT", "_dmarc.lax.example"): ["v=DMARC1; p=quarantine"],
    ("TXT", "_dmarc.testing.example"): ["v=DMARC1; p=none"],
    ("A", "good.example"): ["192.0.2.1"],
    ("A", "strict.example"): ["192.0.2.1"],
    ("A", "lax.example"): ["192.0.2.1"],
}
DOMAINS = ("good.example", "strict.example", "lax.example", "testing.example", "revoked.example")


# --- the world --------------------------------------------------------------------------------


@dataclass
class Sink:
    """Takes every message, and keeps it by its number and by whom it came from."""

    taken: dict[tuple[str, str], tuple[str, list[str], bytes]] = field(default_factory=dict)
    copies: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        content = bytes(envelope.content)
        number = re.search(rb"^X-Case: (\S+)", content, re.MULTILINE)
        by = "postfix" if b"(Postfix" in content else "qpsmtpd"
        key = (by, number[1].decode() if number else "?")
        self.copies[key] += 1
        self.taken[key] = (envelope.mail_from or "", list(envelope.rcpt_tos), content)
        return "250 2.0.0 Ok"


@contextlib.contextmanager
def processes(*commands: Sequence[str]) -> Iterator[None]:
    running = [subprocess.Popen(command) for command in commands]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
            process.wait()


def configure_milters() -> None:
    key = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    Path("/etc/test.key").write_bytes(key)
    Path("/etc/test.key").chmod(0o600)
    Path("/etc/test-opendkim.conf").write_text(
        f"Socket inet:{OPENDKIM}@127.0.0.1\nMode sv\nDomain good.example\nSelector s\n"
        f"KeyFile /etc/test.key\nAuthservID {ME}\nInternalHosts {FRIEND}\nAlwaysAddARHeader yes\n"
        "Canonicalization relaxed/simple\nRemoveARAll no\nMinimumKeyBits 512\nSyslog yes\n"
    )
    Path("/etc/test-opendmarc.conf").write_text(
        f"Socket inet:{OPENDMARC}@127.0.0.1\nAuthservID {ME}\nTrustedAuthservIDs {ME}\n"
        "RejectFailures true\nSPFSelfValidate true\nSPFIgnoreResults true\nSyslog true\n"
        "RequiredHeaders false\n"
    )


def configure_postfix() -> None:
    settings = {
        "myhostname": ME,
        "mydestination": "",
        "relay_domains": "b.example",
        "relayhost": f"[127.0.0.1]:{SINK}",
        "mynetworks": f"{FRIEND}/32",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "smtpd_peername_lookup": "no",
        "local_header_rewrite_clients": "",
        "compatibility_level": "3.6",
        "default_transport": "smtp",
        "relay_transport": "smtp",
        "smtp_destination_concurrency_limit": "20",
        "smtpd_discard_ehlo_keywords": "chunking",
    }
    for name, value in settings.items():
        run("postconf", "-e", f"{name}={value}")
    for kind, port in POSTFIX.items():
        service = f"127.0.0.1:{port}/inet"
        run("postconf", "-Me", f"{service}=127.0.0.1:{port} inet n - n - - smtpd")
        milters = ",".join(f"inet:127.0.0.1:{milter}" for milter in MILTERS[kind])
        run("postconf", "-Pe", f"{service}/smtpd_milters={milters}")
    run("systemctl", "restart", "postfix@-.service")


def configure_rspamd() -> None:
    local = Path("/etc/rspamd/local.d")
    (local / "worker-proxy.inc").write_text(
        f'bind_socket = "127.0.0.1:{RSPAMD}";\nmilter = yes;\ntimeout = 20s;\n'
        'upstream "local" {\n  default = yes;\n  self_scan = yes;\n}\n'
    )
    (local / "options.inc").write_text(
        'local_addrs = "192.0.2.0/24";\nenable_test_patterns = true;\n'
        'dns {\n  nameserver = ["127.0.0.1"];\n  timeout = 1s;\n}\n'
    )
    (local / "milter_headers.conf").write_text(
        'use = ["x-spamd-bar", "x-spam-level", "authentication-results", "x-spamd-result"];\n'
        "skip_local = false;\n"
    )
    run("systemctl", "restart", "rspamd.service")


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextlib.asynccontextmanager
async def ours(kind: str, *milters: str) -> AsyncIterator[Serving]:
    milters = milters or tuple(
        f"milter:{number} m{number} inet:{port}@127.0.0.1"
        for number, port in enumerate(MILTERS[kind], start=1)
    )
    files = {
        "me": [ME],
        "me-auth-results": ["none"],
        "plugins": ["relay", *milters, "rcpt_ok", f"queue/smtp-forward 127.0.0.1 {SINK}"],
        "rcpthosts": ["b.example"],
        "relayclients": [FRIEND],
        "reverse_lookup": ["no"],
        "loglevel": ["4"],
    }
    async with serve(files) as serving:
        yield serving


# --- messages ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A message, and who sends it."""

    number: str
    sender: str
    text: bytes
    client: str = STRANGER
    recipients: tuple[str, ...] = (RECIPIENT,)


FORGED = (
    f"Authentication-Results: {ME}; dkim=pass header.d=good.example",
    f"authentication-results: {ME};\r\n\tdmarc=pass header.from=good.example",
    "Authentication-Results: elsewhere.example; spf=pass smtp.mailfrom=x@good.example",
)
BODIES = (b"Hello\r\n", b"", b"caf\xc3\xa9 \xff\r\n", b"a  b \t\r\n\r\n\r\n", b"x" * 900 + b"\r\n")


def authentication_case(number: int, chance: random.Random) -> Case:
    """A message of one of the domains: signed or not, tampered with, with forged results, …"""
    domain = chance.choice(DOMAINS)
    fields = [
        f"From: Somebody <user@{domain}>",
        f"To: {chance.choice(['', 'Some Body '])}<{RECIPIENT}>",
        f"Subject: {chance.choice(['one', 'two  words', 'folded' + chr(13) + chr(10) + ' line'])}",
        f"Date: {formatdate(1_800_000_000)}",
        f"Message-ID: <{number}@{domain}>",
        f"X-Case: {number}",
    ]
    if chance.random() < 0.1:
        fields.insert(1, "From: other@strict.example")
    if chance.random() < 0.05:
        del fields[0]
    fields += [chance.choice(FORGED) for _ in range(chance.choice([0, 0, 1, 3]))]
    if chance.random() < 0.2:
        fields.insert(0, "Received: from x.example by y.example; Thu, 1 Jan 2026 00:00:00 +0000")
    chance.shuffle(fields)
    header = "".join(f"{line}\r\n" for line in fields).encode()
    body = chance.choice(BODIES)
    text = header + b"\r\n" + body
    if chance.random() < 0.7:
        form = chance.choice(["relaxed/relaxed", "simple/simple", "relaxed/simple"])
        signer = domain if chance.random() < 0.8 else "good.example"
        text = signature_of(text, {"d": signer, "c": form}) + text
        if chance.random() < 0.3:
            text = text.replace(b"Subject: ", b"Subject: [list] ")
    sender = f"user@{chance.choice([domain, domain, 'good.example'])}" * (chance.random() < 0.9)
    client = FRIEND if chance.random() < 0.1 else STRANGER
    return Case(str(number), sender, text, client)


TEXT = "Received: by us\nSubject: test\n\nHello\n"
#: What rspamd takes for spam: to be refused, marked, or given another subject.
_SPAM = "JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"


def rspamd_case(number: int, chance: random.Random) -> Case:
    """As for the others, and some of it is spam."""
    case = authentication_case(number, chance)
    spam = chance.choice(["", "", "", f"X{_SPAM}", f"Y{_SPAM}", f"Z{_SPAM}"]).encode()
    text = case.text.replace(f"X-Case: {number}\r\n".encode(), f"X-Case: s{number}\r\n".encode())
    return replace(case, number=f"s{number}", text=text + spam)


NAMES = ("X-A", "x-a", "Subject", "Received", "X-New")


def an_action(chance: random.Random) -> list[Any]:
    name, value = (
        chance.choice(NAMES),
        chance.choice(["v", "two words", "folded\n\tline", "e\u0301"]),
    )
    match chance.randrange(8):
        case 0:
            return ["addheader", name, value]
        case 1 | 2:
            return ["addheader", name, value, chance.randrange(8)]
        case 3 | 4:
            return ["chgheader", name, chance.randrange(4), value]
        case 5:
            return ["chgheader", name, chance.randrange(1, 4), ""]
        case 6:
            return ["replacebody", "new\r\n", "body" + "\r\n" * chance.randrange(2)]
    return chance.choice(
        [
            ["addrcpt", "<more@b.example>"],
            ["addrcpt", "<dsn@b.example>", "NOTIFY=NEVER"],
            ["delrcpt", f"<{RECIPIENT}>"],
            ["chgfrom", "<changed@good.example>"],
            ["chgfrom", "<>"],
        ]
    )


def action_case(number: int, chance: random.Random) -> Case:
    """A message that has some things done to it."""
    actions = [an_action(chance) for _ in range(chance.randrange(1, 6))]
    # Postfix takes no other change between two parts of a body; we do.
    bodies = [action for action in actions if action[0] == "replacebody"]
    actions = [action for action in actions if action not in bodies[1:]]
    fields = [
        *("Received: one", "X-A: 1", "Subject: s", "Received: two", "X-A: 2"),
        *("X-a:3", "Received: three", f"X-Case: a{number}", "From: a@good.example"),
        *(f"X-Do: {json.dumps(action)}" for action in actions),
    ]
    header = "".join(f"{line}\r\n" for line in fields)
    recipients = (RECIPIENT, "second@b.example")
    return Case(
        f"a{number}", "a@good.example", f"{header}\r\nbody\r\n".encode(), recipients=recipients
    )


STEPS = [
    *(("eom", verdict) for verdict in ("reject", "tempfail", "reply", "accept")),
    *(("eoh", verdict) for verdict in ("reject", "tempfail", "reply", "accept")),
    *(("body", verdict) for verdict in ("reject", "tempfail", "reply", "accept")),
]


def verdict_cases() -> Iterator[Case]:
    for number, (step, verdict) in enumerate(STEPS):
        text = f'X-Case: v{number}\r\nX-Do: ["{step}", "{verdict}"]\r\n\r\nbody\r\n'.encode()
        yield Case(f"v{number}", "a@good.example", text)
    for number, how in enumerate(("reject", "tempfail", "reply", "accept")):
        text = f"X-Case: e{number}\r\n\r\nbody\r\n".encode()
        yield Case(f"e{number}", f"{how}.mail@good.example", text)
        recipients = (f"{how}.rcpt@b.example", RECIPIENT)
        yield Case(
            f"r{number}", "a@good.example", text.replace(b": e", b": r"), recipients=recipients
        )


# --- sending and comparing --------------------------------------------------------------------


def send(port: int, case: Case) -> list[str]:
    """The codes and statuses of all replies from MAIL to the end."""
    with smtplib.SMTP("127.0.0.1", port, source_address=(case.client, 0)) as client:
        client.ehlo("client.example")
        replies = [client.mail(case.sender)]
        replies += [client.rcpt(recipient) for recipient in case.recipients]
        if any(code == 250 for code, _ in replies[1:]):
            try:
                replies.append(client.data(case.text))
            except smtplib.SMTPDataError as refused:
                replies.append((refused.smtp_code, bytes(refused.smtp_error)))  # type: ignore[arg-type]
    return [kind_of(code, text) for code, text in replies]


def kind_of(code: int, text: bytes) -> str:
    """A reply as far as both say the same: class and status; of a milter's own, everything."""
    words = text.decode().split()
    status = words[0] if words and words[0].count(".") == 2 else ""
    if code < 400:
        return "taken"
    return (
        f"{code} {text.decode()}"
        if b"line" in text or b"DMARC" in text
        else f"{code // 100} {status}"
    )


def parts(taken: tuple[str, list[str], bytes]) -> dict[str, Any]:
    """A message that the sink has taken, as far as both must agree."""
    sender, recipients, content = taken
    header, _, body = content.partition(b"\r\n\r\n")
    fields = re.findall(rb"[^\r\n].*?(?:\r\n(?![ \t])|\Z)", header + b"\r\n", re.DOTALL)
    return {
        "sender": sender,
        "recipients": sorted(recipients),
        "fields": [comparable(each) for each in fields],
        "body": body,
    }


def comparable(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace").rstrip("\r\n")
    if text.startswith("Received:") and ("(Postfix" in text or "(qpsmtpd/" in text):
        return "Received: (own)"
    if text.startswith("X-Told:"):
        return "X-Told: " + json.dumps(told(text.partition(":")[2]))
    # A signature has the time, and covers what has it.
    return (
        re.sub(r"\b(t|x|b)=[\w+/=\s]+(;|$)", r"\1=\2", text) if text.startswith("DKIM-") else text
    )


def told(text: str) -> list[Any]:
    """What the milter was told, without what differs by nature."""
    heard = json.loads(re.sub(r"\r\n\s", " ", text))
    without_ports = [each[:2] if each[0] == "connect" else each for each in heard]
    for each in without_ports:
        if each[0] == "macros":
            each[1].pop("i", None)
        if each[0] == "mail":
            del each[2:]
    return without_ports


def differences(case: Case, said: dict[str, list[str]], sink: Sink) -> list[str]:
    """What Postfix and we do differently."""
    found = []
    if said["postfix"] != said["qpsmtpd"]:
        found.append(f"replies {said} to {case.text!r}")
    if said["qpsmtpd"][-1] == said["postfix"][-1] == "taken":
        wait_for(f"message {case.number}", lambda: ("postfix", case.number) in sink.taken)
        both = [parts(sink.taken[by, case.number]) for by in ("postfix", "qpsmtpd")]
        found += [
            f"{name}: postfix {both[0][name]!r} qpsmtpd {both[1][name]!r} of {case.text!r}"
            for name in both[0]
            if both[0][name] != both[1][name]
        ]
    return [f"{case.number}: {each}" for each in found]


def is_changed(case: Case, sink: Sink) -> bool:
    """Whether a milter has made another message of it, apart from our own field."""
    taken = sink.taken.get(("qpsmtpd", case.number))
    if taken is None:
        return False
    sent = parts((case.sender, list(case.recipients), case.text))
    got = parts(taken)
    got["fields"].remove("Received: (own)")
    return got != sent


async def compare(kind: str, cases: Sequence[Case], sink: Sink) -> None:
    async with ours(kind) as serving:
        found: list[str] = []
        outcomes: dict[str, int] = {}
        for case in cases:
            said = {
                "postfix": await asyncio.to_thread(send, POSTFIX[kind], case),
                "qpsmtpd": await asyncio.to_thread(send, serving.port, case),
            }
            found += await asyncio.to_thread(differences, case, said, sink)
            last = said["qpsmtpd"][-1].partition("\n")[0]
            outcomes[last] = outcomes.get(last, 0) + 1
        changed = sum(is_changed(case, sink) for case in cases)
        note_figure(
            f"{kind}: {len(cases)} messages, {len(found)} differences, {outcomes}, "
            f"{changed} changed by milters"
        )
        for each in found:
            note_figure(each)
        expect(not found, f"{len(found)} differences: {found[:2]}")


async def reuse() -> None:
    """libmilter takes another client on the same connection."""
    links = Links(Manner(place=Place("127.0.0.1", EVERY_ACTION)), 60.0)
    server, used = Server(ME, "test"), []
    for name in ("one", "two"):
        session = a_session(ehlo=name)
        tx = a_transaction("a@good.example", RECIPIENT, session=session, message=TEXT)
        dialogue, _ = await Dialogue.begin(links, server, tx.session)
        _, edits = await dialogue.message(tx, apply=True)
        edits.carry_out()
        assert tx.message is not None
        expect(f'["helo", "{name}"]' in tx.message.headers.peek("X-Told"), "not told of the client")
        used.append(dialogue._link)
        await dialogue.end()
    links.close()
    expect(used[0] is used[1], "the connection was not used again")


# --- outages ----------------------------------------------------------------------------------

MANY = 120
CLIENTS = 4


class FrailMilter:
    """A milter that dies and hangs."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        module = "tests.packaging.guest.every_action"
        command = ("python3", "-m", module, f"inet:{FRAIL}@127.0.0.1")
        self.process = subprocess.Popen(command)
        wait_for("the milter", lambda: answers(FRAIL))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Traffic:
    """Clients that send messages until each of them is taken, and count what they hear."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: Counter[str] = Counter()
        self._numbers = iter(range(MANY))
        self._lock = threading.Lock()

    def run(self) -> None:
        clients = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    def _client(self) -> None:
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            text = f"X-Case: o{number}\r\n\r\nbody\r\n".encode()
            while not self._taken(Case(f"o{number}", "a@good.example", text)):
                threading.Event().wait(0.2)

    def _taken(self, case: Case) -> bool:
        bad = next((reply for reply in send(self.port, case) if reply != "taken"), "taken")
        self.heard[bad] += 1
        return bad == "taken"

    def wait_for_deferrals(self, more: int) -> None:
        before = self.heard["4 4.7.1"]
        wait_for("deferrals", lambda: self.heard["4 4.7.1"] >= before + more)

    def wait_for_messages(self, more: int) -> None:
        before = self.heard["taken"]
        wait_for("messages", lambda: self.heard["taken"] >= before + more)


async def outages(sink: Sink) -> None:
    """Nothing is refused, lost, doubled or passed unseen while a milter dies and hangs."""
    line = f"milter m {FRAIL} connect_timeout=1 timeout=1 content_timeout=2"
    async with ours("actions", line) as serving:
        milter = await asyncio.to_thread(FrailMilter)
        traffic = Traffic(serving.port)
        sending = asyncio.create_task(asyncio.to_thread(traffic.run))
        await asyncio.to_thread(traffic.wait_for_messages, 10)
        milter.kill()
        await asyncio.to_thread(traffic.wait_for_deferrals, 5)
        await asyncio.to_thread(milter.start)
        await asyncio.to_thread(traffic.wait_for_messages, 10)
        milter.process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(traffic.wait_for_deferrals, 5)
        milter.process.send_signal(signal.SIGCONT)
        await sending
        milter.kill()
    note_figure(f"outages: {MANY} messages, {dict(traffic.heard)}")
    expect(set(traffic.heard) == {"taken", "4 4.7.1"}, f"clients heard {traffic.heard}")
    arrived = {key[1]: count for key, count in sink.copies.items() if key[1].startswith("o")}
    expect(len(arrived) == MANY, f"{len(arrived)} messages arrived")
    expect(set(arrived.values()) == {1}, "some arrived twice")
    unseen = [
        key
        for key, (_, _, text) in sink.taken.items()
        if key[1][:1] == "o" and b"X-Told" not in text
    ]
    expect(not unseen, f"the milter has not seen {unseen}")


async def run_all() -> None:
    chance = random.Random(SEED)
    sink = Sink()
    controller = Controller(sink, hostname="127.0.0.1", port=SINK, decode_data=False)
    controller.start()
    configure_milters()
    configure_postfix()
    configure_rspamd()
    Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    commands = (
        ("opendkim", "-f", "-x", "/etc/test-opendkim.conf"),
        ("opendmarc", "-f", "-c", "/etc/test-opendmarc.conf"),
        ("python3", "-m", "tests.packaging.guest.every_action", f"inet:{EVERY_ACTION}@127.0.0.1"),
    )
    async with DnsServer(DNS, address=("127.0.0.1", 53)):
        with processes(*commands):
            for port in (OPENDKIM, OPENDMARC, EVERY_ACTION, *POSTFIX.values()):
                await asyncio.to_thread(wait_for, f"port {port}", lambda port=port: answers(port))
            with check("reuse"):
                await reuse()
            with check("verdicts"):
                await compare("actions", list(verdict_cases()), sink)
            with check("actions"):
                await compare("actions", [action_case(n, chance) for n in range(EDITED)], sink)
            with check("outages"):
                await outages(sink)
            with check("authentication"):
                cases = [authentication_case(n, chance) for n in range(MESSAGES)]
                await compare("authentication", cases, sink)
            with check("rspamd"):
                await asyncio.to_thread(wait_for, "rspamd", lambda: answers(RSPAMD))
                cases = [rspamd_case(n, chance) for n in range(MESSAGES)]
                await compare("rspamd", cases, sink)
    controller.stop()
    keep_log("/var/log/rspamd/rspamd.log")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(run_all())
