# SPDX-License-Identifier: MIT
"""Digests and shadows as plain values, for JSON."""

from __future__ import annotations

import dataclasses
from typing import Any


def plain(value: Any) -> Any:
    """The same with dictionaries for what has named fields, and lists."""
    if dataclasses.is_dataclass(value):
        return {name.name: plain(getattr(value, name.name)) for name in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    return [plain(part) for part in value] if isinstance(value, tuple) else value
