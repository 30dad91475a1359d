# SPDX-License-Identifier: MIT
"""What concerns the connection: HELO names, patience, refused clients, useless commands."""

from __future__ import annotations

from qpsmtpd.testing import Records, dns_failure
from tests.conformance.cases.parts import HELLO, MAIL, PLUGINS, RCPT, a_mail, senders
from tests.conformance.dialogue import Case, Dialogue, Send

_HELO_DNS = {
    ("A", "client.example.test"): ["127.0.0.2"],
    ("PTR", "127.0.0.2"): ["client.example.test"],
    ("A", "elsewhere.example"): ["192.0.2.1"],
    ("PTR", "127.0.0.6"): ["mail.bank.example"],
    ("A", "mail.bank.example"): ["192.0.2.1"],
}
# 127.0.0.2 and 127.0.0.3 are listed; nobody knows of 127.0.0.5.
_DNSBL: Records = {
    ("TXT", "2.0.0.127.bl.test"): ["spam"],
    ("A", "2.0.0.127.bl.test"): ["127.0.0.2"],
    ("TXT", "3.0.0.127.bl.test"): ["spam"],
    ("A", "3.0.0.127.bl.test"): ["127.0.0.2"],
    ("TXT", "5.0.0.127.bl.test"): dns_failure(),
    ("A", "5.0.0.127.bl.test"): dns_failure(),
}


def _helo(name: str, *names: str, client: str = "127.0.0.2", **files: list[str]) -> Case:
    dialogues = tuple(
        Dialogue(f"{verb} {host}", (f"{verb} {host}", MAIL), client=client)
        for host in names
        for verb in ("EHLO", "HELO")[: 1 if len(names) > 4 else 2]
    )
    return Case(f"helo {name}", {"plugins": ["helo", *PLUGINS], **files}, dialogues, dns=_HELO_DNS)


