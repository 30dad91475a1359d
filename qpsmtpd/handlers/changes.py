# SPDX-License-Identifier: MIT
"""Changes: what a handler did to its envelope is done to our transaction.

Each function is told what the handler was shown and what it left.  What cannot be an address, or a
message, is a fault of the handler, and then nothing has changed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from qpsmtpd.api import (
    Address,
    AddressError,
    Message,
    Recipient,
    ReversePath,
    Transaction,
    parse_forward_path,
    parse_reverse_path,
)
from qpsmtpd.handlers.facts import NULL_PATH
from qpsmtpd.handlers.statuses import HandlerError

_any_line_end = re.compile(rb"\r\n|\r|\n")


def change_sender(tx: Transaction, shown: str, left: object) -> None:
    """The reverse-path is what the handler left in `mail_from`."""
    if left == shown:
        return
    path = _reverse_path(left, tx.utf8)
    if tx.envelope_changeable:
        tx.replace_reverse_path(path)
    else:
        tx.reverse_path = path  # at MAIL: it is being decided


def add_parameters(tx: Transaction, shown: Sequence[str], left: Iterable[object]) -> None:
    """MAIL also has the parameters that the handler added to `mail_options`.

    None is removed: a handler need not repeat the client's there.
    """
    added = [str(option) for option in left if option not in shown]
    for option in added:
        name, equals, value = option.partition("=")
        tx.mail_parameters.setdefault(name.upper(), value if equals else None)


def change_recipients(tx: Transaction, shown: Sequence[str], left: Sequence[object]) -> None:
    """At RCPT: the recipients are those that the handler left in `rcpt_tos`, in that order."""
    if list(shown) == list(left):
        return
    known: dict[str, list[Recipient]] = {}
    for recipient in tx.recipients:
        known.setdefault(str(recipient), []).append(recipient)
    kept: list[Recipient] = []
    for address in left:
        same = known.get(address, []) if isinstance(address, str) else []
        kept.append(same.pop(0) if same else Recipient(_forward_path(address, tx.utf8)))
    tx.recipients[:] = kept


def exchange_recipients(tx: Transaction, shown: Sequence[str], left: Sequence[object]) -> None:
    """After DATA: recipients that the handler added to `rcpt_tos` are added, others removed."""
    addresses = [_forward_path(address, tx.utf8) for address in left if address not in shown]
    added = [tx.add_recipient(address) for address in addresses]
    for recipient in tuple(tx.recipients):
        if str(recipient) not in left and not any(recipient is kept for kept in added):
            tx.remove_recipient(recipient.address)


def split_new(shown: Sequence[str], left: Sequence[object]) -> tuple[list[object], list[object]]:
    """The addresses that the handler added to `rcpt_tos`, and all others that it left there."""
    old = Counter[object](shown)
    added, others = [], []
    for address in left:
        if old[address] > 0:
            old[address] -= 1
            others.append(address)
        else:
            added.append(address)
    return added, others


def change_recipient(recipient: Recipient, address: object, utf8: bool) -> None:
    """The current recipient has this address."""
    if address != str(recipient):
        recipient.address = _forward_path(address, utf8)


async def change_message(tx: Transaction, content: object) -> None:
    """The message is what the handler left in `content`; line ends become CRLF."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    if not isinstance(content, bytes | bytearray) or b"\0" in content:
        raise HandlerError(f"left a {type(content).__name__} in envelope.content, not a message")
    text = _any_line_end.sub(b"\r\n", bytes(content))
    new = Message.from_bytes(text if text.endswith(b"\r\n") else text + b"\r\n")
    assert tx.message is not None
    await tx.message.replace_body(b"".join([slab async for slab in new.stream_body()]))
    tx.message.headers = new.headers


def _reverse_path(text: object, utf8: bool) -> ReversePath:
    if text in ("", NULL_PATH):
        return None
    try:
        return parse_reverse_path(f"<{_text(text)}>", utf8=utf8)
    except AddressError as error:
        raise HandlerError(f"left {text!r} in envelope.mail_from: {error}") from None


def _forward_path(text: object, utf8: bool) -> Address:
    try:
        return parse_forward_path(f"<{_text(text)}>", utf8=utf8)
    except AddressError as error:
        raise HandlerError(f"left {text!r} in envelope.rcpt_tos: {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise AddressError("not a string")
    return value.strip().removeprefix("<").removesuffix(">")
