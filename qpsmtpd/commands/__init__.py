# SPDX-License-Identifier: MIT
"""The commands of the programs, one file each."""
