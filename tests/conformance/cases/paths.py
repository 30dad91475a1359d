# SPDX-License-Identifier: MIT
"""The arguments of MAIL and RCPT."""

from __future__ import annotations

from tests.conformance.cases.parts import HELLO, MAIL, PLUGINS, recipients, senders, whole
from tests.conformance.dialogue import Case, Dialogue, Send, printable

_USUAL = (
    "<a@example.com>",
    " <a@example.com>",
    "<A.b-c+d@EXAMPLE.com>",
    "<a@example>",
    "<a@[192.0.2.1]>",
    "<a@[IPv6:2001:db8::1]>",
    "<@relay.example:a@example.com>",
    "<@one.example,@two.example:a@example.com>",
    '<"a b"@example.com>',
    r'<"a\"b"@example.com>',
    '<"a@b"@example.com>',
    "<!#%&*/=?^_{}~$'@example.com>",
    "<a@sub.sub.sub.example.com>",
    "<a@xn--bcher-kva.example>",
)
# The Perl version does not know the others.
_DELIVERABLE = tuple(path for path in _USUAL if path != '<"a b"@example.com>')
_ODD = (
    "a@example.com",
    "<a>",
    "<abuse>",
    "<a@>",
    "<@example.com>",
    "<a@example..com>",
    "<a@example.com.>",
    "<a@-example.com>",
    "<a@example.com->",
    "<a@exa_mple.com>",
    "<a@exa mple.com>",
    "<a b@example.com>",
    "<.a@example.com>",
    "<a.@example.com>",
    "<a..b@example.com>",
    "<a@b@example.com>",
    '<a"b@example.com>',
    '<""@example.com>',
    '<"a@example.com>',
    "<a@[300.1.1.1]>",
    "<a@[192.0.2.1>",
    "<a@[IPv6:xyz]>",
    "<a@[IPv6:1:2:3:4:5:6:7::]>",
    "<@[192.0.2.1]:a@example.com>",
    "<a@example.com",
    "a@example.com>",
    "<<a@example.com>>",
    "<a@example.com>>",
    "<a@example.com> ",
    "<a@example.com>x",
    "<a@example.com#>",
    f"<{'a' * 70}@example.com>",
    f"<a@{'b' * 70}.example.com>",
    "<a\u00e4@example.com>",
    "<\u00e4@example.com>",
    "postmaster",
    "<postmaster>",
    "<PostMaster>",
    "",
    "0",
)

CASES = (
    Case(
        "sender paths",
        {"plugins": PLUGINS},
        (
            Dialogue("usual", (HELLO, *senders(*_USUAL))),
            *(
                Dialogue(f"odd: {printable(path.encode())}", (HELLO, *senders(path)))
                for path in _ODD
            ),
            Dialogue("null", (HELLO, *senders("<>", " <>", "", "<#@[]>", "[undefined]"))),
            Dialogue(
                "parameters",
                (
                    HELLO,
                    *senders(
                        "<a@example.com> SIZE=1000",
                        "<a@example.com> BODY=8BITMIME",
                        "<a@example.com> size=1000 body=7bit",
                        "<> SIZE=1000",
                        "<a@example.com> BODY=UNKNOWN",
                        "<a@example.com> SIZE=",
                        "<a@example.com> SIZE=abc",
                        "<a@example.com> FLAG",
                        "<a@example.com> A=b=c",
                        "<a@example.com> -x",
                        "<a@example.com> x@y",
                        "<a@example.com>SIZE=1",
                        "<a@example.com> AUTH=<>",
                        "<a@example.com> RET=HDRS ENVID=x",
                    ),
                ),
            ),
            Dialogue("parameters after HELO", ("HELO c.example", *senders("<a@b.example> SIZE=1"))),
            Dialogue(
                "syntax",
                (
                    HELLO,
                    "MAIL",
                    "MAIL FROM",
                    "MAIL FROM <a@example.com>",
                    "MAIL <a@example.com>",
                    "MAIL TO:<a@example.com>",
                    "MAIL from:<a@example.com>",
                    "MAIL  FROM:<a@example.com>",
                    "MAIL FROM :<a@example.com>",
                    "MAIL FROM:\t<a@example.com>",
                ),
            ),
            *(
                whole(f"delivered: {path}", mail=f"MAIL FROM:{path}")
                for path in ("<>", *_DELIVERABLE, "<#@[]>", "")
            ),
        ),
    ),
    Case(
        "recipient paths",
        # Everybody may relay, so that only the syntax decides.
        {"plugins": ["relay", *PLUGINS], "relayclients": ["127.0.0.1"]},
        (
            Dialogue("usual", (HELLO, *recipients(*_USUAL))),
            *(
                Dialogue(f"odd: {printable(path.encode())}", (HELLO, *recipients(path)))
                for path in _ODD
            ),
            Dialogue("null", (HELLO, *recipients("<>", " <>", "<#@[]>"))),
            Dialogue(
                "parameters",
                (
                    HELLO,
                    *recipients(
                        "<a@example.com> NOTIFY=NEVER",
                        "<a@example.com> FLAG",
                        "<a@example.com> X=",
                        "<a@example.com>X=1",
                    ),
                ),
            ),
            Dialogue(
                "syntax",
                (
                    HELLO,
                    MAIL,
                    "RCPT",
                    "RCPT TO",
                    "RCPT TO <a@example.com>",
                    "RCPT <a@example.com>",
                    "RCPT FROM:<a@example.com>",
                    "RCPT to:<a@example.com>",
                    "RCPT TO :<a@example.com>",
                ),
            ),
            Dialogue(
                "octets",
                (
                    HELLO,
                    MAIL,
                    Send(b"RCPT TO:<a\0@example.com>\r\n"),
                    Send(b"RCPT TO:<a\x01@b>\r\n"),
                ),
            ),
            *(
                whole(f"delivered: {path}", f"RCPT TO:{path}")
                for path in ("<postmaster>", "<PostMaster>", *_DELIVERABLE)
            ),
        ),
    ),
)
