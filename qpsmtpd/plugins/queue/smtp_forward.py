# SPDX-License-Identifier: MIT
"""queue/smtp-forward: hand every message to another SMTP server, and pass on its answer.

    queue/smtp-forward 10.0.0.25
    queue/smtp-forward mail.internal 587 tls=verify ca=/etc/ssl/internal.pem
    queue/smtp-forward mail.example.com 465 implicit_tls=yes tls=verify
    queue/smtp-forward mx1.internal,mx2.internal
    queue/smtp-forward mail.internal routes=smtp_routes
    queue/smtp-forward 127.0.0.1 10025 xclient

The client gets 250 only after that server, the next hop, has taken the message for all recipients;
the id it gave is in the reply and in the log. Nothing is stored here and nothing is bounced:

    the next hop                         the client gets
    -----------------------------------  --------------------------------
    is down, slow, breaks off, does      451 4.4.1, 4.4.2
        not speak SMTP
    breaks off after the message         451 4.4.2 (it may arrive twice)
    lacks TLS or a valid certificate     451 4.7.5
        that is required
    refuses us: HELO, our address,       451 4.3.5, and an ERROR in the
        our authority to relay           log
    refuses the sender, DATA or the      its code and status, our text
        message
    refuses all recipients               the same; 4xx if one is 4xx
    takes some, defers others            451 4.0.0; nobody gets it
    takes some, refuses others (5xx)
        mixed=defer (default)            451 4.0.0; nobody gets it yet
        mixed=reject                     550 5.0.0; nobody gets it
        mixed=accept-rest                250; the refused recipients get
                                         nothing, as only the log says
    has no SMTPUTF8 that is needed       554 5.6.7
    has no BINARYMIME any more           451 4.6.3

The reply to a message is one for all its recipients. So it never says 5xx because of some of them,
unless you choose that. With mixed=defer, the recipients that were refused for good are remembered
for four hours: when the client tries again with the same sender, they are refused at RCPT, and the
others get the message. The status is one that is true for all: x.0.0 where they differ; the log has
what the next hop said about each.

The words of the next hop's replies are only in the log, unless `words=yes`.

The plugin verify_recipients asks the next hop as early as RCPT, by a transaction without a message
and with the null sender, so that unknown recipients are refused there and the mixed cases hardly
occur. With `check-recipients=yes` it is asked with the real sender, and every answer counts, also
a refusal for now: while the next hop is down, RCPT is deferred. Questions travel on connections of
their own, and an answer alone never makes us accept a recipient. Debian's Exim takes any recipient
from 127.0.0.1, and bounces what it cannot deliver; so verify_recipients asks a next hop there (or
at localhost) from 127.0.0.2, and as ourselves only if that gives no clear answer.

Connections are used again, but to the next hop no message is worse off than on a connection of its
own: each carries at most `messages`, and is closed once anything was refused on it, since servers
count that. If the next hop closes a used connection, answers 421 or 4xx, or refuses MAIL or DATA on
it before the end of the message was sent, a new one is tried.

With several hosts, the next one is tried when one cannot be reached, refuses us, or breaks off
before the end of the message; for half a minute, one that has failed is tried last. What a host
says about the message counts, a refusal for now as well.

The file of the option `routes` has the next hops of some domains; the other options, a login too,
hold for all next hops. A transaction has recipients of one next hop only: others get 452 4.5.3, and
the client sends them the message in another transaction, at once or when it tries again.

PIPELINING, SIZE, 8BITMIME, SMTPUTF8, DSN and CHUNKING are used where offered (RFC 2920, 1870, 6152,
6531, 3461, 3030); by CHUNKING go messages of 64 KB and more, and those to several recipients. A
message with 8-bit text goes unchanged to a next hop without 8BITMIME.

DSN is offered to clients once a connection has shown that the next hop takes it. What they ask for
by NOTIFY, ORCPT, RET and ENVID, offered or not, is passed on if it does, else dropped. BINARYMIME
is offered in the same way, and such messages are taken only then. One that comes to a next hop
without it, such as another host that stands in, is deferred; the client can convert it.

DELIVERBY, MT-PRIORITY and FUTURERELEASE (RFC 2852, 6710, 4865) are offered and passed on in the
same way, and so is REQUIRETLS (RFC 8689), if the client has begun TLS and the next hop has proved
by its certificate who it is (tls=verify). LIMITS of the next hop (RFC 9422) are kept, and clients
are told.

With `user` and `password_file` we log in, by SCRAM-SHA-256, SCRAM-SHA-1 or CRAM-MD5 where offered;
PLAIN and LOGIN show the password, and are used only with TLS or within this machine. If the next
hop refuses the login, all mail is deferred, and the log has an ERROR each time.

A Postfix that lists us in smtpd_authorized_xforward_hosts is told who the client is, for its log.
With `xclient` it must list us in smtpd_authorized_xclient_hosts, and treats us as the client, whom
each refusal then means. Each message takes a connection of its own, and all mail is deferred if
XCLIENT is not offered.

Differences from the Perl version: refusals of the next hop keep their code (there everything became
451). XCLIENT gives a client name only if its addresses confirm it. All options but xclient are new.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from qpsmtpd.api import (
    ConfigError,
    Finding,
    Plugin,
    Recipient,
    ReversePath,
    Session,
    System,
    Transaction,
    Verdict,
    Verification,
    accept,
    announce_limit,
    defer,
    made_of,
    matching,
    opt,
    unless_another,
)
from qpsmtpd.nexthop import (
    Client,
    Delivered,
    Destination,
    HopReply,
    NextHopError,
    NextHopOptions,
    Outcome,
    Pool,
    Prober,
    Refusals,
    Routes,
    Target,
    are_hosts,
    check_next_hop,
    check_recipient,
    fingerprint,
    hand_over,
    hello_of,
    log_refusals,
    make_pool,
    mixed,
    notice_owed,
    offer_extensions,
    refused,
    remember_refusals,
    room_for,
    taken,
    told_apart,
    unavailable,
    xclient_commands,
)

#: Seconds for which it is remembered who has a message that others do not have yet.
REMEMBERED = 5 * 86400.0


@dataclass(frozen=True, kw_only=True)
class SmtpForwardOptions(NextHopOptions):
    """Options of queue/smtp-forward."""

    host: str = opt(
        doc="Host name or IP address of the next hop. Of several, with commas between them, the "
        "first that works is used.",
        positional=True,
        check=matching(are_hosts, "host names or IP addresses, with commas between them"),
    )
    port: int = opt(25, least=1, most=65535, doc="Its port, or that of all.", positional=True)
    routes: str = opt(
        "",
        doc="File with the next hops of some domains, DOMAIN HOST[,HOST]... [PORT] each; .DOMAIN "
        "is all names below. HOST is that of all others.",
    )
    xclient: bool = opt(
        False, doc="Make the next hop treat us as the client, by XCLIENT.", flag=True
    )
    xforward: bool = opt(True, doc="Tell the next hop who the client is, if it offers XFORWARD.")
    mixed: Literal["defer", "reject", "accept-rest"] = opt(
        "defer",
        doc="What to do when the next hop permanently refuses some recipients, but not all.",
    )


_TRUSTING = (
    "relays all mail from loopback addresses (mynetworks), and so all that qpsmtpd hands over by "
    "SMTP: only rcpt_ok keeps this from being an open relay"
)


@dataclass(frozen=True)
class Hop:
    """One next hop: connections for messages, and others for questions."""

    pool: Pool
    prober: Prober


class SmtpForward(Plugin[SmtpForwardOptions]):
    """Forward by SMTP."""

    passes_on = True

    async def start(self) -> None:
        self._routes = await self._read_routes()
        self._hops = {each: await self._make_hop(each) for each in self._routes.destinations}
        self._refusals = Refusals(self.services.clock)
        self._delivered = Delivered(self.services.clock, seconds=REMEMBERED)

    async def examine(self, system: System) -> AsyncIterator[Finding]:
        """Whether each next hop answers, and is not this daemon itself."""
        options, files = self.options, self.services.config.path
        routes = await self._read_routes()
        for target in (target for each in routes.destinations for target in self._targets(each)):
            async for finding in check_next_hop(
                system, self.name, options, target, files, as_client=options.xclient
            ):
                yield finding
            if trusting := system.trusting(target.host):
                yield Finding.notice(trusting, _TRUSTING, area="Mail systems")

    async def knows_recipient(self, recipient: Recipient, sender: ReversePath) -> Verification:
        return await self._hop_of(recipient).prober.verify(recipient.address, sender)

    def largest_message(self) -> int:
        found = [hop.pool.largest_message for hop in self._hops.values()]
        return max(found) if all(found) else 0

    async def hook_ehlo(self, session: Session, host: str) -> None:
        offer_extensions(session, (hop.pool.extensions for hop in self._hops.values()))
        if len(self._hops) > 1:
            announce_limit(session, "RCPTDOMAINMAX", 1)

    async def hook_verify_recipient(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        hop = self._hop_of(recipient)
        if tx.recipients and self._hop_of(tx.recipients[0]) is not hop:
            return defer("Recipient needs a transaction of its own", status="4.5.3", code=452)
        if known := self._refusals.of(tx, recipient):
            return refused(hop.pool, [known], [recipient])
        if full := room_for(hop.pool, tx, recipient):
            return full
        if not self.options.check_recipients:
            return None

        pool, as_client = hop.prober.pool, self.options.xclient
        introduce = partial(self._introduce, tx.session)
        return await check_recipient(pool, tx, recipient, introduce, as_client=as_client)

    async def hook_queue(self, tx: Transaction) -> Verdict:
        groups: dict[Destination, list[Recipient]] = {}
        for recipient in tx.recipients:
            groups.setdefault(self._routes.of(recipient.address.domain), []).append(recipient)
        if len(groups) == 1:
            return await self._hand_over(tx, self._hops[next(iter(groups))], tx.recipients)
        return await self._hand_over_to_several(tx, groups)

    async def stop(self) -> None:
        for hop in self._hops.values():
            await hop.prober.close()
            await hop.pool.close()

    # --- next hops --------------------------------------------------------------------------

    async def _read_routes(self) -> Routes:
        default = Destination.of(self.options.host, self.options.port)
        file = self.options.routes
        entries = await self.services.config.entries(file) if file else []
        if file and not entries:
            raise ConfigError(file, "is not there, or has no lines")
        return await made_of(entries, lambda lines: Routes(lines, default))

    async def _make_hop(self, destination: Destination) -> Hop:
        keep, files = not self.options.xclient, self.services.config.path
        target, *others = self._targets(destination)
        pool = await make_pool(self.name, self.options, target, files, others=others, keep=keep)
        prober = Prober(pool.target, others=pool.others, keep=keep, as_stranger=True)
        return Hop(pool, prober)

    def _targets(self, destination: Destination) -> list[Target]:
        port, me = destination.port, self.services.me
        return [Target(host=host, port=port, hello=me) for host in destination.hosts]

    def _hop_of(self, recipient: Recipient) -> Hop:
        return self._hops[self._routes.of(recipient.address.domain)]

    # --- handing over -----------------------------------------------------------------------

    async def _hand_over(
        self, tx: Transaction, hop: Hop, recipients: Sequence[Recipient]
    ) -> Verdict:
        # To a client that speaks LMTP, what the next hop says at RCPT is passed on for each.
        apart = tx.session.lmtp and len(recipients) == len(tx.recipients)

        async def work(client: Client) -> Outcome:
            if refusal := await self._introduce(tx.session, client):
                return Outcome(sent=False, replies=(refusal,) * len(recipients))
            return await hand_over(
                client,
                tx,
                recipients,
                go_on=(lambda _: True) if apart else self._go_on,
                xforward=self.options.xforward,
                as_client=self.options.xclient,
            )

        try:
            outcome = await hop.pool.run(work)
        except NextHopError as error:
            verdict = unavailable(hop.pool, error)
            return verdict if error.in_doubt else unless_another(verdict)
        if apart:
            return told_apart(hop.pool, tx, outcome)
        return self._verdict(tx, hop.pool, recipients, outcome)

    async def _hand_over_to_several(
        self, tx: Transaction, groups: Mapping[Destination, Sequence[Recipient]]
    ) -> Verdict:
        """When a plugin has added or changed recipients: clients are kept to one next hop.

        Those who have the message do not get it again when the client tries again.
        """
        message = await fingerprint(tx)
        verdicts = []
        for destination, recipients in groups.items():
            known = self._delivered.recipients(message)
            missing = [recipient for recipient in recipients if str(recipient) not in known]
            for recipient in recipients:
                recipient.success = notice_owed(self._hops[destination].pool.extensions or ())
            if not missing:
                continue
            verdict = await self._hand_over(tx, self._hops[destination], missing)
            verdicts.append(verdict)
            if verdict.accepted:
                self._delivered.add(message, map(str, missing))
        if all(verdict.accepted for verdict in verdicts):
            self._delivered.forget(message)
            return accept("Queued", status="2.0.0")
        return defer("Not all recipients have the message yet", status="4.0.0", code=451)

    def _go_on(self, replies: Sequence[HopReply]) -> bool:
        everybody = Outcome(sent=False, replies=tuple(replies))
        return self.options.mixed == "accept-rest" and not everybody.temporary

    def _verdict(
        self, tx: Transaction, pool: Pool, recipients: Sequence[Recipient], outcome: Outcome
    ) -> Verdict:
        if (reply := outcome.first_taken) is not None:
            log_refusals(pool, outcome.replies, recipients)
            return taken(pool, tx, reply)
        if outcome.temporary or not outcome.refused:
            remember_refusals(self._refusals, tx, outcome.replies, recipients)
        if outcome.temporary or outcome.refused:
            return refused(pool, outcome.replies, recipients)
        final = self.options.mixed == "reject"
        return mixed(pool, outcome.replies, recipients, final=final)

    # --- XCLIENT ----------------------------------------------------------------------------

    async def _introduce(self, session: Session, client: Client) -> HopReply | None:
        """Say who the client is; returns the refusal if the next hop does not like its name."""
        if not self.options.xclient:
            return None
        if "XCLIENT" not in client.extensions:
            raise NextHopError("offers no XCLIENT", "4.7.0", ours=True)
        await session.resolve_client_name()
        commands = xclient_commands(session, client.extensions["XCLIENT"])
        return await client.xclient(commands, hello_of(session) or self.services.me)
