# SPDX-License-Identifier: MIT
"""Plugins that look for viruses in messages."""
