# SPDX-License-Identifier: MIT
"""Runs handlers that were written for aiosmtpd, with aiosmtpd's own objects (plugin aiosmtpd).

Theory of operation.  Each handler has a thread with an event loop of its own, as with aiosmtpd's
Controller (runner.py): what blocks there keeps nobody else waiting.  For each session a `server`
lives in that thread, a real `aiosmtpd.smtp.SMTP` that has no connection (handlerserver.py).  When
a hook of the chain is due, what we know of session and transaction goes over as a value (facts.py),
the handler's hook is called, and what it said and changed comes back as a value, too.  What it said
is read as a reply (statuses.py), what that means is decided (decisions.py), and what it changed is
changed in our transaction (changes.py).
"""
