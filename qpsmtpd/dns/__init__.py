# SPDX-License-Identifier: MIT
"""DNS: the resolver and the name servers it asks."""
