# SPDX-License-Identifier: MIT
"""The protocol of Postfix's policy services (SMTPD_POLICY_README) as values; no I/O here.

A request is lines NAME=VALUE and an empty line; an answer is the line action=ACTION and an empty
line.  Unknown attributes are not errors: each version of Postfix adds some.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from qpsmtpd.mail.text import printable_ascii

#: Octets and attributes of one request; Postfix 3.10 sends some forty, mostly short.
MAX_REQUEST = 64 * 1024
MOST_ATTRIBUTES = 200
#: Characters of an action: Postfix reads no longer lines.
_LONGEST_ACTION = 2000

_is_name = re.compile(rb"[A-Za-z0-9_.-]+").fullmatch


class BadRequestError(ValueError):
    """The octets are not a request of the protocol; the text says why."""


class PolicyStage(enum.IntEnum):
    """Where Postfix asks, in the order of a session; the names are those of `protocol_state`."""

    CONNECT = 0
    HELO = 1
    EHLO = 2
    VRFY = 3
    ETRN = 4
    MAIL = 5
    RCPT = 6
    DATA = 7
    END_OF_MESSAGE = 8


@dataclass(frozen=True, slots=True)
class Request:
    """One question: where, and the attributes, without those that are empty."""

    stage: PolicyStage
    attributes: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        """The value of an attribute, "" without one."""
        return self.attributes.get(name, "")

    def number(self, name: str) -> int:
        """The value of an attribute that is a number; 0 without one."""
        value = self[name]
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 20 else 0


class RequestSplitter:
    """Cuts what arrives into requests."""

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def waiting(self) -> bool:
        """Whether a part of a request has arrived."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        self._buffer += data

    def next(self) -> Request | None:
        """The next request; None while it is incomplete.  Raises BadRequestError."""
        end = self._buffer.find(b"\n\n")
        if self._buffer.startswith(b"\n"):
            raise BadRequestError("a request without attributes")
        if (len(self._buffer) if end < 0 else end) > MAX_REQUEST:
            raise BadRequestError("a request that is too long")
        if end < 0:
            return None
        lines, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return read_request(lines)


def read_request(lines: bytes) -> Request:
    """The request that these lines are, without the empty one.  Raises BadRequestError."""
    pairs = lines.split(b"\n")
    if len(pairs) > MOST_ATTRIBUTES:
        raise BadRequestError("too many attributes")
    attributes: dict[str, str] = {}
    for line in pairs:
        name, equals, value = line.partition(b"=")
        if not equals or not _is_name(name):
            raise BadRequestError(f"{line[:80]!r} is not an attribute")
        key = name.decode("ascii")
        if key in attributes:
            raise BadRequestError(f"the attribute {key} twice")
        attributes[key] = value.decode("utf-8", "surrogateescape")
    if attributes.get("request") != "smtpd_access_policy":
        raise BadRequestError("not a request of the type smtpd_access_policy")
    state = attributes.get("protocol_state", "").replace("-", "_")
    if state not in PolicyStage.__members__:
        raise BadRequestError(f"the state {state[:40]!r} is not known")
    known = {name: value for name, value in attributes.items() if value}
    return Request(PolicyStage[state], known)


def written(action: str) -> bytes:
    """An answer.  What cannot stand in one line of it becomes question marks."""
    return f"action={printable_ascii(action, _LONGEST_ACTION)}\n\n".encode("ascii")
