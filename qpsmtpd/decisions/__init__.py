# SPDX-License-Identifier: MIT
"""Decisions that were taken lately: a bounded table in the store, for those who ask why.

    Connection -> Keeper -> Book -> store -> Book -> qpsmtpd log

The keeper (keeper.py) collects what each message and each refusal was (decision.py) and writes it
every other second; privacy.py leaves out what the administrator does not want to be kept.  The book
(book.py) knows how decisions lie in the store, and finds them again.  The log stays the truth: what
is here may be incomplete, after a crash or while the store was down.
"""
