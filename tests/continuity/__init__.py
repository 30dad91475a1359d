# SPDX-License-Identifier: MIT
"""Nothing is cut off: what a steady stream of clients sees of reloads, crashes and upgrades."""
