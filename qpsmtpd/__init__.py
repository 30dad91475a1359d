# SPDX-License-Identifier: MIT
"""qpsmtpd: an SMTP daemon that decides during the SMTP transaction whether to take a message."""

__version__ = "2.0.0"
