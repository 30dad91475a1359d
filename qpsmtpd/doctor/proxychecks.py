# SPDX-License-Identifier: MIT
"""Proxy checks: which hosts may say who the client is."""

from __future__ import annotations

from collections.abc import Iterator

from qpsmtpd.doctor.installation import Installation
from qpsmtpd.mail.ip import IPNetwork
from qpsmtpd.plugin.finding import Finding

#: More addresses than this are a network with others in it, and not the proxies of one site.
MOST_ADDRESSES = 16

#: The files that name them, and what is right about one that is named.
_FILES = {
    "proxy_networks": "has to say who the client is, or is not served",
    "xclient_networks": "may say who the client is",
    "xforward_networks": "may say where a message comes from",
}


def check_proxies(installation: Installation) -> Iterator[Finding]:
    """Each network of these files; nothing if there is none."""
    for file, right in _FILES.items():
        for network in getattr(installation.settings, file):
            yield _check(f"{file} {network}", network, right)


def _check(subject: str, network: IPNetwork, right: str) -> Finding:
    if network.num_addresses > MOST_ADDRESSES:
        text = f"has {network.num_addresses} addresses, each of which can pose as any client"
        advice = "List the addresses of the proxies themselves."
        return Finding.warning(subject, f"{text}, and so relay", advice)
    if network.is_loopback:
        text = "lets every user of this machine pose as any client"
        return Finding.notice(subject, text, "Let the proxy connect from an address of its own.")
    return Finding.ok(subject, right)
