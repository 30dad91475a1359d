# SPDX-License-Identifier: MIT
"""Clients of what knows users and passwords, for plugins that log clients in.

    plugin ──▶ judge ──▶ dovecot, imap, vpopmaild, cvm, checkpassword, ldap ──▶ the back end
               (deadline, verdict)      (what is said)

What wins here: a back end that is down, slow, or talks nonsense is a ScannerError (the wire is that
of scanners), for which the client is told to try again.  It never means a wrong password, and never
a right one.  No error repeats what a back end said after it had got the password.
"""

from qpsmtpd.logins.attempts import Login, readable
from qpsmtpd.logins.checks import check_back_end, check_login_program
from qpsmtpd.logins.credentials import context_of, password_of
from qpsmtpd.logins.hosts import check_host, is_here
from qpsmtpd.logins.judging import WRONG, LoginOptions, connected, judge, temporary, within
from qpsmtpd.scanners.wire import ScannerError, ScannerWire

__all__ = [
    "WRONG",
    "Login",
    "LoginOptions",
    "ScannerError",
    "ScannerWire",
    "check_back_end",
    "check_host",
    "check_login_program",
    "connected",
    "context_of",
    "is_here",
    "judge",
    "password_of",
    "readable",
    "temporary",
    "within",
]
