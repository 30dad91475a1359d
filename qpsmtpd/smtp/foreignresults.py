# SPDX-License-Identifier: MIT
"""Authentication-Results that came with a message and claim to be ours (RFC 8601 section 5).

A reader believes the fields that bear the name of its own server, so one that a client wrote under
our name has to go. Those of others stay as they are: a DKIM signature may cover them.

The name stands before the first semicolon: perhaps quoted, after comments, or before a version.
Readers differ in what they make of a field that is odd or broken. So this does not look for the one
right reading: a field goes when our name stands *anywhere* before that semicolon, as a whole name,
in whatever case, form or quoting, with white space, control characters or comments within it. It
also goes when what stands there cannot be a name: nobody can tell what some reader makes of it.
No other server writes anything like that.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence

from qpsmtpd.mail.headers import Headers

#: Fields that are looked at; no honest message has more.
MOST_FIELDS = 100
#: The name has to end within this many characters and tokens; a domain has at most 255 octets.
LONGEST_HEAD = 1000
MOST_MARKS = 100

_NAME = "authentication-results"
_token = re.compile(r'\\.|["();]|[^\\"();]+', re.DOTALL).match
_parentheses = re.compile(r"([()])").split
# White space, control characters, quoting, and what is printable but invisible.
_noise = re.compile(
    "[\\s\x00-\x1f\x7f\"'\\\\()\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\ufe00-\ufe0f]+"
)
_folds = re.compile(r"[\r\n\t]")
# The ideographic full stop, and the joiner and non-joiner (RFC 5892 appendix A).
_DOTS_AND_JOINERS = str.maketrans("\u3002", ".", "\u200c\u200d")
_not_in_name = re.compile(rb"[^!-~]+")


def remove_claims(headers: Headers, authserv_ids: Sequence[str]) -> int:
    """Remove the fields that a reader might take for ours; returns how many there were."""
    if not headers.mention(_NAME):
        return 0
    left = MOST_FIELDS

    def claims(raw: bytes) -> bool:
        nonlocal left
        if not _is_results_field(raw):
            return False
        left -= 1
        return left < 0 or any(_claims(raw, name) for name in authserv_ids)

    return headers.remove_where(claims, mentioning=_NAME)


def _is_results_field(raw: bytes) -> bool:
    """Also true with junk or a line break before the colon: some readers do not mind."""
    name, colon, _ = raw.partition(b":")
    return bool(colon) and _not_in_name.sub(b"", name).lower() == b"authentication-results"


def _claims(raw: bytes, authserv_id: str) -> bool:
    head = _head(raw.partition(b":")[2].decode("utf-8", "surrogateescape"))
    if head is None or not _may_be_a_name(head := _comparable(head)):
        return True
    search = _pattern(authserv_id).search
    return any(search(_noise.sub(" ", form)) for form in (head, _without_comments(head)))


def _comparable(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_DOTS_AND_JOINERS).casefold()


def _may_be_a_name(head: str) -> bool:
    """No encoded word (RFC 2047), and U-labels in their only valid form (RFC 5891 section 4)."""
    if "=?" in head:
        return False
    if head.isascii():
        return True
    return _folds.sub(" ", head).isprintable() and unicodedata.is_normalized("NFKC", head)


def _head(value: str) -> str | None:
    """What stands before the semicolon that ends the name; None when that is too long."""
    depth = place = marks = 0
    quoted = named = False
    while token := _token(value, place, LONGEST_HEAD):
        place, text, marks = token.end(), token[0], marks + 1
        if marks > MOST_MARKS:
            return None
        if depth == 0 and text == '"':
            quoted = not quoted
        elif quoted or (depth == 0 and text not in "();"):
            named = named or any(map(str.isalnum, text))
        elif text == "(":
            depth += 1
        elif text == ")":
            depth = max(depth - 1, 0)
        elif text == ";" and depth == 0 and named:
            return value[: token.start()]
    return value if len(value) <= LONGEST_HEAD else None


def _without_comments(text: str) -> str:
    """The text without what is in parentheses; an unmatched parenthesis stays."""
    kept: list[str] = []
    begun: list[int] = []
    for part in _parentheses(text):
        if part == ")" and begun:
            del kept[begun.pop() :]
            continue
        if part == "(":
            begun.append(len(kept))
        kept.append(part)
    return "".join(kept)


@functools.lru_cache(maxsize=16)
def _pattern(authserv_id: str) -> re.Pattern[str]:
    """Finds the name as a whole name, with blanks anywhere in it."""
    labels = _comparable(authserv_id).strip(".[]").split(".")
    name = r" ?\. ?".join(f"(?:{'|'.join(map(_spaced, _spellings(label)))})" for label in labels)
    return re.compile(rf"(?<![\w-])(?<![\w-]\.){name}\.*+(?![\w-])")


def _spellings(label: str) -> list[str]:
    """A label as an A-label and as a U-label, even where it need not be one."""
    if not label.startswith("xn--"):
        return [label, f"xn--{label}-"]
    try:
        return [label, _comparable(label[4:].encode().decode("punycode"))]
    except ValueError:
        return [label]


def _spaced(label: str) -> str:
    return " ?".join(map(re.escape, label))
