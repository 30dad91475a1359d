# SPDX-License-Identifier: MIT
"""Scripts that run inside a booted Debian system, with that system's own Python."""
