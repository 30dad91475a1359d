# SPDX-License-Identifier: MIT
"""Everything that reads foreign text: what it may raise, and what must be true of what it returns.

Foreign is what a client, a proxy, a name server, a next hop, a scanner, a milter, a handler, or a
mail system that asks us, says.
`uncovered` finds public functions that take text and are not here, so that a new one is tried as
well.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

from qpsmtpd.content import decoders, headertext, linkhosts, links, mimereader, parthead
from qpsmtpd.content.registered import DomainRules
from qpsmtpd.dns import answers, names, resolvconf, udpport
from qpsmtpd.errors import ConfigError, DnsError
from qpsmtpd.explain import logfiles
from qpsmtpd.explain.story import story
from qpsmtpd.fronts import headeredits, policycodec, visit
from qpsmtpd.handlers import statuses
from qpsmtpd.lists import addresses, clientrecords, dnslists, domains, dynamicnames, hosts
from qpsmtpd.logins import (
    bearer,
    cvm,
    dovecot,
    imap,
    introspection,
    pam,
    saslprep,
    scram,
    verifier,
    vpopmail,
    vpopmaild,
)
from qpsmtpd.logins.attempts import Login
from qpsmtpd.mail import address, domain, headers, ip, message, text, verdict
from qpsmtpd.mail.authresult import AuthResult
from qpsmtpd.mail.limits import DataLimits
from qpsmtpd.mail.session import AuthAttempt, Transaction
from qpsmtpd.mailauth import (
    aggregate,
    aggregatexml,
    arc,
    arcset,
    author,
    canonical,
    dkim,
    dkimkey,
    dkimsignature,
    dmarc,
    dmarcrecord,
    dnsnames,
    reportaddress,
    spf,
    spfmacro,
    spfrecord,
    taglist,
)
from qpsmtpd.mailauth.results import (
    DKIM_RESULTS,
    SPF_RESULT,
    arc_auth_result,
    dkim_auth_result,
    dmarc_auth_result,
)
from qpsmtpd.milter import codec, packets, verdicts
from qpsmtpd.milter import fields as milterfields
from qpsmtpd.milter.edits import Edits
from qpsmtpd.milter.link import Change
from qpsmtpd.milter.wire import MilterError
from qpsmtpd.nexthop import cleanup, dots, hoplimits, hopreply, metadata, prober, wire
from qpsmtpd.plugin import place
from qpsmtpd.plugin.services import Entry
from qpsmtpd.recipients import qmail, socketmap
from qpsmtpd.scanners import clamd, fields, http, rspamd, spamd
from qpsmtpd.scanners.content import Content
from qpsmtpd.scanners.wire import ScannerError, ScannerWire
from qpsmtpd.smtp import (
    chunkreader,
    datareader,
    foreignresults,
    otherprotocols,
    presented,
    proxyheader,
    replies,
    trace,
)
from qpsmtpd.smtp.conversation import converse
from qpsmtpd.testing import FakeResolver, a_session, a_transaction
from qpsmtpd.trial import envelope
from tests.dns_wire import Record, an_answer, label
from tests.unit.fakewire import Catcher, FakeWire, a_connection, a_plugin_with

#: Where foreign text is read.
ROOMS = (
    *("mail", "mailauth", "content", "smtp", "nexthop", "scanners", "logins", "lists", "dns"),
    "recipients",
    "handlers",
    "milter",
    "fronts",
)


@dataclass(frozen=True)
class Parser:
    """One way to read foreign octets.

    read: takes them as they came.  covers: the functions that it tries.  raises: what it may raise.
    examples: what it usually reads.  tokens: what means something to it.  check: gets the octets
    and what became of them, and raises AssertionError.
    """

    name: str
    read: Callable[[bytes], Any]
    covers: tuple[Callable[..., Any], ...]
    examples: tuple[bytes, ...]
    tokens: tuple[bytes, ...]
    raises: tuple[type[Exception], ...] = ()
    check: Callable[[bytes, Any], None] = lambda _octets, _result: None


def decoded(octets: bytes) -> str:
    """The text of a command line, as conversation.execute makes it."""
    return octets.decode("utf-8", "surrogateescape")


def words(text: str) -> tuple[bytes, ...]:
    return tuple(map(str.encode, text.split()))


# --- addresses, domains, IP addresses ----------------------------------------------------------

_IN_ADDRESS = (
    *words('< > @ . " \\ , : ; [ ] ( ) % ! + - _ a é ｅ 。 xn-- [IPv6: \u00ad'),
    *(b" ", b"\t", b"\xff", b"\x00", b"\r", b"\n"),
)
_ADDRESSES = (
    b"<user@example.com>",
    b"<>",
    b'<"quoted \\" local"@example.com>',
    b"<@a.example,@b.example:user@example.com>",
    b"<user@[192.0.2.1]>",
    b"<user@[IPv6:2001:db8::1]>",
    "<bücher@bücher.example>".encode(),
)
_DOMAINS = (
    b"example.com",
    b"mail.Example.COM.",
    b"xn--bcher-kva.example",
    "bücher.example".encode(),
    "ｅｘａｍｐｌｅ．ｃｏｍ".encode(),
    b"[192.0.2.1]",
    b"[IPv6:2001:db8::1]",
    b"192.0.2.1",
)
_IPS = (b"192.0.2.1", b"2001:db8::1", b"::ffff:192.0.2.1", b"fe80::1%eth0", b"192.0.2.0/24")
_IN_IP = words(". : :: / % 0 1 255 256 f ffff 192 [ ] - x é")

LOCAL_BOUND = 16


def _short(octets: bytes, result: Any) -> None:
    """What is returned is not much longer than what came: an A-label may be."""
    assert len(str(result)) <= LOCAL_BOUND * len(octets) + 400


def _path_again(_octets: bytes, result: Any) -> None:
    if result is not None:
        again = address.parse_reverse_path(result.path, utf8=True)
        assert again == result, (again, result)
        assert len(result.address) <= 2 * address.MAX_PATH
        assert not {"\r", "\n", "\0"} & set(result.address)


def _canonical_again(octets: bytes, result: str) -> None:
    _short(octets, result)
    assert domain.canonical_domain(result) == result


def _domain_facts(octets: bytes) -> Any:
    text = decoded(octets)
    return (
        domain.is_domain(text),
        domain.is_literal(text),
        domain.literal_address(text),
        domain.looks_like_address(text),
        domain.u_label_form(text),
        domain.domain_spellings(text),
    )


def _xtext_again(octets: bytes, result: str) -> None:
    assert address.decode_xtext(address.encode_xtext(result)) == result


def _encoded(octets: bytes) -> str:
    return address.encode_xtext(octets.decode("utf-8", "replace"))


def _split(octets: bytes) -> Any:
    line = decoded(octets)
    return address.split_arguments(line, "FROM" if line[:4].upper() == "FROM" else "TO")


def _common(octets: bytes) -> Any:
    line = decoded(octets)
    keyword: address.Keyword = "FROM" if line[:4].upper() == "FROM" else "TO"
    found = address.common_address(line, keyword)
    return found, None if found is None else address.split_arguments(line, keyword)


def _same_as_split(octets: bytes, result: Any) -> None:
    found, arguments = result
    if found is not None:
        assert arguments == (found.path, {})
        assert address.parse_forward_path(found.path) == found


def _split_well(octets: bytes, result: Any) -> None:
    path, parameters = result
    assert len(path) <= len(octets) + 2
    assert all(name == name.upper() for name in parameters)


def _address_facts(octets: bytes) -> Any:
    found = address.parse_mailbox(decoded(octets), utf8=True)
    return found, found.key, found.spellings, found.is_route, found.unquoted


ADDRESS_PARSERS = (
    Parser(
        "paths",
        lambda octets: address.parse_reverse_path(decoded(octets), utf8=True),
        (address.parse_reverse_path, address.parse_forward_path),
        _ADDRESSES,
        _IN_ADDRESS,
        (address.PathError,),
        _path_again,
    ),
    Parser(
        "mailbox",
        _address_facts,
        (address.parse_mailbox,),
        tuple(path[1:-1] for path in _ADDRESSES),
        _IN_ADDRESS,
        (address.PathError,),
    ),
    Parser(
        "address_key",
        lambda octets: address.address_key(decoded(octets)),
        (address.address_key,),
        tuple(path[1:-1] for path in _ADDRESSES),
        _IN_ADDRESS,
        (),
        _short,
    ),
    Parser(
        "common arguments",
        _common,
        (address.common_address,),
        (b"FROM:<a.b+c@example.com>", b"to:<B@xn--d1acufc.example>"),
        (*_IN_ADDRESS, *words("FROM: TO: <a@b> a@b")),
        (),
        _same_as_split,
    ),
    Parser(
        "arguments",
        _split,
        (address.split_arguments,),
        (
            b"FROM:<a@example.com> SIZE=1000 BODY=8BITMIME",
            b"TO:<b@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+40example.com",
            b"FROM: a@example.com",
            b"FROM:",
        ),
        (*_IN_ADDRESS, *words("FROM: TO: = SIZE= <a@b> AUTH=<>")),
        (address.PathError,),
        _split_well,
    ),
    Parser(
        "decode_xtext",
        lambda octets: address.decode_xtext(decoded(octets)),
        (address.decode_xtext, address.xtext_octets),
        (b"user+40example.com", b"rfc822", b"+C3+BC"),
        words("+ +4 +40 +C3 +BC +00 +0D = a é ~ !"),
        (address.PathError,),
        _xtext_again,
    ),
    Parser(
        "encode_xtext",
        _encoded,
        (address.encode_xtext,),
        _DOMAINS,
        (*words("+ = a é"), b" ", b"\x00"),
    ),
    Parser(
        "canonical_domain",
        lambda octets: domain.canonical_domain(decoded(octets)),
        (domain.canonical_domain,),
        _DOMAINS,
        _IN_ADDRESS,
        (),
        _canonical_again,
    ),
    Parser(
        "domain facts",
        _domain_facts,
        (
            domain.is_domain,
            domain.is_literal,
            domain.literal_address,
            domain.looks_like_address,
            domain.u_label_form,
            domain.domain_spellings,
        ),
        _DOMAINS,
        (*_IN_ADDRESS, b"0x7f", b"1", b"--"),
    ),
    Parser(
        "parse_ip",
        lambda octets: ip.canonical_ip(decoded(octets)),
        (ip.parse_ip, ip.canonical_ip),
        _IPS,
        _IN_IP,
        (ValueError,),
        lambda _octets, result: _equal(ip.canonical_ip(result), result),
    ),
)


def _equal(one: Any, other: Any) -> None:
    assert one == other


# --- messages ----------------------------------------------------------------------------------

_HEADERS = (
    b"From: a@example.com\r\nSubject: one\r\n two\r\n\r\n",
    b"Received: from x ([192.0.2.1])\r\n\tby y; date\r\nTo: b@example.com\r\n",
    b"Authentication-Results: mx.example; spf=pass (comment) smtp.mailfrom=x\r\n",
    b" begins with a blank\r\nFrom x\r\nno colon\r\n",
    "Subject: größer =?utf-8?q?x?=\r\n".encode(),
)
_IN_HEADERS = (
    *words('a : ; Subject: Authentication-Results: mx.example "  ( ) \\ é From =?'),
    *(b"\r\n", b"\r\n ", b"\r\n\t", b"\r", b"\n", b" ", b"\t", b"\x00", b"\xff"),
)


def _read_headers(octets: bytes) -> headers.Headers:
    section = headers.Headers.parse(octets)
    assert bytes(section) == octets
    values = [field.value for field in section.fields()]
    assert len(values) == len(section.names())
    assert section.get("subject") == next(iter(section.get_all("Subject")), None)
    assert section.text_below is not None
    assert bytes(section) == octets
    return section


def _change_headers(octets: bytes) -> bytes:
    section = headers.Headers.parse(octets)
    section.prepend("X-First", "1")
    foreignresults.remove_claims(section, ["mx.example"])
    section.rename("Subject", "X-Subject")
    section.remove("To")
    return bytes(section)


def _changed_well(octets: bytes, result: bytes) -> None:
    assert result.startswith(b"X-First: 1\r\n")
    assert len(result) <= len(octets) + 5 * octets.lower().count(b"subject") + 64


def _check_field(octets: bytes) -> None:
    name, _, value = decoded(octets).partition(":")
    headers.check_field(name, value)


def _read_data(octets: bytes, size: int = 0) -> Any:
    """The message up to its end, fed in pieces of this size."""
    spool = message.Spool(Path("/nonexistent"), 1 << 30)
    limits = DataLimits(line=1000, header=20_000)
    reader = datareader.DataReader(spool, limits)
    datareader.whole_message(octets, limits)
    size = size or len(octets) or 1
    for start in range(0, len(octets), size):
        if (rest := reader.feed(octets[start : start + size])) is not None:
            rest += octets[start + size :]
            body = None if reader.fault else b"".join(spool.in_memory)
            return reader.fault, reader.header, body, rest
    return None


def _read_chunks(octets: bytes, size: int = 0) -> Any:
    """The same octets as a message in chunks: of lines, tolerated ones, and without lines."""
    found = []
    for way in ({}, {"tolerant": True}, {"binary": True}):
        spool = message.Spool(Path("/nonexistent"), 1 << 30)
        limits = DataLimits(line=1000, header=20_000)
        reader = chunkreader.ChunkReader(spool, limits, **way)
        datareader.whole_text(octets, limits)
        size = size or len(octets) or 1
        for start in range(0, len(octets), size):
            reader.feed(octets[start : start + size])
        reader.finish()
        body = None if reader.fault else b"".join(spool.in_memory)
        found.append((reader.fault is None, body and (reader.header, body, reader.size)))
    return found


def _same_chunks_in_pieces(octets: bytes, result: Any) -> None:
    if len(octets) < 3000:
        assert _read_chunks(octets, 1) == result


def _same_in_pieces(octets: bytes, result: Any) -> None:
    if len(octets) < 3000:
        pieces = _read_data(octets, 1)
        assert (pieces is None) == (result is None)
        if result and not (result[0] or pieces[0]):
            assert pieces == result
        elif result:
            assert (bool(pieces[0]), pieces[3]) == (bool(result[0]), result[3])


def _stuffed(octets: bytes) -> bytes:
    stuffer = dots.DotStuffer()
    return b"".join(stuffer.feed(octets[i : i + 7]) for i in range(0, len(octets), 7))


def _encoded_content(octets: bytes) -> bytes:
    encoder = cleanup.ContentEncoder()
    return encoder.feed(octets) + encoder.end() + cleanup.record(b"N", octets[:100])


def _results(octets: bytes) -> str:
    said = decoded(octets)
    tx = a_transaction()
    tx.auth_results.append(AuthResult("spf", "fail", said, {"smtp.helo": said}, said))
    tx.session.auth_user = said
    tx.session.auth_mechanism = "PLAIN"
    field = trace.authentication_results(tx, "mx.example").raw.decode()
    return field.partition(": ")[2].removesuffix("\r\n") + trace.received_info(tx).auth


def _results_well(octets: bytes, result: str) -> None:
    # A name may be "pass", but not what looks like the result of a method.
    claim = r"(?<!smtp\.auth)(?<!smtp\.helo)=\s*pass\b"
    assert not re.search(claim, result.replace("auth=pass", "", 1), re.IGNORECASE)
    assert len(result) <= 6 * trace.LONGEST_TEXT + 800
    headers.check_field("Authentication-Results", result)


def _own_message(octets: bytes) -> Any:
    return message.Message.from_bytes(octets), message.only_crlf(octets)


MESSAGE_PARSERS = (
    Parser("headers", _read_headers, (headers.Headers.parse,), _HEADERS, _IN_HEADERS),
    Parser(
        "changed headers",
        _change_headers,
        (headers.Headers.parse, foreignresults.remove_claims),
        _HEADERS,
        (*_IN_HEADERS, b"xn--", b".", b"mx"),
        (),
        _changed_well,
    ),
    Parser(
        "field",
        _check_field,
        (headers.check_field,),
        (b"Subject:one\r\n two", b"X-A: b"),
        _IN_HEADERS,
        (ValueError,),
    ),
    Parser(
        "data",
        _read_data,
        (datareader.DataReader.feed, datareader.whole_message, message.Spool.write),
        (
            b"Subject: x\r\n\r\nHello.\r\n..dot\r\n.\r\nQUIT\r\n",
            b".\r\n",
            b"\r\n\r\n.\r\n",
            b"Subject: x\r\n.\r\n",
        ),
        (*_IN_HEADERS, b".", b"\r\n.\r\n", b"\n.\n", b"\r\n.", b".\r\n"),
        (),
        _same_in_pieces,
    ),
    Parser(
        "chunks",
        _read_chunks,
        (chunkreader.ChunkReader.feed, datareader.whole_text, datareader.with_crlf),
        (
            b"Subject: x\r\n\r\nHello.\r\n.\r\n..dot",
            b"Subject: x\n\n\0\n",
            b"\r\n\r\nx\r",
            b"a: b\n c",
        ),
        (*_IN_HEADERS, b".", b"\r\n", b"\n\n", b"\r\n\r\n", b"\0"),
        (),
        _same_chunks_in_pieces,
    ),
    Parser(
        "message",
        _own_message,
        (message.Message.from_bytes, message.only_crlf),
        (b"A: b\r\n\r\nbody\r\n", b"body only\r\n", b"\r\n"),
        _IN_HEADERS,
        (ValueError,),
    ),
    Parser(
        "results",
        _results,
        (trace.authentication_results, trace.clean),
        (b"x;dkim=pass", b"user@example.com", b"a (b) c", "bücher".encode()),
        (*words('; = =pass pass dkim=pass " \\ ( ) é @ . -'), b" ", b"\r\n", b"\x00", b"\xff"),
        (),
        _results_well,
    ),
    Parser(
        "dots",
        _stuffed,
        (dots.DotStuffer.feed,),
        (b".a\r\n..\r\n", b"a\r\n.b"),
        (b".", b"\r\n", b"\r", b"\n", b"a", b"\r\n."),
        (),
        lambda _octets, result: _equal(b"\r\n.\r\n" in result, False),
    ),
    Parser(
        "content",
        _encoded_content,
        (cleanup.ContentEncoder.feed, cleanup.record),
        (b"A: b\r\n\r\nbody\r\n", b"a" * 1500 + b"\r\n"),
        (b"\r\n", b"a", b"\x80", b"." * 200),
    ),
    Parser(
        "text",
        lambda octets: text.printable_ascii(decoded(octets)),
        (text.printable_ascii,),
        (b"listed, see http://x", "größer".encode()),
        (b"a", b"\n", b"\xff", "é".encode()),
        (),
        lambda octets, result: _equal(result.isascii() and len(result) <= len(octets), True),
    ),
)

# --- the conversation --------------------------------------------------------------------------

_IN_COMMANDS = (
    *words("EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT AUTH STARTTLS BDAT XCLIENT PROXY"),
    *words("FROM:<a@b.example> TO:<user@example.test> PLAIN LOGIN CRAM-MD5 = * AHVzZXIAcGFzcw=="),
    *(b"\r\n", b"\r\n.\r\n", b" ", b"\t", b"\n", b"\r", b"\x00", b"\xff", b"<", b">", b":"),
)


def _converse(octets: bytes) -> bytes:
    """What a client of a plain server hears."""

    async def session() -> bytes:
        wire = FakeWire(octets)
        checker = a_plugin_with("checker", auth=_login)
        connection = a_connection(wire, checker, Catcher(), auth=("PLAIN", "LOGIN", "CRAM-MD5"))
        await converse(connection)
        return b"".join(wire.writes)

    return asyncio.run(session())


async def _login(_session: Any, attempt: AuthAttempt) -> verdict.Verdict:
    right = attempt.user == "user"
    return verdict.accept() if right else verdict.deny("No such user")


def _replies_well(_octets: bytes, result: bytes) -> None:
    lines = result.split(b"\r\n")
    assert lines.pop() == b""
    for line in lines:
        assert line.isascii(), line
        assert line[:3].isdigit(), line
        assert line[3:4] in (b" ", b"-"), line
        assert len(line) <= 510, line
        assert not {10, 13, 0} & set(line), line
    assert not any(b"Internal error" in line for line in lines)


def _proxy(octets: bytes) -> Any:
    return proxyheader.parse(octets), proxyheader.crc32c(octets[:4096])


def _proxy_well(octets: bytes, result: Any) -> None:
    header, _ = result
    if header is None:
        assert len(octets) <= proxyheader.MAX_BINARY
    else:
        assert 0 < header.length <= len(octets)
        assert proxyheader.parse(octets[: header.length]) == header


CONVERSATION_PARSERS = (
    Parser(
        "conversation",
        _converse,
        (converse, replies.line_fault),
        (
            b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<user@example.test>\r\nDATA\r\n"
            b"A: b\r\n\r\nx\r\n.\r\nQUIT\r\n",
            b"EHLO x\r\nAUTH PLAIN AHVzZXIAcGFzcw==\r\nMAIL FROM:<> SIZE=10\r\nRSET\r\nNOOP\r\n",
            b"EHLO x\r\nAUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\nHELP\r\nVRFY x\r\n",
            b"HELO x\r\nMAIL FROM:<a@b.example>\r\nDATA\r\n",
        ),
        _IN_COMMANDS,
        (),
        _replies_well,
    ),
    Parser(
        "other protocols",
        lambda octets: otherprotocols.protocol_of(decoded(octets)),
        (otherprotocols.protocol_of,),
        (
            b"GET / HTTP/1.1",
            b"FLY /high HTTP/1.1",
            b"Host: mx.example",
            b"a001 LOGIN a b",
            b"SSH-2.0-x",
            b"c2VjcmV0",
            b"\x16\x03\x01",
        ),
        (*words("GET HTTP/ HTTP/1.1 SSH- : a 1 . = + é"), b" ", b"\0", b"\xff"),
    ),
    Parser(
        "proxy header",
        _proxy,
        (proxyheader.parse, proxyheader.crc32c),
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\r\n",
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1000 25\r\nEHLO",
            b"PROXY UNKNOWN\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x03\xe8\x00\x19",
            b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
        ),
        (*words("PROXY TCP4 TCP6 UNKNOWN 1 : . 65535"), b" ", b"\r\n", b"\n", b"\0", b"\x20"),
        (proxyheader.BadHeaderError,),
        _proxy_well,
    ),
    Parser(
        "attributes of a client",
        lambda octets: [
            presented.parse_attributes(decoded(octets), known)
            for known in (presented.XCLIENT, presented.XFORWARD)
        ],
        (presented.parse_attributes,),
        (b"ADDR=192.0.2.1 NAME=a.example PORT=1 HELO=x", b"ADDR=IPV6:::1 NAME=[TEMPUNAVAIL]"),
        (*words("ADDR= NAME= HELO= IPV6: [UNAVAILABLE] +41 +0A :: . 1 é"), b" ", b"=", b"\xff"),
        (ValueError,),
    ),
    Parser(
        "return code",
        lambda octets: verdict.verdict_from_word(decoded(octets), decoded(octets)),
        (verdict.verdict_from_word,),
        (b"DENY", b"DENYSOFT_DISCONNECT"),
        words("DENY SOFT OK _ DECLINED é"),
        (ValueError,),
    ),
    Parser(
        "status of a handler",
        lambda octets: statuses.verdict_of(statuses.read_status([octets])),
        (statuses.read_status, statuses.verdict_of),
        (b"250 OK\r\n", b"250-a\r\n250 b", b"550 5.7.1 no"),
        (*words("250 550 5.7.1 - a é"), b"\r\n", b"\n", b"\r", b" "),
        (statuses.HandlerError,),
    ),
)

# --- next hops ---------------------------------------------------------------------------------

_REPLIES = (
    b"250 2.0.0 Ok: queued as 4XyZ\r\n",
    b"250-hop.example\r\n250-PIPELINING\r\n250 SIZE 1000\r\n",
    b"250 OK id=1abcde-000000-00\r\n",
    b"250 2.0.0 saved\r\n",
    b"250 4XyZ saved\r\n",
    b"550 5.1.1 no such user\r\n421 bye\r\n",
)
_IN_REPLIES = (
    *words("250 250- 550 4.2.1 queued as id= saved - a é"),
    *(b"\r\n", b"\n", b"\r", b" ", b" saved", b"queued as ", b"\x00", b"\xff", b"250-a\r\n"),
)


def _hop_replies(octets: bytes, size: int = 0) -> list[hopreply.HopReply | str]:
    """What a next hop said, if it arrives in pieces of this size; the last may be a problem."""

    async def read() -> list[hopreply.HopReply | str]:
        found: list[hopreply.HopReply | str] = []
        hop = wire.HopWire()
        hop.connection_made(cast("asyncio.Transport", _Silent()))
        try:
            for start in range(0, len(octets), size or 65536):
                hop.data_received(octets[start : start + (size or 65536)])
                while (reply := hop.take_reply()) is not None:
                    found.append(reply)
        except hopreply.NextHopError as error:
            found.append(str(error))
        return found

    return asyncio.run(read())


class _Silent:
    """A transport that nothing comes out of."""

    def abort(self) -> None: ...


def _judged(octets: bytes) -> list[hopreply.HopReply | str]:
    found = _hop_replies(octets)
    for reply in found:
        if isinstance(reply, hopreply.HopReply):
            assert len(reply.queue_id) <= 64
            assert reply.status == "" or reply.status[0] == str(reply.code)[0]
            assert (prober.meaning(reply).answer == "known") is reply.positive
    return found


def _same_dribbled(octets: bytes, result: Any) -> None:
    if len(octets) < 3000:
        assert _hop_replies(octets, 1) == result


def _told(octets: bytes) -> list[str]:
    """What the next hop is told about a client that said this, if it offers this."""
    said = decoded(octets)
    tx = a_transaction(session=a_session(ehlo="x"))
    tx.session.hello_host = said
    tx.session.auth_user = said
    offered = f"NAME ADDR HELO LOGIN {said}"
    return [
        *metadata.xclient_commands(tx.session, offered),
        *metadata.xforward_commands(tx, offered),
    ]


def _told_well(_octets: bytes, result: list[str]) -> None:
    for command in result:
        assert command.isascii()
        assert command.isprintable()
        assert len(command) < 2000


NEXT_HOP_PARSERS = (
    Parser(
        "replies of a next hop",
        _judged,
        (wire.HopWire.data_received, wire.HopWire.take_reply, prober.meaning),
        _REPLIES,
        _IN_REPLIES,
        (),
        _same_dribbled,
    ),
    Parser(
        "limits of a next hop",
        lambda octets: hoplimits.read_limits(decoded(octets)),
        (hoplimits.read_limits,),
        (b"RCPTMAX=20 MAILMAX=3 RCPTDOMAINMAX=1",),
        (*words("RCPTMAX MAILMAX RCPTDOMAINMAX = 0 1 9 é ٣"), b" ", b"\xff"),
    ),
    Parser(
        "told the next hop",
        _told,
        (metadata.xclient_commands, metadata.xforward_commands),
        (b"NAME ADDR PORT PROTO HELO", b"client.example"),
        (*words("NAME HELO LOGIN + = é a"), b" ", b"\xff", b"\x00", b"\r\n"),
        (),
        _told_well,
    ),
    Parser(
        "places",
        lambda octets: place.parse_places([decoded(octets)], 783),
        (place.parse_place, place.parse_places),
        (b"localhost:783", b"[::1]:3310", b"/run/x", b"a,b:1", b"inet:8891@localhost", b"25"),
        (*words("inet: inet6: unix: local: @ : :: [ ] / , . 25 localhost ::1 65535 é"), b" "),
        (ValueError,),
    ),
)

# --- lists and the DNS -------------------------------------------------------------------------

_LISTED = (
    Entry("user@example.com", "list:1"),
    Entry("@example.net", "list:2"),
    Entry("/^bounce-.*@example\\.org$/", "list:3"),
)
_QUESTION = b"\x07example\x04test\x00\x00\x0f\x00\x01"


def _looked_up(octets: bytes) -> Any:
    text_ = decoded(octets)
    refused = addresses.AddressList(_LISTED)
    with suppress(address.PathError):
        found = address.parse_mailbox(text_, utf8=True)
        refused.find(found)
        return found in addresses.AddressSet(_LISTED[:2])
    return None


def _domain_looked_up(octets: bytes) -> Any:
    name = decoded(octets)
    entries = [Entry("example.com", "1"), Entry(".example.net", "2")]
    hello = [Entry("example.com", "1"), Entry("^local", "2"), Entry("!\\.", "3")]
    return (
        name in domains.DomainList(entries, database={b"x": b""}),
        name in domains.HelloList(hello, patterns=True),
    )


def _made_lists(octets: bytes) -> None:
    entry = Entry(decoded(octets), "list:1")
    for make in (domains.DomainList, domains.HelloList, addresses.AddressSet):
        with suppress(ConfigError):
            make([entry])


def _answer(kind: str, *data: bytes) -> bytes:
    number = answers.RECORD_TYPES[cast("Any", kind)]
    records = [Record(b"\xc0\x0c", number, 300, each) for each in data]
    return an_answer(_QUESTION[:-4] + bytes([0, number, 0, 1]), records)


def _read_answer(octets: bytes) -> Any:
    question = octets[answers.HEADER_OCTETS : answers.HEADER_OCTETS + len(_QUESTION)]
    kinds = {number: kind for kind, number in answers.RECORD_TYPES.items()}
    kind = kinds.get(question[-3] if len(question) == len(_QUESTION) else 0)
    if kind is None or not udpport.is_answer(octets, question.lower()):
        raise DnsError("is no answer")
    answers.rcode_of(octets)
    answers.is_truncated(octets)
    asked = question.lower()
    single = answers.read_single(octets, asked, kind)
    try:
        read = answers.read_any(octets, asked, kind)
    except DnsError:
        assert single is None
        raise
    assert single in (None, read)
    return read


def _answer_well(octets: bytes, result: Any) -> None:
    answer, seconds = result
    assert 0 <= seconds <= answers.MAX_TTL
    assert len(answer.records) <= answers.MAX_RECORDS
    assert sum(len(str(record)) for record in answer.records) <= 64 * answers.MAX_OCTETS


def _reverse(octets: bytes) -> Any:
    said = decoded(octets)
    if (text := names.plain_text_of(octets)) is not None:
        assert text == names.text_of(octets)
    name, encoded = names.reverse_name(said), names.encode_reverse_name(said)
    assert encoded == (None if name is None else names.encode_name(name))
    return name, names.encode_name(said)


LOOKUP_PARSERS = (
    Parser(
        "addresses in lists",
        _looked_up,
        (addresses.AddressList.find,),
        tuple(path[1:-1] for path in _ADDRESSES),
        (*_IN_ADDRESS, b"bounce-"),
    ),
    Parser("domains in lists", _domain_looked_up, (), _DOMAINS, (*_IN_ADDRESS, b"local")),
    Parser("lines of lists", _made_lists, (), _DOMAINS, (*_IN_ADDRESS, b"^", b"*", b"!")),
    Parser(
        "networks",
        lambda octets: (hosts.oddity_of_hosts(decoded(octets)), hosts.parse_hosts(decoded(octets))),
        (hosts.parse_hosts, hosts.oddity_of_hosts),
        (*_IPS, b"192.0.2.", b"2001:db8:", b"2001:0db8"),
        _IN_IP,
        (ValueError,),
    ),
    Parser(
        "reversed addresses",
        lambda octets: dnslists.reversed_address(decoded(octets)),
        (dnslists.reversed_address,),
        _IPS,
        _IN_IP,
        (ValueError,),
    ),
    Parser(
        "names of homes",
        lambda octets: dynamicnames.looks_dynamic(decoded(octets), ip.parse_ip("192.0.2.7")),
        (dynamicnames.looks_dynamic,),
        (b"host-192-0-2-7.pool.example.net", b"c0000207.dyn.example.net", b"static.7.2.a.test"),
        (*words("192 0 2 7 000 c0000207 . - _ : dyn pool static example net"),),
    ),
    Parser(
        "records of clients",
        clientrecords.ClientRecord.of,
        (clientrecords.ClientRecord.of,),
        (b"1:2:3:4:6B0BE8CD.3CE9.1", b"1:2:3"),
        (*words(": 0 1 999999999999999999999 - x"), b"\xff"),
    ),
    Parser(
        "codes",
        lambda octets: dnslists.are_codes(decoded(octets).split()),
        (dnslists.are_codes,),
        (b"127.0.0.2 127.0.0.3", b"127.255.255.254"),
        (*words("127.0.0.2 . 0 256"), b" "),
        (ValueError,),
    ),
    Parser(
        "answers of the DNS",
        _read_answer,
        (
            answers.read_single,
            answers.read_any,
            answers.rcode_of,
            answers.is_truncated,
            udpport.is_answer,
        ),
        (
            _answer("A", b"\xc0\x00\x02\x01"),
            _answer("TXT", label(b"listed")),
            _answer("PTR", label(b"host") + label(b"test") + b"\0"),
            _answer("A", b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02"),
            _answer("AAAA", bytes(15) + b"\x01"),
            _answer("MX", b"\x00\x0a" + label(b"mx") + b"\xc0\x0c"),
            _answer("TXT", label(b"v=spf1 -all"), label(b"x" * 60) * 3),
            _answer("PTR", label(b"host") + b"\xc0\x0c"),
        ),
        (b"\xc0\x0c", b"\xc0\x00", b"\x00", b"\x01", b"\x3f", b"\xff", b"\x07example", b"\x05"),
        (DnsError,),
        _answer_well,
    ),
    Parser(
        "names for the DNS",
        _reverse,
        (
            names.encode_name,
            names.reverse_name,
            names.encode_reverse_name,
            names.plain_text_of,
        ),
        (*_DOMAINS, *_IPS, label(b"a") + label(b"test") + b"\0"),
        _IN_ADDRESS,
    ),
    Parser(
        "resolv.conf",
        lambda octets: resolvconf.parse_resolv_conf(decoded(octets)),
        (resolvconf.parse_resolv_conf,),
        (b"nameserver 192.0.2.1\noptions timeout:2 rotate\n", b"search x\n"),
        (*words("nameserver options timeout: attempts: rotate : 1 ::1"), b" ", b"\n", b"\t"),
    ),
)

# --- records of mail authentication ------------------------------------------------------------

_SPF_RECORDS = (
    b"v=spf1 a mx:b.example/24//64 ip4:192.0.2.0/24 ip6:2001:db8::/32 exists:%{ir}.%{v}.%{d2} -all",
    b"v=spf1 include:b.example redirect=c.example exp=why.example x-y=%{L1r+-}",
)
_IN_SPF = (
    *words(
        "v=spf1 a: mx/ ip4: ip6: exists: include: ptr all - + ~ ? = / // : . % { } %{d} %{S1r-}"
    ),
    *words("redirect= exp= x= 1 r b.example %% %_ %- é 192.0.2.1 ::1"),
    *(b" ", b"\x00", b"\t", b"\n"),
)


def _evaluated(octets: bytes) -> spf.SpfResult:
    """What becomes of a record, and of an explanation with the same text."""
    text = decoded(octets)
    records = {("TXT", "a.example"): [text], ("TXT", "b.example"): [f"v=spf1 -all exp={text}"]}
    records[("TXT", "why.example")] = [text]
    said = spf.SpfQuery(ip.parse_ip("192.0.2.1"), "a.example", text[:256], hello=text[:500])
    result = asyncio.run(spf.check_host(said, FakeResolver(records)))
    assert spfrecord.is_spf_record(text) or result.result == "none"
    dnsnames.is_at_or_below(text, "example")
    return result


def _macros(octets: bytes) -> str:
    text = decoded(octets)
    parsed = spfmacro.parse_explanation(text)
    spfmacro.parse_macros(text)
    spfmacro.parse_domain_spec(text)
    return spfmacro.as_domain(parsed.expand(dict.fromkeys(parsed.letters, text[:256])))


def _is_a_name_or_one_label(_octets: bytes, result: str) -> None:
    assert len(result) <= dnsnames.MAX_NAME or "." not in result[-dnsnames.MAX_NAME - 1 :]


# --- DKIM ---

_IN_TAGS = (
    *words("v= a= b= bh= c= d= h= i= l= q= s= t= x= k= p= n= = ; : . , @ 1 A + / == é ="),
    *words("rsa-sha256 ed25519-sha256 relaxed/simple a.example from dns/txt DKIM1 ed25519 b=;"),
    *words("DKIM-Signature: dkim-signature:v=1; From: from:from:"),
    *(b" ", b"\t", b"\r\n", b"\r\n\t", b"\x00", b"\xff"),
)
_TAGS = b"v=1; c=relaxed/relaxed; d=a.example; s=s; h=from:to; bh=AAAA; b=AAAA"
_SIGNED = (
    b"DKIM-Signature: a=ed25519-sha256; " + _TAGS + b"\r\nFrom: a\r\n\r\nA  line\r\n",
    b"DKIM-Signature: a=rsa-sha256; l=3; x=9999999999;\r\n\ti=a@b.a.example; " + _TAGS + b"\r\n",
    b"DKIM-Signature : a=rsa-sha1; " + _TAGS + b"\r\nDKIM-Signature: v=1\r\nFrom: b\r\n",
)
_KEYS = FakeResolver(
    {("TXT", "s._domainkey.a.example"): ["v=DKIM1; k=ed25519; p=" + "A" * 43 + "="]}
)


def _signatures(octets: bytes) -> tuple[dkim.DkimResult, ...]:
    """A message of these octets, and one whose signature they are."""
    header, _, body = octets.partition(b"\r\n\r\n")
    field = dkimsignature.MAX_FIELD - 100
    one = b"DKIM-Signature: " + octets.replace(b"\r\n", b"")[:field] + b"; " + _TAGS + b"\r\n"
    return _verified(header + b"\r\n", body) + _verified(one + header + b"\r\n", octets)


def _verified(header: bytes, body: bytes) -> tuple[dkim.DkimResult, ...]:
    verifier = dkim.Verifier(header, 0.0)
    asyncio.run(verifier.ask(_KEYS))
    verifier.update(body[:7])
    verifier.update(body[7:])
    return verifier.results()


def _results_of_one_field(_octets: bytes, results: tuple[dkim.DkimResult, ...]) -> None:
    assert len(results) <= 2 * dkim.MAX_SIGNATURES
    for result in results:
        assert result.result != "pass"
        written = repr(dkim_auth_result(result))
        assert not set(written) & set("\\;\r\n\0")


_SET = (
    b"ARC-Seal: i=1; cv=none; a=ed25519-sha256; d=a.example; s=s; b=AAAA\r\n"
    b"ARC-Message-Signature: i=1; a=ed25519-sha256; " + _TAGS.removeprefix(b"v=1; ") + b"\r\n"
    b"ARC-Authentication-Results: i=1; a.example\r\n"
)


def _chains(octets: bytes) -> tuple[arc.ArcResult, ...]:
    """A message of these octets, and two with a chain in which they are."""
    header, _, body = octets.partition(b"\r\n\r\n")
    part = octets.replace(b"\r\n", b"")[: dkimsignature.MAX_FIELD - 200]
    within = _SET.replace(b"cv=none", b"cv=none; " + part)
    results = _SET.replace(b": i=1; a.", b": " + part + b"i=1; a.")

    async def verified() -> tuple[arc.ArcResult, ...]:
        return tuple([await _arc(each, body) for each in (header + b"\r\n", within, results)])

    return asyncio.run(verified())


async def _arc(header: bytes, body: bytes) -> arc.ArcResult:
    verifier = arc.ArcVerifier(header, 0.0, trusted=["a.example"])
    await verifier.ask(_KEYS)
    verifier.update(body)
    return await verifier.result()


def _chains_that_are_told(_octets: bytes, results: tuple[arc.ArcResult, ...]) -> None:
    for result in results:
        assert result.result != "pass"
        assert not set(repr(arc_auth_result(result))) & set("\\;\r\n\0")


def _verifies_nothing(key: dkimkey.Key) -> None:
    assert key.verify is None or not key.verify(b"\x01" * 64, b"\x02" * 32)


def _body_hashes(octets: bytes) -> tuple[bytes, bytes]:
    relaxed = canonical.BodyHash("relaxed", (None, 7))
    simple = canonical.BodyHash("simple", (None, 7))
    for body in (relaxed, simple):
        for start in range(0, len(octets), 100):
            body.update(octets[start : start + 100])
    return relaxed.digest(), simple.digest(7)


# --- DMARC ---

_FROMS = (
    b"user@a.example",
    b'"A, User" <user@a.example>, Two (a (comment) \\) ) <two@b.example>',
    "Söme Group: jörg@bücher.example, <@c.example,@d.example:e@a.example>;".encode(),
    b"=?utf-8?q?A?=\r\n User <user@[192.0.2.1]>",
    b"Company, Inc. [News] <user@a.example>",
)
_IN_FROM = (*_IN_ADDRESS, *words("=?utf-8?q? ?= <a@b.example> a@b.example From: From ( ) ＠"))
_DMARC_RECORDS = (
    b"v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; aspf=r; psd=n; t=y; fo=1:d",
    b"v=DMARC1;p=foo;rua=mailto:a@a.example!10m,https://a.example/x",
)
_IN_DMARC = (
    *words("v=DMARC1 v= p= sp= np= adkim= aspf= psd= t= rua= ruf= fo= none quarantine reject"),
    *words("r s y n u ; = , : ! mailto: a@a.example x é"),
    *(b" ", b"\t", b"\n", b"\x00"),
)


def _authors(octets: bytes) -> tuple[author.Author, ...]:
    """The author of a header section of these octets, and of one whose From they are."""
    field = octets.replace(b"\r\n", b"\r\n ")
    return author.read_author(octets), author.read_author(b"To: x\r\nFrom: " + field + b"\r\n")


def _are_authors(_octets: bytes, authors: tuple[author.Author, ...]) -> None:
    for each in authors:
        assert each.problem or each.domains
        assert not (each.problem and each.domain)
        assert not each.domain or domain.is_domain(each.domain)


def _dmarc(octets: bytes) -> dmarc.DmarcResult:
    """What becomes of a message to whose author a record applies."""
    text = decoded(octets)
    records = {
        ("TXT", "_dmarc.b.example"): [text],
        ("TXT", "_dmarc.example"): [f"v=DMARC1; {text}"],
    }
    evaluation = dmarc.Evaluation("a.b.example", FakeResolver(records))
    asyncio.run(evaluation.discover())
    vouching = [dmarc.Identifier("spf", "c.b.example"), dmarc.Identifier("dkim", "d.example")]
    return asyncio.run(evaluation.result(vouching))


def _is_result_of_dmarc(octets: bytes, result: dmarc.DmarcResult) -> None:
    assert not set(repr(dmarc_auth_result(result))) & set("\\;\r\n\0")
    text = decoded(octets)
    assert dmarcrecord.is_dmarc_record(text) or result.where != "b.example"
    assert result.result in ("pass", "fail", "none")


def _report(octets: bytes) -> bytes:
    """The report about a message whose every text is this, where reports are asked for."""
    text = decoded(octets)
    record = dmarcrecord.parse_record(f"v=DMARC1; p=none; rua=mailto:a@b.example; {text}")
    result = dmarc.DmarcResult("fail", author=text, where="b.example", record=record)
    tx = a_transaction(message="x\n")
    tx.notes[SPF_RESULT] = spf.SpfResult("fail", "mailfrom", text)
    tx.notes[DKIM_RESULTS] = (dkim.DkimResult("fail", domain=text, selector=text),)
    published = aggregate.published_by(result)
    assert published is not None
    row = aggregate.Row.from_json(aggregate.row_of(tx, result, refused=False).to_json())
    reportaddress.read_destinations(text.split(","))
    return aggregatexml.Report(
        "c.example", "d@c.example", "x", "2027-01-15", published, ((row, 1),)
    ).xml()


def _is_small_xml(_octets: bytes, xml: bytes) -> None:
    assert len(ElementTree.fromstring(xml)) == 4
    assert len(xml) < 16_000


MAILAUTH_PARSERS = (
    Parser(
        "DMARC reports",
        _report,
        (reportaddress.read_destination, reportaddress.read_destinations),
        (b"mailto:a%21@b.example!10m", b"rua=mailto:a@b.example", b"fo=1:d", b"<x>&amp;]]>"),
        (*_IN_DMARC, *words("mailto: ! % %0d %ff < > & ]]> @ 10k"), b"\0", b"\r\n"),
        check=_is_small_xml,
    ),
    Parser(
        "authors",
        _authors,
        (author.read_author, author.read_domains),
        _FROMS,
        _IN_FROM,
        check=_are_authors,
    ),
    Parser(
        "DMARC records",
        _dmarc,
        (dmarcrecord.choose_record, dmarcrecord.is_dmarc_record, dmarcrecord.parse_record),
        _DMARC_RECORDS,
        _IN_DMARC,
        check=_is_result_of_dmarc,
    ),
    Parser(
        "SPF records",
        _evaluated,
        (
            spf.check_host,
            spfrecord.is_spf_record,
            spfrecord.parse_record,
            dnsnames.is_askable,
            dnsnames.is_at_or_below,
            spfrecord.Networks.first_with,
        ),
        _SPF_RECORDS,
        _IN_SPF,
    ),
    Parser(
        "SPF macros",
        _macros,
        (
            spfmacro.parse_macros,
            spfmacro.parse_domain_spec,
            spfmacro.parse_explanation,
            spfmacro.as_domain,
            spfmacro.Macro.expand,
            spfmacro.MacroString.expand,
        ),
        (b"%{ir}.%{v}._spf.%{d2}", b"%{LR-}%%", b"mail.%{d}"),
        _IN_SPF,
        (spfmacro.SpfSyntaxError,),
        _is_a_name_or_one_label,
    ),
    Parser(
        "DKIM keys",
        lambda octets: dkimkey.choose_key([decoded(octets)]),
        (dkimkey.parse_key, taglist.parse_tags, taglist.without_white_space, taglist.items),
        (
            b"v=DKIM1; k=ed25519; t=s:y; h=sha1:sha256; s=email:*; n=a note; p=" + b"A" * 43 + b"=",
            b"p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALgSoqXVSEmfcIsOzw7oRuCCOwsmtX/SJnTWxYyj2leF",
            b"v=DKIM1; p=MAgCAwEAAQIBAw==",
        ),
        _IN_TAGS,
        (dkimkey.DkimKeyError,),
        lambda _octets, key: _verifies_nothing(key),
    ),
    Parser(
        "DKIM signatures",
        _signatures,
        (
            dkim.Verifier,
            dkim.Verifier.update,
            dkimsignature.read_tags,
            dkimsignature.claims_of,
            dkimsignature.parse_signature,
            dkimsignature.decoded,
        ),
        _SIGNED,
        _IN_TAGS,
        check=_results_of_one_field,
    ),
    Parser(
        "ARC chains",
        _chains,
        (arc.ArcVerifier, arc.ArcVerifier.update, arcset.read_sets, arcset.message_signature),
        (
            _SET + b"From: a\r\n\r\nA  line\r\n",
            _SET.replace(b"i=1", b"i=2") + _SET,
            b"cv=fail",
        ),
        (
            *words("i= i=1; i=2; cv= pass none ARC-Seal: ARC-Message-Signature:"),
            *_IN_TAGS,
        ),
        check=_chains_that_are_told,
    ),
    Parser(
        "canonical bodies",
        _body_hashes,
        (canonical.BodyHash.update,),
        (b"A line  with blanks\t \r\n\r\n", b"\r\n\r\n", b" \t"),
        (b" ", b"\t", b"\r\n", b"\r", b"\n", b"x", b"  ", b" \r\n"),
    ),
    Parser(
        "canonical fields",
        canonical.relaxed_field,
        (canonical.relaxed_field,),
        (b"Subject : a  matter\r\n\tof taste \r\n",),
        (b" ", b"\t", b"\r\n", b":", b"x", b"\x0b", b"\x0c"),
    ),
)


# --- milters ------------------------------------------------------------------------------------

_PACKETS: tuple[packets.Packet, ...] = (
    packets.Negotiate(6, 0x1FF, 0x1FFFFF, ((2, b"i {mail_addr}"),)),
    packets.Continue(),
    packets.ReplyCode(b"550-5.7.1 one\r\n550 5.7.1 100%% two"),
    packets.AddHeader(b"X", b" one\n\ttwo"),
    packets.InsertHeader(1, b"X", b"one"),
    packets.ChangeHeader(2, b"Received", b""),
    packets.AddRecipientWith(b"<a@example.com>", b"NOTIFY=NEVER"),
    packets.AddRecipient(b"b@example.com"),
    packets.DeleteRecipient(b"<user@example.test>"),
    packets.ChangeSender(b"<>", b"RET=HDRS"),
    packets.ReplaceBody(b"text\n"),
    packets.Quarantine(b"why"),
    packets.Progress(),
)
_COMMANDS: tuple[packets.Packet, ...] = (
    packets.Macros(b"M", ((b"i", b"1"), (b"{mail_addr}", b"a@b.test"))),
    packets.Connect(b"a.test", b"4", 25, b"192.0.2.1"),
    packets.Connect(b"a.test", b"U"),
    packets.Mail((b"<a@b.test>", b"SIZE=1")),
    packets.Header(b"Subject", b"x"),
    packets.Body(b"x"),
)
_IN_PACKETS = (
    *(b"\x00", b"\x00\x00\x00\x01", b"\x00\x00\x00\x0d", b"\xff", b"\r\n", b"\n", b"\t", b"%%"),
    *words("c a r t d s p 4 f y h i m + 2 - e b q O D C M L 550 5.7.1 - < > @ : X NOTIFY= é"),
)


def _said(octets: bytes, read: Callable[[bytes, bytes], packets.Packet]) -> list[packets.Packet]:
    splitter, found = codec.Splitter(), []
    with suppress(codec.BadPacketError):
        splitter.feed(octets)
        while (packet := splitter.next()) is not None:
            found.append(read(*packet))
    return found


def _same_again(read: Callable[[bytes, bytes], packets.Packet]) -> Callable[[bytes, Any], None]:
    def check(_octets: bytes, result: list[packets.Packet]) -> None:
        assert _said(b"".join(map(codec.encode, result)), read) == result

    return check


def _asked(octets: bytes) -> Transaction:
    """A message after whatever a milter asked for."""
    tx = a_transaction("me@a.test", "user@example.test", message="Received: us\nX: 1\njunk\n\nb\n")
    asked = Edits(tx, exact=True)
    with suppress(MilterError):
        for packet in _said(octets, codec.read_reply):
            if isinstance(packet, Change):
                asked.add(packet)
        asked.carry_out()
    return tx


def _still_a_message(_octets: bytes, tx: Transaction) -> None:
    assert tx.recipients
    assert tx.message is not None
    header = bytes(tx.message.headers)
    assert message.only_crlf(header)
    assert b"\0" not in header
    # What is added stays above what is not a field.
    assert header.endswith(b"junk\r\n")
    for line in header.removesuffix(b"junk\r\n").splitlines():
        assert line[:1] in b" \t" or b":" in line


def _milters_reply(octets: bytes) -> verdict.Verdict | None:
    return verdicts.refusal(packets.ReplyCode(octets.replace(b"\0", b"")))


def _a_refusal(_octets: bytes, result: verdict.Verdict | None) -> None:
    assert result is not None
    assert 400 <= result.code <= 599
    assert not result.accepted


MILTER_PARSERS = (
    Parser(
        "packets of a milter",
        lambda octets: _said(octets, codec.read_reply),
        (codec.read_reply, codec.Splitter.feed, codec.encode),
        tuple(map(codec.encode, _PACKETS)),
        _IN_PACKETS,
        (),
        _same_again(codec.read_reply),
    ),
    Parser(
        "packets for a milter",
        lambda octets: _said(octets, codec.read_command),
        (codec.read_command,),
        tuple(map(codec.encode, _COMMANDS)),
        _IN_PACKETS,
        (),
        _same_again(codec.read_command),
    ),
    Parser(
        "changes by a milter",
        _asked,
        (Edits.add,),
        tuple(map(codec.encode, _PACKETS)),
        _IN_PACKETS,
        (),
        _still_a_message,
    ),
    Parser(
        "replies of a milter",
        _milters_reply,
        (verdicts.refusal,),
        (b"550 5.7.1 Go away", b"451-4.7.1 a\r\n451 4.7.1 b", b"250 2.0.0 fine"),
        _IN_REPLIES,
        (),
        _a_refusal,
    ),
)


# --- fronts -------------------------------------------------------------------------------------

_REQUEST = (
    b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\nsize=12\n"
    b"sender=a@b.test\nrecipient=user@example.test\ninstance=1.2\n\n"
)


def _asked_for(octets: bytes) -> list[policycodec.Request]:
    splitter, found = policycodec.RequestSplitter(), []
    splitter.feed(octets)
    while (request := splitter.next()) is not None:
        assert request.number("size") >= 0
        found.append(request)
    return found


def _fields_sent(octets: bytes) -> list[bytes]:
    """The fields that a mail system sends, and what would turn them into others."""
    found = [
        milterfields.field_of(packet, exact=True)
        for packet in _said(octets, codec.read_command)
        if isinstance(packet, packets.Header)
    ]
    before = headers.Headers.parse(b"".join(found)).fields()
    headeredits.header_edits(before, before[::-1], exact=True)
    return found


def _are_fields(_octets: bytes, result: list[bytes]) -> None:
    assert all(message.only_crlf(field) and field.count(b"\r\n\r\n") == 0 for field in result)
    assert len(headers.Headers.parse(b"".join(result)).fields()) == len(result)


FRONT_PARSERS = (
    Parser(
        "requests of Postfix",
        _asked_for,
        (
            policycodec.read_request,
            policycodec.RequestSplitter.feed,
            policycodec.RequestSplitter.next,
        ),
        (_REQUEST, _REQUEST * 2),
        (b"\n", b"\n\n", b"=", *words("request=smtpd_access_policy protocol_state= RCPT DATA x=")),
        (policycodec.BadRequestError,),
    ),
    Parser(
        "answers to Postfix",
        lambda octets: policycodec.written(decoded(octets)),
        (policycodec.written,),
        (b"DUNNO", b"550 5.7.1 no"),
        (b"\n", b"\r", b"=", b"\0"),
    ),
    Parser(
        "fields of a mail system",
        _fields_sent,
        (milterfields.field_of, headeredits.header_edits),
        tuple(
            codec.encode(packets.Header(name, value)) * 3
            for name, value in ((b"Subject", b" x\n\ty"), (b"A", b""), (b"Received", b"b\n c"))
        ),
        _IN_PACKETS,
        (codec.BadPacketError,),
        _are_fields,
    ),
    Parser(
        "addresses without brackets",
        lambda octets: visit.bracketed(decoded(octets)),
        (visit.bracketed,),
        (b"a@b.test", b"a b@c.test", b""),
        _IN_ADDRESS,
    ),
)


# --- scanners ----------------------------------------------------------------------------------

_CONTENT = message.Message.from_bytes(b"Subject: x\r\n\r\ny\r\n")


class _Deaf:
    """A transport that takes everything."""

    def write(self, _data: bytes) -> None: ...

    def abort(self) -> None: ...


def _told_by_scanner(talk: Callable[[ScannerWire], Any]) -> Callable[[bytes], Any]:
    """What a conversation makes of everything that the scanner says, in pieces, and its end."""

    def read(octets: bytes) -> Any:
        return asyncio.run(converse_with(octets))

    async def converse_with(octets: bytes) -> Any:
        heard = ScannerWire()
        heard.connection_made(cast("asyncio.Transport", _Deaf()))
        task = asyncio.ensure_future(talk(heard))
        size = max(len(octets) // 4, 1)
        for start in range(0, len(octets), size):
            await asyncio.sleep(0)
            heard.data_received(octets[start : start + size])
        heard.eof_received()
        return await task

    return read


def _fields_well(_octets: bytes, result: Any) -> None:
    added = [(each.name, each.value) for each in getattr(result, "added", ())]
    for name, value in (*getattr(result, "fields", ()), *added):
        headers.check_field(name, value)
        assert all(len(line) < 998 for line in value.split("\n"))


def _one_line(_octets: bytes, result: Any) -> None:
    name = result.virus
    assert name.isascii()
    assert name.isprintable() or not name
    assert len(name) <= fields.MOST_NAME


_SPAMD = (
    b"SPAMD/1.1 0 EX_OK\r\nContent-length: 57\r\nSpam: True ; 6.5 / 5.0\r\n\r\n"
    b"X-Spam-Status: Yes, score=6.5 tests=A,\r\n\tB autolearn=no\r\n",
    b"SPAMD/1.0 76 Bad header line: x\r\n",
)
_HTTP = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 38\r\n\r\n{"action": "no action", "score": 1.5}\r\n',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Oops\r\n\r\n",
)
_RSPAMD = (
    b'{"score": 6.2, "required_score": 15.0, "action": "add header", "symbols": {"A": {"score": 1}}'
    b', "messages": {"smtp_message": "x"}, "milter": {"add_headers": {"X-A": {"value": "b",'
    b' "order": 1}}, "remove_headers": {"X-B": 0}}, "dkim-signature": ["v=1;\\r\\n\\tb=x"]}',
    b'{"error": "x"}',
)
_IN_JSON = (
    *words('{ } [ ] " : , \\r \\n \\ud800 1 -1 1e999 true null NaN "X-A": "action": "score":'),
    *words('"milter": {"add_headers":{ "value": "order": "remove_headers": "x"'),
)

_LOGIN = Login("user", "secret", "192.0.2.1", 40000, "192.0.2.2", 587, secured=True)

_PROVEN = scram.Exchange.begin(
    scram.parse_first(b"n,,n=user,r=abc"), verifier.make_verifier("secret", b"salt", 1), "ours"
)
_VERIFIER = str(verifier.make_verifier("secret", b"salt", 4096)).encode()
_IN_SCRAM = (*words("n,, y,, p= tls-unique n= r= c= p= a= m= biws =2C =3D = ,"), b"\0", b"\xff")
_ENDPOINT = introspection.parse_endpoint("http://127.0.0.1/")
_IN_GRANT = (
    *words('{ } [ ] " : , true false null 1e999 "active": "username": "scope": "aud": "exp":'),
    *(b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n", b"\xff"),
)


def _scram(octets: bytes) -> Any:
    first = scram.parse_first(octets)
    scram.check_binding(first, scram.MECHANISM, offered=False)
    return first


def _unproven(_octets: bytes, result: Any) -> None:
    assert result is None


def _prepared(octets: bytes) -> str:
    return saslprep.saslprep(decoded(octets))


def _prepared_well(_octets: bytes, result: str) -> None:
    assert result
    assert len(result) <= 20 * saslprep.MOST
    result.encode()


LOGIN_PARSERS = (
    Parser(
        "first messages of SCRAM",
        _scram,
        (scram.parse_first, scram.check_binding),
        (b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", b"p=tls-unique,a=x,n=u,r=a,x=y", b"y,,n=u,r=a"),
        _IN_SCRAM,
        (scram.ScramError,),
    ),
    Parser(
        "last messages of SCRAM",
        _PROVEN.finish,
        (scram.Exchange.finish,),
        (b"c=biws,r=abcours,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",),
        (*_IN_SCRAM, b"abcours", b"x=y"),
        (scram.ScramError,),
        _unproven,
    ),
    Parser(
        "verifiers",
        lambda octets: verifier.parse_verifier(decoded(octets)),
        (verifier.parse_verifier,),
        (_VERIFIER,),
        words("SCRAM-SHA-256$ 4096: $ : = salt AAAA"),
        (ValueError,),
    ),
    Parser(
        "names and passwords",
        _prepared,
        (saslprep.saslprep,),
        ("päss wörd\u00a0\u00ad".encode(), "\u0627\u0628\ufdfa".encode()),
        (*words("a é \u0627 \u0301 \ufdfa \u2168 \u1e9b\u0323"), b" ", b"\0", b"\xff"),
        (ValueError,),
        _prepared_well,
    ),
    Parser(
        "messages of OAUTHBEARER",
        lambda octets: bearer.parse_bearer(octets, bearer.OAUTHBEARER),
        (bearer.parse_bearer,),
        (b"n,a=user@example.com,\x01host=h\x01port=25\x01auth=Bearer abc==\x01\x01",),
        (*words("n,, y, a= =2C host= auth= Bearer a.b ="), b"\x01", b" ", b"\0", b"\xff"),
        (ValueError,),
    ),
    Parser(
        "messages of XOAUTH2",
        lambda octets: bearer.parse_bearer(octets, bearer.XOAUTH2),
        (bearer.parse_bearer,),
        (b"user=user@example.com\x01auth=Bearer abc==\x01\x01",),
        (*words("user= auth= Bearer a.b ="), b"\x01", b" ", b"\0", b"\xff"),
        (ValueError,),
    ),
    Parser(
        "answers of authorization servers",
        lambda octets: introspection.parse_grant(octets, "username"),
        (introspection.parse_grant,),
        (b'{"active": true, "username": "u", "scope": "a b", "aud": ["x"], "exp": 1e9}',),
        _IN_GRANT,
        (ScannerError,),
    ),
    Parser(
        "introspection",
        _told_by_scanner(
            lambda wire: introspection.introspect(wire, _ENDPOINT, None, "token", "username")
        ),
        (introspection.introspect,),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"active": true}',),
        _IN_GRANT,
        (ScannerError,),
    ),
    Parser(
        "answers about PAM",
        pam.answer,
        (pam.answer,),
        (b"right\n", b"wrong 7\n", b"failed 9 text\n", b"refused why\n"),
        (*words("right wrong failed refused 7"), b"\n", b" ", b"\xff", b"\0"),
        (ScannerError,),
    ),
    Parser(
        "answers of Dovecot",
        _told_by_scanner(lambda wire: dovecot.log_in(wire, _LOGIN, "smtp")),
        (dovecot.parse_line, dovecot.answer),
        (b"VERSION\t1\t2\nMECH\tPLAIN\nDONE\nOK\t1\tuser=user\n", b"FAIL\t1\ttemp\n"),
        (*words("VERSION MECH PLAIN DONE OK FAIL 1 temp user="), b"\t", b"\n", b"\xff", b"\0"),
        (ScannerError,),
    ),
    Parser(
        "answers of IMAP servers",
        _told_by_scanner(lambda wire: imap.log_in(wire, _LOGIN, None, "h", implicit=False)),
        (imap.parse_status, imap.is_right),
        (b"* OK x\r\n* CAPABILITY x\r\nb OK\r\n+ \r\n+ \r\nc NO [UNAVAILABLE] x\r\n",),
        (*words("* OK NO BAD BYE + a b c [UNAVAILABLE] LOGINDISABLED"), b" ", b"\r\n", b"\xff"),
        (ScannerError,),
    ),
    Parser(
        "answers of vpopmaild",
        _told_by_scanner(lambda wire: vpopmaild.log_in(wire, _LOGIN)),
        (vpopmaild.is_ok,),
        (b"+OK\r\n-ERR no\r\n", b"+OK\r\n+OK+\r\n"),
        (*words("+OK -ERR +"), b" ", b"\r\n", b"\xff", b"\0"),
        (ScannerError,),
    ),
    Parser(
        "lines of vpopmail's users",
        vpopmail.parse_account,
        (vpopmail.parse_account,),
        (b"$1$abcdefgh$x:1:0:A User:/home/x:NOQUOTA:clear\n", b"x:::::\n"),
        (b":", b"\n", b"0", b"2048", b"-", b"\xff"),
        (ScannerError,),
    ),
    Parser(
        "names of vpopmail's users",
        lambda octets: vpopmail.name_and_domain(octets.decode("latin-1")),
        (vpopmail.name_and_domain,),
        (b"User.X@Example.test", b"user"),
        (b"@", b".", b"a", b"A", b"/", b"%", b"\xe4"),
        (),
    ),
    Parser(
        "answers of a CVM",
        cvm.answer,
        (cvm.answer,),
        (b"\0user\x001000\0", b"\x64", b"\4"),
        (b"\0", b"\x64", b"user", b"\xff"),
        (ScannerError,),
    ),
)


def _found(_octets: bytes, result: bool) -> None:
    assert result in (True, False)


_RECIPIENT = address.parse_mailbox("user@example.com")

RECIPIENT_PARSERS = (
    Parser(
        "replies of socketmap",
        _told_by_scanner(lambda wire: socketmap.ask(wire, "users", "user@example.com")),
        (socketmap.parse_length, socketmap.parse_reply, socketmap.read_netstring),
        (b"4:OK x,", b"9:NOTFOUND ,", b"8:TEMP abc,"),
        (*words("OK NOTFOUND TEMP TIMEOUT PERM 0 1 9 : , -"), b" ", b"\r\n", b"\xff", b"\0"),
        (ScannerError,),
        _found,
    ),
    Parser(
        "answers of qmail-deliverabled",
        _told_by_scanner(lambda wire: qmail.ask(wire, "127.0.0.1:8998", _RECIPIENT)),
        (qmail.parse_number,),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n241",
            b"HTTP/1.1 204 No Content\r\n\r\n",
        ),
        (*words("HTTP/1.1 200 204 Content-Length: 0 1 47 255 256"), b"\r\n", b" ", b"\xff", b"\0"),
        (ScannerError,),
    ),
)

SCANNER_PARSERS = (
    Parser(
        "answers of spamd",
        _told_by_scanner(lambda wire: spamd.check(wire, Content(_CONTENT), "user")),
        (
            ScannerWire.data_received,
            spamd.check_status,
            spamd.parse_verdict,
            spamd.parse_answer,
        ),
        _SPAMD,
        (
            *words("SPAMD/1.1 0 EX_OK Spam: True ; / . - 1 Content-length: X-Spam-Status: tests="),
            *(b"\r\n", b"\n\t", b"\r", b" ", b",", b"\xff", b"\x00"),
        ),
        (ScannerError,),
        _fields_well,
    ),
    Parser(
        "answers of clamd",
        _told_by_scanner(lambda wire: clamd.scan(wire, Content(_CONTENT))),
        (clamd.parse_answer,),
        (b"stream: OK\0", b"stream: Eicar-Test-Signature FOUND\0", b"INSTREAM size limit\0"),
        (*words("stream: OK FOUND ERROR : a é"), b" ", b"\0", b"\r\n", b"\xff"),
        (ScannerError,),
        _one_line,
    ),
    Parser(
        "answers by HTTP",
        _told_by_scanner(lambda wire: rspamd.check(wire, Content(_CONTENT), [])),
        (http.parse_status, http.parse_chunk_size),
        _HTTP,
        (
            *words("HTTP/1.1 200 100 Content-Length: Transfer-Encoding: chunked 0 2 a ; : {}"),
            *(b"\r\n", b"\n", b"\r\n\r\n", b" ", b"\xff", b"\x00"),
        ),
        (ScannerError,),
        _fields_well,
    ),
    Parser(
        "answers of rspamd",
        rspamd.parse_answer,
        (rspamd.parse_answer,),
        _RSPAMD,
        _IN_JSON,
        (ScannerError,),
        _fields_well,
    ),
    Parser(
        "heads for scanners",
        lambda octets: http.request_head("POST", "/", [("A", decoded(octets))], 1),
        (http.request_head,),
        _HEADERS,
        _IN_HEADERS,
        (),
        lambda _octets, result: _equal(result.count(b"\r\n"), result.count(b"\n")),
    ),
    Parser(
        "fields of scanners",
        lambda octets: fields.field_value(decoded(octets)),
        (fields.field_value, fields.short_name, fields.is_field_name),
        _HEADERS,
        _IN_HEADERS,
        (),
        lambda _octets, result: headers.check_field("X-Spam", result),
    ),
)

# --- links in messages -------------------------------------------------------------------------


def _links(octets: bytes, *, head: bytes = b"") -> list[str]:
    """What the links of a body lead to, which comes in slices, as the plugin uribl finds them."""
    finder = links.LinkFinder(DomainRules().is_name)
    reader = mimereader.MimeReader(headers.Headers.parse(head), finder)
    for start in range(0, len(octets), 8192):
        reader.feed(octets[start : start + 8192])
    reader.close()
    return [str(host) for host in finder.hosts]


def _parts(octets: bytes) -> list[str]:
    return _links(octets, head=b"Content-Type: multipart/mixed; boundary=b\r\n")


def _decoded(octets: bytes) -> str:
    found = []
    for encoding, charset in (("base64", "utf-16"), ("quoted-printable", "iso-2022-jp")):
        decoder = decoders.TextDecoder(parthead.PartHead(charset=charset, encoding=encoding))
        middle = len(octets) // 2
        found += [decoder.feed(octets[:middle]), decoder.feed(octets[middle:]), decoder.end()]
    return "".join(found)


def _hosts(_octets: bytes, result: list[str]) -> None:
    assert len(result) <= 2 * links.MAX_HOSTS
    assert all(host.isascii() and len(host) <= domain.MAX_DOMAIN for host in result)


_IN_LINKS = (
    *words("http:// https: // / \\ : . @ % %25 %2E &#46; &#x2e; &amp; & # = =3D < > [ ] ? a.com"),
    *(b" ", b"\r\n", b"\t", b'"', b"'", b'="', b"='", b"\xff", b"0x7f", b"1", "。é".encode()),
)
_IN_PARTS = (
    *words('--b --b-- -- boundary=b boundary*0*=b charset=utf-16 base64 quoted-printable ; = "'),
    *(b"\r\n", b"\n", b" ", b"\xff", b"\x00", b"--b\r\n", b"--b\r\n\r\n", b"\r\n--"),
    *(b"Content-Type: ", b"multipart/mixed; boundary=b", b"message/rfc822\r\n\r\n", b"text/html"),
    b"Content-Transfer-Encoding: ",
)
_PARTS = (
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"aHR0cDovL2EuY29t\r\n--b--\r\n",
    b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nhttp://a.com/\r\n--b\r\n",
)

CONTENT_PARSERS = (
    Parser(
        "links",
        _links,
        (links.LinkFinder.add, linkhosts.percent_decoded),
        (b'<a href="http://user@www.ex%61mple.com:80/?u=http%3A%2F%2Fb.org">', b"www.a.com, b.org"),
        _IN_LINKS,
        (),
        _hosts,
    ),
    Parser(
        "parts",
        _parts,
        (
            mimereader.MimeReader.feed,
            mimereader.TextSink.add,
            parthead.read_part_head,
            parthead.parse_content_type,
        ),
        _PARTS,
        _IN_PARTS,
        (),
        _hosts,
    ),
    Parser(
        "texts",
        _decoded,
        (
            decoders.TextDecoder.feed,
            decoders.Transfer.feed,
            decoders.Plain.feed,
            decoders.Base64.feed,
            decoders.QuotedPrintable.feed,
            decoders.transfer_for,
        ),
        (b"aHR0cDovL2EuY29t\r\n=3D=\r\n", b"\x1b$B0l\x1b(B"),
        (*words("= == =3D =\r\n aHR0 a + /"), b"\r\n", b" ", b"\t", b"\xff", b"\x1b$B", b"\x00"),
    ),
    Parser(
        "fields with links",
        lambda octets: list(headertext.readable_text(headers.Headers.parse(octets))),
        (headertext.decoded_words, headertext.readable_text),
        (b"Subject: =?utf-8?Q?b=C3=BC?= =?utf-8?b?YQ?=\r\n", b"From: a <a@b.test>\r\n"),
        (*words("=? ?= ?q? ?b? utf-8 * _ =41 YQ Subject:"), b" ", b"\r\n", b"\r\n ", b"\xff"),
    ),
    Parser(
        "authorities of links",
        lambda octets: [
            str(host) for host in linkhosts.parse_authority(octets.decode("utf-8", "replace"))
        ],
        (linkhosts.parse_authority, linkhosts.parse_numbers, linkhosts.parse_domain),
        (b"user:pw@www.example.com:80", b"0x7f.1", b"[2001:db8::1]:80", "ｅｘ。com".encode()),
        (*words("a . .com @ : % %2E %25 [ ] 0x 0 1 256 - _ xn-- é 。"), b"\t", b"\xff"),
        (),
        _hosts,
    ),
    Parser(
        "registered domains",
        lambda octets: DomainRules().one_below(decoded(octets)),
        (DomainRules.registered, DomainRules.one_below, DomainRules.is_name),
        (b"a.example.co.uk", b"example.com"),
        words(". a co uk com"),
    ),
)


def _decision(octets: bytes) -> Any:
    """What a log file tells; the first line that anybody may have written."""
    found = logfiles.decision_in(decoded(octets).partition("\n")[0])
    return None if found is None else (found, found.encode(), list(story(found)))


def _decision_is_printable(_octets: bytes, found: Any) -> None:
    assert found is None or all(line.isprintable() for line in found[2])


TOOL_PARSERS = (
    Parser(
        "log lines",
        _decision,
        (logfiles.decision_in,),
        (
            b"Sun Nov 29 22:40:18 2026 h[1]: 6B.3E.1.1: message refused ip=192.0.2.7 name=- "
            b"helo='a' from='b@c' to='d@e' count=1 size=2 plugin=dmarc next_hop_id=- "
            b"seconds=0.5 message_id='<1@c>' reply=550 5.7.1 no",
            b"h[1]: 6B.3E.1 hook=rcpt plugin=p: refused ip=192.0.2.7 helo='a' reply=450 4.7.1 no",
            b'{"session": "6B.3E.1", "message": "refused ip=192.0.2.7 reply=550 no"}',
        ),
        words(": refused ip= helo=' \\' \" reply= 6B.3E.1 hook= message accepted { } \\x"),
        check=_decision_is_printable,
    ),
    Parser(
        "trace fields",
        lambda octets: envelope.attempt_of("m", octets, envelope.Given(recipients=("a@b",))),
        (envelope.read_trace, envelope.with_crlf),
        (
            b"Return-Path: <a@b>\r\nDelivered-To: c@d\r\nReceived: from h (n [192.0.2.7])\r\n"
            b"\tby mx (qpsmtpd/2) with ESMTP id 1 for <c@d>; Mon\r\nFrom: a@b\r\n\r\nbody\r\n",
        ),
        words("Received: from by [ ] ( ) helo= IPv6: for < > 192.0.2.7 2001:db8::1 To: , @"),
    ),
)

PARSERS = (
    *ADDRESS_PARSERS,
    *MESSAGE_PARSERS,
    *CONVERSATION_PARSERS,
    *NEXT_HOP_PARSERS,
    *LOOKUP_PARSERS,
    *MAILAUTH_PARSERS,
    *CONTENT_PARSERS,
    *MILTER_PARSERS,
    *FRONT_PARSERS,
    *SCANNER_PARSERS,
    *LOGIN_PARSERS,
    *RECIPIENT_PARSERS,
    *TOOL_PARSERS,
)

#: Functions that take no foreign text, or only what another function has read.
ELSEWHERE = {
    "content.registered.with_parents": "a domain that linkhosts.parse_domain has read",
    "dns.names.text_of": "a name that answers.read_any has read",
    "dns.udpport.plain_query": "our own question",
    "dns.udpport.Query.take": "an interface",
    "dns.udpport.Listener.take": "an interface",
    "dns.nameserver.NameServer.take": "looks at the response code",
    "dns.lookup.Lookup.take": "reads it by read_single or read_any",
    "dns.methods.address_type": "an address that is one",
    "dns.methods.has_address": "addresses that were read",
    "logins.attempts.readable": "a login, which the tests of all back ends try",
    "logins.hosts.is_here": "an option on the line of a plugin",
    "logins.introspection.parse_endpoint": "an option on the line of a plugin",
    "logins.dsn.parse_dsn": "the administrator's",
    "logins.ldap.is_installed": "nothing",
    "logins.mysql.is_installed": "nothing",
    "logins.directory.read_directory": "the administrator's",
    "recipients.postgresql.is_installed": "nothing",
    "scanners.fetching.parse_url": "the administrator's",
    "scanners.options.is_false": "an option on the line of a plugin",
    "dns.nameserver.NameServer.ask": "our own question",
    "dns.nameserver.NameServer.ask_by_tcp": "our own question",
    "dns.udpport.UdpPort.send_unawaited": "our own question",
    "mailauth.publicsuffix.read_public_suffixes": "the administrator's",
    "mailauth.dkimprivate.parse_private_key": "the administrator's",
    "handlers.decisions.decide": "what statuses.read_status has read",
    "handlers.facts.options_of": "what address.split_arguments has read",
    "lists.hosts.read_network": "the administrator's; it goes to hosts.parse_hosts",
    "lists.listcodes.read_codes": "the administrator's",
    "lists.listcodes.is_among": "an address that answers.read_any has read",
    "lists.lines.read_each": "lines that another function reads",
    "lists.lines.read_all": "lines that another function reads",
    "mail.capabilities.announce_limit": "a plugin's",
    "mail.dsn.decoded": "what dsn.has_wrong_value has passed",
    "mail.dsn.forget": "what dsn.has_wrong_value has passed",
    "mail.dsn.wants_success": "what dsn.has_wrong_value has passed",
    "mail.passedon.time_left": "what passedon.has_wrong_value has passed",
    "mail.capabilities.offer_extension": "a plugin's",
    "mail.capabilities.offers_extension": "a plugin's",
    "mail.capabilities.withdraw_extension": "a plugin's",
    "mail.session.Challenge.of": "our own text",
    "mail.scratch.scratch_descriptor": "names of ours",
    "nexthop.hopauth.read_password": "the administrator's",
    "lists.hosts.read_hosts": "the administrator's; its lines go to hosts.parse_hosts",
    "lists.listchecks.check_lists": "the administrator's",
    "lists.patterns.compile_pattern": "the administrator's; see test_trials.py",
    "handlers.changes.split_new": "a handler's, in lists",
    "mail.message.Message.replace_body": "a plugin's",
    "mail.verdict.accept": "a plugin's",
    "mail.verdict.deny": "a plugin's",
    "mail.verdict.defer": "a plugin's",
    "smtp.connection.Wire.unread": "a protocol; the conversation tries it",
    "smtp.connection.Wire.write": "a protocol; the conversation tries it",
    "smtp.envelope.size_fault": "tried with the conversation",
    "smtp.foreignresults.remove_claims": "tried with the headers",
    "smtp.protocol.SmtpProtocol.data_received": "test_dialogues.py",
    "smtp.protocol.SmtpProtocol.unread": "test_dialogues.py",
    "smtp.protocol.SmtpProtocol.write": "our own replies",
    "smtp.proxyhandshake.ProxyHandshake.data_received": "gives it to proxyheader.parse",
    "smtp.replies.goodbye": "our own name",
    "smtp.replies.reply_for": "the verdict of a plugin",
    "mail.account.of_message": "tried with the conversation",
    "mail.account.of_refusal": "tried with the conversation",
    "smtp.trace.received": "tried with the conversation",
    "mail.headers.composed": "our own text",
    "mail.message.Spool.seal_whole": "keeps what it gets",
    "handlers.handlerserver.HandlerServer.deliver": "a message that is complete",
    "handlers.standins.AskedClient.say": "a line that is complete",
    "handlers.standins.PushedLines.write": "a handler's, read by statuses.read_status",
    "nexthop.delivered.Delivered.add": "fingerprints of ours",
    "nexthop.delivered.Delivered.forget": "fingerprints of ours",
    "nexthop.delivered.Delivered.recipients": "fingerprints of ours",
    "nexthop.hopenvelope.mail_command": "what address.split_arguments has read",
    "nexthop.hopenvelope.rcpt_command": "what address.split_arguments has read",
}

#: What a public function's name begins with if it reads text, whatever its arguments are called.
_READS = ("parse", "split", "clean", "read", "decode", "encode", "canonical", "is_", "looks_")
#: Rooms in which every function that takes text counts; in the others the text is ours or the
#: administrator's as a rule, and the name decides.
_STRICT = ("mail", "content", "smtp", "dns", "lists")


def uncovered() -> list[str]:
    """Public functions that read text, and are neither tried here nor named in ELSEWHERE."""
    covered = {_name(function) for parser in PARSERS for function in parser.covers}
    return [name for name in _readers() if name not in covered and name not in ELSEWHERE]


def _readers() -> Iterator[str]:
    for room in ROOMS:
        package = importlib.import_module(f"qpsmtpd.{room}")
        for found in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{found.name}")
            yield from _readers_in(module, room in _STRICT)


def _readers_in(module: Any, strict: bool) -> Iterator[str]:
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
            continue
        if inspect.isclass(value):
            yield from map(_name, _reading_methods(value, strict))
        elif _reads(name, inspect.unwrap(value), strict):
            yield _name(value)


def _reading_methods(cls: type, strict: bool) -> Iterator[Callable[..., Any]]:
    for name, value in vars(cls).items():
        method = getattr(value, "__func__", value)
        if not inspect.isfunction(method) or name.startswith("_"):
            continue
        if _takes(method, "bytes") and (strict or name in ("feed", "data_received")):
            yield method


def _reads(name: str, function: Any, strict: bool) -> bool:
    # What takes a Connection is part of the conversation.
    if not inspect.isfunction(function) or "connection" in _parameters(function):
        return False
    return name.startswith(_READS) or (strict and _takes(function, "str", "bytes"))


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    return {k: v for k, v in inspect.get_annotations(function).items() if k != "return"}


def _takes(function: Callable[..., Any], *types: str) -> bool:
    return any(
        part.strip() in types
        for annotation in _parameters(function).values()
        for part in getattr(annotation, "__name__", str(annotation)).split("|")
    )


def _name(function: Callable[..., Any]) -> str:
    function = inspect.unwrap(function)
    module: str = function.__module__
    return f"{module.removeprefix('qpsmtpd.')}.{function.__qualname__}"


def caches() -> Sequence[Any]:
    """All functions that remember what they were asked."""
    found = {}
    for room in ROOMS:
        package = importlib.import_module(f"qpsmtpd.{room}")
        for each in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{each.name}")
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    found[id(value)] = value
    return list(found.values())
