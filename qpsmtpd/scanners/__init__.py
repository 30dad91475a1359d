# SPDX-License-Identifier: MIT
"""Clients of scanners, for plugins that have the content of a message judged.

`service` has the theory: places, limits, and what happens to a scanner that is down.  `spamd`,
`clamd` and `rspamd` speak the protocols, `command` runs programs.  What wins here: a scanner that
is down, slow, or talks nonsense is a ScannerError, for which a message is deferred or passes, and
is never refused.
"""

from qpsmtpd.scanners.checks import check_scanner
from qpsmtpd.scanners.content import Content
from qpsmtpd.scanners.fields import (
    OldFields,
    field_value,
    prefix_subject,
    put_away,
    replace_subject,
    short_name,
)
from qpsmtpd.scanners.options import ScannerOptions, unscanned
from qpsmtpd.scanners.place import WANTED, Place, parse_place, parse_places
from qpsmtpd.scanners.results import SpamResult, VirusResult, add_spam_result, add_virus_result
from qpsmtpd.scanners.service import Service
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

__all__ = [
    "WANTED",
    "Content",
    "OldFields",
    "Place",
    "ScannerError",
    "ScannerOptions",
    "ScannerWire",
    "Service",
    "SpamResult",
    "VirusResult",
    "add_spam_result",
    "add_virus_result",
    "check_scanner",
    "field_value",
    "parse_place",
    "parse_places",
    "prefix_subject",
    "put_away",
    "replace_subject",
    "short_name",
    "unscanned",
]
