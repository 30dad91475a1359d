# SPDX-License-Identifier: MIT
"""What the daemon counts and measures, and how it is shown."""
