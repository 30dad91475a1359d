# SPDX-License-Identifier: MIT
"""Small programs that tests write and run."""

from __future__ import annotations

from pathlib import Path


def a_script(path: Path, text: str) -> str:
    """Write an executable shell script; returns its path."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)
