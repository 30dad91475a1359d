# SPDX-License-Identifier: MIT
"""Fronts: the chain, asked by a mail system about a session of its own.

    milterfront (packets)    ──┐
                               ├──▶ visit (one client, step by step) ──▶ the steps of smtp/
    policyfront (attributes) ──┘

A visit takes a client through the steps that commands of SMTP take, without SMTP: what the mail
system has understood is not parsed again.  It keeps the message and decides about relaying and
recipients, so nothing is handed over, and a recipient about which no plugin has an opinion is none
that is refused (`Session.hosted`).  `headeredits` says what became of a header section, in the
words of milters.  `hosting` is a connection of the mail system, whatever it speaks.
"""
