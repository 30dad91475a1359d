# SPDX-License-Identifier: MIT
"""Edits: what a milter asks for at the end of a message, checked as it comes, and then carried out.

They are carried out only once the milter has said its last word: one that dies in the middle
leaves the message as it was.  Header fields are counted as Postfix counts them, which follows
Sendmail: an insertion counts all fields, our own Received included; the n-th field of a name does
not count our own; what has been removed does not count any more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from qpsmtpd.mail import dsn
from qpsmtpd.mail.address import Address, PathError, ReversePath, parse_reverse_path
from qpsmtpd.mail.headers import Headers, check_field
from qpsmtpd.mail.session import Recipient, Transaction
from qpsmtpd.milter import packets
from qpsmtpd.milter.content import real_number
from qpsmtpd.milter.link import Change
from qpsmtpd.milter.wire import MilterError

#: Changes to one message; a milter that asks for more is out of its mind.
MOST_CHANGES = 2000

_Mailbox = tuple[str, str | None]

_line_end = re.compile(r"\r\n|\r|\n")
_control = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class _HeaderEdit:
    """index: None is below all others; nth: of this name, 0 for an insertion at `index`."""

    name: str
    value: str
    index: int | None = None
    nth: int = 0


@dataclass(frozen=True, slots=True)
class _Added:
    address: Address
    parameters: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class _Deleted:
    address: Address


@dataclass(frozen=True, slots=True)
class _Sender:
    path: ReversePath
    parameters: dict[str, str | None]


@dataclass(slots=True)
class Edits:
    """The changes to one message.

    exact: values of header fields come with the space that follows the colon.
    quarantine: the reason for which the message is to be kept aside; None if it is not.
    body: whether the message has a new body.
    """

    tx: Transaction
    exact: bool
    quarantine: str | None = None
    body: bool = False
    _headers: list[_HeaderEdit] = field(default_factory=list)
    _recipients: list[_Added | _Deleted] = field(default_factory=list)
    _sender: _Sender | None = None
    _count: int = 0

    def __str__(self) -> str:
        sender = "changed" if self._sender else "same"
        body = "new" if self.body else "same"
        return (
            f"headers={len(self._headers)} recipients={len(self._recipients)} sender={sender} "
            f"body={body}"
        )

    def __bool__(self) -> bool:
        return bool(self._headers or self._recipients or self._sender or self.body)

    def add(self, change: Change) -> None:
        """Take a change, other than a part of the body.  Raises MilterError for nonsense."""
        self._count += 1
        if self._count > MOST_CHANGES:
            raise MilterError("asks for too many changes")
        try:
            self._add(change)
        except ValueError as error:
            kind = type(change).__name__
            raise MilterError(f"asks for what cannot be ({kind}): {error}") from None

    def _add(self, change: Change) -> None:
        match change:
            case packets.AddHeader(name, value):
                self._headers.append(self._header_edit(name, value))
            case packets.InsertHeader(index, name, value):
                self._headers.append(self._header_edit(name, value, index=index))
            case packets.ChangeHeader(nth, name, value):
                self._headers.append(self._header_edit(name, value, nth=max(1, nth)))
            case packets.AddRecipient(address):
                self._recipients.append(_Added(self._recipient(address), {}))
            case packets.AddRecipientWith(address, words):
                wishes = self._parameters(words, dsn.RCPT_PARAMETERS)
                self._recipients.append(_Added(self._recipient(address), wishes))
            case packets.DeleteRecipient(address):
                self._recipients.append(_Deleted(self._recipient(address)))
            case packets.ChangeSender(address, words):
                wishes = self._parameters(words, dsn.MAIL_PARAMETERS)
                self._sender = _Sender(self._path(address), wishes)
            case packets.Quarantine(reason):
                self.quarantine = _decoded(reason)

    # --- reading ----------------------------------------------------------------------------

    def _header_edit(
        self, name: bytes, value: bytes, *, index: int | None = None, nth: int = 0
    ) -> _HeaderEdit:
        edit = _HeaderEdit(_decoded(name), self._value(value), index, nth)
        check_field(edit.name, edit.value)
        return edit

    def _value(self, value: bytes) -> str:
        """A value as it may stand in a field, whatever lines it came in."""
        text = _decoded(value)
        first, *others = (_control.sub("?", line) for line in _line_end.split(text))
        kept = (line.rstrip() for line in others if line.strip())
        return "\n".join((first, *(line if line[0] in " \t" else f"\t{line}" for line in kept)))

    def _recipient(self, address: bytes) -> Address:
        path = self._path(address)
        if path is None:
            raise ValueError("a recipient without an address")
        return path

    def _path(self, address: bytes) -> ReversePath:
        text = _decoded(address).strip()
        path = text if text.startswith("<") else f"<{text}>"
        try:
            return parse_reverse_path(path, utf8=self.tx.utf8)
        except PathError as error:
            raise ValueError(f"{text!r}: {error}") from None

    def _parameters(self, words: bytes, known: frozenset[str]) -> dict[str, str | None]:
        """Those that we know; others would not be passed on anyway."""
        pairs = (word.partition("=") for word in _decoded(words).split())
        found: dict[str, str | None] = {name.upper(): value for name, _, value in pairs}
        wishes = {name: found[name] for name in known & found.keys()}
        if dsn.has_wrong_value(wishes, utf8=self.tx.utf8):
            raise ValueError(f"wrong parameters: {_decoded(words)!r}")
        return wishes

    # --- carrying out -----------------------------------------------------------------------

    def carry_out(self) -> bool:
        """Change header section and envelope.  False, with them as they were, if nobody is left."""
        there = {_mailbox(recipient.address): recipient for recipient in self.tx.recipients}
        after = self._recipients_after(there)
        if there and not after:
            return False
        for edit in self._headers:
            self._edit_header(edit)
        for new in filter(None, after.values()):
            self.tx.add_recipient(new.address, new.parameters)
        for key, recipient in there.items():
            if key not in after:
                self.tx.remove_recipient(recipient.address)
        if self._sender is not None:
            self.tx.replace_reverse_path(self._sender.path)
            self.tx.mail_parameters.update(self._sender.parameters)
        return True

    def _recipients_after(
        self, there: Mapping[_Mailbox, Recipient]
    ) -> dict[_Mailbox, _Added | None]:
        """Who gets the message once all changes are made in their order; None is: as before."""
        after: dict[_Mailbox, _Added | None] = dict.fromkeys(there)
        for change in self._recipients:
            key = _mailbox(change.address)
            if isinstance(change, _Deleted):
                after.pop(key, None)
            elif key not in after:
                after[key] = None if key in there else change
        return after

    def _edit_header(self, edit: _HeaderEdit) -> None:
        assert self.tx.message is not None
        headers = self.tx.message.headers
        gap = "" if self.exact else " "
        if edit.nth:
            self._change_nth(headers, edit, gap)
            return
        bottom = len(headers.before_text())
        index = bottom if edit.index is None else min(edit.index, bottom)
        headers.insert(index, edit.name, edit.value, gap=gap)

    def _change_nth(self, headers: Headers, edit: _HeaderEdit, gap: str) -> None:
        nth = real_number(self.tx, edit.name, edit.nth)
        if nth is None:
            if edit.value:
                headers.insert(len(headers.before_text()), edit.name, edit.value, gap=gap)
        elif edit.value:
            headers.replace_nth(edit.name, nth, edit.value, gap=gap)
        else:
            headers.remove_nth(edit.name, nth)


def _mailbox(address: Address) -> _Mailbox:
    """What two addresses of one mailbox share, as `Transaction.add_recipient` compares them."""
    return address.local_part, address.domain


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
