# SPDX-License-Identifier: MIT
"""The message: its end, its lines, its header, its size."""

from __future__ import annotations

from tests.conformance.cases.parts import HELLO, MAIL, PLUGINS, RCPT, a_mail, message, whole
from tests.conformance.dialogue import Case, Dialogue, Keywords, Send

_TO_DATA = (HELLO, MAIL, RCPT, "DATA")


def _raw(name: str, body: bytes) -> Dialogue:
    """These octets as the message, well ended."""
    return Dialogue(name, (*_TO_DATA, Send(body + b"\r\n.\r\n", label="message")))


def _ending(name: str, end: bytes) -> Dialogue:
    """A message with this in the place of its end, then a command, and no more."""
    data = b"Subject: a\r\n\r\none" + end + b"NOOP\r\n"
    return Dialogue(name, (*_TO_DATA, Send(data, end=True, label="message")))


CASES = (
    Case(
        "content",
        {"plugins": PLUGINS},
        (
            whole("dots", text="Subject: dots\n\n..\n..x\n...\nx.\n"),
            _raw("a dot that was not doubled", b"Subject: a\r\n\r\n.x"),
            whole("no body", text="Subject: a\n"),
            whole("empty body", text="Subject: a\n\n"),
            whole("no header", text="\nHello.\n"),
            whole("nothing", text=""),
            whole("blank lines at the end", text="Subject: a\n\nx\n\n\n"),
            whole("folded field", text="Subject: a\n b\n\tc\n\nx\n"),
            whole("field without a space", text="Subject:a\nX-Empty:\n\nx\n"),
            whole("field doubled", text="Subject: a\nX-A: 1\nx-a: 2\nX-A: 3\n\nx\n"),
            whole("line without colon in the header", text="Subject: a\nno field\nTo: b\n\nx\n"),
            whole("From line", text="From a@b.example Mon Jan 1 00:00:00 2024\nSubject: a\n\nx\n"),
            whole("long lines", text=f"Subject: {'a' * 990}\n\n{'b' * 5000}\n"),
            whole("8-bit text", text="Subject: \u00e4\n\n\u00e4\u00f6\u00fc\n"),
            whole(
                "Return-Path of the client", text="Return-Path: <x@y.example>\nSubject: a\n\nx\n"
            ),
            whole("Received of others", text="Received: from a by b; x\nSubject: a\n\nx\n"),
            whole(
                "Authentication-Results of others",
                text="Authentication-Results: a.example; spf=pass\nSubject: a\n\nx\n",
            ),
            whole("a line of 70 kB", text=f"Subject: a\n\n{'x' * 70000}\n"),
            whole("a header of 300 kB", text="X-A: b\n" + f" {'x' * 70}\n" * 4300 + "\nx\n"),
            whole("1100 header fields", text="X-A: b\n" * 1100 + "\nx\n"),
            whole("a megabyte", text="Subject: a\n\n" + "0123456789abcde\n" * 65536),
            _raw("bare LF", b"Subject: a\r\n\r\none\ntwo"),
            _raw("bare CR", b"Subject: a\r\n\r\none\rtwo"),
            _raw("CR CR LF", b"Subject: a\r\n\r\none\r\r\ntwo"),
            _raw("NUL", b"Subject: a\r\n\r\none\0two"),
            _ending("ends with LF . CRLF", b"\n.\r\n"),
            _ending("ends with CRLF . LF", b"\r\n.\n"),
            _ending("ends with LF . LF", b"\n.\n"),
            _ending("ends with CR . CR", b"\r.\r"),
            _ending("ends with CR . CRLF", b"\r.\r\n"),
            _ending("ends with CRLF . CR", b"\r\n.\r"),
            _ending("ends with CRLF . CRLF", b"\r\n.\r\n"),
            _ending("does not end", b"\r\n"),
        ),
    ),
    Case(
        "databytes",
        {"plugins": PLUGINS, "databytes": ["1000"]},
        (
            Dialogue("SIZE", (HELLO, Keywords())),
            whole("small only with LF", text="Subject: a\n\n" + "x\n" * 450),
            whole("small", text="Subject: a\n\n" + "x" * 900 + "\n"),
            Dialogue(
                "too big", (HELLO, *a_mail(text="Subject: a\n\n" + "x" * 1100 + "\n"), *a_mail())
            ),
            Dialogue("too big by far", (HELLO, *a_mail(text="Subject: a\n\n" + "x\n" * 90000))),
            Dialogue("announced", (HELLO, f"{MAIL} SIZE=2000")),
            Dialogue("announced wrong", (HELLO, f"{MAIL} SIZE=10", RCPT, "DATA", message())),
        ),
    ),
)
