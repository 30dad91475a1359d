# SPDX-License-Identifier: MIT
"""The ways to write one domain, for tests of what compares domains."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from hypothesis import strategies as st

from qpsmtpd.mail.domain import canonical_domain, u_label_form


def full_width(text: str) -> str:
    """Text in the characters that are as wide as Chinese ones."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


#: Ways to write a domain that change nothing.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "final dot": lambda domain: f"{domain}.",
    "ideographic final dot": lambda domain: f"{domain}\u3002",
    "ideographic dots": lambda domain: domain.replace(".", "\u3002"),
    "full-width dots": lambda domain: domain.replace(".", "\uff0e"),
    "half-width dots": lambda domain: domain.replace(".", "\uff61"),
    "full width": full_width,
    "composed": lambda domain: unicodedata.normalize("NFC", domain),
    "decomposed": lambda domain: unicodedata.normalize("NFD", domain),
    "with what nobody sees": lambda domain: "\u200b\xad".join(domain),
    "A-labels": canonical_domain,
    "A-labels, upper case": lambda domain: canonical_domain(domain).upper(),
    "U-labels": lambda domain: u_label_form(canonical_domain(domain)),
}
#: And some that few letters do not survive, such as the sharp s.
CASES: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "title case": str.title,
    "swapped case": str.swapcase,
    "full width, upper case": lambda domain: full_width(domain.upper()),
    "decomposed, upper case": lambda domain: unicodedata.normalize("NFD", domain).upper(),
}

spellings = st.sampled_from([*SPELLINGS])

_letters = st.sampled_from("aAzZ09üÜñßΣσς日本åÅ") | st.characters(categories=("Ll", "Lu", "Lo"))
_labels = st.text(_letters, min_size=1, max_size=8)
#: Nearly all of them are domains; some letters only look different from others.
domains = st.lists(_labels, min_size=1, max_size=3).map(".".join)
