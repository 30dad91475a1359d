# SPDX-License-Identifier: MIT
"""Extensions that are for whoever delivers: values are checked and passed on.

A client is offered one only if the next hop has offered it, with the same words behind the keyword.
Where it is not offered, its parameters of MAIL are refused. They are not mere wishes: a message
that is to be returned unless it arrives in time must not go where nobody looks at the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple


class PassedOn(NamedTuple):
    """One extension: its keyword, and the parameters of MAIL that it adds, with their syntax."""

    keyword: str
    parameters: Mapping[str, Callable[[str], object]]


#: RFC 2852 section 4: seconds, mode (return or notify), and whether to trace.
_deadline = re.compile(r"(?:-?[0-9]{1,9};N|(?!0+;)[0-9]{1,9};R)T?", re.IGNORECASE).fullmatch
#: RFC 6710 section 4.
_priority = re.compile(r"[+-]?[0-9]").fullmatch
#: RFC 4865 section 4.
_interval = re.compile(r"(?!0)[0-9]{1,9}").fullmatch
_moment = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})",
    re.IGNORECASE,
).fullmatch

#: The keyword and the parameter of RFC 8689, which has no value.
REQUIRETLS = "REQUIRETLS"
_nothing = re.compile("").fullmatch

PASSED_ON = (
    PassedOn("DELIVERBY", {"BY": _deadline}),
    PassedOn("MT-PRIORITY", {"MT-PRIORITY": _priority}),
    PassedOn("FUTURERELEASE", {"HOLDFOR": _interval, "HOLDUNTIL": _moment}),
    PassedOn(REQUIRETLS, {REQUIRETLS: _nothing}),
)
PARAMETERS: Mapping[str, PassedOn] = {
    name: extension for extension in PASSED_ON for name in extension.parameters
}


def has_wrong_value(parameters: Mapping[str, str | None]) -> bool:
    """Whether one of these parameters, if it is there, has a value that means nothing."""
    if "HOLDFOR" in parameters and "HOLDUNTIL" in parameters:
        return True
    return not all(
        PARAMETERS[name].parameters[name](value or "")
        for name, value in parameters.items()
        if name in PARAMETERS
    )


def keywords_of(names: Iterable[str]) -> set[str]:
    """The keywords of the extensions that have these parameters."""
    return {PARAMETERS[name].keyword for name in names if name in PARAMETERS}


def time_left(value: str, seconds: float) -> str:
    """BY after the message has been here for so long (RFC 2852 section 4.1.4)."""
    number, semicolon, mode = value.partition(";")
    left = int(number) - int(seconds)
    return f"{max(left, 1) if mode[:1] in 'Rr' else left}{semicolon}{mode}"
