# SPDX-License-Identifier: MIT
"""Tests of the doctor, on machines that are directories."""
