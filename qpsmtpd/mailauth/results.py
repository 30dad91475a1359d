# SPDX-License-Identifier: MIT
"""What was found about a message: where others find it, and how it is told in header fields."""

from __future__ import annotations

import re

from qpsmtpd.mail.authresult import AuthResult
from qpsmtpd.mail.notes import Note
from qpsmtpd.mail.text import printable_ascii
from qpsmtpd.mailauth.arc import ArcResult
from qpsmtpd.mailauth.dkim import DkimResult
from qpsmtpd.mailauth.dmarc import DmarcResult
from qpsmtpd.mailauth.spf import SpfQuery, SpfResult

#: The result of SPF for a message, for plugins that go on from there.
SPF_RESULT = Note[SpfResult]("spf_result")

#: The results of DKIM for a message, one for each signature.
DKIM_RESULTS = Note[tuple[DkimResult, ...]]("dkim_results")

#: The result of DMARC for a message.
DMARC_RESULT = Note[DmarcResult]("dmarc_result")

#: The result of ARC for a message; it counts only if it is `trusted`.
ARC_RESULT = Note[ArcResult]("arc_result")

#: Octets of one value in Received-SPF; an RFC 5321 path is shorter.
_MOST = 320

_is_dot_atom = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
).fullmatch
_not_quotable = re.compile(r'["\\()]')


def spf_auth_result(spf: SpfResult) -> AuthResult:
    """The result for Authentication-Results (RFC 8601 section 2.7.2)."""
    return AuthResult("spf", spf.result, spf.problem, {f"smtp.{spf.identity}": spf.domain})


def dkim_auth_result(dkim: DkimResult) -> AuthResult:
    """The result for Authentication-Results (RFC 8601 section 2.7.1, RFC 6008)."""
    properties = {
        "header.d": dkim.domain,
        "header.s": dkim.selector,
        "header.a": dkim.algorithm,
        "header.b": dkim.b8,
    }
    told = {name: value for name, value in properties.items() if value}
    testing = ", testing" if dkim.testing else ""
    comment = f"{dkim.bits}-bit key{testing}" if dkim.bits else ""
    return AuthResult("dkim", dkim.result, dkim.reason, told, comment)


def dmarc_auth_result(dmarc: DmarcResult) -> AuthResult:
    """The result for Authentication-Results (RFC 9989 section 9.1)."""
    properties = {
        "header.from": dmarc.author,
        "policy.dmarc": dmarc.policy if dmarc.record is not None else "",
    }
    told = {name: value for name, value in properties.items() if value}
    return AuthResult("dmarc", dmarc.result, dmarc.reason, told)


def arc_auth_result(arc: ArcResult) -> AuthResult:
    """The result for Authentication-Results (RFC 8617 section 10.2), which has no temperror."""
    if arc.oldest_pass is None:
        return AuthResult("arc", "none" if arc.result == "none" else "fail", arc.reason)
    properties = {"header.oldest-pass": str(arc.oldest_pass)}
    comment = "" if arc.trusted else "untrusted sealer"
    return AuthResult("arc", "pass", properties=properties, comment=comment)


def received_spf(spf: SpfResult, query: SpfQuery) -> str:
    """The value of a Received-SPF field, folded (RFC 7208 section 9.1)."""
    sender = f"{query.local_part or 'postmaster'}@{query.domain}"
    pairs = {
        "receiver": query.receiver,
        "identity": spf.identity,
        "client-ip": str(query.client),
        "helo": query.hello,
        "envelope-from": sender if spf.identity == "mailfrom" else "",
        "mechanism": spf.mechanism,
        "problem": spf.problem,
    }
    told = [f"{name}={_value(text)}" for name, text in pairs.items() if text]
    return f"{spf.result} " + ";\r\n\t".join(told)


def _value(text: str) -> str:
    """A text as a dot-atom, or a quoted string that nothing in it can end."""
    if _is_dot_atom(text) and len(text) <= _MOST:
        return text
    return f'"{_not_quotable.sub("?", printable_ascii(text, _MOST))}"'
