# SPDX-License-Identifier: MIT
"""In the guest: the same messages through the three fronts come to the same.

Called as `python3 -m tests.packaging.guest.fronts`.  One server of ours has one chain; a client
speaks SMTP to it, or to a Postfix that asks it as its milter, or as its policy service.  All three
hand over to the same sink.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import smtplib
import socket
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from qpsmtpd.testing import Serving, serve
from tests.dns_server import DnsServer
from tests.ends_of_data import AFTER_A_LINE, FORMS, REAL
from tests.packaging.guest.milters import DNS, answers, authentication_case
from tests.packaging.guest.report import check, expect, note_figure, run, wait_for
from tests.unit.fronts.front_plugins import obeying

ME = "mx.example"
DOMAIN = "b.example"
RECIPIENT = f"user@{DOMAIN}"
STRANGER = "127.0.0.9"
SINK = 2600
MILTER, POLICY = 2511, 2512
MESSAGES = 300
SEED = 15


@dataclass
class Sink:
    """Takes every message, and keeps it by the value of its field X-Case."""

    taken: dict[str, tuple[str, list[str], bytes]] = field(default_factory=dict)
    copies: Counter[str] = field(default_factory=Counter)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        content = bytes(envelope.content)
        number = re.search(rb"^X-Case: (\S+)", content, re.MULTILINE)
        key = number[1].decode() if number else "?"
        self.copies[key] += 1
        self.taken[key] = (envelope.mail_from or "", sorted(envelope.rcpt_tos), content)
        return "250 2.0.0 Ok"


def configure_postfix(fronts: dict[str, int]) -> None:
    settings = {
        "myhostname": ME,
        "mydestination": "",
        "relay_domains": DOMAIN,
        "relayhost": f"[127.0.0.1]:{SINK}",
        "mynetworks": "127.0.0.1/32",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "smtpd_peername_lookup": "no",
        "local_header_rewrite_clients": "",
        "compatibility_level": "3.6",
        "default_transport": "smtp",
        "relay_transport": "smtp",
        "smtp_destination_concurrency_limit": "20",
        "smtpd_forbid_bare_newline": "yes",
        "smtpd_delay_reject": "no",
        "smtpd_error_sleep_time": "0",
        "smtpd_hard_error_limit": "1000",
        # By default it changes what came, before and after a milter has seen it.
        "always_add_missing_headers": "no",
        "disable_mime_output_conversion": "yes",
    }
    for name, value in settings.items():
        run("postconf", "-e", f"{name}={value}")
    policy = f"check_policy_service inet:127.0.0.1:{fronts['policy']}"
    services = {
        MILTER: {"smtpd_milters": f"inet:127.0.0.1:{fronts['milter']}"},
        POLICY: {
            "smtpd_client_restrictions": policy,
            "smtpd_helo_restrictions": policy,
            "smtpd_sender_restrictions": policy,
            "smtpd_recipient_restrictions": f"reject_unauth_destination,{policy}",
            "smtpd_data_restrictions": policy,
            "smtpd_end_of_data_restrictions": policy,
        },
    }
    for port, parameters in services.items():
        service = f"127.0.0.1:{port}/inet"
        run("postconf", "-Me", f"{service}=127.0.0.1:{port} inet n - n - - smtpd")
        for name, value in parameters.items():
            run("postconf", "-Pe", f"{service}/{name}={value.replace(' ', ',', 1)}")
    run("systemctl", "restart", "postfix*")


# --- messages -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A message, and what its client says; the number is to be put in place of NUMBER."""

    helo: str
    sender: str
    recipients: tuple[str, ...]
    text: bytes


WORDS = ("", "", "", "", "deny", "defer", "lines", "fault")
ACTIONS = ("change", "remove", "append", "body", "add", "delete", "sender")


def obedient_case(number: int, chance: random.Random) -> Case:
    """A message that has something done to it, or to itself."""
    word = chance.choice(WORDS)
    sender = f"{word or 'user'}@{chance.choice(['good.example', 'lax.example', 'data.example'])}"
    sender = sender if chance.random() < 0.9 else ""
    recipients = [RECIPIENT, f"second@{DOMAIN}"]
    if chance.random() < 0.3:
        recipients.append(f"{chance.choice(['deny', 'defer', 'mark', 'old'])}@{DOMAIN}")
    chance.shuffle(recipients)
    action = chance.choice([*ACTIONS, *ACTIONS, "deny", "defer", "fault", "lines", ""])
    fields = [
        *(f"X-Do: {action}", "X-Old: 1", "Subject: s", f"From: {sender or 'a@good.example'}"),
        *("X-Old:2", f"Date: {formatdate(1_800_000_000)}", f"Message-ID: <{number}@good.example>"),
        *chance.choice([[], [f"Authentication-Results: {ME}; spf=pass"], ["X-Folded: a\r\n\tb"]]),
    ]
    chance.shuffle(fields)
    header = "".join(f"{line}\r\n" for line in fields)
    body = chance.choice(["body\r\n", "", "." * 10 + "\r\n.\r\n" * 2, "x" * 990 + "\r\n"])
    helo = "bad.example" if chance.random() < 0.05 else "client.example"
    text = f"{header}X-Case: NUMBER\r\n\r\n{body}".encode()
    return Case(helo, sender, tuple(recipients), text)


