# SPDX-License-Identifier: MIT
"""Tests of maintscripts/, the thinking behind the maintainer scripts."""
