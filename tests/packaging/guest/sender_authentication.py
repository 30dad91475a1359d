# SPDX-License-Identifier: MIT
"""In the guest: what the installed package finds out about the sender of a stranger's mail.

These checks are made in the systems of guest/recipients.py, where the package has its default
answers.  A name server of our own, at the address in resolv.conf, has the records.
"""

from __future__ import annotations

import asyncio
import email
import fcntl
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qpsmtpd.testing import Records
from tests.debian_system import HOST_NAME
from tests.dns_server import DnsServer
from tests.packaging.guest import readme
from tests.packaging.guest.apt import FILTERS
from tests.packaging.guest.client import Dialogue, send_text, wait_until_served
from tests.packaging.guest.next_hop import RECIPIENT, messages
from tests.packaging.guest.report import expect, run, wait_for
from tests.packaging.guest.service import LISTEN, SERVER
from tests.unit.mailauth.signing import rsa_record, signature_of

NAME_SERVER = ("127.0.0.1", 53)
#: The client: not on loopback, whose addresses the administrator may have let relay.
CLIENT = "192.0.2.25"
CLIENT_NAME = "mail.genuine.example"

_DNS: Records = {
    ("PTR", CLIENT): [CLIENT_NAME],
    ("A", CLIENT_NAME): [CLIENT],
    ("A", "genuine.example"): [CLIENT],
    ("MX", "genuine.example"): [(10, CLIENT_NAME)],
    ("TXT", "genuine.example"): [f"v=spf1 ip4:{CLIENT} -all"],
    ("TXT", "s._domainkey.genuine.example"): [rsa_record()],
    ("TXT", "_dmarc.genuine.example"): ["v=DMARC1; p=reject"],
    ("A", "forged.example"): ["198.51.100.1"],
    ("MX", "forged.example"): [(10, CLIENT_NAME)],
    ("TXT", "forged.example"): ["v=spf1 -all"],
    ("TXT", "_dmarc.forged.example"): ["v=DMARC1; p=reject"],
}
_KNOWN = f"{HOST_NAME}; auth=none; iprev=pass policy.iprev={CLIENT}; "

_DATE = "Date: Mon, 5 Jan 2026 10:00:00 +0000"

_SIOCSIFADDR = 0x8916


def offer(subject: str, domain: str, *, signed: bool = False) -> Dialogue:
    """Send a message from a user of this domain, as the client."""
    sender = f"user@{domain}"
    fields = f"From: A User <{sender}>\r\nTo: <{RECIPIENT}>\r\nSubject: {subject}\r\n{_DATE}\r\n"
    text = f"{fields}\r\nThe first line.\r\n.one that starts with a dot\r\n".encode()
    if signed:
        text = signature_of(text, {"d": domain}) + text
    options = ("--local-interface", CLIENT, "--helo", CLIENT_NAME)
    return send_text(text, RECIPIENT, server=SERVER, sender=sender, options=options)


def delivered_results(subject: str) -> str:
    """What Authentication-Results says in the delivered message; the field is there once."""
    [message] = wait_for("message", lambda: messages(subject))
    [field] = email.message_from_bytes(message).get_all("Authentication-Results", [])
    said = re.sub(r"\s+", " ", str(field))
    return re.sub(r'header\.b="?[\w+/]{8}"?', "header.b=...", said)


def expect_accepted(dialogue: Dialogue) -> None:
    """The message was taken."""
    expect(dialogue.data_reply.startswith("250 "), dialogue.data_reply)


# --- checks -------------------------------------------------------------------------------------


def a_signed_message_arrives_with_what_was_found() -> None:
    expect_accepted(offer("signed", "genuine.example", signed=True))
    said = delivered_results("signed")
    wanted = (
        f"{_KNOWN}spf=pass smtp.mailfrom=genuine.example; dkim=pass (1024-bit key) "
        "header.d=genuine.example header.s=s header.a=rsa-sha256 header.b=...; "
        "dmarc=pass header.from=genuine.example policy.dmarc=reject"
    )
    expect(said == wanted, f"{said!r}, not {wanted!r}")


def a_forged_message_arrives_with_what_was_found() -> None:
    expect_accepted(offer("forged", "forged.example"))
    said = delivered_results("forged")
    wanted = (
        f"{_KNOWN}spf=fail smtp.mailfrom=forged.example; dkim=none; "
        "dmarc=fail header.from=forged.example policy.dmarc=reject"
    )
    expect(said == wanted, f"{said!r}, not {wanted!r}")


def the_chain_strict_refuses_the_forged_message_alone() -> None:
    before = FILTERS.read_text()
    try:
        readme.shell(readme.after("includes. That file may be edited as well:"))
        said = run("qpsmtpd", "check-config")
        expect("0 errors, 0 warnings" in said, said)
        # What it has offered before has put it into the penalty box, which counts from now on.
        run("qpsmtpd", "karma", "release", CLIENT)
        reply = offer("refused", "forged.example").data_reply
        wanted = "550 5.7.1 Rejected by the DMARC policy for forged.example"
        expect(reply == wanted, reply)
        expect_accepted(offer("strict", "genuine.example", signed=True))
        wait_for("message", lambda: messages("strict"))
    finally:
        FILTERS.write_text(before)
        run("systemctl", "reload", "qpsmtpd.service")


CHECKS: tuple[Callable[[], None], ...] = (
    a_signed_message_arrives_with_what_was_found,
    a_forged_message_arrives_with_what_was_found,
    the_chain_strict_refuses_the_forged_message_alone,
)
NAMES = tuple(function.__name__ for function in CHECKS)


@contextmanager
def strangers() -> Iterator[None]:
    """The client's address is here, and the DNS knows it; the daemon starts without a memory."""
    _add_address(CLIENT)
    with _name_server():
        run("systemctl", "restart", "qpsmtpd.service")
        wait_until_served(LISTEN)
        yield


def _add_address(address: str) -> None:
    """Give it to the loopback device. (The program ip is not in a minimal Debian.)"""
    of_family = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        fcntl.ioctl(anything, _SIOCSIFADDR, struct.pack("16s16s8x", b"lo:1", of_family))


@contextmanager
def _name_server() -> Iterator[None]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = DnsServer(_DNS, address=NAME_SERVER)
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
        yield
        asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
