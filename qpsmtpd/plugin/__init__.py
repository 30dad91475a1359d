# SPDX-License-Identifier: MIT
"""What plugins are made of: the base class, its options, the services it may use, and the chain."""
