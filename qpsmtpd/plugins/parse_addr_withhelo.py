# SPDX-License-Identifier: MIT
"""parse_addr_withhelo: refuse ESMTP parameters from clients that said HELO.

A client that greets with HELO knows no extensions (RFC 5321 section 4.1.1.1), so its MAIL and RCPT
have no parameters. A client that sends some all the same only pretends to be an old one: it gets
501. Sessions that began with EHLO are not affected.

Everything else is read as usual: `MAIL FROM:` alone is the null sender, and an address without
angle brackets is refused later, unless the plugin dont_require_anglebrackets is in use.

Differences from the Perl version: there `RCPT TO:postmaster` without brackets was refused whatever
other plugins were in use.
"""

from __future__ import annotations

import re

from qpsmtpd.api import NoOptions, ParsedPath, Plugin, Session, Verdict, deny

_is_bare_local = re.compile(r"postmaster|abuse", re.IGNORECASE).fullmatch
# Up to the first ">" (without brackets: the first blank) outside a quoted string.
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_path = re.compile(rf'<(?:{_QUOTED}|[^">]++)*+>|(?!<)(?:{_QUOTED}|[^"\s]++)++').match


class ParseAddrWithhelo(Plugin[NoOptions]):
    """Reads the arguments of MAIL and RCPT as RFC 821 has them."""

    async def hook_mail_parse(self, session: Session, argument: str) -> ParsedPath | Verdict | None:
        if session.hello != "helo":
            return None
        return _parse(argument, "MAIL", "FROM:")

    async def hook_rcpt_parse(self, session: Session, argument: str) -> ParsedPath | Verdict | None:
        if session.hello != "helo":
            return None
        return _parse(argument, "RCPT", "TO:")


def _parse(argument: str, verb: str, keyword: str) -> ParsedPath | Verdict:
    if not argument.upper().startswith(keyword):
        return deny("Syntax error in command", status="5.5.4")
    rest = argument[len(keyword) :].strip()
    if not rest and verb == "MAIL":
        return ParsedPath("<>", {})
    match = _path(rest)
    if match is None or not _may_be_path(match[0], verb):
        return deny(f"Could not parse your {verb} {keyword[:-1]} command", status="5.5.4")
    if match.end() != len(rest):
        return deny(f"No parameters allowed in {verb} after HELO", status="5.5.4")
    return ParsedPath(match[0], {})


def _may_be_path(path: str, verb: str) -> bool:
    return path[0] == "<" or "@" in path or (verb == "RCPT" and bool(_is_bare_local(path)))
