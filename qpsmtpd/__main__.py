# SPDX-License-Identifier: MIT
"""`python -m qpsmtpd` is the program `qpsmtpd`."""

import sys

from qpsmtpd.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
