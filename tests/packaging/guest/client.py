# SPDX-License-Identifier: MIT
"""An SMTP client from outside (swaks), and the message it sends."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import NamedTemporaryFile

from tests.packaging.guest.report import PATIENCE, wait_for

DOMAIN = "example.org"
ME = "mx.example.org"
CLIENT_NAME = "client.sender.example"
# Not 127.0.0.1, which a daemon may trust to relay.
CLIENT_ADDRESS = "127.0.0.9"
SENDER = "someone@sender.example"

BODY = b"\n".join(
    (
        b"The first line.",
        b".a line that starts with a dot",
        b"..one with two",
        b".",
        b"UTF-8: Gr\xc3\xbc\xc3\x9fe, Latin-1: caf\xe9",
        b"x" * 998,  # the longest line of RFC 5321, 4.5.3.1.6
        b"",
        b"trailing blanks  ",
        b"The last line.",
    )
)


@dataclass(frozen=True)
class Dialogue:
    """The commands of an SMTP session with the reply to each, as the client saw them."""

    transcript: str

    def reply_to(self, command: str) -> str:
        """The last line of the reply to the first command that starts so; empty without one."""
        found = re.search(
            rf"^ -> {command}.*\n(?:<[-*][-* ] .*\n)*?<[-*][-* ] (\d{{3}} .*)$",
            self.transcript,
            re.MULTILINE,
        )
        return found.group(1).strip() if found else ""

    @property
    def data_reply(self) -> str:
        """The reply to the message itself; when there was none, the whole transcript."""
        return self.reply_to(r"\d+ lines sent") or f"no reply to the message: {self.transcript}"


def send(
    recipient: str, subject: str, *, server: str, sender: str = SENDER, options: Sequence[str] = ()
) -> Dialogue:
    """Send the message of this module to `server` (HOST:PORT)."""
    header = f"From: <{SENDER}>\nTo: <{recipient}>\nSubject: {subject}\n"
    mime = "MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: 8bit\n\n"
    text = (header + mime).encode() + BODY
    return send_text(text, recipient, server=server, sender=sender, options=options)


def send_text(
    text: bytes, recipient: str, *, server: str, sender: str, options: Sequence[str] = ()
) -> Dialogue:
    """Send this message (its line ends become CRLF) to `server` (HOST:PORT)."""
    with NamedTemporaryFile() as message:
        message.write(text.replace(b"\r\n", b"\n"))
        message.flush()
        done = subprocess.run(
            [
                *("swaks", "--server", server, "--local-interface", CLIENT_ADDRESS),
                *("--helo", CLIENT_NAME, "--from", sender or "<>", "--to", recipient),
                *("--data", f"@{message.name}", "--suppress-data"),
                *("--timeout", f"{PATIENCE:.0f}", *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    transcript = done.stdout.decode(errors="replace")
    print(transcript, flush=True)
    return Dialogue(transcript)


def wait_until_served(address: tuple[str, int]) -> None:
    """Wait until an SMTP server greets with 220 at this address."""

    def greeting() -> bytes | None:
        try:
            with socket.create_connection(address, timeout=PATIENCE) as connection:
                line = connection.recv(512)
        except ConnectionError:
            return None
        return line if line.startswith(b"220") else None

    wait_for(f"greeting from {address[0]}:{address[1]}", greeting)
