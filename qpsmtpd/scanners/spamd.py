# SPDX-License-Identifier: MIT
"""spamd: the protocol of SpamAssassin's daemon (SPAMC/1.5: spamd/PROTOCOL in its sources).

A request is a line, fields, an empty line and the message:

    HEADERS SPAMC/1.5
    Content-length: 1200
    User: somebody

and so is the answer, whose content is the header section as SpamAssassin would leave it:

    SPAMD/1.1 0 EX_OK
    Content-length: 356
    Spam: False ; -0.1 / 5.0
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qpsmtpd.mail.headers import Headers
from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.scanners.content import Content
from qpsmtpd.scanners.fields import field_value, is_field_name
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

PORT = 783
VERSION = "SPAMC/1.5"

#: Bytes of a line of the answer, and the number of its fields.
MAX_LINE = 1000
MAX_FIELDS = 20

#: Bytes that SpamAssassin may add to a header section.
MAX_ADDED = 131072

#: Characters of an error that the log has.
MOST_WORDS = 200

#: Fields that are put into the message.
MOST_ADDED = 40

_status = re.compile(rb"SPAMD/[0-9.]{1,10} ([0-9]{1,6})(?: (.*))?").fullmatch
_verdict = re.compile(
    r"(True|Yes|False|No) ?; ?(-?[0-9]{1,9}(?:\.[0-9]{1,9})?) ?/ ?(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)",
    re.IGNORECASE,
).fullmatch
_is_test = re.compile(r"[A-Za-z0-9_]{1,100}").fullmatch


@dataclass(frozen=True, slots=True)
class SpamdVerdict:
    """What the field Spam says."""

    is_spam: bool
    score: float
    required: float


@dataclass(frozen=True, slots=True)
class SpamdAnswer:
    """What SpamAssassin says about a message.

    fields: its fields X-Spam-*, names and values, which are fit for a header section.
    tests, autolearn: what X-Spam-Status says, if there is one.
    """

    verdict: SpamdVerdict
    fields: tuple[tuple[str, str], ...]
    tests: tuple[str, ...] = ()
    autolearn: str = ""


def request(method: str, size: int, user: str) -> bytes:
    """The head of a request; the message of `size` bytes follows."""
    lines = [f"{method} {VERSION}", f"Content-length: {size}", f"User: {user}", "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def check_status(line: bytes) -> bytes:
    """The words of the first line of an answer.  Raises ScannerError unless all went well."""
    match = _status(line)
    if match is None:
        raise ScannerError("does not speak the protocol of spamd")
    if int(match[1]):
        words = printable_ascii((match[2] or b"").decode("ascii", "replace"), MOST_WORDS)
        raise ScannerError(f"answers {int(match[1])} {words}".rstrip())
    return match[2] or b""


def parse_verdict(value: str) -> SpamdVerdict:
    """What the value of the field Spam means.  Raises ScannerError."""
    match = _verdict(value.strip())
    if match is None:
        raise ScannerError("its answer has no score")
    score, required = float(match[2]), float(match[3])
    return SpamdVerdict(match[1].lower() in ("true", "yes"), score, required)


def parse_answer(verdict: SpamdVerdict, section: bytes) -> SpamdAnswer:
    """What the header section in an answer says."""
    lines = section.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    headers = Headers.parse(lines.partition(b"\r\n\r\n")[0] + b"\r\n")
    found = [field for field in headers.fields() if (field.key or b"").startswith(b"x-spam-")]
    fields = tuple(
        (field.name, field_value(field.raw.partition(b":")[2].decode("utf-8", "replace")))
        for field in found[:MOST_ADDED]
        if is_field_name(field.name)
    )
    status = next((value for name, value in fields if name.lower() == "x-spam-status"), "")
    words = dict(word.partition("=")[::2] for word in _joined(status).split())
    tests = tuple(test for test in words.get("tests", "").split(",") if _is_test(test))
    return SpamdAnswer(verdict, fields, tests, words.get("autolearn", ""))


def _joined(status: str) -> str:
    """X-Spam-Status unfolded; a list of tests is folded behind its commas."""
    return status.replace(",\n\t", ",").replace("\n\t", " ")


async def check(wire: ScannerWire, content: Content, user: str) -> SpamdAnswer:
    """Have a message checked.  Raises ScannerError."""
    if await wire.send(request("HEADERS", content.size, user)):
        await wire.send_all(content.blocks())
    check_status(await wire.read_line(MAX_LINE))
    fields = await wire.read_fields(MAX_LINE, MAX_FIELDS)
    verdict = parse_verdict(fields.get("spam", ""))
    most = content.size + MAX_ADDED
    size = _content_length(fields, most)
    section = await (wire.read_to_end(most) if size is None else wire.read_exactly(size))
    return parse_answer(verdict, section)


def _content_length(fields: dict[str, str], most: int) -> int | None:
    text = fields.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= most):
        raise ScannerError("its answer has no sensible length")
    return int(text)


async def ping(wire: ScannerWire) -> None:
    """Make sure that it is there.  Raises ScannerError."""
    await wire.send(f"PING {VERSION}\r\n\r\n".encode())
    if check_status(await wire.read_line(MAX_LINE)) != b"PONG":
        raise ScannerError("does not answer PING with PONG")
