# SPDX-License-Identifier: MIT
"""Plugins that hand a message to the next hop (hook_queue)."""
