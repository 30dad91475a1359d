# SPDX-License-Identifier: MIT
"""The doctor: examines the installation around the configuration, and says what to fix and how.

    command ──▶ examine ──▶ plugins ──▶ one module for each area ──▶ Findings ──▶ report

Each area is a function from an Installation to Findings; the areas of plugins have what the plugins
found themselves (`Plugin.examine`).  The doctor changes nothing: it prints commands, and the
administrator runs them.  It sees the machine only through Machine, which tests replace; no code of
a plugin runs as root (machine.py, plugins.py).
"""
