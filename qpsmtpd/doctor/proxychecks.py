# SPDX-License-Identifier: MIT
"""Proxy checks: whom the file proxy_networks lets say who the client is."""

from __future__ import annotations

from collections.abc import Iterator

from qpsmtpd.doctor.installation import Installation
from qpsmtpd.plugin.finding import Finding

#: More addresses than this are a network with others in it, and not the proxies of one site.
MOST_ADDRESSES = 16


def check_proxies(installation: Installation) -> Iterator[Finding]:
    """Each network of the file; nothing if there is none."""
    for network in installation.settings.proxy_networks:
        subject = f"proxy_networks {network}"
        if network.num_addresses > MOST_ADDRESSES:
            text = f"has {network.num_addresses} addresses, each of which can pose as any client"
            advice = "List the addresses of the proxies themselves."
            yield Finding.warning(subject, f"{text}, and so relay", advice)
        elif network.is_loopback:
            text = "lets every user of this machine pose as any client"
            yield Finding.notice(subject, text, "Let the proxy connect from an address of its own.")
        else:
            yield Finding.ok(subject, "has to say who the client is, or is not served")
