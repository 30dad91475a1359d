# SPDX-License-Identifier: MIT
"""Plugins of the file `logging`: they write log records somewhere (hook_logging)."""
