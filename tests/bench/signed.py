# SPDX-License-Identifier: MIT
"""A message that is signed, and what the DNS has about the domain of its author (DKIM, SPF, DMARC).

dkimpy signs, so that what checks the signatures is never what made them.  It is imported when there
is something to sign: the processes of clients have nothing.
"""

from __future__ import annotations

import base64
import functools

from tests.bench.addresses import NAMED
from tests.bench.client import RECIPIENT

#: Not in .test: libunbound asks nobody about that.
DOMAIN = "signed.example"
AUTHOR = f"news@{DOMAIN}"
SELECTORS = tuple(f"s{number}" for number in range(1, 6))

#: SPF: as many networks as large senders have, and the clients in the last of them.
INCLUDES, NETWORKS = 5, 8
_CLIENTS = f"{NAMED}.0.0/16"
_INCLUDED = tuple(f"_spf{number}.{DOMAIN}" for number in range(1, INCLUDES + 1))

#: Fields as a newsletter has them: those that are signed, and others.
_FIELDS = f"""\
From: The News <{AUTHOR}>
To: A Reader <{RECIPIENT}>
Subject: What has happened this week, and what will happen in the next one
Date: Sat, 28 Nov 2026 09:30:00 +0100
Message-ID: <20261128093000.1234567@{DOMAIN}>
Reply-To: The Editors <editors@{DOMAIN}>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii
Content-Transfer-Encoding: 7bit
List-Id: The News <news.{DOMAIN}>
List-Unsubscribe: <https://{DOMAIN}/unsubscribe/1234567>
"""
_UNSIGNED = f"""\
X-Mailer: The News 1.0
Feedback-ID: 1234567:{DOMAIN}
Received: from localhost by mailer.{DOMAIN} with ESMTP id 1234567;
 Sat, 28 Nov 2026 09:30:00 +0100
"""
#: The record of a sender's own domain below DOMAIN.
SPF_OF_ONE = f"v=spf1 include:{_INCLUDED[-1]} -all"

#: In the text, for those who look links up.
_LINK = f"To receive this no more: https://{DOMAIN}/unsubscribe/1234567\r\n".encode()
_LINE = b"This line has words and blanks in it, as a text for people to read does.\r\n"
_SIGNED_FIELDS = [line.partition(":")[0].lower().encode() for line in _FIELDS.splitlines()]


@functools.cache
def key() -> tuple[bytes, str]:
    """A key of this run: the private one (PEM, PKCS #1), and the record of the public one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    private = generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem, f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


@functools.cache
def texts() -> dict[str, str]:
    """The texts that the DNS has about DOMAIN, by name."""
    includes = " ".join(f"include:{name}" for name in _INCLUDED)
    _, record = key()
    return {
        DOMAIN: f"v=spf1 {includes} -all",
        **{name: _networks(number) for number, name in enumerate(_INCLUDED, 1)},
        f"_dmarc.{DOMAIN}": "v=DMARC1; p=reject; adkim=r; aspf=r",
        **{f"{selector}._domainkey.{DOMAIN}": record for selector in SELECTORS},
    }


def _networks(number: int) -> str:
    found = [f"ip4:192.0.2.{number * 16 + at}" for at in range(NETWORKS)]
    if number == INCLUDES:
        found[-1] = f"ip4:{_CLIENTS}"
    return f"v=spf1 {' '.join(found)} ~all"


@functools.cache
def signed_message(size: int, signatures: int) -> bytes:
    """A message of about this many bytes, without its signatures, and with its final dot.

    Each signature is of another selector: rsa-sha256, relaxed/relaxed.
    """
    import dkim

    header = f"{_FIELDS}{_UNSIGNED}\n".replace("\n", "\r\n").encode()
    text = _LINE * max(1, (size - len(header) - len(_LINK)) // len(_LINE))
    message = header + text + _LINK
    private, _ = key()
    found = [
        dkim.sign(
            message,
            selector.encode(),
            DOMAIN.encode(),
            private,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=_SIGNED_FIELDS,
        )
        for selector in SELECTORS[:signatures]
    ]
    return b"".join(found) + message + b".\r\n"
