# SPDX-License-Identifier: MIT
"""names.py: dnspython reads what we write, and writes what we read."""

from __future__ import annotations

import ipaddress

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.dns.names import encode_name, encode_reverse_name, plain_text_of, reverse_name, text_of

NAME = b"\x01a\x04test\x00"


def test_encode_name_folds_case_and_drops_the_final_dot() -> None:
    assert encode_name("A.Test.") == encode_name("a.test") == NAME


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a..test", ".test", "a" * 64, "a." * 127 + "bc", "\udc80", "ü" * 64]
)
def test_names_that_cannot_be_asked(name: str) -> None:
    assert encode_name(name) is None


def test_the_longest_label_and_name() -> None:
    assert encode_name("a" * 63) == b"\x3f" + b"a" * 63 + b"\x00"
    assert len(encode_name("a." * 126 + "b") or b"") == 255


def test_the_length_of_a_label_is_not_a_letter() -> None:
    assert encode_name("Z" * 63) == b"\x3f" + b"z" * 63 + b"\x00"


def test_a_backslash_is_an_octet_like_others() -> None:
    assert encode_name("a\\.test") == b"\x02a\\\x04test\x00"


def test_u_labels_become_a_labels() -> None:
    assert encode_name("bücher.test.") == b"\x0dxn--bcher-kva\x04test\x00"


@given(st.text())
def test_encode_name_never_fails_and_dnspython_reads_it(name: str) -> None:
    wire = encode_name(name)
    if wire is not None:
        assert dns.name.from_wire(wire, 0)[1] == len(wire)


LABELS = st.one_of(
    st.binary(min_size=1, max_size=8), st.sampled_from([b"a", b"Mail-1", b"_dmarc", b'"().;\\@$'])
)


@given(st.lists(LABELS, min_size=1, max_size=5))
def test_dnspython_writes_the_same_text(labels: list[bytes]) -> None:
    wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    text = text_of(wire)
    assert text == dns.name.Name([*labels, b""]).to_text(omit_final_dot=True)
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text


@given(
    st.one_of(
        st.binary(max_size=12),
        st.lists(LABELS, max_size=5).map(
            lambda them: b"".join(bytes([len(each)]) + each for each in them) + b"\0"
        ),
    )
)
def test_plain_text(octets: bytes) -> None:
    """The same as the text, where there is one."""
    text = plain_text_of(octets)
    if text is None:
        return
    assert text == text_of(octets)
    assert dns.name.from_wire(octets, 0)[1] == len(octets)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"\0", None),
        (b"\x01a\x04te-t\0", "a.te-t"),
        (b"\x02a.\0", None),
        (b"\x01a", None),
        (b"\x01a\0\0", None),
        (b"\x01a\0\x01b\0", None),
        (b"\x02a\0", None),
        (b"", None),
        (b"\xc0\x0c", None),
        (b"\x01\xe4\0", None),
        (b"\x40" + b"a" * 64 + b"\0", None),
        (b"\x3f" + b"a" * 63 + b"\0", "a" * 63),
        (b"\x01a\x2d" + b"a" * 45 + b"\0", None),
        (b"\x01a\x2c" + b"a" * 44 + b"\0", "a." + "a" * 44),
        (b"\x01a\x03b!c\0", None),
        (b"\x01a\x03b\x01c\0", None),
        (b"\x03a.b\0", None),
        (b"\x01A\x02Bc\0", "A.Bc"),
        ((b"\x3f" + b"a" * 63) * 4 + b"\0", None),
    ],
)
def test_plain_text_or_none(octets: bytes, text: str | None) -> None:
    assert plain_text_of(octets) == text


def test_the_root_has_no_text() -> None:
    assert text_of(b"\0") == ""


@given(st.ip_addresses())
def test_reverse_name(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert reverse_name(str(address)) == address.reverse_pointer
    assert encode_reverse_name(str(address)) == encode_name(address.reverse_pointer)


def test_a_zone_does_not_matter() -> None:
    assert reverse_name("fe80::1%eth0") == reverse_name("fe80::1")


@pytest.mark.parametrize(
    "text", ["", "no address", "1.2.3", "1.2.3.256", ":", "1.2.3.4\0", "\udc80"]
)
def test_not_an_address(text: str) -> None:
    assert reverse_name(text) is None
    assert encode_reverse_name(text) is None
