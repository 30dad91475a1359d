# SPDX-License-Identifier: MIT
"""The doctor: looks at the installation around the configuration, and says what to mend and how.

    cli ──▶ examine ──▶ one module for each area ──▶ Findings ──▶ report

Each area is a function from an Installation to Findings.  The doctor changes nothing: it prints
commands, and the administrator runs them.  Everything it sees of the machine it sees through
System, which tests replace.
"""
