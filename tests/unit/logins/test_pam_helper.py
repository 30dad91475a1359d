# SPDX-License-Identifier: MIT
"""pam_helper: whom it answers, and what.  What the real PAM says: tests/integration/test_pam.py."""

from __future__ import annotations

import ctypes
import os
import pwd
import socket
import struct
import subprocess
import sys

import pytest

from qpsmtpd.logins import pam_helper
from qpsmtpd.logins.pam import question
from tests.unit.client import PATIENCE

#: The one user who may ask here.
ME = pwd.getpwuid(os.getuid()).pw_name


def run(said: bytes, *arguments: str) -> bytes:
    """What the program answers to this question, as the service manager starts it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        program = (sys.executable, "-IS", pam_helper.__file__, *arguments)
        process = subprocess.Popen(program, stdin=theirs.fileno())
        theirs.close()
        ours.settimeout(PATIENCE)
        ours.sendall(said)
        ours.shutdown(socket.SHUT_WR)
        answer = ours.makefile("rb").read()
        assert process.wait(PATIENCE) == 0
        return answer


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (question("smtp"), b"ready\n"),
        (question("imap"), b"ready\n"),
        (question("su"), b"refused not among the services that may be asked for\n"),
        (question("su", "u", "p", "192.0.2.1"), b"refused not among the services"),
        (question("smtp", "u", "p"), b"refused not a service, a name"),
        (question("smtp", "u", "", "192.0.2.1"), b"refused not a service, a name"),
        (question("smtp", "", "p", "192.0.2.1"), b"refused not a service, a name"),
        (question("smtp", "root", "p", "192.0.2.1"), b"wrong 6\n"),
        (question("smtp", "u", "p", "192.0.2.1", "x"), b"refused not a service, a name"),
        (b"", b"refused the question is too long, or has no end\n"),
        (b"smtp", b"refused the question is too long, or has no end\n"),
        (b"smtp\0\xff\0p\0a\0", b"refused 'utf-8' codec"),
    ],
)
def test_questions(said: bytes, answer: bytes) -> None:
    assert run(said, ME, "smtp", "imap").startswith(answer)


def test_endless_questions_have_an_end() -> None:
    with_end = b"smtp\0u\0" + b"p" * pam_helper.MOST + b"\0a\0"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(with_end)
        pam_helper.serve(theirs, ME, ["smtp"])
        assert ours.recv(100) == b"refused the question is too long, or has no end\n"


class Peer(socket.socket):
    """A socket whose other side is another user's."""

    uid = 0

    def getsockopt(self, *_arguments: int) -> bytes:  # type: ignore[override]
        return struct.pack("3i", 4711, self.uid, self.uid)


@pytest.mark.parametrize(
    ("uid", "user", "allowed"),
    [(os.getuid(), ME, True), (0, "nobody", True), (54321, ME, False), (54321, "no-such", False)],
)
def test_who_may_ask(uid: int, user: str, allowed: bool) -> None:
    with Peer(socket.AF_UNIX) as peer:
        peer.uid = uid
        assert pam_helper.may_ask(peer, user) is allowed


def test_who_may_not_ask_is_told_so() -> None:
    ours, theirs = socket.socketpair()
    with ours, Peer(fileno=theirs.detach()) as peer:
        peer.uid = 54321
        pam_helper.serve(peer, "nobody", ["smtp"])
        assert ours.recv(100) == b"refused only nobody and root may ask\n"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (0, "right"),
        (7, "wrong 7"),
        (10, "wrong 10"),
        (12, "wrong 12"),
        (13, "wrong 13"),
        (9, "failed 9 text"),
        (3, "failed 3 text"),
        (28, "failed 28 text"),
        (99, "failed 99 text"),
    ],
)
def test_what_numbers_mean(code: int, line: str) -> None:
    assert pam_helper.verdict(code, b"text") == line


@pytest.mark.parametrize("count", [0, -1, 33, 2**31 - 1])
def test_senseless_questions_of_modules(count: int) -> None:
    answering = pam_helper._answering("user", "password")
    assert answering(count, None, None, None) == pam_helper.CONV_ERR


def test_what_modules_are_told() -> None:
    styles = (1, 2, 3, 4)
    texts = [pam_helper._Message(style, b"?") for style in styles]
    messages = (ctypes.POINTER(pam_helper._Message) * 4)(*map(ctypes.pointer, texts))
    responses = (ctypes.POINTER(pam_helper._Response) * 1)()
    answering = pam_helper._answering("user", "pässword")
    assert answering(4, messages, responses, None) == pam_helper.SUCCESS
    told = [responses[0][number].text for number in range(4)]
    assert [ctypes.string_at(text) if text else None for text in told] == [
        "pässword".encode(), b"user", None, None,
    ]  # fmt: skip
    library = ctypes.CDLL(None)
    for place in (*filter(None, told), ctypes.cast(responses[0], ctypes.c_void_p).value):
        library.free(ctypes.c_void_p(place))
