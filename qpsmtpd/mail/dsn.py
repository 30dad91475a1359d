# SPDX-License-Identifier: MIT
"""DSN: the parameters of MAIL and RCPT by which a client says which notices it wants (RFC 3461).

They are for whoever delivers, and the keyword DSN is offered where the mail system behind takes
them, unless the setting `dsn` says otherwise; then notices of success are ours (smtp/notices.py).
Some clients send them without having been asked, and they are taken all the same, for they are
wishes: without them a message is delivered as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from qpsmtpd.mail.address import PathError, decode_xtext

KEYWORD = "DSN"
MAIL_PARAMETERS = frozenset({"RET", "ENVID"})
RCPT_PARAMETERS = frozenset({"NOTIFY", "ORCPT"})

#: RFC 3461 sections 4.2 and 4.4.
_MAX_ENVID = 100
_MAX_ORCPT = 500
_REASONS = frozenset({"SUCCESS", "FAILURE", "DELAY"})

_is_address_type = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}").fullmatch
_is_unitext = re.compile(r"[^\x00-\x20\x7f-\x9f\ud800-\udfff]+").fullmatch


def has_wrong_value(parameters: Mapping[str, str | None], *, utf8: bool) -> bool:
    """Whether one of these parameters, if it is there, has a value that means nothing.

    utf8: SMTPUTF8 was said, so that ORCPT may have an address as it is (RFC 6533 section 3).
    """
    for name in parameters.keys() & (MAIL_PARAMETERS | RCPT_PARAMETERS):
        if not _is_right(name, parameters[name] or "", utf8):
            return True
    return False


def wants_success(parameters: Mapping[str, str | None]) -> bool:
    """Whether these parameters of RCPT ask for a notice when the message has arrived."""
    return "SUCCESS" in (parameters.get("NOTIFY") or "").upper()


def forget(parameters: dict[str, str | None]) -> None:
    """Remove these parameters: nobody is to get them."""
    for name in MAIL_PARAMETERS | RCPT_PARAMETERS:
        parameters.pop(name, None)


def decoded(address: str) -> str:
    """The address of ORCPT; one that was sent as it is (RFC 6533) is not xtext."""
    return decode_xtext(address) if address.isascii() else address


def _is_right(name: str, value: str, utf8: bool) -> bool:
    if name == "RET":
        return value.upper() in ("FULL", "HDRS")
    if name == "NOTIFY":
        reasons = value.upper().split(",")
        return reasons == ["NEVER"] or (len(reasons) <= len(_REASONS) and set(reasons) <= _REASONS)
    if name == "ENVID":
        return 0 < len(value) <= _MAX_ENVID and _is_xtext(value)
    kind, _, address = value.partition(";")
    if len(value) > _MAX_ORCPT or not address or not _is_address_type(kind):
        return False
    if utf8 and kind.lower() == "utf-8":
        return bool(_is_unitext(address))
    return _is_xtext(address)


def _is_xtext(value: str) -> bool:
    try:
        decode_xtext(value)
    except PathError:
        return False
    return True
