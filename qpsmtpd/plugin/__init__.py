# SPDX-License-Identifier: MIT
"""What plugins are made of: the base class, its options, what it may borrow, and the chain."""
