# SPDX-License-Identifier: MIT
"""The header section as signatures see it: which fields one covers, and their hash.

RFC 6376 sections 3.7 and 5.4.2; ARC's signatures are made in the same way (RFC 8617 section 4.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence

from qpsmtpd.mail.headers import HeaderField
from qpsmtpd.mailauth.canonical import Canonicalization, relaxed_field


class _RelaxedForms(dict[bytes, bytes]):
    """Fields in their relaxed forms: several signatures cover the same ones."""

    def __missing__(self, raw: bytes) -> bytes:
        form = self[raw] = relaxed_field(raw)
        return form


class SignedFields:
    """The fields of one message by their names, in the forms in which they are signed."""

    def __init__(self, fields: Iterable[HeaderField] = ()) -> None:
        """fields: those of the header section from the top down, as they came."""
        self._fields: dict[bytes, list[bytes]] = {}
        self._relaxed = _RelaxedForms()
        for field in fields:
            assert field.key is not None
            self._fields.setdefault(field.key, []).append(field.raw)

    def named(self, name: bytes) -> Sequence[bytes]:
        """The fields of this name, which is in lower case, from the top down."""
        return self._fields.get(name, ())

    def relaxed(self, raw: bytes) -> bytes:
        """A field in its relaxed form."""
        return self._relaxed[raw]

    def hash(
        self,
        form: Canonicalization,
        names: Collection[bytes],
        unsigned: bytes,
        *,
        without: bytes | None = None,
    ) -> bytes:
        """SHA-256 of what a signature covers: fields, each from the bottom up, and its own.

        names: those of h=, in lower case.  unsigned: the signature's field without the value of b=
        and without its CRLF.  without: that field as it came, which h= never means (section 3.5).
        """
        relaxed = form == "relaxed"
        left = {name: fields.copy() for name, fields in self._fields.items()}
        own_name = unsigned.partition(b":")[0].rstrip(b" \t").lower()
        if without is not None and own_name in names:
            left[own_name] = [raw for raw in left[own_name] if raw is not without]
        parts = [fields.pop() for name in names if (fields := left.get(name))]
        if relaxed:
            parts = list(map(self._relaxed.__getitem__, parts))
        own = relaxed_field(unsigned).removesuffix(b"\r\n") if relaxed else unsigned
        return hashlib.sha256(b"".join((*parts, own))).digest()
