# SPDX-License-Identifier: MIT
"""What ends a message for one server and not for another: all that tools for SMTP smuggling try.

A dot between any two line ends, with a NUL on either side of it, and a few more.  Only CRLF, dot,
CRLF is an end (RFC 5321 section 4.1.1.4); whoever takes another one for it can be made to read a
second message, of anybody, out of the first.
"""

from __future__ import annotations

REAL = b"\r\n.\r\n"

_LINE_ENDS = {"CRLF": b"\r\n", "LF": b"\n", "CR": b"\r"}
_DOTS = {".": b".", "NUL .": b"\0.", ". NUL": b".\0"}

#: All 27, by name.
FORMS = {
    f"{before} {dot} {after}": octets + middle + more
    for dot, middle in _DOTS.items()
    for before, octets in _LINE_ENDS.items()
    for after, more in _LINE_ENDS.items()
}
#: The same after a line that ends as it should, where an empty line is added to what came.  Among
#: them are all that smtpsmug sends (dot between LF, CR and CRLF in all ways; NUL before the dot).
AFTER_A_LINE = {
    f"CRLF, {name}": b"\r\n" + octets for name, octets in FORMS.items() if octets != REAL
}
#: Those that end nothing, and what merely looks odd around a dot.
LOOKALIKES = {name: octets for name, octets in FORMS.items() if octets != REAL} | {
    "CRLF . CR CR LF": b"\r\n.\r\r\n",
    "CRLF . LF CRLF": b"\r\n.\n\r\n",
    "LF CR . CRLF": b"\n\r.\r\n",
    "CRLF LF . CRLF": b"\r\n\n.\r\n",
    "CR CRLF . LF": b"\r\r\n.\n",
}
