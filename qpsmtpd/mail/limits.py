# SPDX-License-Identifier: MIT
"""What a message may not exceed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DataLimits:
    """Limits enforced while reading, in bytes unless noted; size 0 means unlimited.

    size, line and header count the message as it is stored: without dot-stuffing; line also
    without its CRLF, header_fields without continuation lines.
    """

    size: int = 0
    line: int = 65536
    header: int = 262144
    header_fields: int = 1000
