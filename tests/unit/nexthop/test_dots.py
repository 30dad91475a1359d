# SPDX-License-Identifier: MIT
"""Dot-stuffing is undone by the receiver, whatever the block boundaries are."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.mail.limits import DataLimits
from qpsmtpd.mail.message import Spool
from qpsmtpd.nexthop.dots import DotStuffer
from qpsmtpd.smtp.datareader import DataReader

PIECES = st.sampled_from([b".", b"..", b"a", b"\r\n", b"\r\n.", b"\r\n.\r\n", b".\r\n", b"x" * 50])
TEXT = st.lists(PIECES, max_size=30).map(b"".join)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def stuffed(blocks: list[bytes]) -> bytes:
    stuffer = DotStuffer()
    return b"".join([*map(bytes, map(stuffer.feed, blocks)), stuffer.end()])


@given(TEXT, st.lists(st.integers(min_value=0, max_value=2000), max_size=40))
def test_receiver_gets_the_same_bytes(text: bytes, cuts: list[int]) -> None:
    wire = stuffed(cut(text, cuts))
    assert wire.endswith(b".\r\n")
    lines = wire.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    received = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:-2])
    assert received == (text if text.endswith(b"\r\n") or not text else text + b"\r\n")


@given(TEXT, st.lists(st.integers(min_value=0, max_value=2000), max_size=40))
def test_our_own_reader_agrees(text: bytes, cuts: list[int]) -> None:
    reader = DataReader(Spool(Path("/tmp"), 1 << 20), DataLimits())
    assert reader.feed(stuffed(cut(text, cuts)) + b"QUIT\r\n") == b"QUIT\r\n"
    assert reader.fault is None
    assert reader.size == len(text) + (0 if text.endswith(b"\r\n") or not text else 2)


@pytest.mark.parametrize(
    ("blocks", "wire"),
    [
        ([], b".\r\n"),
        ([b""], b".\r\n"),
        ([b"."], b"..\r\n.\r\n"),
        ([b"a\r\n", b".b\r\n"], b"a\r\n..b\r\n.\r\n"),
        ([b"a\r", b"\n", b"", b".b\r\n"], b"a\r\n..b\r\n.\r\n"),
        ([b"a", b".b\r\n"], b"a.b\r\n.\r\n"),
    ],
)
def test_cases(blocks: list[bytes], wire: bytes) -> None:
    assert stuffed(blocks) == wire
