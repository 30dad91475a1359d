# SPDX-License-Identifier: MIT
"""The doctor: looks at the installation around the configuration, and says what to mend and how.

    command ──▶ examine ──▶ plugins ──▶ one module for each area ──▶ Findings ──▶ report

Each area is a function from an Installation to Findings; in the areas of plugins stands what they
found themselves (`Plugin.examine`).  The doctor changes nothing: it prints commands, and the
administrator runs them.  Everything it sees of the machine it sees through Machine, which tests
replace; no code of a plugin runs as root (machine.py, plugins.py).
"""
