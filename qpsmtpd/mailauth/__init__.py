# SPDX-License-Identifier: MIT
"""Whether a message comes from the sender it names: SPF, DKIM, ARC, DMARC; how we sign our own.

What is here decides and does nothing else: it borrows a resolver and a clock, and returns values.
When to ask, and what becomes of the answer, is up to the plugins.
"""
