# SPDX-License-Identifier: MIT
"""Clients that come one after the other while something is done to the server."""

from __future__ import annotations

import smtplib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.packaging.guest.client import CLIENT_ADDRESS, CLIENT_NAME, DOMAIN, SENDER
from tests.packaging.guest.report import PATIENCE, expect

_CLIENTS = 4
_MOST_SESSIONS = 60  # of each client; a session takes a second, for the early talker
_LINES = 12  # of the slow message
_PAUSE = 0.5  # seconds before each line of it
_SHUTTING_DOWN = 421  # between two transactions a client may be told to come again


@dataclass
class Traffic:
    """What the clients saw: sessions that went well, and the complaints of the others."""

    address: tuple[str, int]
    sessions: int = 0
    told_to_come_again: int = 0
    complaints: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def client(self) -> None:
        """One session after the other, until told to stop."""
        for _ in range(_MOST_SESSIONS):
            if self._stop.is_set():
                return
            try:
                self._session()
                self.sessions += 1
            except smtplib.SMTPResponseException as error:
                self._answered(error)
            except OSError as error:  # refused, cut, or no reply in time
                self.complaints.append(f"{type(error).__name__}: {error}")

    def _session(self) -> None:
        with smtplib.SMTP(timeout=PATIENCE, source_address=(CLIENT_ADDRESS, 0)) as client:
            _expect(client.connect(*self.address), 220)
            _expect(client.ehlo(CLIENT_NAME), 250)
            _expect(client.mail(SENDER), 250)
            _expect(client.rcpt(f"alice@{DOMAIN}"), 250)
            _expect(client.docmd("QUIT"), 221)
            client.close()

    def _answered(self, error: smtplib.SMTPResponseException) -> None:
        if error.smtp_code == _SHUTTING_DOWN:
            self.told_to_come_again += 1
        else:
            self.complaints.append(str(error))

    def stop(self) -> None:
        self._stop.set()


def _expect(reply: tuple[int, bytes], code: int) -> None:
    if reply[0] != code:
        raise smtplib.SMTPResponseException(*reply)


@contextmanager
def undisturbed_clients(address: tuple[str, int]) -> Iterator[Traffic]:
    """Clients meanwhile; AssertionError if one was refused or cut off.

    421 before or between transactions is how a client is told, in SMTP, to come again.
    """
    traffic = Traffic(address)
    threads = [threading.Thread(target=traffic.client) for _ in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield traffic
    finally:
        traffic.stop()
        for thread in threads:
            thread.join()
    print(f"sessions={traffic.sessions} told_to_come_again={traffic.told_to_come_again}")
    expect(traffic.sessions >= _CLIENTS, f"only {traffic.sessions} sessions")
    expect(not traffic.complaints, f"{len(traffic.complaints)} clients: {traffic.complaints[:3]}")


@contextmanager
def open_transaction(address: tuple[str, int], recipient: str, subject: str) -> Iterator[None]:
    """A client that takes some seconds for its message, which has to be taken in the end."""
    begun = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        sending = executor.submit(_send_slowly, address, recipient, subject, begun)
        expect(begun.wait(PATIENCE) or sending.done(), "no reply to DATA")
        yield
        sending.result()


def _send_slowly(
    address: tuple[str, int], recipient: str, subject: str, begun: threading.Event
) -> None:
    with smtplib.SMTP(timeout=PATIENCE, source_address=(CLIENT_ADDRESS, 0)) as client:
        _expect(client.connect(*address), 220)
        _expect(client.ehlo(CLIENT_NAME), 250)
        _expect(client.mail(SENDER), 250)
        _expect(client.rcpt(recipient), 250)
        _expect(client.docmd("DATA"), 354)
        client.send(f"From: <{SENDER}>\r\nSubject: {subject}\r\n\r\n")
        begun.set()
        for number in range(_LINES):
            time.sleep(_PAUSE)
            client.send(f"Line {number}\r\n")
        client.send(".\r\n")
        _expect(client.getreply(), 250)
        client.close()
