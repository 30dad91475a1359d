# SPDX-License-Identifier: MIT
"""Behind a load balancer: the real HAProxy in front of one machine, and of several."""
