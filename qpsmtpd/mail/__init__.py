# SPDX-License-Identifier: MIT
"""What a mail is: addresses, headers, the message, and the session it came in."""
