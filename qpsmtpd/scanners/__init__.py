# SPDX-License-Identifier: MIT
"""Clients of scanners, for plugins that have the content of a message judged.

`service` has the theory: places, limits, and what happens to a scanner that is down.  `spamd`,
`clamd` and `rspamd` speak the protocols, `command` runs programs.  What wins here: a scanner that
is down, slow, or talks nonsense is a ScannerError, for which a message is deferred or passes, and
is never refused.
"""

from qpsmtpd.nexthop.hopauth import read_password
from qpsmtpd.scanners.checks import check_command, check_scanner
from qpsmtpd.scanners.content import Content
from qpsmtpd.scanners.fields import (
    OldFields,
    field_value,
    prefix_subject,
    put_away,
    replace_subject,
    short_name,
)
from qpsmtpd.scanners.options import ScannerOptions, is_false, replace_words, unscanned
from qpsmtpd.scanners.results import SpamResult, add_spam_result
from qpsmtpd.scanners.service import Service
from qpsmtpd.scanners.viruses import VirusReport
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

__all__ = [
    "Content",
    "OldFields",
    "ScannerError",
    "ScannerOptions",
    "ScannerWire",
    "Service",
    "SpamResult",
    "VirusReport",
    "add_spam_result",
    "check_command",
    "check_scanner",
    "field_value",
    "is_false",
    "prefix_subject",
    "put_away",
    "read_password",
    "replace_subject",
    "replace_words",
    "short_name",
    "unscanned",
]
