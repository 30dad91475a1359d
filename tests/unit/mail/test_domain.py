# SPDX-License-Identifier: MIT
"""Every spelling of a domain has one canonical form, and different domains have different ones."""

from __future__ import annotations

import idna
import pytest
from hypothesis import assume, example, given, reject
from hypothesis import strategies as st

from qpsmtpd.mail.domain import (
    Domain,
    Spellings,
    canonical_domain,
    domain_spellings,
    is_domain,
    is_literal,
    literal_address,
    looks_like_address,
    u_label_form,
)
from qpsmtpd.mail.ip import IPAddress
from tests.unit.spellings import CASES, SPELLINGS, domains, spellings

DOMAINS = {
    "example.com": "example.com",
    "under_score.x-y.example": "under_score.x-y.example",
    "1.2.3.4": "1.2.3.4",
    "bücher.example": "xn--bcher-kva.example",
    "例子.测试": "xn--fsqu00a.xn--0zwm56d",
    "пример.испытание": "xn--e1afmkfd.xn--80akhbyknj4f",
    "हिन्दी.example": "xn--j2bd4cyah0f.example",
}
#: Of IDNA 2008 (RFC 5892 section 2.6), and not of IDNA 2003, which had the others.
KEPT = {
    "straße.example": ("xn--strae-oqa.example", "strasse.example"),
    "βόλος.example": ("xn--nxasmm1c.example", "xn--nxasmq6b.example"),
    "نامه\u200cای.example": ("xn--mgba3gch31f060k.example", "xn--mgba3gch31f.example"),
}


@pytest.mark.parametrize(("domain", "canonical"), DOMAINS.items())
@pytest.mark.parametrize("spelling", [*SPELLINGS, *CASES])
def test_spellings_of_a_domain(domain: str, canonical: str, spelling: str) -> None:
    assert canonical_domain({**SPELLINGS, **CASES}[spelling](domain)) == canonical


@pytest.mark.parametrize("domain", KEPT)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_idna_2008_and_not_2003(domain: str, spelling: str) -> None:
    canonical, of_2003 = KEPT[domain]
    assert canonical_domain(SPELLINGS[spelling](domain)) == canonical
    assert canonical_domain(domain) != of_2003


def test_capitals_of_what_has_none() -> None:
    assert canonical_domain("STRA\u1e9eE.example") == "xn--strae-oqa.example"
    assert canonical_domain("STRASSE.example") == "strasse.example"
    # A capital sigma is none of a final one, wherever it stands.
    assert canonical_domain("ΒΌΛΟΣ.example") == canonical_domain("βόλοσ.example")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[192.0.2.1].", "[192.0.2.1]"),
        ("［１92．0．2．1］", "[192.0.2.1]"),
        ("[IPv6:2001:DB8:0:0::1]", "[ipv6:2001:db8::1]"),
        ("[ipv6:2001:db8::1]", "[ipv6:2001:db8::1]"),
        ("[2001:db8::1]", "[ipv6:2001:db8::1]"),
        ("[IPv6:::ffff:192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:fe80::1%eth0]", "[ipv6:fe80::1]"),
        ("[0192.0.2.1]", "[0192.0.2.1]"),
        ("[IPv6:X]", "[ipv6:x]"),
        ("[", "["),
    ],
)
def test_literals(text: str, canonical: str) -> None:
    assert canonical_domain(text) == canonical
    assert canonical_domain(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        (".", ""),
        ("A..", "a"),
        (".Example.", ".example"),
        ("a..b", "a..b"),
        ("A b", "a b"),
        ("\u2488", "1"),  # a digit with a full stop
        ("é" * 60 + ".X", "é" * 60 + ".x"),
        ("É" * 1001 + ".", "é" * 1001),
        ("xn--É", "xn--xn---epa"),
        ("XN--A-", "xn--a-"),
    ],
)
def test_what_cannot_be_a_domain(text: str, canonical: str) -> None:
    assert canonical_domain(text) == canonical
    assert canonical_domain(canonical) == canonical


any_text = (
    st.text()
    | st.text(alphabet=st.characters())
    | st.text(alphabet=st.sampled_from("aAüÜßẞςΣİ.\u3002[]:%xn-0\u200b\u0308\u0345ｎ\udcff⒈™"))
)


@given(any_text)
@example("\u1e9e.")
@example("\uffa0.")
def test_canonical_is_canonical(text: str) -> None:
    canonical = canonical_domain(text)
    assert canonical_domain(canonical) == canonical
    assert not canonical.endswith(".")
    assert Domain(text) == canonical


