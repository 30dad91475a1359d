# SPDX-License-Identifier: MIT
"""Answers of the DNS made octet by octet, as no library would make them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple


class Record(NamedTuple):
    """A record whose owner and data are in wire format."""

    owner: bytes
    kind: int
    ttl: int
    data: bytes
    class_: int = 1

    def wire(self) -> bytes:
        """The record in wire format."""
        header = struct.pack(">HHIH", self.kind, self.class_, self.ttl, len(self.data))
        return self.owner + header + self.data


def label(octets: bytes) -> bytes:
    """One label in wire format."""
    return bytes([len(octets)]) + octets


def pointer(offset: int) -> bytes:
    """The rest of a name that is to be found elsewhere (RFC 1035 section 4.1.4)."""
    return struct.pack(">H", 0xC000 | offset)


def an_answer(
    question: bytes,
    answers: Sequence[Record] = (),
    authorities: Sequence[Record] = (),
    additional: Sequence[Record] = (),
    *,
    number: bytes = b"\0\1",
    flags: int = 0x8180,
) -> bytes:
    """An answer in wire format to a question (name, type and class)."""
    sections = (answers, authorities, additional)
    header = number + struct.pack(">HHHHH", flags, 1, *map(len, sections))
    return header + question + b"".join(r.wire() for section in sections for r in section)
