# SPDX-License-Identifier: MIT
"""Size limit: how large a message the mail system of this machine takes, by its configuration.

It is asked when the configuration is loaded: what is handed over without SMTP has nobody to say it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from qpsmtpd.plugin.finding import Finding
from qpsmtpd.plugin.system import Facts

POSTCONF = ("/usr/sbin/postconf", "-xh", "message_size_limit")
EXIM = ("/usr/sbin/exim4", "-bP", "message_size_limit")

#: Seconds that the program may take.
TIMEOUT = 10.0

#: What Exim takes if nothing is set (message_size_limit in the specification).
EXIM_DEFAULT = 50 << 20

#: Debian's macros for Exim, with one configuration file and with a split one.
EXIM_MACROS = ("/etc/exim4/exim4.conf.localmacros", "/etc/exim4/conf.d/main/000_localmacros")

#: Replaces Debian's configuration, macros and all.
EXIM_OWN_FILE = "/etc/exim4/exim4.conf"

_macro = re.compile(r"^[ \t]*MESSAGE_SIZE_LIMIT[ \t]*==?[ \t]*(\w{1,13})[ \t]*$", re.M).findall
_size = re.compile(r"(\d{1,18})([KMG]?)", re.ASCII).fullmatch
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}


def octets(text: str) -> int:
    """A size as Postfix and Exim write it; 0 for none, and for what is not a size."""
    match = _size(text.strip())
    return int(match[1]) << _UNITS[match[2]] if match else 0


def of_postfix() -> int:
    """Postfix's message_size_limit; 0 if there is none, or it cannot be asked.  Blocks."""
    try:
        done = subprocess.run(POSTCONF, capture_output=True, timeout=TIMEOUT, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return 0
    return octets(done.stdout.decode("ascii", "replace"))


def text_of(path: str) -> str:
    """The text of a file; empty if it cannot be read."""
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""


def of_exim(read: Callable[[str], str] = text_of) -> int:
    """Exim's message_size_limit in octets, by Debian's configuration; 0 if that is not in use.

    The configuration that Debian makes is not for everybody to read, but the macros are.
    read: the text of a file, empty if there is none.
    """
    if read(EXIM_OWN_FILE):
        return 0
    found = [size for file in EXIM_MACROS for size in _macro(read(file))]
    return octets(found[-1]) if found else EXIM_DEFAULT


def size_findings(
    name: str, command: tuple[str, ...], facts: Facts, announced: int, databytes: int
) -> Iterator[Finding]:
    """What is to be said of the limits of a mail system, which `command` prints, and of ourselves.

    announced: what clients are told of that limit.
    """
    output = facts.run(*command)
    theirs = octets(output.text.rpartition("=")[2]) if output and not output.status else 0
    if not theirs:
        return
    ours = min(filter(None, (announced, databytes)), default=0)
    if not 0 < ours <= theirs:
        text = f"takes messages of up to {theirs} octets, and clients may send larger ones"
        advice = "Those are refused after they were sent. Announce its limit:"
        put = f"echo {theirs} > /etc/qpsmtpd/databytes"
        yield Finding.notice(name, text, advice, put, "systemctl reload qpsmtpd.service")
    elif databytes > theirs:
        text = f"takes messages of up to {theirs} octets; databytes, with more, has no effect"
        yield Finding.notice(name, text)
    else:
        yield Finding.ok(
            name, f"takes messages of up to {theirs} octets, clients send up to {ours}"
        )
