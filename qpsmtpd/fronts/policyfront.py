# SPDX-License-Identifier: MIT
"""The policy front: the chain, as far as the envelope goes, for the restrictions of Postfix.

Postfix asks at some of the stages of a session, depending on where its configuration names us, and
says at each all that it knows.  So a question takes the client through all the steps up to there
that have not been taken yet; a step that has been refused is not taken again, and what it was
refused with is the answer to whatever depends on it.

Nothing that we say lets anything through: where no plugin refuses, the answer is DUNNO, and the
restrictions after us decide.  A fault of ours is DEFER_IF_PERMIT.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import NoReturn

from qpsmtpd.fronts.hosting import FrontConnection, FrontError
from qpsmtpd.fronts.policycodec import (
    BadRequestError,
    PolicyStage,
    Request,
    RequestSplitter,
    written,
)
from qpsmtpd.fronts.visit import Client, Parameters, Visit, bracketed
from qpsmtpd.logs.records import bind
from qpsmtpd.mail.ip import Endpoint, canonical_ip
from qpsmtpd.mail.session import TlsInfo, Transaction
from qpsmtpd.plugin.chain import FAULT
from qpsmtpd.smtp import trace
from qpsmtpd.smtp.reply import Reply

log = logging.getLogger(__name__)

#: Seconds that Postfix may keep a connection without a question (smtpd_policy_service_max_idle is
#: 300, smtpd_policy_service_max_ttl 1000).
PATIENCE = 3600.0
#: Seconds from the first octet of a request to the last.
REQUEST_SECONDS = 100.0
#: Recipients of one message whose answers are remembered; Postfix takes no more.
_MOST_REMEMBERED = 1000

NOTHING = "DUNNO"
OUR_FAULT = "DEFER_IF_PERMIT 4.3.0 Internal error, please try again later"

#: What is the same for all questions about one client, and different for another.
_OF_CLIENT = ("client_address", "client_port", "client_name", "server_address", "server_port")

#: Where Postfix puts header fields on top of the message (access(5)).
_PREPENDING = frozenset({PolicyStage.RCPT, PolicyStage.DATA})
#: Characters of a field that fits into a line of Postfix (line_length_limit).
_LONGEST_FIELD = 1900


async def speak_policy(connection: FrontConnection) -> None:
    """The conversation on one connection.  Raises FrontError, OSError and TimeoutError."""
    front = PolicyFront(connection)
    splitter = RequestSplitter()
    answer = b""
    try:
        while data := await connection.exchange(
            answer, REQUEST_SECONDS if splitter.waiting else PATIENCE
        ):
            splitter.feed(data)
            answer = b""
            while (request := splitter.next()) is not None:
                answer += written(await front.answer(request))
    except BadRequestError as error:
        # Postfix tries again, and then defers the mail, as its manual has us do.
        raise FrontError(str(error)) from error
    finally:
        await front.end_visit()


@dataclass
class _Message:
    """A message that is being asked about.

    instance: what Postfix calls it.  mail, data: what became of these commands; rcpt: of each
    recipient so far.  fields: those that are still to be put on top.  begun, tags: whether that
    has begun, and how many tags were among them.  held: Postfix was told to hold the message.
    """

    instance: str
    sender: str
    mail: Reply | None = None
    rcpt: dict[str, Reply | None] = field(default_factory=dict)
    data: Reply | None = None
    data_asked: bool = False
    fields: list[str] = field(default_factory=list)
    begun: bool = False
    tags: int = 0
    held: bool = False


class PolicyFront:
    """One connection of Postfix, and the client that it has asked about last."""

    def __init__(self, connection: FrontConnection) -> None:
        self._connection = connection
        self._visit: Visit | None = None
        self._client: tuple[str, ...] = ()
        self._refused: Reply | None = None
        self._hello: tuple[str, str] = ("", "")
        self._hello_refused: Reply | None = None
        self._message: _Message | None = None

    async def answer(self, request: Request) -> str:
        """The action for a question."""
        self._connection.busy = True
        try:
            visit = await self._visit_of(request)
            bind(visit.session)
            reply = await self._reply(visit, request)
            return await self._action(visit, request, reply)
        except FrontError:
            raise
        except Exception:
            log.exception("fault in the policy front")
            await self.end_visit()
            return OUR_FAULT
        finally:
            self._connection.busy = False

    async def end_visit(self) -> None:
        """The client has left, as far as we know."""
        visit, self._visit = self._visit, None
        self._client, self._hello = (), ("", "")
        self._refused = self._hello_refused = self._message = None
        if visit is not None:
            await self._connection.leave(visit)

    # --- steps ----------------------------------------------------------------------------------

    async def _visit_of(self, request: Request) -> Visit:
        """The client of a question: the same as before, or another one, who connects."""
        client = tuple(request[name] for name in _OF_CLIENT)
        port = request["client_port"]
        # Without its port, two connections of a client cannot be told apart.
        if not port or port == "unknown":
            client = (*client, request["instance"])
        if self._visit is not None and client == self._client:
            return self._visit
        await self.end_visit()
        self._client = client
        self._visit = visit = self._connection.visit(_client(request))
        self._refused = await visit.connect()
        return visit

    async def _reply(self, visit: Visit, request: Request) -> Reply | None:
        """The refusal of whatever the question depends on."""
        if self._refused is not None or request.stage is PolicyStage.CONNECT:
            return self._refused
        _note_facts(visit, request)
        if (refusal := await self._greeted(visit, request)) is not None:
            return refusal
        match request.stage:
            case PolicyStage.HELO | PolicyStage.EHLO | PolicyStage.ETRN:
                return None
            case PolicyStage.VRFY:
                return await visit.verify(request["recipient"])
        return await self._reply_to_message(visit, request)

    async def _greeted(self, visit: Visit, request: Request) -> Reply | None:
        """HELO or EHLO, unless it is the same as before."""
        host = request["helo_name"]
        hello = (request["protocol_name"], host)
        if host and hello != self._hello:
            self._hello, self._message = hello, None
            old = request["protocol_name"] == "SMTP"
            self._hello_refused = await visit.hello("helo" if old else "ehlo", host)
        return self._hello_refused

    async def _reply_to_message(self, visit: Visit, request: Request) -> Reply | None:
        message = self._message
        key = (request["instance"], request["sender"])
        if message is None or key != (message.instance, message.sender):
            self._message = message = _Message(*key)
            await visit.reset()
            message.mail = await visit.mail(bracketed(request["sender"]), _parameters(request))
        if message.mail is not None or request.stage is PolicyStage.MAIL:
            return message.mail
        if refusal := await self._recipient(visit, message, request["recipient"]):
            return refusal
        if request.stage is PolicyStage.RCPT:
            return None
        return await self._complete(visit, message, request)

    async def _recipient(self, visit: Visit, message: _Message, recipient: str) -> Reply | None:
        """RCPT, unless it was asked before.  Later Postfix names a recipient if it is alone."""
        if not recipient:
            return None
        if recipient not in message.rcpt:
            if len(message.rcpt) >= _MOST_REMEMBERED:
                raise FrontError("a message with too many recipients")
            message.rcpt[recipient] = await visit.rcpt(bracketed(recipient), {})
        return message.rcpt[recipient]

    async def _complete(self, visit: Visit, message: _Message, request: Request) -> Reply | None:
        """DATA, and the end of the message, of which the size is all that is known."""
        if not message.data_asked:
            message.data_asked = True
            message.data = await visit.data()
        if message.data is not None or request.stage is PolicyStage.DATA:
            return message.data
        return await visit.announced(request.number("size"))

    # --- answers --------------------------------------------------------------------------------

    async def _action(self, visit: Visit, request: Request, reply: Reply | None) -> str:
        if reply is not None:
            return OUR_FAULT if _is_fault(reply) else _refusal(reply)
        transaction, message = visit.transaction, self._message
        if transaction is None or message is None:
            return NOTHING
        if transaction.dropped_by:
            return f"DISCARD {transaction.dropped_by}"
        if transaction.held_for and not message.held:
            message.held = True
            return f"HOLD {transaction.held_for}"
        if request.stage in _PREPENDING:
            message.fields += await _new_fields(visit, transaction, message)
            if message.fields:
                return f"PREPEND {message.fields.pop(0)}"
        return NOTHING


async def _new_fields(visit: Visit, transaction: Transaction, message: _Message) -> list[str]:
    """What is to be on top since the last question, each field in one line.

    The first time, what is known of the client and the sender as well.
    """
    fields = [f"{name}: {_line(value)}" for name, value in transaction.take_fields_on_top()]
    answers = (*visit.session.trail, *transaction.trail)
    tags = [f"{trace.TAG}: {trace.tag_value(each)}" for each in answers if each.outcome == "tag"]
    fields += tags[message.tags :]
    first, message.begun, message.tags = not message.begun, True, len(tags)
    if first and (authserv_id := visit.snapshot.authserv_id) is not None:
        await visit.session.resolve_client_name()
        field = trace.authentication_results(transaction, authserv_id)
        fields.insert(0, f"{field.name}: {_line(field.value)}")
    short = [field for field in fields if len(field) <= _LONGEST_FIELD and field.isascii()]
    if len(short) < len(fields):
        log.warning("fields too long for a policy service count=%d", len(fields) - len(short))
    return short


def _line(value: str) -> str:
    return " ".join(value.split())


def _is_fault(reply: Reply) -> bool:
    """Whether a plugin has failed, which the chain says in the same words everywhere."""
    return reply.text == FAULT.text


def _refusal(reply: Reply) -> str:
    """A reply as an action: the code, and the text in one line (access(5))."""
    return f"{reply.code} {reply.status} {' '.join(reply.text.split())}"


def _client(request: Request) -> Client:
    """The client of a question.  A session on a socket has no address: it is of this machine."""
    return Client(
        Endpoint(_ip(request["client_address"]), request.number("client_port")),
        Endpoint(_ip(request["server_address"]), request.number("server_port")),
        _known(request["client_name"]),
        _known(request["reverse_client_name"]),
    )


def _ip(text: str) -> str:
    try:
        return canonical_ip(text or "127.0.0.1")
    except ValueError:
        return "127.0.0.1" if text == "unknown" else _not_an_address(text)


def _not_an_address(text: str) -> NoReturn:
    raise FrontError(f"{text[:80]!r} is not an address")


def _known(name: str) -> str:
    return "" if name == "unknown" else name


def _note_facts(visit: Visit, request: Request) -> None:
    """What is known of TLS and a login."""
    if version := request["encryption_protocol"]:
        cipher, bits = request["encryption_cipher"], request.number("encryption_keysize")
        visit.secured(TlsInfo(version, cipher, bits))
    visit.logged_in(request["sasl_username"], request["sasl_method"])


def _parameters(request: Request) -> Parameters:
    """The parameters of MAIL, as far as Postfix names them."""
    parameters: Parameters = {}
    if size := request.number("size"):
        parameters["SIZE"] = str(size)
    if not (request["sender"].isascii() and request["recipient"].isascii()):
        parameters["SMTPUTF8"] = None
    return parameters