def signed_case(number: int, chance: random.Random) -> Case:
    """A message that is from whom it says, or not."""
    one = authentication_case(number, chance)
    text = one.text.replace(f"X-Case: {number}\r\n".encode(), b"X-Case: NUMBER\r\n")
    return Case("client.example", one.sender, (RECIPIENT,), text)


# --- sending and comparing ----------------------------------------------------------------------


def send(port: int, case: Case, number: str) -> dict[str, str]:
    """The refusals, by what was refused; "" for what was not."""
    text = case.text.replace(b"NUMBER", number.encode())
    said: dict[str, str] = {}
    with smtplib.SMTP("127.0.0.1", port, source_address=(STRANGER, 0)) as client:
        said["helo"] = refusal(*client.ehlo(case.helo))
        said["mail"] = refusal(*client.mail(case.sender))
        for recipient in case.recipients:
            said[recipient] = refusal(*client.rcpt(recipient))
        if all(said[recipient] for recipient in case.recipients):
            return said
        code, answer = client.docmd("DATA")
        if code == 354:
            client.send(smtplib._quote_periods(text) + b".\r\n")  # type: ignore[attr-defined]
            code, answer = client.getreply()
        said["message"] = refusal(code, answer)
    return said


def refusal(code: int, text: bytes) -> str:
    return f"{code} {text.decode()}" if code >= 400 else ""


def decisive(said: dict[str, str]) -> dict[str, str]:
    """Without what is refused as it must be, because something before it was.

    Postfix gives a milter's refusal of EHLO when the client goes on, with MAIL.
    """
    sequence = ("503", "554 5.5.1")
    kept = {what: text for what, text in said.items() if not text.startswith(sequence)}
    if said["helo"] and not said["mail"].startswith(sequence):
        raise AssertionError("a session goes on without HELO")
    if not kept["helo"] and len(kept) == 2 and "name" in kept.get("mail", ""):
        return {"helo": kept["mail"]}
    return kept


def parts(taken: tuple[str, list[str], bytes]) -> dict[str, Any]:
    """What is handed over, but for the trace of who did."""
    sender, recipients, content = taken
    header, _, body = content.partition(b"\r\n\r\n")
    fields = re.findall(rb"[^\r\n].*?(?:\r\n(?![ \t])|\Z)", header + b"\r\n", re.DOTALL)
    ours = (b"(Postfix", b"(qpsmtpd/")
    kept = [each for each in fields if not any(word in each for word in ours)]
    texts = [re.sub(rb"X-Case: \w", b"X-Case: ", each).decode("utf-8", "replace") for each in kept]
    return {"sender": sender, "recipients": recipients, "fields": texts, "body": body}


def milter_differences(said: dict[str, dict[str, str]], number: str, sink: Sink) -> list[str]:
    """What differs between SMTP and the milter: nothing should."""
    found = []
    if decisive(said["s"]) != decisive(said["m"]):
        found.append(f"replies: {said['s']} {said['m']}")
    elif said["s"].get("message") == "":
        wait_for(f"m{number}", lambda: f"m{number}" in sink.taken)
        one, other = (parts(sink.taken[f"{by}{number}"]) for by in "sm")
        found += [f"{key}: {one[key]!r} {other[key]!r}" for key in one if one[key] != other[key]]
    return [f"milter {number}: {each}" for each in found]


def policy_differences(said: dict[str, dict[str, str]], number: str) -> list[str]:
    """What differs between SMTP and the policy service, as far as that can see."""
    found = []
    for what, theirs in said["p"].items():
        ours = said["s"].get(what, "")
        if (what == "message" and not theirs) or ours.startswith("503"):
            continue  # what only the message shows, or what was refused before
        first = ours.splitlines()[:1]
        # Postfix puts what was refused between the status and our words.
        code, status, words = (*(first[0].split(" ", 2) if first else ("", "", "")), "")[:3]
        if "Internal error" in ours:
            code, words = "450", "Internal error"
            if not theirs and any(words in text for text in said["p"].values()):
                continue  # DEFER_IF_PERMIT has an effect at RCPT
        alike = theirs.startswith(f"{code} {status}") and words in theirs if ours else not theirs
        if not alike and not theirs.startswith(("503", "554 5.5.1")):
            found.append(f"policy {number} {what}: {ours!r} {theirs!r}")
    return found


