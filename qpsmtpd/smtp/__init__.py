# SPDX-License-Identifier: MIT
"""SMTP: the conversation with a client, and the wire under it."""