@given(domains, spellings)
def test_no_spelling_is_another_domain(domain: str, spelling: str) -> None:
    assume(is_domain(domain))
    assert canonical_domain(SPELLINGS[spelling](domain)) == canonical_domain(domain)


LABELS = st.text("aAzß9üÜñΣ日-", min_size=1, max_size=8)


@given(LABELS, LABELS)
def test_different_labels_are_different_domains(one: str, other: str) -> None:
    assert (canonical_domain(one) == canonical_domain(other)) == (one.lower() == other.lower())


letters = st.characters(categories=("Ll", "Lu", "Lo", "Lm", "Mn", "Mc", "Nd", "So", "Pd"))
labels = st.text(st.sampled_from("aB3-üÜßς日ÅKﬀ") | letters, min_size=1, max_size=12)


@given(st.lists(labels, min_size=1, max_size=3).map(".".join))
def test_as_python3_idna_has_it(domain: str) -> None:
    # Unicode 15.1 has changed its mind about the capital sharp s, and so has the library.
    assume("\u1e9e" not in domain)
    assert canonical_domain(domain) == by_idna(domain)


def by_idna(domain: str) -> str:
    """The A-labels by python3-idna; of what it only maps, and then refuses, the mapped form."""
    try:
        return idna.encode(domain, uts46=True).decode().rstrip(".")
    except idna.IDNAError:
        pass
    try:
        return canonical_domain(idna.uts46_remap(domain, std3_rules=False))
    except idna.IDNAError:
        reject()


@pytest.mark.parametrize("domain", [*DOMAINS, *KEPT])
def test_u_labels(domain: str) -> None:
    assert u_label_form(canonical_domain(domain)) == domain


@pytest.mark.parametrize(
    "domain",
    [
        "xn--",
        "xn---",
        "xn--a-",  # stands for "a"
        "xn--bcher-2pa",  # stands for "bÜcher", which is not canonical
        "xn--99999999999",
        "xn--\x7f",
        "xn--" + "9" * 59,
        "xn--ls8h." * 50,
        "not-xn--bcher-kva",
    ],
)
def test_what_is_not_an_a_label(domain: str) -> None:
    assert u_label_form(domain) == domain


@pytest.mark.parametrize(
    ("text", "spellings"),
    [
        ("Example.COM", Spellings(("example.com",))),
        ("Example.COM.", Spellings(("example.com",), ("Example.COM.",))),
        ("BÜCHER.x", Spellings(("xn--bcher-kva.x", "bücher.x"))),
        ("xn--bcher-kva.x", Spellings(("xn--bcher-kva.x", "bücher.x"))),
        (
            "bu\u0308cher.x",
            Spellings(("xn--bcher-kva.x", "bücher.x"), ("bu\u0308cher.x",)),
        ),
    ],
)
def test_domain_spellings(text: str, spellings: Spellings) -> None:
    assert domain_spellings(text) == spellings


@given(any_text)
def test_canonical_spellings_are_the_same_for_all_spellings(text: str) -> None:
    spellings = domain_spellings(text)
    for spelling in (*spellings.canonical, *spellings.written):
        assert domain_spellings(spelling).canonical == spellings.canonical


@given(st.ip_addresses())
def test_every_address_has_one_literal(address: IPAddress) -> None:
    tag = "IPv6:" if address.version == 6 else ""
    mapped = getattr(address, "ipv4_mapped", None) or address
    for text in (f"[{tag}{address}]", f"[{tag.lower()}{address.exploded}]", f"[{address}]"):
        assert literal_address(text) == mapped
        assert canonical_domain(text) == canonical_domain(f"[{mapped}]")
    assert is_literal(f"[{tag}{address}]")
    assert looks_like_address(str(address))


@pytest.mark.parametrize("text", ["127.1", "0192.0.2.1", "0x7f.0.0.1", "1.2.3.4.5", "::1", "1.0X1"])
def test_what_looks_like_an_address(text: str) -> None:
    assert looks_like_address(text)
    assert not is_literal(f"[{text}]")


@pytest.mark.parametrize(
    "text",
    ["", "1", "localhost", "1.example", "example.1a", "1.2.3.example", "1..2", "[1.2.3.4]"],
)
def test_what_does_not_look_like_an_address(text: str) -> None:
    assert not looks_like_address(text)


@given(any_text)
def test_any_text_is_looked_at(text: str) -> None:
    assert looks_like_address(text) in (True, False)
    assert literal_address(text) is None or canonical_domain(text).startswith("[")
    if is_domain(text) and not text.isascii():
        assert all(len(label) <= 63 for label in canonical_domain(text).split("."))
        assert is_domain(canonical_domain(text))
