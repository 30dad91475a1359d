# SPDX-License-Identifier: MIT
"""What handlers are shown is what aiosmtpd would show them."""

from __future__ import annotations

import pytest

from qpsmtpd.api import Endpoint, TlsInfo
from qpsmtpd.handlers.facts import EnvelopeView, SessionView, options_of, socket_name, view_of
from qpsmtpd.testing import a_session, a_transaction


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        (Endpoint("192.0.2.1", 25), ("192.0.2.1", 25)),
        (Endpoint("2001:db8::1", 25), ("2001:db8::1", 25, 0, 0)),
    ],
)
def test_socket_name(endpoint: Endpoint, name: tuple[object, ...]) -> None:
    assert socket_name(endpoint) == name


def test_a_new_session() -> None:
    assert view_of(a_session()) == SessionView(
        peer=("192.0.2.1", 40000),
        local=("198.51.100.25", 25),
        proxy=None,
        host_name=None,
        extended_smtp=False,
        ssl=None,
        user="",
        envelope=None,
    )


def test_a_session_that_went_on() -> None:
    session = a_session(ehlo="client.example")
    session.proxy = Endpoint("203.0.113.9", 4)
    session.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    session.auth_user = "user"
    view = view_of(session)
    assert (view.host_name, view.extended_smtp, view.user) == ("client.example", True, "user")
    assert view.proxy == ("203.0.113.9", 4)
    assert view.ssl is not None
    assert view.ssl["cipher"] == ("TLS_AES_256_GCM_SHA384", "TLSv1.3", None)
    assert view.ssl["peername"] == ("192.0.2.1", 40000)
    assert view_of(a_session(helo="client.example")).extended_smtp is False


def test_a_transaction() -> None:
    tx = a_transaction("a@b.test", "c@d.test", "e@f.test", parameters={"SIZE": "9", "X": None})
    tx.recipients[1].parameters["NOTIFY"] = "NEVER"
    assert view_of(tx.session).envelope == EnvelopeView(
        id=tx.id,
        mail_from="a@b.test",
        mail_options=("SIZE=9", "X"),
        smtp_utf8=False,
        rcpt_tos=("c@d.test", "e@f.test"),
        rcpt_options=("NOTIFY=NEVER",),
    )


def test_the_null_path_and_smtputf8() -> None:
    tx = a_transaction("", parameters={"SMTPUTF8": None})
    envelope = view_of(tx.session).envelope
    assert envelope is not None
    assert (envelope.mail_from, envelope.smtp_utf8) == ("<>", True)


def test_options_keep_their_case_where_it_counts() -> None:
    parameters = {"BODY": "8bitmime", "ENVID": "AbC", "SMTPUTF8": None}
    assert options_of(parameters) == ("BODY=8BITMIME", "ENVID=AbC", "SMTPUTF8")
