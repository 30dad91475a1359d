# SPDX-License-Identifier: MIT
"""`python3 -m qpsmtpd.manpages DIRECTORY` writes the manual pages there."""

import sys

from qpsmtpd.manpages.pages import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
