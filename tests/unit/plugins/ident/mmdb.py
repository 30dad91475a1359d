# SPDX-License-Identifier: MIT
"""Writes small databases in the format of MaxMind (MaxMind DB File Format 2.0)."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MARK = b"\xab\xcd\xefMaxMind.com"


class UInt16(int):
    """A number that is to be written as uint16."""


class UInt64(int):
    """A number that is to be written as uint64."""


def write_database(path: Path, entries: Mapping[str, Any], version: int = 6) -> None:
    """A database that has these values for these networks."""
    nodes: list[list[Any]] = [[None, None]]
    data = b""
    for text, value in entries.items():
        network = ipaddress.ip_network(text)
        number, length = int(network.network_address), network.prefixlen
        bits = network.max_prefixlen
        if version == 6 and network.version == 4:
            length, bits = length + 96, 128
        _insert(nodes, f"{number:0{bits}b}"[:length], len(data))
        data += _encoded(value)
    tree = b"".join(_record(side, len(nodes)) for node in nodes for side in node)
    about = {
        "node_count": len(nodes),
        "record_size": UInt16(24),
        "ip_version": UInt16(version),
        "database_type": "Test",
        "languages": ["en"],
        "binary_format_major_version": UInt16(2),
        "binary_format_minor_version": UInt16(0),
        "build_epoch": UInt64(1_700_000_000),
        "description": {"en": "for tests"},
    }
    path.write_bytes(tree + bytes(16) + data + _MARK + _encoded(about))


def _insert(nodes: list[list[Any]], bits: str, offset: int) -> None:
    node = nodes[0]
    for bit in bits[:-1]:
        if node[int(bit)] is None:
            nodes.append([None, None])
            node[int(bit)] = len(nodes) - 1
        node = nodes[node[int(bit)]]
    node[int(bits[-1])] = ("data", offset)


def _record(side: Any, count: int) -> bytes:
    if side is None:
        number = count
    elif isinstance(side, tuple):
        number = count + 16 + side[1]
    else:
        number = side
    return int(number).to_bytes(3, "big")


def _encoded(value: Any) -> bytes:
    match value:
        case str():
            text = value.encode()
            return _control(2, len(text)) + text
        case float():
            return _control(3, 8) + struct.pack(">d", value)
        case UInt16():
            return _control(5, 2) + int(value).to_bytes(2, "big")
        case UInt64():
            return _control(9, 8) + int(value).to_bytes(8, "big")
        case int():
            return _control(6, 4) + value.to_bytes(4, "big")
        case dict():
            pairs = (_encoded(key) + _encoded(inner) for key, inner in value.items())
            return _control(7, len(value)) + b"".join(pairs)
        case list():
            return _control(11, len(value)) + b"".join(map(_encoded, value))
    raise TypeError(type(value))


def _control(kind: int, size: int) -> bytes:
    """The type and a size below 285."""
    first = min(size, 29)
    head = bytes([first]) + bytes([kind - 7]) if kind > 7 else bytes([kind << 5 | first])
    return head + (bytes([size - 29]) if size >= 29 else b"")
