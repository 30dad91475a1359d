# SPDX-License-Identifier: MIT
"""Proxied: what is known of a connection on which somebody speaks for clients (presented.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpsmtpd.mail.ip import Endpoint
from qpsmtpd.mail.session import Session


@dataclass
class Proxied:
    """What whoever speaks for clients has said.

    speaker, local: the ends of the connection itself.
    client: of XCLIENT, the attributes of the client whose session it is.
    forwarded: of XFORWARD, those of the client whose transaction comes next.
    own: the session that waits while a transaction of somebody else has one.
    greeting_due: the session is new, and its client has not been greeted yet.
    """

    speaker: Endpoint
    local: Endpoint
    client: Mapping[str, str] = field(default_factory=dict)
    forwarded: Mapping[str, str] = field(default_factory=dict)
    own: Session | None = None
    greeting_due: bool = False
