# SPDX-License-Identifier: MIT
"""What strangers write, at random and at its worst: does it cost too much, or break anything?"""
