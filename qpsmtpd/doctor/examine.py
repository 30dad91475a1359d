# SPDX-License-Identifier: MIT
"""Examine: all areas, in the order of the report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from qpsmtpd.config.runoptions import ListenAddress
from qpsmtpd.doctor.clockchecks import check_clock
from qpsmtpd.doctor.configuration import check_configuration
from qpsmtpd.doctor.credentials import awaited
from qpsmtpd.doctor.dnschecks import check_dns
from qpsmtpd.doctor.examination import OTHERS
from qpsmtpd.doctor.hops import check_next_hops
from qpsmtpd.doctor.installation import Installation
from qpsmtpd.doctor.limitchecks import check_limits
from qpsmtpd.doctor.machine import Machine
from qpsmtpd.doctor.mailsystems import check_mail_systems
from qpsmtpd.doctor.pluginchecks import examine_plugins
from qpsmtpd.doctor.ports import check_ports
from qpsmtpd.doctor.proxychecks import check_proxies
from qpsmtpd.doctor.report import errors_in, exit_status, json_report, text_report
from qpsmtpd.doctor.service import check_units, check_user
from qpsmtpd.doctor.storechecks import check_store
from qpsmtpd.errors import QpsmtpdError
from qpsmtpd.plugin.finding import Finding

Area = Callable[[Installation], Iterable[Finding]]


def _certificates(installation: Installation) -> Iterable[Finding]:
    for found in installation.found("Certificates"):
        subject, environment = found.subject, installation.environment
        awaits = awaited(installation.machine, subject, environment) if found.severity else ""
        yield Finding.notice(subject, awaits) if awaits else found


def _others(installation: Installation) -> Iterable[Finding]:
    return installation.found(OTHERS)


AREAS: dict[str, Area] = {
    "Configuration": check_configuration,
    "User and files": check_user,
    "Units": check_units,
    "Addresses": check_ports,
    "Mail systems": check_mail_systems,
    "Next hops": check_next_hops,
    "Store": check_store,
    "Certificates": _certificates,
    "DNS": check_dns,
    "Clock": check_clock,
    "Proxies": check_proxies,
    "Limits": check_limits,
    OTHERS: _others,
}


def examine(installation: Installation) -> dict[str, list[Finding]]:
    """The findings of every area, by its title.

    The plugins come first, so that their processes, which are forked, have nothing in memory that
    root reads later.
    """
    examined = replace(installation, examined=tuple(examine_plugins(installation)))
    return {title: _findings(area, examined) for title, area in AREAS.items()}


def _findings(area: Area, installation: Installation) -> list[Finding]:
    """What an area finds; what it cannot examine is a finding too."""
    found: list[Finding] = []
    try:
        found.extend(area(installation))
    except (OSError, QpsmtpdError) as failure:
        found.append(
            Finding.error(str(installation.directories[0]), f"cannot be examined: {failure}")
        )
    return found


def run(
    directories: tuple[Path, ...],
    listen: tuple[ListenAddress, ...],
    *,
    as_json: bool,
    errors_only: bool = False,
) -> int:
    """Examine this machine and print the report; the exit status of the process."""
    installation = Installation(machine=Machine(), directories=directories, listen=listen)
    findings = examine(installation)
    findings = errors_in(findings) if errors_only else findings
    lines = [json_report(findings)] if as_json else text_report(sys.stdout, findings)
    print("\n".join(lines))
    return exit_status(findings)
