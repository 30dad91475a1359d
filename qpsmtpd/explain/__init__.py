# SPDX-License-Identifier: MIT
"""What `qpsmtpd explain` does: finds a decision, tells its story, and says what changes it.

query.py says what is meant, logfiles.py finds it in log files and the journal, story.py writes
sentences, remedy.py knows which list or option let it happen.
"""
