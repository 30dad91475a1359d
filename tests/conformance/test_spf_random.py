# SPDX-License-Identifier: MIT
"""Our SPF gives the results of pyspf, for random records and clients.

pyspf differs from RFC 7208 in the following, which the records here keep clear of:

- it counts a redirect= that is not used as a term that asks the DNS;
- it expands all domain-specs and fetches all explanations before anything is evaluated, so that
  their void look-ups count even if an earlier mechanism matches; and it asks about all hosts of an
  mx, and about all names of a client for each %{p}, though the first one decides;
- a failure of the DNS at the names of a client is temperror, where ptr does not match (5.5);
- an include of the same domain is an error even behind the mechanism that matches;
- an unknown modifier that occurs twice is an error (6), `Redirect=` is an unknown modifier, and the
  value of one need not be a macro string (12);
- `exists` may be without a name (5.7), and a macro may keep 0 parts, has any delimiters, and `R`
  does not reverse (7.1, 7.3);
- a name that is too long loses one label, however long it remains (7.3).

So here every client has one name, every MX host has addresses of both kinds, and what can be void
is an address.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import spf
from hypothesis import given, settings
from hypothesis import strategies as st

from qpsmtpd.errors import DnsError
from qpsmtpd.mail.ip import parse_ip
from qpsmtpd.mailauth.spf import SpfQuery, SpfResult, check_host
from qpsmtpd.mailauth.spfmacro import SpfSyntaxError, parse_macros
from tests.conformance.spf_suites import SILENCE, ZoneResolver

CLIENTS = ("192.0.2.1", "192.0.2.130", "198.51.100.7", "2001:db8::1", "2001:db8:0:8000::1")
DEFAULT = "DEFAULT"

HOSTS: dict[str, list[Any]] = {
    "host.a.example": [{"A": "192.0.2.1"}, {"AAAA": "2001:db8::1"}],
    "other.b.example": [{"A": "192.0.2.130"}, {"AAAA": "2001:db8:0:8000::1"}],
    "third.example": [{"A": "198.51.100.7"}, {"AAAA": "2001:db8::7"}],
    "alias.example": [{"CNAME": "host.a.example"}],
    "mail.example": [{"MX": [10, "host.a.example"]}, {"MX": [20, "third.example"]}],
    "many.example": [{"MX": [number, "third.example"]} for number in range(11)],
    "null.example": [{"MX": [0, "."]}],
    "silent.example": [SILENCE],
    "exp.example": [{"TXT": "%{i} may not send as %{s} (%{h}, %{c})"}],
    "badexp.example": [{"TXT": "100%"}],
    "twoexp.example": [{"TXT": "one"}, {"TXT": "two"}],
    "sender.a.example": [{"A": "127.0.0.2"}],
    "1.2.0.192.in-addr.a.example": [{"A": "127.0.0.2"}],
    "none.example": [{"TXT": "v=spf10 -all"}],
}
for client, name in zip(
    CLIENTS,
    ("host.a.example", "other.b.example", "third.example", "host.a.example", "other.b.example"),
    strict=True,
):
    HOSTS[ipaddress.ip_address(client).reverse_pointer] = [{"PTR": name}]

NAMES = st.sampled_from(
    [*(name for name in HOSTS if not name.endswith(".arpa")), "absent.example", "a.example"]
)
MACROS = st.builds(
    "%{{{}{}{}{}}}".format,
    st.sampled_from("slodivhpSLODIVHPcx"),
    st.sampled_from(["", "", "1", "2", "3", "20", "02"]),
    st.sampled_from(["", "", "r"]),
    st.sampled_from(["", "", "-", ".", "+-", "/", "_="]),
)
DOMAIN_SPECS = st.one_of(
    NAMES,
    NAMES,
    st.builds("{}.{}".format, MACROS, NAMES),
    st.builds("%{{ir}}.%{{v}}.{}".format, NAMES),
    st.builds("{}{}{}".format, st.sampled_from(["", "x", "%%", "%_", "%-", "%"]), MACROS, NAMES),
    MACROS,
    st.sampled_from(["", "example", "a..example", "a.example.", "a.1", "a.-b", "a.b-", "a.x_y"]),
    st.text("a.%{}d1-/:=_", max_size=12),
)
PREFIXES = st.sampled_from(
    [
        "",
        "",
        "",
        "/24",
        "/25",
        "/0",
        "/32",
        "/33",
        "/024",
        "//64",
        "//47",
        "//129",
        "/24//64",
        "/24/24",
        "/",
        "//",
        "/x",
    ]
)
ADDRESSES = st.sampled_from(
    [
        *CLIENTS,
        "192.0.2.0",
        "10.0.0.0",
        "2001:db8::",
        "::ffff:192.0.2.1",
        "1.2.3",
        "192.0.02.1",
        "x",
    ]
)
TERMS = st.one_of(
    st.builds("{}:{}{}".format, st.sampled_from(["a", "mx", "A"]), DOMAIN_SPECS, PREFIXES),
    st.builds("{}{}".format, st.sampled_from(["a", "mx"]), PREFIXES),
    st.builds("{}:{}{}".format, st.sampled_from(["ip4", "ip6", "IP4"]), ADDRESSES, PREFIXES),
    st.builds("{}:{}".format, st.sampled_from(["exists", "ptr"]), DOMAIN_SPECS),
    st.sampled_from(["include:b.example", "include:c.example", "include:none.example"]),
    st.sampled_from(["ptr", "all", "include", "exists:", "foo", "foo:bar", "all:x", "a:"]),
)
DIRECTIVES = st.builds("{}{}".format, st.sampled_from(["", "+", "-", "~", "?", "!"]), TERMS)
GOOD = st.builds(
    "{}{}".format,
    st.sampled_from(["", "", "-", "~", "?"]),
    st.one_of(
        st.builds("{}:{}".format, st.sampled_from(["a", "mx", "exists", "ptr"]), NAMES),
        st.builds("ip4:{}/{}".format, st.sampled_from(CLIENTS[:3]), st.integers(8, 32)),
        st.builds("ip6:{}/{}".format, st.sampled_from(CLIENTS[3:]), st.integers(16, 128)),
        st.sampled_from(["include:b.example", "include:c.example", "a", "mx", "all", "ptr"]),
    ),
)


def is_macro_string(text: str) -> bool:
    with contextlib.suppress(SpfSyntaxError):
        return bool(parse_macros(text))
    return False


OTHER_MODIFIERS = st.builds("x={}".format, st.one_of(MACROS, DOMAIN_SPECS).filter(is_macro_string))
MODIFIERS = st.one_of(
    st.builds("exp={}".format, st.sampled_from(["exp", "badexp", "twoexp", "%{o}"])).map(
        lambda text: f"{text}.example"
    ),
    st.builds("redirect={}".format, st.sampled_from(["b.example", "c.example", "none.example"])),
    st.builds("exp={}".format, DOMAIN_SPECS),
)
RECORDS = st.builds(
    "v=spf1 {}{}{}".format,
    st.builds(
        lambda good, any_, more: " ".join([*good, *any_, *more]),
        st.lists(GOOD, max_size=4),
        st.one_of(st.just([]), st.just([]), st.just([]), st.lists(DIRECTIVES, max_size=1)),
        st.lists(GOOD, max_size=2),
    ),
    st.sampled_from(["", "  -all", " -all exp=exp.example"]),
    st.one_of(
        st.sampled_from(["", "", " ", " "]),
        st.one_of(MODIFIERS, OTHER_MODIFIERS).map(" {}".format),
    ),
)


def look_up(zone: dict[str, list[Any]], name: str, kind: str) -> Iterator[Any]:
    """What pyspf borrows: the records of a name as (name, type), data."""
    resolver = ZoneResolver(zone)
    coroutine = resolver.look_up(kind, name)  # type: ignore[arg-type]
    try:
        coroutine.send(None)
    except StopIteration as finished:
        answer = finished.value
    except DnsError as error:
        raise spf.TempError(str(error)) from None
    for data in answer.records:
        if kind == "AAAA":
            data = socket.inet_pton(socket.AF_INET6, data)
        elif kind == "TXT":
            data = (data.encode(),)
        yield (name, kind), data


def ours(zone: dict[str, list[Any]], client: str, sender: str) -> SpfResult:
    local_part, _, domain = sender.partition("@")
    query = SpfQuery(parse_ip(client), domain, local_part, hello="helo.example")
    coroutine = check_host(query, ZoneResolver(zone))
    with pytest.raises(StopIteration) as finished:
        coroutine.send(None)
    result = finished.value.value
    assert isinstance(result, SpfResult)
    return result


def theirs(zone: dict[str, list[Any]], client: str, sender: str) -> tuple[str, str, Any]:
    """The result, the explanation of a fail, and what pyspf knows besides."""
    query = spf.query(client, sender, "helo.example")
    query.set_default_explanation(DEFAULT)
    result, _, explanation = query.check()
    return result, explanation if result == "fail" and explanation != DEFAULT else "", query


@pytest.fixture(scope="module", autouse=True)
def pyspf_asks_the_zone() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spf, "DNSLookup", lambda name, kind, *_: look_up(ZONE, name, kind))
        yield


ZONE: dict[str, list[Any]] = {}


def fill_zone(records: tuple[str, str, str]) -> None:
    """The hosts, and three domains with these records."""
    ZONE.clear()
    ZONE.update(HOSTS)
    hosts = [{"A": "192.0.2.1"}, {"AAAA": "2001:db8::1"}, {"MX": [10, "third.example"]}]
    for name, record in zip("abc", records, strict=True):
        domain = f"{name}.example"
        record = record.replace(f"include:{domain}", "include:a.example")
        ZONE[domain] = [{"TXT": record}, *hosts]


@settings(max_examples=1000)
@given(
    records=st.tuples(RECORDS, RECORDS, RECORDS),
    client=st.sampled_from(CLIENTS),
    local_part=st.sampled_from(["sender", "a-b.c+d", "postmaster"]),
)
def test_random_records(records: tuple[str, str, str], client: str, local_part: str) -> None:
    fill_zone(records)
    sender = f"{local_part}@a.example"
    mine = ours(ZONE, client, sender)
    result, explanation, details = theirs(ZONE, client, sender)
    if getattr(details, "prob", "") == "Too many DNS lookups" and "redirect=" in str(records):
        return  # it counts those that are not used
    assert (mine.result, mine.explanation) == (result, explanation), (mine, details.__dict__)
