# SPDX-License-Identifier: MIT
"""The benchmark: us and other SMTP servers under the same load, side by side."""
