# SPDX-License-Identifier: MIT
"""A client for milters, the filters that Sendmail and Postfix ask: the inside of the plugin milter.

    plugin ──▶ dialogue ──▶ link ──▶ wire ──▶ the milter
               (a client, its messages)  (command and answer)  (packets, limits)

`packets`, `codec` and `negotiation` are the protocol as values; `macros`, `content` and `edits` say
how our sessions and messages appear in it, and what becomes of them; `links` keeps connections.
What is doubtful is a MilterError, and never a refusal for good.
"""
