# SPDX-License-Identifier: MIT
"""Daemon: sockets, the server, its workers and their supervisor."""
