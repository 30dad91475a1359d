# SPDX-License-Identifier: MIT
"""Real daemons: many clients, a store that comes and goes, a full disk, a worker that hangs."""
