# SPDX-License-Identifier: MIT
"""The manual pages, made of declarations and docstrings when the package is built."""
