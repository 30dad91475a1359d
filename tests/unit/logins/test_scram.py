# SPDX-License-Identifier: MIT
"""SCRAM: the example of RFC 7677, a client of our own against it, and who is not believed."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.scram import (
    MECHANISM,
    MECHANISM_PLUS,
    Exchange,
    ScramError,
    check_binding,
    made_up,
    parse_first,
)
from qpsmtpd.logins.verifier import Verifier, make_verifier, parse_verifier
from qpsmtpd.nexthop.hopauth import Credentials, Scram
from tests.unit.logins.boundscram import Bound
from tests.unit.logins.test_verifier import EXAMPLE

FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
BOTH = "rOprNGfwEbeRWgbNEkqO" + NONCE
FINAL = f"c=biws,r={BOTH},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
SERVER_FINAL = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
PLUS = MECHANISM_PLUS
MADE = make_verifier("secret", b"salt", 4096)


def the_example() -> Exchange:
    return Exchange.begin(parse_first(FIRST), parse_verifier(EXAMPLE), NONCE)


def test_the_example_of_the_rfc() -> None:
    exchange = the_example()
    assert exchange.first.user == "user"
    assert exchange.server_first == f"r={BOTH},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    assert exchange.finish(FINAL) == SERVER_FINAL


def test_extensions_are_part_of_what_is_proven() -> None:
    first = parse_first(FIRST + b",x=more")
    exchange = Exchange.begin(first, parse_verifier(EXAMPLE), NONCE)
    assert exchange.finish(FINAL) is None
    with pytest.raises(ScramError):
        parse_first(b"n,,m=must,n=user,r=abc")  # one that must be understood (section 5.1)


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    st.sampled_from(["secret", "pässwörd", "a,b=c"]),
    st.sampled_from(["secret", "pässwörd", "a,b=c"]),
)
def test_a_client_of_our_own(user: str, password: str, other: str) -> None:
    client = Scram(Credentials(user, password), "sha256")
    verifier = make_verifier(other, b"salt", 1)
    first = parse_first(client.begin())
    exchange = Exchange.begin(first, verifier, "ours")
    final = exchange.finish(client.answer(exchange.server_first.encode()))
    assert (final is not None) == (password == other)
    if final is not None:
        assert client.answer(final.encode()) == b""
        assert client.complete


@pytest.mark.parametrize(
    ("header", "flag", "binding", "identity"),
    [
        ("n,,", "n", "", ""),
        ("y,,", "y", "", ""),
        ("n,a=other=2Cone=3D,", "n", "", "other,one="),
        ("p=tls-unique,,", "p", "tls-unique", ""),
        ("p=tls-exporter,a=me,", "p", "tls-exporter", "me"),
    ],
)
def test_headers(header: str, flag: str, binding: str, identity: str) -> None:
    first = parse_first(f"{header}n=us=2Cer=3D,r=abc".encode())
    assert (first.header, first.flag, first.binding) == (header, flag, binding)
    assert (first.identity, first.user, first.nonce) == (identity, "us,er=", "abc")
    assert first.bare == "n=us=2Cer=3D,r=abc"


@pytest.mark.parametrize(
    "message",
    [
        *(b"", b",,n=u,r=a", b"x,,n=u,r=a", b"p=,,n=u,r=a", b"p,,n=u,r=a", b"n,n=u,r=a"),
        *(b"n,,n=,r=a", b"n,,n=u,r=", b"n,,n=u=,r=a", b"n,,n=u=2c,r=a", b"n,,r=a,n=u"),
        *(b"n,,n=u\0,r=a", b"n,,n=\xff,r=a", b"n,,n=u,r=a b", b"n,a=,n=u,r=a", b"n,,n=u,r=a,"),
        b"n,,n=u,r=" + b"a" * 5000,
    ],
)
def test_what_is_no_first_message(message: bytes) -> None:
    with pytest.raises(ScramError):
        parse_first(message)


@pytest.mark.parametrize(
    ("final", "reason"),
    [
        (FINAL.replace(b"biws", b"eSws"), "channel binding"),
        (FINAL.replace(BOTH.encode(), b"rOprNGfwEbeRWgbNEkqO"), "nonce"),
        (FINAL.replace(b"r=rO", b"r=RO"), "nonce"),
        (FINAL.replace(b"biws", b"bi"), "base64"),
        (FINAL[:-1], "base64"),
        (FINAL.partition(b",p=")[0], "not one of SCRAM"),
        (b"", "not one of SCRAM"),
        (b"\xff", "UTF-8"),
    ],
)
def test_what_is_no_last_message(final: bytes, reason: str) -> None:
    with pytest.raises(ScramError, match=reason):
        the_example().finish(final)


def test_a_short_proof_proves_nothing() -> None:
    assert the_example().finish(re.sub(b"p=.*", b"p=AAAA", FINAL)) is None


# --- channel binding ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mechanism", "header", "offered", "fine"),
    [
        (MECHANISM, "n,,", True, True),
        (MECHANISM, "n,,", False, True),
        (MECHANISM, "y,,", False, True),
        (MECHANISM, "y,,", True, False),
        (MECHANISM, "p=tls-unique,,", True, False),
        (PLUS, "n,,", True, False),
        (PLUS, "y,,", True, False),
        (PLUS, "p=tls-unique,,", True, True),
        (PLUS, "p=tls-exporter,,", True, False),
        (PLUS, "p=tls-server-end-point,,", True, False),
    ],
)
def test_who_is_deceived(mechanism: str, header: str, offered: bool, fine: bool) -> None:
    first = parse_first(f"{header}n=user,r=abc".encode())
    try:
        check_binding(first, mechanism, offered=offered)
    except ScramError:
        assert not fine
    else:
        assert fine


def bound(channel: bytes) -> str | None:
    """What a client gets at the end that sees this channel, where ours is b"ours"."""
    client = Bound(channel)
    exchange = Exchange.begin(parse_first(client.begin()), MADE, "ours", b"ours")
    return exchange.finish(client.answer(exchange.server_first.encode()))


def test_another_channel_is_noticed() -> None:
    assert bound(b"ours")
    with pytest.raises(ScramError, match="channel binding"):
        bound(b"theirs")


def test_who_wants_no_channel_has_none() -> None:
    exchange = Exchange.begin(parse_first(FIRST), MADE, "ours", b"ours")
    assert exchange.channel == b""


# --- who does not exist ---------------------------------------------------------------------


def test_made_up_verifiers_stay_the_same() -> None:
    one = made_up(b"secret", "nobody", 4096, 16)
    assert one == made_up(b"secret", "nobody", 4096, 16)
    assert len(one.salt) == 16
    assert one.salt != made_up(b"secret", "somebody", 4096, 16).salt
    assert one.salt != made_up(b"another", "nobody", 4096, 16).salt


@given(st.binary(max_size=60), st.binary(max_size=120))
def test_nothing_proves_to_be_nobody(first: bytes, final: bytes) -> None:
    verifier: Verifier = made_up(b"secret", "nobody", 4096, 16)
    with suppress(ScramError):
        exchange = Exchange.begin(parse_first(b"n,,n=u,r=" + first), verifier, "ours")
        assert exchange.finish(final) is None
