# SPDX-License-Identifier: MIT
"""The DNS of a trial: recorded to a file, or played back from one.

The file is JSON: {"TXT example.org": {"records": ["v=spf1 -all"], "exists": true}}; a lookup that
failed has "error" in place of that.  It can be written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpsmtpd.dns.methods import ResolverMethods
from qpsmtpd.errors import DnsError, QpsmtpdError
from qpsmtpd.mail.domain import canonical_domain
from qpsmtpd.plugin.services import DnsAnswer, RecordType, Resolver

#: The kind under which `exists` is recorded.
_EXISTS = "EXISTS"


class RecordingResolver(ResolverMethods):
    """Asks another resolver, and remembers what it said."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self.answers: dict[str, Any] = {}

    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
        try:
            answer = await self._resolver.look_up(kind, name)
        except DnsError as error:
            self.answers[_key(kind, name)] = {"error": str(error)}
            raise
        self.answers[_key(kind, name)] = {
            "records": list(answer.records),
            "exists": answer.name_exists,
        }
        return answer

    async def exists(self, name: str) -> bool:
        try:
            there = await self._resolver.exists(name)
        except DnsError as error:
            self.answers[_key(_EXISTS, name)] = {"error": str(error)}
            raise
        self.answers[_key(_EXISTS, name)] = {"records": [], "exists": there}
        return there

    def save(self, file: Path) -> None:
        """Write what was asked into a file.  Raises QpsmtpdError."""
        try:
            file.write_text(json.dumps(self.answers, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise QpsmtpdError(f"{file}: {error.strerror}") from None


class RecordedResolver(ResolverMethods):
    """Knows what is in a file; whatever else is asked fails, and is remembered in `missing`."""

    def __init__(self, answers: Mapping[str, DnsAnswer | DnsError]) -> None:
        self._answers = answers
        self.missing: set[str] = set()

    @classmethod
    def of(cls, file: Path) -> RecordedResolver:
        """What is in this file.  Raises QpsmtpdError."""
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            return cls({key: _answer(key, value) for key, value in content.items()})
        except OSError as error:
            raise QpsmtpdError(f"{file}: {error.strerror}") from None
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise QpsmtpdError(f"{file}: not a recording of the DNS: {error}") from None

    async def look_up(self, kind: RecordType, name: str) -> DnsAnswer:
        return self._ask(kind, name)

    async def exists(self, name: str) -> bool:
        return self._ask(_EXISTS, name).name_exists

    def _ask(self, kind: str, name: str) -> DnsAnswer:
        key = _key(kind, name)
        answer = self._answers.get(key)
        if answer is None:
            self.missing.add(key)
            raise DnsError(f"{key} is not in the recording")
        if isinstance(answer, DnsError):
            raise DnsError(str(answer))
        return answer


def _key(kind: str, name: str) -> str:
    return f"{kind} {canonical_domain(name)}"


def _answer(key: str, value: Any) -> DnsAnswer | DnsError:
    if "error" in value:
        return DnsError(str(value["error"]))
    records = value["records"]
    if key.startswith("MX "):
        records = [(int(preference), str(host)) for preference, host in records]
    elif not all(isinstance(record, str) for record in records):
        raise ValueError(f"{key}: records are text")
    return DnsAnswer(tuple(records), bool(value["exists"]))
