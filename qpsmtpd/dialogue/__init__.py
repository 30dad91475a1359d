# SPDX-License-Identifier: MIT
"""Dialogue scripts: SMTP sessions written down, and what plays them against a server."""
