# SPDX-License-Identifier: MIT
"""What the command `dmarc-report` does: it makes reports of what the store counted, and sends them.

counts in the store ──▶ mailauth.aggregatexml ──▶ reportmail ──▶ handover ──▶ the mail system
                          (sending: who, when, once)
"""
