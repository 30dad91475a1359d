# SPDX-License-Identifier: MIT
"""What clients say in OAUTHBEARER (RFC 7628) and XOAUTH2, and what they are told when it is wrong.

Both say a token of OAuth 2.0 (RFC 6750), in one message.  XOAUTH2 is Google's older form of it:
https://developers.google.com/workspace/gmail/imap/xoauth2-protocol
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Literal

OAUTHBEARER = "OAUTHBEARER"
XOAUTH2 = "XOAUTH2"

#: Octets of a message; tokens that are signed have a few thousand.
MOST = 8192

#: RFC 6750 section 3.1.
Problem = Literal["invalid_request", "invalid_token", "insufficient_scope"]
_HTTP_STATUS: dict[Problem, str] = {
    "invalid_request": "400",
    "invalid_token": "401",
    "insufficient_scope": "403",
}

_NAME = "(?:[^\0\x01,=]|=2C|=3D)+"
_is_bearer = re.compile(f"[ny],(?:a=({_NAME}))?,\x01([^\0]*)\x01").fullmatch
_is_xoauth2 = re.compile("user=([^\0\x01]+)\x01([^\0]*)\x01").fullmatch
_is_pair = re.compile(r"([A-Za-z]+)=([\x20-\x7e\t\r\n]*)").fullmatch
_is_auth = re.compile(r"Bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE).fullmatch


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token, and the user whose it is in the client's opinion; "" if it does not say."""

    user: str
    token: str = field(repr=False)


def parse_bearer(octets: bytes, mechanism: str) -> Bearer:
    """What a client says, in one of these mechanisms.  Raises ValueError, without the token."""
    text = _text(octets)
    found = (_is_xoauth2 if mechanism == XOAUTH2 else _is_bearer)(text)
    if found is None:
        raise ValueError(f"the message is not one of {mechanism}")
    auth = _is_auth(_pairs(found[2]).get("auth", ""))
    if auth is None:
        raise ValueError("the message has no token")
    user = found[1] or ""
    return Bearer(user if mechanism == XOAUTH2 else _unescaped(user), auth[1])


def _text(octets: bytes) -> str:
    if len(octets) > MOST:
        raise ValueError("the message is too long")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the message is not in UTF-8") from None


def _pairs(text: str) -> dict[str, str]:
    """The values by their keys: each ends with ^A, and a key comes once only."""
    pairs: dict[str, str] = {}
    for word in text.removesuffix("\x01").split("\x01"):
        found = _is_pair(word)
        if found is None or found[1].lower() in pairs:
            raise ValueError("the message has a malformed value")
        pairs[found[1].lower()] = found[2]
    return pairs


def _unescaped(name: str) -> str:
    return name.replace("=2C", ",").replace("=3D", "=")


def problem_text(mechanism: str, problem: Problem, scope: str, configuration: str = "") -> bytes:
    """What a client is told that is refused (RFC 7628 section 3.2.2): JSON.

    scope: what its token needs.  configuration: the URL of the server that gives tokens.
    """
    if mechanism == XOAUTH2:
        said = {"status": _HTTP_STATUS[problem], "schemes": "bearer", "scope": scope}
    else:
        said = {"status": problem, "scope": scope, "openid-configuration": configuration}
    return json.dumps({key: value for key, value in said.items() if value}).encode()
