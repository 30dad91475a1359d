# SPDX-License-Identifier: MIT
"""What the command `report` does: sums of the decisions that the store has, and what they tell.

    decisions.book ──▶ gather ──▶ Digest ──▶ text, page, mail
                 └───▶ shadows ──▶ Shadow ──▶ shadowtext

A digest (digest.py) is a value: everything that a report shows, gathered in one pass over the
decisions (gather.py, with the help of tally.py, whose memory is bounded).  text.py and page.py
render it, charts.py draws for the page, mail.py makes a message of both.  A shadow (shadow.py,
shadows.py) says what would have been refused: by lines that refuse nothing so far, and by the
graded chains above the present one (levels.py).

All texts in both values can be printed: what strangers have written is escaped when it is gathered.
"""
