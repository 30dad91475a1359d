# SPDX-License-Identifier: MIT
"""crypt(3): each form that vpopmail has written, and hashes that no password has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.logins.unixcrypt import crypt_matches

#: Of the password "geheim".
HASHES = [
    b"abOkmxXhjDb.Y",
    b"$1$abcdefgh$eKehL.s8tG6zTf8hBtmEF.",
    b"$5$abcdefgh$azU9PNNJw9essBuwq5yihWY9lFXM0dF54Ph4sAxX.YB",
    b"$6$abcdefgh$msgktWxVAbjjh3X7lA5LaM7dS/ZfABJL6T4qcRsnj"
    b"cOTj0kptUvZcrvrXIoO5fgPA9xz6UnF2To2Y7jGc/IZY/",
    b"$2b$04$abcdefghijklmnopqrstuuPWRtT5yx7FBi4dcf6ROhboeNunUrLQ.",
]


@pytest.mark.parametrize("crypted", HASHES, ids=lambda crypted: crypted[:3].decode())
def test_forms(crypted: bytes) -> None:
    assert crypt_matches(b"geheim", crypted)
    for wrong in (b"", b"geheiM", b"geheim\0", b"geheim\0x"):
        assert not crypt_matches(wrong, crypted)
    assert not crypt_matches(b"geheim", crypted + b"\0")
    assert not crypt_matches(b"geheim", crypted[:-1])


@pytest.mark.parametrize("crypted", [b"", b"!", b"*", b"*0", b"*1", b"x", b"$9$ab$x", b":", b"\0"])
@pytest.mark.parametrize("password", [b"", b"*0", b"geheim", b"!"])
def test_what_is_no_hash(password: bytes, crypted: bytes) -> None:
    assert not crypt_matches(password, crypted)


@given(st.binary(max_size=80), st.sampled_from([b"", b"ab", b"$1$"]))
def test_any_octets(octets: bytes, beginning: bytes) -> None:
    assert not crypt_matches(b"geheim", beginning + octets)
