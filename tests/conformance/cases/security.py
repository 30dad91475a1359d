# SPDX-License-Identifier: MIT
"""Log-in and TLS."""

from __future__ import annotations

import base64
import hmac
from functools import partial

import trustme

from tests.conformance.cases.parts import HELLO, MAIL, PLUGINS, RCPT, a_mail
from tests.conformance.dialogue import Case, Dialogue, Keywords, Respond, Send, StartTls

_FLAT_FILE = {
    "plugins": ["auth/auth_flat_file", *PLUGINS],
    "flat_auth_pw": ["good@example.test:good:pass", "upper@example.test:Pass"],
    "auth_failure_pause": ["0"],
}
_ELSEWHERE = (MAIL, "RCPT TO:<user@elsewhere.example>")
# The bugs of the Perl version include no reply at all.
_PATIENCE = 2.0


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _plain(user: str, password: str, authzid: str = "") -> str:
    return "AUTH PLAIN " + _b64("\0".join((authzid, user, password)))


def _digest(user: str, password: str, challenge: str) -> str:
    ticket = base64.b64decode(challenge.split()[1])
    return _b64(f"{user} {hmac.new(password.encode(), ticket, 'md5').hexdigest()}")


def _login(name: str, user: str, password: str) -> Dialogue:
    return Dialogue(f"LOGIN {name}", (HELLO, "AUTH LOGIN", _b64(user), _b64(password), *_ELSEWHERE))


def _cram(name: str, user: str, password: str) -> Dialogue:
    respond = Respond(partial(_digest, user, password), "the digest")
    return Dialogue(f"CRAM-MD5 {name}", (HELLO, "AUTH CRAM-MD5", respond, *_ELSEWHERE))


def _unanswered(line: str) -> Send:
    return Send(f"{line}\r\n".encode(), timeout=_PATIENCE)


_AUTH = Case(
    "auth_flat_file",
    _FLAT_FILE,
    (
        Dialogue("keywords", (HELLO, Keywords())),
        Dialogue("PLAIN right", (HELLO, _plain("good@example.test", "good:pass"), *_ELSEWHERE)),
        Dialogue("PLAIN wrong", (HELLO, _plain("good@example.test", "x"), *_ELSEWHERE)),
        Dialogue("PLAIN unknown", (HELLO, _plain("bad@example.test", "x"))),
        Dialogue("PLAIN no domain", (HELLO, _plain("good", "good:pass"))),
        Dialogue("PLAIN upper case", (HELLO, _plain("GOOD@EXAMPLE.TEST", "good:pass"))),
        Dialogue("PLAIN case of the password", (HELLO, _plain("upper@example.test", "pass"))),
        Dialogue(
            "PLAIN authzid same",
            (HELLO, _plain("good@example.test", "good:pass", "good@example.test")),
        ),
        Dialogue("PLAIN authzid other", (HELLO, _plain("good@example.test", "good:pass", "x@y"))),
        Dialogue("PLAIN no user", (HELLO, _plain("", "good:pass"))),
        Dialogue("PLAIN no password", (HELLO, _unanswered(_plain("good@example.test", "")))),
        Dialogue("PLAIN no base64", (HELLO, _unanswered("AUTH PLAIN %%%"))),
        Dialogue(
            "PLAIN asked",
            (HELLO, "AUTH PLAIN", _plain("good@example.test", "good:pass").split()[2], *_ELSEWHERE),
        ),
        Dialogue("PLAIN cancelled", (HELLO, "AUTH PLAIN", _unanswered("*"))),
        _login("right", "good@example.test", "good:pass"),
        _login("wrong", "good@example.test", "x"),
        Dialogue(
            "LOGIN initial", (HELLO, f"AUTH LOGIN {_b64('good@example.test')}", _b64("good:pass"))
        ),
        Dialogue("LOGIN cancelled", (HELLO, "AUTH LOGIN", _unanswered("*"))),
        _cram("right", "good@example.test", "good:pass"),
        _cram("wrong", "good@example.test", "x"),
        _cram("unknown", "bad@example.test", "x"),
        Dialogue("CRAM-MD5 cancelled", (HELLO, "AUTH CRAM-MD5", "*")),
        Dialogue("unknown mechanism", (HELLO, "AUTH GSSAPI", "AUTH")),
        Dialogue("before EHLO", ("AUTH PLAIN AGEAYg==",)),
        Dialogue("after HELO", ("HELO client.example", "AUTH PLAIN AGEAYg==")),
        Dialogue("twice", (HELLO, *[_plain("good@example.test", "good:pass")] * 2)),
        Dialogue(
            "lower case",
            (HELLO, _plain("good@example.test", "good:pass").replace("AUTH PLAIN", "auth plain")),
        ),
        Dialogue(
            "within a transaction",
            (HELLO, MAIL, RCPT, _plain("good@example.test", "good:pass"), RCPT),
        ),
        Dialogue("again and again", (HELLO, *[_plain("good@example.test", "x")] * 5)),
        Dialogue("and delivery", (HELLO, _plain("good@example.test", "good:pass"), *a_mail())),
    ),
)


def _certificate() -> list[str]:
    issued = trustme.CA().issue_cert("mx.example")
    pems = (issued.private_key_pem, *issued.cert_chain_pems)
    return "".join(pem.bytes().decode() for pem in pems).splitlines()


_PEM = "@CONFIG@/server.pem"
_TLS = {
    "plugins": [f"tls {_PEM} {_PEM} {_PEM}", "auth/auth_flat_file", *PLUGINS],
    "server.pem": _certificate(),
    "flat_auth_pw": _FLAT_FILE["flat_auth_pw"],
    "auth_failure_pause": ["0"],
    "tls_before_auth": ["0"],
}

_IN_TLS = (HELLO, "STARTTLS", StartTls())

CASES = (
    _AUTH,
    Case(
        "auth before TLS",
        {**_TLS, "tls_before_auth": ["1"]},
        (
            Dialogue("keywords", (HELLO, Keywords())),
            Dialogue("AUTH", (HELLO, _plain("good@example.test", "good:pass"))),
            Dialogue("in TLS", (*_IN_TLS, HELLO, Keywords(), _plain("good@example.test", "x"))),
        ),
    ),
    Case(
        "tls",
        _TLS,
        (
            Dialogue("keywords", (HELLO, Keywords())),
            Dialogue("not used", (HELLO, *a_mail())),
            Dialogue("argument", (HELLO, "STARTTLS x")),
            Dialogue("used", (*_IN_TLS, HELLO, Keywords(), *a_mail())),
            Dialogue("hello forgotten", (*_IN_TLS, MAIL)),
            Dialogue("started again", (*_IN_TLS, HELLO, "STARTTLS")),
            Dialogue(
                "log-in",
                (*_IN_TLS, HELLO, _plain("good@example.test", "good:pass"), *_ELSEWHERE),
            ),
            Dialogue("before EHLO", ("STARTTLS",)),
            Dialogue("injection", (HELLO, Send(b"STARTTLS\r\nNOOP\r\n"), StartTls())),
            Dialogue("after MAIL", (HELLO, MAIL, "STARTTLS")),
        ),
    ),
)
