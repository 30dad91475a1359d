# SPDX-License-Identifier: MIT
"""How entries are kept in Redis: their names, their form, and the scripts that change them.

The layout has a version, which is part of every name.  It is documented in qpsmtpd-scaling(7):
whoever changes it raises the version, so that machines with the old one do not misread it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from qpsmtpd.errors import StoreError
from qpsmtpd.store.operation import (
    PAGE,
    Add,
    Count,
    Delete,
    Get,
    Increment,
    Operation,
    Page,
    Put,
    Replace,
    Scan,
)

#: What is sent: the words of one command.
Command = tuple[Any, ...]

#: Before every name, as other programs may use the same server; and the version of the entries.
PREFIX = b"qpsmtpd|3|"

#: An entry is a hash: v is its value, t the milliseconds that it lives.  When the server's clock
#: was ahead and has been set right, an entry has longer to live than it ever should have: it then
#: gets its whole time once more.
_LOOK = """
local left = redis.call('PTTL', KEYS[1])
local entry = redis.call('HMGET', KEYS[1], 'v', 't')
if entry[2] and (left < 0 or left > tonumber(entry[2])) then
  redis.call('PEXPIRE', KEYS[1], entry[2])
end
"""
_WRITE = """
local function write(value, ttl)
  redis.call('HSET', KEYS[1], 'v', value, 't', ttl)
  redis.call('PEXPIRE', KEYS[1], ttl)
end
"""
_GET = f"{_LOOK} return entry[1]"
_PUT = f"{_WRITE} write(ARGV[1], ARGV[2])"
_ADD = f"{_LOOK} {_WRITE} if not entry[1] then write(ARGV[1], ARGV[2]) end return entry[1]"
_REPLACE = f"""{_LOOK} {_WRITE}
if entry[1] == ARGV[1] then write(ARGV[2], ARGV[3]) end
return entry[1]
"""
_INCREMENT = f"""{_LOOK} {_WRITE}
if entry[1] then return redis.call('HINCRBY', KEYS[1], 'v', ARGV[1]) end
write(ARGV[1], ARGV[2])
return tonumber(ARGV[1])
"""
#: A cursor, then names and values.
_SCAN = f"""
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', {PAGE})
local answer = {{page[1]}}
for _, name in ipairs(page[2]) do
  answer[#answer + 1] = name
  answer[#answer + 1] = redis.call('HGET', name, 'v') or ''
end
return answer
"""

#: A larger sum was not counted by us: a million a second would need two weeks for it.
MOST_COUNTED = 10**12

_special = re.compile(rb"[\\*?\[\]^-]")

#: The commands that scripts and connections need, as rules of an ACL (qpsmtpd-scaling(7)).
ACL = (
    "~qpsmtpd|* -@all +eval +del +scan +pttl +pexpire +hget +hmget +hset +hincrby +select +role "
    "+asking +cluster|slots"
)


def key_of(name: bytes) -> bytes:
    """The key of an entry: `KIND|SCOPE|KEY` becomes `qpsmtpd|3|KIND|{SCOPE|KEY}`.

    What is in braces decides about the place in a Cluster (its hash tag): so the value and the
    counter of one KEY are always together, and one script may use both.
    """
    kind, _, rest = name.partition(b"|")
    return b"%s%s|{%s}" % (PREFIX, kind, rest)


def name_of(key: bytes) -> bytes:
    """The name of the entry that has this key."""
    kind, _, rest = key.removeprefix(PREFIX).partition(b"|")
    return b"%s|%s" % (kind, rest[1:-1])


def command_of(operation: Operation) -> Command:
    """What to send."""
    key = key_of(operation.name)
    match operation:
        case Get() | Count():
            return "EVAL", _GET, 1, key
        case Put(_, value, ttl):
            return "EVAL", _PUT, 1, key, value, _milliseconds(ttl)
        case Add(_, value, ttl):
            return "EVAL", _ADD, 1, key, value, _milliseconds(ttl)
        case Replace(_, old, value, ttl):
            return "EVAL", _REPLACE, 1, key, old, value, _milliseconds(ttl)
        case Delete():
            return "DEL", key
        case Scan(_, cursor):
            # What follows the beginning is the rest of the name, and the brace.
            pattern = _special.sub(rb"\\\g<0>", key.removesuffix(b"}")) + b"*"
            return "EVAL", _SCAN, 0, cursor or b"0", pattern
        case Increment(_, by, ttl):
            return "EVAL", _INCREMENT, 1, key, by, _milliseconds(ttl)


def answer_of(operation: Operation, reply: Any) -> Any:
    """What a reply says.  Raises StoreError if it does not answer the question."""
    match operation, reply:
        case ((Get() | Add() | Replace()), (bytes() | None)):
            return reply
        case ((Increment() | Count()), (int() | bytes() | None)):
            return _sum(reply)
        case Scan(), [bytes() as cursor, *rest] if len(rest) % 2 == 0:
            return _page(cursor, rest)
        case Delete(), int():
            return None
        case Put(), None:
            return None
    raise _senseless()


def _sum(reply: int | bytes | None) -> int:
    try:
        total = int(reply or 0)
    except ValueError:
        raise _senseless() from None
    if abs(total) > MOST_COUNTED:
        raise _senseless()
    return total


def _page(cursor: bytes, rest: Sequence[Any]) -> Page:
    if not all(isinstance(part, bytes) for part in rest):
        raise _senseless()
    pairs = zip(rest[::2], rest[1::2], strict=True)
    entries = tuple((name_of(key), value) for key, value in pairs)
    return Page(entries, b"" if cursor == b"0" else cursor)


def _senseless() -> StoreError:
    return StoreError("the reply is not one to what was asked")


def _milliseconds(ttl: float) -> int:
    return max(1, round(ttl * 1000))
