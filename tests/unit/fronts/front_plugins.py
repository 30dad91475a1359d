# SPDX-License-Identifier: MIT
"""A plugin that does what the addresses of a message tell it to; for tests of the fronts."""

from __future__ import annotations

from pathlib import Path

from qpsmtpd.api import (
    NoOptions,
    Plugin,
    Recipient,
    ReversePath,
    Session,
    Transaction,
    Verdict,
    defer,
    deny,
    parse_mailbox,
)


class Obedient(Plugin[NoOptions]):
    """`WORD@…` as sender or recipient, or a field X-Do, says what is to happen."""

    async def hook_connect(self, session: Session) -> Verdict | None:
        session.adjust_karma(1)
        return deny("Not you") if session.client.ip == "192.0.2.66" else None

    async def hook_helo(self, session: Session, host: str) -> Verdict | None:
        return deny("Not this name") if host == "bad.example" else None

    hook_ehlo = hook_helo

    async def hook_mail(self, tx: Transaction, sender: ReversePath) -> Verdict | None:
        if sender is None or sender.domain == "data.example":
            return None
        return self._verdict(sender.local_part)

    async def hook_rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        word = recipient.address.local_part
        if word == "mark":
            tx.add_header("X-Mark", "of rcpt")
        if word == "old":
            recipient.address = parse_mailbox("new@example.test")
        if word == "hold":
            tx.hold("for a look")
        if word == "drop":
            tx.drop(self, "of no use")
        return self._verdict(word)

    async def hook_data(self, tx: Transaction) -> Verdict | None:
        word, _, domain = tx.sender.partition("@")
        return self._verdict(word) if domain == "data.example" else None

    async def hook_data_post(self, tx: Transaction) -> Verdict | None:
        assert tx.message is not None
        headers, word = tx.message.headers, tx.message.headers.get("X-Do") or ""
        match word:
            case "change":
                headers.replace("Subject", "changed")
            case "remove":
                headers.remove("X-Old")
            case "append":
                headers.append("X-Bottom", "1")
            case "body":
                await tx.message.replace_body(b"new\r\n" * 20_000)
            case "add":
                tx.add_recipient(parse_mailbox("more@example.test"))
            case "delete":
                tx.remove_recipient(parse_mailbox("user@example.test"))
            case "sender":
                tx.replace_reverse_path(None)
            case "hold":
                tx.hold("for a look")
            case "drop":
                tx.drop(self, "of no use")
            case _:
                return self._verdict(word)
        return None

    def _verdict(self, word: str) -> Verdict | None:
        match word:
            case "deny":
                return deny("100% no")
            case "defer":
                return defer("Later")
            case "leave":
                return deny("Go away", disconnect=True)
            case "lines":
                return deny("one\ntwo")
            case "fault":
                raise RuntimeError("a secret of the plugin")
        return None


def obeying(path: Path) -> dict[str, list[str]]:
    """Configuration files with this plugin in the chain, in place of all that decides."""
    source = Path(__file__).read_text()
    (path / "obedient.py").write_text(source.partition("\ndef obeying")[0])
    return {
        "plugin_dirs": [str(path)],
        "plugins": ["obedient", "rcpt_ok", "queue/discard"],
        "me": ["mx.example.test"],
        "rcpthosts": ["example.test"],
        "reverse_lookup": ["no"],
    }