async def compare(serving: Serving, cases: Sequence[tuple[int, Case]], sink: Sink) -> list[str]:
    ports = {"s": serving.port, "m": MILTER, "p": POLICY}
    found: list[str] = []
    outcomes: Counter[str] = Counter()
    for number, case in cases:
        said = {
            by: await asyncio.to_thread(send, port, case, f"{by}{number}")
            for by, port in ports.items()
        }
        found += await asyncio.to_thread(milter_differences, said, str(number), sink)
        found += policy_differences(said, str(number))
        outcomes[next((text[:3] for text in said["s"].values() if text), "taken")] += 1
    note_figure(f"{len(cases)} messages, {len(found)} differences, {dict(outcomes)}")
    for each in found:
        note_figure(each)
    return found


# --- ends of data -------------------------------------------------------------------------------


def smuggle(end: bytes) -> bytes:
    """Send what is two messages to whoever takes `end` for the end of one; the replies."""
    inner = (
        b"MAIL FROM:<evil@good.example>\r\nRCPT TO:<user@b.example>\r\nDATA\r\nX-Case: inner\r\n"
    )
    text = b"X-Case: outer\r\n\r\nbody" + end + inner + b"\r\nevil\r\n.\r\nQUIT\r\n"
    with socket.create_connection(("127.0.0.1", MILTER), source_address=(STRANGER, 0)) as client:
        lines = client.makefile("rb")
        lines.readline()
        for command in (
            *(b"EHLO client.example", b"MAIL FROM:<a@good.example>"),
            *(b"RCPT TO:<user@b.example>", b"DATA"),
        ):
            client.sendall(command + b"\r\n")
            while lines.readline()[3:4] == b"-":
                pass
        client.sendall(text)
        return lines.read()


def _has_more(sink: Sink, before: Counter[str], count: int) -> bool:
    return (sink.copies - before).total() >= count


def ends_of_data(sink: Sink) -> None:
    """Nothing but CRLF "." CRLF ends a message, and no bare line end is handed over."""
    for name, end in (FORMS | AFTER_A_LINE).items():
        before = Counter(sink.copies)
        said = smuggle(end)
        taken = said.count(b"250 2.0.0 Ok: queued")
        wait_for(f"what was taken of {end!r}", partial(_has_more, sink, before, taken))
        inner = (sink.copies - before)["inner"]
        expect(not inner or end == REAL, f"{end!r} smuggled a message: {said!r}")
        note_figure(f"end {name}: {taken} taken, {said[:60]!r}")
    for _, _, content in sink.taken.values():
        bare = content.replace(b"\r\n", b"")
        expect(b"\r" not in bare and b"\n" not in bare and b"\0" not in content, "a bare line end")


async def run_all() -> None:
    chance = random.Random(SEED)
    sink = Sink()
    controller = Controller(sink, hostname="127.0.0.1", port=SINK, decode_data=False)
    controller.start()
    Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    with tempfile.TemporaryDirectory() as directory:
        plugins = ["obedient", "sender_permitted_from reject=2", "dkim", "dmarc", "rcpt_ok"]
        files = obeying(Path(directory)) | {
            "me": [ME],
            "plugins": [*plugins, f"queue/smtp-forward 127.0.0.1 {SINK}"],
            "rcpthosts": [DOMAIN, "example.test"],
            "loglevel": ["4"],
        }
        async with DnsServer(DNS, address=("127.0.0.1", 53)), serve(files) as serving:
            await asyncio.to_thread(configure_postfix, dict(serving.fronts))
            for port in (MILTER, POLICY):
                await asyncio.to_thread(wait_for, f"port {port}", lambda port=port: answers(port))
            with check("obedient"):
                cases = [(n, obedient_case(n, chance)) for n in range(MESSAGES // 2)]
                found = await compare(serving, cases, sink)
                expect(not found, f"{len(found)} differences: {found[:2]}")
            with check("authentication"):
                cases = [(n, signed_case(n, chance)) for n in range(MESSAGES // 2, MESSAGES)]
                found = await compare(serving, cases, sink)
                expect(not found, f"{len(found)} differences: {found[:2]}")
            with check("ends"):
                await asyncio.to_thread(ends_of_data, sink)
    controller.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(run_all())
