# SPDX-License-Identifier: MIT
"""Logging: levels, the text of records, and where they are written."""
