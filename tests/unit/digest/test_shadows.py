# SPDX-License-Identifier: MIT

import pytest

from qpsmtpd.digest import shadows
from tests.unit.decisions.examples import a_decision
from tests.unit.digest.examples import accepted, put_off, said, shadow_with


async def test_what_would_have_been_refused() -> None:
    shadow = await shadow_with(
        accepted(1, trail=(said(), said(reason="again"))),
        accepted(2, trail=(said("tag", hook="data_post", plugin="rspamd"),)),
        accepted(3, trail=(said("tolerated", verdict="defer"),)),
        accepted(4, trail=(said("decided"), said(verdict="accept"), said("fault"))),
        a_decision(5, trail=(said(),)),
    )
    assert (shadow.decisions, shadow.accepted) == (5, 4)
    found = {each[:3]: (each.accepted, each.anyway) for each in shadow.objections}
    assert found == {
        ("dnsbl", "rcpt", "shadow"): (1, 1),
        ("rspamd", "data_post", "tag"): (1, 0),
        ("dnsbl", "rcpt", "tolerated"): (1, 0),
    }
    assert shadow.objections[0].examples[0].reason == "again"


async def test_what_speaks_for_a_message() -> None:
    looked = said("passed", hook="data_post", plugin="rspamd", verdict="")
    shadow = await shadow_with(
        *(accepted(n) for n in range(3)),
        accepted(10, trail=(said(),)),
        accepted(11, trail=(said(),), sender="other@x.example", user="anna"),
        accepted(12, trail=(said(), looked), sender="third@x.example", ip="198.51.100.1"),
        accepted(13, trail=(said(),), sender="", user=""),
    )
    [objection] = shadow.objections
    assert (objection.accepted, objection.hinted) == (4, 3)
    assert dict(objection.hints) == {"known": 1, "logged in": 1, "looked at": 1}
    assert [each.hints for each in objection.examples] == [
        ("looked at",),
        ("logged in",),
        ("known",),
        (),
    ]
    assert objection.examples[0].others == ("rspamd",)


@pytest.mark.parametrize(
    ("results", "hints"),
    [
        ("spf=pass dmarc=pass", ("DMARC passed",)),
        ("allowlist=client", ("allowlisted",)),
        ("allowlist=sender karma=3 dmarc=pass", ("DMARC passed", "allowlisted", "good karma")),
        ("karma=-3 spf=pass dkim=pass dmarc=fail", ()),
    ],
)
async def test_what_was_found_speaks_for_a_message(results: str, hints: tuple[str, ...]) -> None:
    shadow = await shadow_with(accepted(1, trail=(said(),), results=results))
    assert [each.hints for each in shadow.objections[0].examples] == [hints]


async def test_who_came_back_after_a_deferral() -> None:
    late = {"sender": "late@x.example", "trail": (said(),)}
    shadow = await shadow_with(
        put_off(1, about="late@x.example"),
        accepted(600, **late),
        accepted(601, **late, ip="198.51.100.1"),
    )
    assert [each.hints for each in shadow.objections[0].examples] == [("came back",), ()]


async def test_who_objects_does_not_speak_for_it() -> None:
    mine = said("passed", hook="data_post", plugin="dnsbl", verdict="")
    shadow = await shadow_with(accepted(1, trail=(said(), mine)))
    assert shadow.objections[0].hinted == 0


async def test_senders_are_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shadows, "MOST_SENDERS", 1)
    shadow = await shadow_with(
        *(accepted(n) for n in range(3)),
        accepted(5, sender="other@x.example"),
        accepted(10, trail=(said(),)),
    )
    assert shadow.objections[0].hinted == 0


async def test_examples_are_the_last_ones() -> None:
    shadow = await shadow_with(*(accepted(n, trail=(said(),), id=f"A.B.{n}.1") for n in range(9)))
    assert [each.id for each in shadow.objections[0].examples] == [f"A.B.{n}.1" for n in (8, 7, 6)]
