# SPDX-License-Identifier: MIT
"""What plugins look things up in: lists of hosts and addresses, DNS lists, constant databases."""