CASES = (
    _helo(
        "badhelo",
        "bad.example",
        "BAD.example",
        "sub.bad.example",
        "re1.example",
        "localhost",
        "[127.0.0.2]",
        "[192.0.2.1]",
        "127.0.0.2",
        "192.0.2.1",
        "client.example.test",
        "name",
        badhelo=["bad.example", r"^re\d\.example$"],
    ),
    _helo(
        "spellings",
        "BAD.example.",
        "localhost.",
        "127.0.0.2.",
        "127.1",
        "[0127.0.0.2]",
        "[127.1]",
        "[192.168.1.5]",
        badhelo=["bad.example"],
    ),
    _helo("of this machine", "localhost", client="127.0.0.1"),
    _helo("negated", "nodots", "has.dots", badhelo=[r"!\."]),
    *(
        _helo(
            policy,
            "client.example.test",
            "elsewhere.example",
            "nowhere.example",
            "name",
            "[127.0.0.2]",
            "na_me.example",
            plugins=[f"helo policy {policy}", *PLUGINS],
        )
        for policy in ("lenient", "rfc", "strict")
    ),
    _helo(
        "strict, a name that another has",
        "mail.bank.example",
        client="127.0.0.6",
        plugins=["helo policy strict", *PLUGINS],
    ),
    _helo("reject 0", "bad.example", badhelo=["bad.example"], plugins=["helo reject 0", *PLUGINS]),
    *(
        Case(
            f"earlytalker {arguments}",
            {"plugins": [f"earlytalker {arguments}", *PLUGINS]},
            (
                Dialogue("early", (*senders("<a@example.com>"), RCPT), early=b"EHLO c.example\r\n"),
                *((Dialogue("patient", (HELLO, *a_mail())),) if arguments == "wait 1" else ()),
            ),
        )
        for arguments in (
            "wait 1",
            "wait 1 action log",
            "wait 1 action deny",
            "wait 1 action denysoft",
            "wait 1 reject_type temp",
            "wait 1 defer-reject 1",
            "wait 1 defer-reject 1 reject_type perm",
        )
    ),
    Case(
        "earlytalker check-at DATA",
        {"plugins": ["earlytalker wait 1 check-at DATA", *PLUGINS]},
        (
            Dialogue("patient", (HELLO, *a_mail())),
            Dialogue(
                "early",
                (
                    HELLO,
                    MAIL,
                    RCPT,
                    Send(b"DATA\r\nSubject: a\r\n\r\n.\r\n", 2, label="DATA and message"),
                ),
            ),
        ),
    ),
    *(
        Case(
            f"count_unrecognized_commands {number}".strip(),
            {"plugins": [f"count_unrecognized_commands {number}".strip(), *PLUGINS]},
            (
                Dialogue("in a row", ("A", "B", "C", "D", "E", "F")),
                Dialogue("others between", (HELLO, "A", MAIL, "B", "RSET", "C", "D", "E")),
            ),
        )
        for number in ("", "2")
    ),
    Case(
        "noop_counter",
        {"plugins": ["noop_counter", *PLUGINS]},
        (
            Dialogue("in a row", ("NOOP", "NOOP", "NOOP", "NOOP")),
            *(
                Dialogue(f"{command} between", ("NOOP", "NOOP", command, "NOOP", "NOOP"))
                for command in (
                    HELLO.replace("EHLO", "HELO"),
                    MAIL,
                    "RSET",
                    "VRFY x",
                    "HELP",
                    "WHAT",
                )
            ),
        ),
    ),
    Case(
        "noop_counter 5",
        {"plugins": ["noop_counter 5", *PLUGINS]},
        (Dialogue("in a row", ["NOOP"] * 6),),
    ),
    Case(
        "hosts_allow",
        {
            "plugins": ["hosts_allow", *PLUGINS],
            "hosts_allow": [
                "127.0.0.2 DENY go away",
                "127.0.0.3 DENYSOFT later",
                "127.0.1.0/24 DENY_DISCONNECT",
                "127.0.1.0/25 OK",
                "127.0.2.0/24 OK",
                "127.0.2.4 DENY",
                "127.0.3.0/24 DECLINED",
            ],
        },
        tuple(
            Dialogue(f"from {client}", (HELLO,), client=client)
            for client in (
                "127.0.0.1",
                "127.0.0.2",
                "127.0.0.3",
                "127.0.1.1",
                "127.0.2.4",
                "127.0.3.1",
            )
        ),
    ),
    *(
        Case(
            f"dnsbl {arguments}",
            {
                "plugins": ["relay", f"dnsbl {arguments}", *PLUGINS],
                "dnsbl_zones": ["bl.test"],
                "relayclients": ["127.0.0.3"],
            },
            tuple(
                Dialogue(f"from 127.0.0.{number}", (HELLO, MAIL), client=f"127.0.0.{number}")
                for number in (2, 3, 5)
            ),
            dns=_DNSBL,
        )
        for arguments in ("reject_type temp", "disconnect", "reject 0")
    ),
    Case("help", {"plugins": ["help not_implemented 1", *PLUGINS]}, (Dialogue("HELP", ("HELP",)),)),
    Case(
        "dnsbl",
        {
            "plugins": ["dnsbl", *PLUGINS],
            "dnsbl_zones": ["text.test", "address.test:listed %IP%"],
            "dnsbl_allow": ["127.0.0.4"],
        },
        tuple(
            Dialogue(f"from 127.0.0.{number}", (HELLO, *a_mail()), client=f"127.0.0.{number}")
            for number in (1, 2, 3, 4)
        ),
        dns={
            ("TXT", "2.0.0.127.text.test"): ["spam"],
            ("A", "2.0.0.127.text.test"): ["127.0.0.2"],
            ("A", "3.0.0.127.address.test"): ["127.0.0.2"],
            ("A", "4.0.0.127.address.test"): ["127.0.0.2"],
        },
    ),
)
