# SPDX-License-Identifier: MIT
"""check_host(): mechanisms, modifiers, limits, explanations, and a DNS that fails (RFC 7208)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from qpsmtpd.mail.ip import parse_ip
from qpsmtpd.mailauth.spf import SpfQuery, SpfResult, check_host
from qpsmtpd.testing import FakeClock, FakeResolver, Records, dns_failure

FOUR, SIX = "192.0.2.1", "2001:db8::1"

HOSTS: dict[tuple[str, str], Any] = {
    ("A", "four.test"): [FOUR],
    ("AAAA", "six.test"): [SIX],
    ("A", "near.test"): ["192.0.2.200"],
    ("AAAA", "near.test"): ["2001:db8::ffff"],
    ("MX", "mx.test"): [(10, "four.test"), (20, "six.test")],
    ("MX", "null.test"): [(0, "")],
    ("MX", "ten.test"): [(number, "near.test") for number in range(10)],
    ("MX", "eleven.test"): [(number, "four.test") for number in range(11)],
    ("PTR", FOUR): ["forged.test", "Four.test"],
    ("A", "forged.test"): ["192.0.2.99"],
    ("PTR", SIX): ["six.test"],
    ("A", "failing.test"): dns_failure(),
    ("AAAA", "failing.test"): dns_failure(),
    ("TXT", "failing.test"): dns_failure(),
    ("MX", "failing.test"): dns_failure(),
    ("TXT", "pass.test"): ["v=spf1 +all"],
    ("TXT", "fail.test"): ["v=spf1 -all"],
    ("TXT", "softfail.test"): ["v=spf1 ~all"],
    ("TXT", "neutral.test"): ["v=spf1 ?all"],
    ("TXT", "wrong.test"): ["v=spf1 +all foo"],
    ("TXT", "other.test"): ["nothing of interest"],
}


async def check(
    record: str | list[str],
    client: str = FOUR,
    *,
    dns: Records | None = None,
    resolver: FakeResolver | None = None,
    domain: str = "a.test",
    **query: Any,
) -> SpfResult:
    """The result for a domain with this record."""
    texts = [record] if isinstance(record, str) else record
    resolver = resolver or FakeResolver({**HOSTS, ("TXT", domain): texts, **(dns or {})})
    return await check_host(SpfQuery(parse_ip(client), domain, **query), resolver, FakeClock())


@pytest.mark.parametrize(
    ("terms", "client", "result"),
    [
        ("", FOUR, "neutral"),
        ("all", FOUR, "pass"),
        ("~all", FOUR, "softfail"),
        ("ip4:192.0.2.0/24 -all", FOUR, "pass"),
        ("ip4:192.0.2.0/24 -all", "192.0.3.1", "fail"),
        ("ip4:192.0.2.0/24 -all", "::ffff:192.0.2.9", "pass"),
        ("ip4:0.0.0.0/0 -all", SIX, "fail"),
        ("ip6:2001:db8::/32 -all", SIX, "pass"),
        ("ip6:::/0 -all", FOUR, "fail"),
        ("ip6:::ffff:192.0.2.1 -all", FOUR, "fail"),
        ("a:four.test -all", FOUR, "pass"),
        ("a:four.test -all", SIX, "fail"),
        ("a:six.test -all", SIX, "pass"),
        ("a:near.test -all", FOUR, "fail"),
        ("a:near.test/24 -all", FOUR, "pass"),
        ("a:near.test/24 -all", SIX, "fail"),
        ("a:near.test//112 -all", SIX, "pass"),
        ("a:near.test//112 -all", FOUR, "fail"),
        ("a:near.test/0 -all", "203.0.113.1", "pass"),
        ("mx:mx.test -all", FOUR, "pass"),
        ("mx:mx.test -all", SIX, "pass"),
        ("mx:mx.test -all", "192.0.2.7", "fail"),
        ("mx:mx.test/24 -all", "192.0.2.7", "pass"),
        ("mx:null.test -all", FOUR, "fail"),
        ("mx:four.test -all", FOUR, "fail"),  # the address of a domain is no implicit MX
        ("mx:ten.test/24 -all", FOUR, "pass"),
        ("mx:eleven.test -all", FOUR, "permerror"),
        ("exists:four.test -all", SIX, "pass"),  # always A
        ("exists:six.test -all", SIX, "fail"),
        ("exists:%{ir}.list.test -all", FOUR, "pass"),
        ("ptr:test -all", FOUR, "permerror"),  # a domain-spec has two labels
        ("ptr:four.test -all", FOUR, "pass"),
        ("ptr:forged.test -all", FOUR, "fail"),
        ("ptr:SIX.test -all", SIX, "pass"),
        ("ptr:x.four.test -all", FOUR, "fail"),
        ("include:pass.test -all", FOUR, "pass"),
        ("-include:pass.test", FOUR, "fail"),
        ("include:fail.test", FOUR, "neutral"),
        ("include:softfail.test ~all", FOUR, "softfail"),
        ("include:neutral.test -all", FOUR, "fail"),
        ("include:wrong.test all", FOUR, "permerror"),
        ("include:failing.test all", FOUR, "temperror"),
        ("include:other.test all", FOUR, "permerror"),
        ("include:absent.test all", FOUR, "permerror"),
        ("include:x..test all", FOUR, "permerror"),
        ("redirect=fail.test", FOUR, "fail"),
        ("redirect=fail.test ip4:192.0.2.1", FOUR, "pass"),
        ("redirect=fail.test ?all", FOUR, "neutral"),
        ("redirect=other.test", FOUR, "permerror"),
        ("redirect=x..test", FOUR, "permerror"),
        ("redirect=wrong.test", FOUR, "permerror"),
        ("redirect=failing.test", FOUR, "temperror"),
        ("a:failing.test all", FOUR, "temperror"),
        ("mx:failing.test all", FOUR, "temperror"),
        ("exists:failing.test all", FOUR, "temperror"),
        ("a:x..test -all", FOUR, "fail"),
        (f"a:{'x' * 64}.test -all", FOUR, "fail"),
        ("all foo", FOUR, "permerror"),
        ("unknown=%{d} all", FOUR, "pass"),
        ("x=1 x=2 all", FOUR, "pass"),
    ],
)
async def test_results(terms: str, client: str, result: str) -> None:
    dns = {("A", "1.2.0.192.list.test"): ["127.0.0.2"]}
    assert (await check(f"v=spf1 {terms}", client, dns=dns)).result == result


@pytest.mark.parametrize(
    ("records", "result"),
    [
        ([], "none"),
        (["v=spf10 +all", "spf"], "none"),
        (["v=spf1 +all", "other", "\ufffd"], "pass"),
        (["v=spf1 +all", "V=SPF1 -all"], "permerror"),
        (["v=spf1 a:\ufffd.test +all"], "permerror"),
    ],
)
async def test_records(records: list[str], result: str) -> None:
    assert (await check(records)).result == result


@pytest.mark.parametrize(
    "domain", ["[192.0.2.1]", "192.0.2.1", "localhost", "", "a..test", f"{'x' * 64}.test", "é.test"]
)
async def test_nobody_is_asked_about_what_is_not_a_domain(domain: str) -> None:
    dns = FakeResolver({("TXT", domain): ["v=spf1 +all"]})
    assert (await check("", resolver=dns, domain=domain)).result == "none"
    assert dns.asked == []


async def test_what_a_result_says() -> None:
    dns = {("TXT", "b.test"): ["v=spf1 a:near.test ip4:192.0.2.1"]}
    result = await check("v=spf1 include:b.test -all", dns=dns, identity="helo")
    assert result == SpfResult("pass", "helo", "a.test", mechanism="include:b.test", lookups=2)
    assert (await check("v=spf1")).mechanism == "default"
    assert (await check("v=spf1 redirect=fail.test")).mechanism == "-all"
    assert "'foo'" in (await check("v=spf1 foo")).problem
    assert (await check("v=spf1 a:failing.test")).problem == "SERVFAIL"


# --- limits -------------------------------------------------------------------------------------


async def test_ten_terms_may_ask_the_dns() -> None:
    ten = "v=spf1" + " a:near.test" * 9
    assert (await check(f"{ten} include:pass.test")).result == "pass"
    result = await check(f"{ten} include:fail.test a:four.test")
    assert (result.result, result.lookups) == ("permerror", 11)
    assert (await check(f"{ten} a:near.test redirect=pass.test")).result == "permerror"
    assert (await check(f"{ten} a:near.test all redirect=pass.test")).result == "pass"
    assert (await check("v=spf1" + " ip4:10.0.0.0/8" * 100 + " -all")).result == "fail"


@pytest.mark.parametrize("term", ["include:a.test", "redirect=a.test"])
async def test_a_record_that_leads_to_itself(term: str) -> None:
    result = await check(f"v=spf1 {term}")
    assert (result.result, result.lookups) == ("permerror", 11)


async def test_a_tree_that_fans_out_is_cut_off() -> None:
    """Each record includes ten others."""

    class Tree(FakeResolver):
        async def txt_of(self, name: str) -> list[str]:
            return ["v=spf1 " + " ".join(f"?include:{n}.{name}" for n in range(10))]

        async def look_up(self, kind: Any, name: str) -> Any:
            self.records[kind, name] = await self.txt_of(name)
            return await super().look_up(kind, name)

    tree = Tree()
    assert (await check("", resolver=tree)).result == "permerror"
    assert len(tree.asked) == 11


@pytest.mark.parametrize(
    ("terms", "result"),
    [
        ("a:no.test exists:no.test all", "pass"),
        ("a:no.test exists:no.test a:other.test all", "permerror"),
        ("mx:no.test mx:other.test mx:no.test all", "permerror"),
        ("mx:voids.test all", "permerror"),
        ("ptr a:no.test a:no.test all", "permerror"),
        # Names that cannot be asked about are not look-ups.
        ("a:x..test a:x..test a:x..test all", "pass"),
        ("mx:odd.test all", "pass"),
    ],
)
async def test_two_lookups_may_find_nothing(terms: str, result: str) -> None:
    dns = {
        ("MX", "voids.test"): [(number, f"no{number}.test") for number in range(3)],
        ("MX", "odd.test"): [(number, "") for number in range(3)],
    }
    assert (await check(f"v=spf1 {terms}", "192.0.2.77", dns=dns)).result == result


async def test_ten_names_of_a_client_count() -> None:
    names = [f"n{number}.test" for number in range(12)]
    dns: Records = {("PTR", FOUR): names, **{("A", name): [FOUR] for name in names}}
    resolver = FakeResolver({**dns, ("TXT", "a.test"): ["v=spf1 ptr:n9.test -all"]})
    assert (await check("", resolver=resolver)).result == "pass"
    assert [name for kind, name in resolver.asked if kind == "A"] == names[:10]
    assert (await check("v=spf1 ptr:n10.test -all", dns=dns)).result == "fail"


async def test_a_failure_at_the_names_of_a_client_is_no_match() -> None:
    assert (await check("v=spf1 ptr -all", dns={("PTR", FOUR): dns_failure()})).result == "fail"
    dns: Records = {("PTR", FOUR): ["failing.test", "four.test"]}
    assert (await check("v=spf1 ptr:four.test -all", dns=dns)).result == "pass"


@pytest.mark.parametrize(
    ("terms", "questions"), [("a:near.test a:near.test", 2), ("ptr", 1), ("ptr", 2)]
)
async def test_a_spent_budget_is_temporary(terms: str, questions: int) -> None:
    dns: Records = {
        **HOSTS,
        ("TXT", "a.test"): [f"v=spf1 {terms} -all"],
        ("PTR", "1.2.0.192.in-addr.arpa"): ["four.test"],
    }
    query = SpfQuery(parse_ip(FOUR), "a.test")
    result = await check_host(query, FakeResolver(dns).limited(questions=questions))
    assert result.result == "temperror"
    assert "limited" in result.problem


async def test_silence_is_temporary() -> None:
    query = SpfQuery(parse_ip(FOUR), "a.test")
    result = await check_host(query, FakeResolver(silent=True).limited(seconds=0.01))
    assert (result.result, result.problem) == (
        "temperror",
        "no more look-ups: they have taken too long",
    )


async def test_the_domain_failing_is_temporary() -> None:
    assert (
        await check("", domain="failing.test", resolver=FakeResolver(HOSTS))
    ).result == "temperror"


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1" + " ip4:10.1.2.3" * 1300,
        "v=spf1 exists:" + "%{S}" * 4000 + ".test",
        "v=spf1 exists:" + "%{S}" * 64 + ".test" + " ?all" * 2000,
        "v=spf1 a" + "/1" * 8000,
        "v=spf1 a:" + "." * 16000,
        "v=spf1 " + "%{d" * 5000,
        "v=spf1 exists:%{d" + "1" * 16000,
        "v=spf1 a//" + "1" * 16000 + "x",
        "v=spf1 x=" + "-" * 16000 + "\x01",
        "v=spf1" + " " * 16000 + "foo",
    ],
)
async def test_long_records_cost_little(record: str) -> None:
    began = time.process_time()
    result = await check(record, local_part="é" * 250)
    assert result.result in ("permerror", "neutral")
    assert time.process_time() - began < 0.5  # they take less than 10 ms, quadratic ones seconds


# --- macros -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "spec", "name"),
    [
        (FOUR, "%{l}.%{o}.%{d}", "me.a.test.a.test"),
        (FOUR, "%{ir}.%{v}.%{h}", "1.2.0.192.in-addr.client.test"),
        (SIX, "%{i2}.%{v}.%{d}", "0.1.ip6.a.test"),
        (SIX, "%{i6r}.%{d}", "D.0.1.0.0.2.a.test"),
        (FOUR, "%{p}.%{d}", "Four.test.a.test"),
        ("192.0.2.77", "%{p}.%{d}", "unknown.a.test"),
    ],
)
async def test_macros(client: str, spec: str, name: str) -> None:
    resolver = FakeResolver({**HOSTS, ("TXT", "a.test"): [f"v=spf1 exists:{spec} -all"]})
    await check("", client, resolver=resolver, local_part="me", hello="client.test")
    assert resolver.asked[-1] == ("A", name)


@pytest.mark.parametrize(
    ("domain", "name"), [("z.test", "z.test"), ("y.test", "x.y.test"), ("w.test", "x.y.test")]
)
async def test_the_best_name_of_a_client(domain: str, name: str) -> None:
    names = ["x.y.test", "z.test"]
    dns: Records = {
        ("PTR", FOUR): names,
        **{("A", name): [FOUR] for name in names},
        ("TXT", domain): ["v=spf1 exists:%{p}.list.test"],
    }
    resolver = FakeResolver(dns)
    await check("", domain=domain, resolver=resolver)
    assert resolver.asked[-1] == ("A", f"{name}.list.test")


async def test_without_a_local_part_it_is_postmaster() -> None:
    resolver = FakeResolver({("TXT", "a.test"): ["v=spf1 exists:%{l}.list.test"]})
    await check("", resolver=resolver)
    assert resolver.asked[-1] == ("A", "postmaster.list.test")


@pytest.mark.parametrize(
    ("terms", "result"),
    [
        ("exists:%{l}.test -all", "fail"),
        ("include:%{l}.test all", "permerror"),
        ("redirect=%{l}.test", "permerror"),
        ("-all exp=%{l}.test", "fail"),
    ],
)
async def test_a_local_part_with_umlauts_is_in_no_name(terms: str, result: str) -> None:
    """RFC 8616 section 4: its terms match nothing; the label is not made an A-label."""
    resolver = FakeResolver({("TXT", "a.test"): [f"v=spf1 {terms}"]})
    assert (await check("", resolver=resolver, local_part="bücher")).result == result
    assert resolver.asked == [("TXT", "a.test")]


# --- explanations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "explanation"),
    [
        (
            ["%{c} is no host of %{o}, says %{r} at %{t}"],
            f"{FOUR} is no host of a.test, says mx.test at 1800000000",
        ),
        (["one", "two"], ""),
        ([], ""),
        (["100%"], ""),
        (["caf\ufffd"], ""),
        (dns_failure(), ""),
    ],
)
async def test_explanations(texts: Any, explanation: str) -> None:
    dns: Records = {("TXT", "why.a.test"): texts}
    result = await check("v=spf1 -all exp=why.%{d}", dns=dns, receiver="mx.test")
    assert (result.result, result.explanation) == ("fail", explanation)


@pytest.mark.parametrize("terms", ["~all", "?all", "all", "a:failing.test", "foo"])
async def test_only_a_fail_is_explained(terms: str) -> None:
    dns = {("TXT", "why.test"): ["because"]}
    assert (await check(f"v=spf1 {terms} exp=why.test", dns=dns)).explanation == ""


async def test_whose_explanation_it_is() -> None:
    """That of a redirect, not of an include (RFC 7208 section 6.2)."""
    dns = {
        ("TXT", "why.test"): ["because"],
        ("TXT", "b.test"): ["v=spf1 ip4:192.0.2.1 -all exp=why.test"],
        ("TXT", "c.test"): ["v=spf1 -all exp=why.test"],
    }
    assert (await check("v=spf1 redirect=c.test exp=other.test", dns=dns)).explanation == "because"
    assert (await check("v=spf1 redirect=fail.test exp=why.test", dns=dns)).explanation == ""
    assert (await check("v=spf1 -include:b.test", dns=dns)).explanation == ""


async def test_an_explanation_uses_up_nothing() -> None:
    terms = "a:no.test a:no.test" + " a:near.test" * 8
    dns = {("TXT", "why.test"): ["%{p}"], ("PTR", "192.0.2.77"): []}
    result = await check(f"v=spf1 {terms} -all exp=why.test", "192.0.2.77", dns=dns)
    assert result.result == "fail"
    result = await check(f"v=spf1 {terms} -all exp=no.test", "192.0.2.77", dns=dns)
    assert (result.result, result.explanation) == ("fail", "")
