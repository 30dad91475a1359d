# SPDX-License-Identifier: MIT
"""Configuration: files → settings, plugins, and one Snapshot of them."""
