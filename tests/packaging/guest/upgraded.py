# SPDX-License-Identifier: MIT
"""In the guest: the Perl version runs, in front of Postfix, and is upgraded to ours.

Called as `python3 -m tests.packaging.guest.upgraded`.  The checks build on each other.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from tests.packaging.guest import service
from tests.packaging.guest.apt import (
    QUEUE_METHOD,
    SETTINGS,
    dpkg_reconfigure,
    install,
    meaning,
    members,
    preseed,
)
from tests.packaging.guest.client import DOMAIN, wait_until_served
from tests.packaging.guest.installed import prepare
from tests.packaging.guest.next_hop import messages
from tests.packaging.guest.report import check, expect, keep_log, run, wait_for
from tests.packaging.guest.service import LISTEN, LOG, deliver

PLUGINS = Path("/etc/qpsmtpd/plugins")


def the_perl_version_serves() -> None:
    # Without an argument this one refuses every message in the Perl version.
    PLUGINS.write_text(PLUGINS.read_text().replace("\ncheck_loop\n", "\ncheck_loop 100\n"))
    preseed(
        {
            "startup_enabled": "boolean true",
            "listen_interfaces": f"string {LISTEN[0]}",
            "queue_plugin": "select postfix",
            "rcpthosts": f"string {DOMAIN}",
        }
    )
    dpkg_reconfigure()
    run("systemctl", "restart", "qpsmtpd.service")
    wait_for("Perl version at its address", _listening)
    expect(_perl_processes(), "it is not the Perl version that serves")


def upgrades_while_it_runs() -> None:
    """With a line that cannot work, which the administrator lets be left out."""
    PLUGINS.write_text(f"{PLUGINS.read_text()}our_own_filter strict\n")
    preseed({"leave_out_plugins": "boolean true"})
    install("-o", "Dpkg::Options::=--force-confold")
    wait_until_served(LISTEN)
    expect(not _perl_processes(), f"left: {_perl_processes()}")


def defect_19_units_take_over() -> None:
    for unit in ("qpsmtpd.socket", "qpsmtpd.service"):
        expect(service.state("is-enabled", unit) == "enabled", f"{unit} is not enabled")
        expect(service.state("is-active", unit) == "active", f"{unit} is not active")
    expect(not Path("/etc/init.d/qpsmtpd").exists(), "the init script is there")
    failed = run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    expect("qpsmtpd" not in failed, failed)


def defect_01_mail_arrives_with_the_configuration_of_before() -> None:
    expect("\ncheck_loop 100\n" in PLUGINS.read_text(), "plugins was replaced")
    expect(meaning(QUEUE_METHOD) == ["queue/postfix-queue"], QUEUE_METHOD.read_text())
    expect("qpsmtpd" in members("postdrop"), str(members("postdrop")))
    deliver("upgraded")
    wait_for("message", lambda: messages("upgraded"))


def the_log_goes_on_in_the_same_file() -> None:
    wait_for("line of a message", lambda: "message accepted" in LOG.read_text())
    expect('SERVER="' not in SETTINGS.read_text(), SETTINGS.read_text())


CHECKS: tuple[Callable[[], None], ...] = (
    the_perl_version_serves,
    upgrades_while_it_runs,
    defect_19_units_take_over,
    defect_01_mail_arrives_with_the_configuration_of_before,
    the_log_goes_on_in_the_same_file,
)


def check_names() -> list[str]:
    """Every check that is reported, in order."""
    return [function.__name__ for function in CHECKS]


def _listening() -> bool:
    with socket.socket() as client:  # its greeting waits for name servers, which are not there
        return client.connect_ex(LISTEN) == 0


def _perl_processes() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text().replace("\0", " ")
        except OSError:  # ended meanwhile
            continue
        if "perl" in command and "qpsmtpd" in command:
            found.append(command)
    return found


def main() -> None:
    """Do all of it, with whatever does not work reported and left behind."""
    prepare("postfix")
    for function in CHECKS:
        with check(function.__name__):
            function()
    keep_log(str(LOG))


if __name__ == "__main__":
    main()
