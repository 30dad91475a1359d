# SPDX-License-Identifier: MIT
"""Decoders: undo the transfer encoding and the charset of a text, piece by piece.

They never fail: what is not valid is left out or replaced, as mail programs do.
"""

from __future__ import annotations

import binascii
import codecs
import re
from typing import Protocol

from qpsmtpd.content.parthead import PartHead

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64))
_BLANKS_AT_END = re.compile(rb"=[ \t]+\r?\n")
#: A line that is longer than this is cut, where it does no harm.
_LONGEST_LINE = 2048

#: Charsets of mail and what Python calls them. No others: some codecs of Python are compressions,
#: some take quadratic time, and looking for a name that it does not know costs a search for a file.
_UTF_16 = "utf-16"
_CHARSETS = {
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "us-ascii": "utf-8",
    "utf8": "utf-8",
    "ks_c_5601-1987": "cp949",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "gb2312": "gb18030",
    "big5": "big5",
    "big5-hkscs": "big5hkscs",
    **{f"iso-8859-{part}": f"iso8859-{part}" for part in (*range(2, 12), *range(13, 17))},
    **{f"windows-{page}": f"cp{page}" for page in range(1250, 1259)},
    **{
        f"cp{page}": f"cp{page}" for page in (437, 850, 852, 866, 932, 949, 950, *range(1250, 1259))
    },
    **{
        name: name
        for name in (
            *("utf-8", "koi8-r", "koi8-u", "gbk", "gb18030", "hz", "euc-jp", "iso-2022-jp"),
            *("iso-2022-jp-2", "shift_jis", "euc-kr", "iso-2022-kr", "tis-620"),
        )
    },
}


class Transfer(Protocol):
    """Undoes one transfer encoding."""

    def feed(self, octets: bytes) -> bytes:
        """What more can be decoded now."""
        ...

    def end(self) -> bytes:
        """What was kept back."""
        ...


class Plain:
    """7bit, 8bit, binary, and what nobody knows."""

    def feed(self, octets: bytes) -> bytes:
        """What more can be decoded now."""
        return octets

    def end(self) -> bytes:
        """What was kept back."""
        return b""


class Base64:
    """RFC 2045 section 6.8. After padding it begins anew, as where two texts were put together."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, octets: bytes) -> bytes:
        """What more can be decoded now."""
        *ended, last = (self._rest + octets.translate(None, _NOT_BASE64)).split(b"=")
        whole = len(last) - len(last) % 4
        self._rest = last[whole:]
        return b"".join([*map(_padded, filter(None, ended)), binascii.a2b_base64(last[:whole])])

    def end(self) -> bytes:
        """What was kept back."""
        rest, self._rest = self._rest, b""
        return _padded(rest)


def _padded(text: bytes) -> bytes:
    """A text without its padding; a character that is left over has no octet."""
    if len(text) % 4 == 1:
        text = text[:-1]
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


class QuotedPrintable:
    """RFC 2045 section 6.7."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, octets: bytes) -> bytes:
        """What more can be decoded now."""
        text = self._rest + octets
        end = text.rfind(b"\n") + 1
        if len(text) - end > _LONGEST_LINE:
            end = len(text) if b"=" not in text[-2:] else text.rindex(b"=")
        self._rest = text[end:]
        return _unquoted(text[:end])

    def end(self) -> bytes:
        """What was kept back."""
        rest, self._rest = self._rest, b""
        return _unquoted(rest)


def _unquoted(text: bytes) -> bytes:
    return binascii.a2b_qp(_BLANKS_AT_END.sub(b"=\n", text))


class TextDecoder:
    """From the octets of a part to its text."""

    def __init__(self, head: PartHead) -> None:
        self._transfer = transfer_for(head.encoding)
        #: None until the first octets of a text in UTF-16 show their order.
        self._charset = None if head.charset == _UTF_16 else _decoder(head.charset)

    def feed(self, octets: bytes) -> str:
        """What more can be decoded now."""
        return self._decoded(self._transfer.feed(octets))

    def end(self) -> str:
        """What was kept back."""
        return self._decoded(self._transfer.end(), final=True)

    def _decoded(self, octets: bytes, *, final: bool = False) -> str:
        if not octets and not final:
            return ""
        if self._charset is None:
            # Python's own decoder raises an error if there is no byte order mark.
            little_endian = octets.startswith(b"\xff") or octets[1:2] == b"\0"
            self._charset = _decoder("utf-16le" if little_endian else "utf-16be")
        try:
            return self._charset.decode(octets, final)
        except UnicodeError:
            # Those of ISO 2022 give up in an escape sequence that does not end.
            self._charset = _decoder("utf-8")
            return self._charset.decode(octets, final)


def _decoder(charset: str) -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder(_CHARSETS.get(charset, "utf-8"))("replace")


def transfer_for(encoding: str) -> Transfer:
    """What undoes this Content-Transfer-Encoding."""
    if encoding in ("base64", "b"):
        return Base64()
    return QuotedPrintable() if encoding in ("quoted-printable", "q") else Plain()
