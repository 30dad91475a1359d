# SPDX-License-Identifier: MIT
"""`dpkg-reconfigure qpsmtpd` as most people see it: whiptail's windows, 24 lines of 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from maintscripts.ask import (
    CHAINS,
    FILTERS,
    LEVELS,
    MILTER_SOCKET,
    SOCKET,
    lines_of,
    variables,
)
from tests.debian_system import RELEASES, System, layer_tar
from tests.isolation import ENVIRONMENT
from tests.packaging import systems
from tests.packaging.terminal import CLEAR, DOWN, ENTER, TAB, UP, Terminal, on_terminal

pytestmark = pytest.mark.real_systems

BACK = f"{TAB}{TAB}{ENTER}"  # from the field over <Ok> to <Cancel>, which is debconf's way back
YES = f"{TAB}{ENTER}"  # from <No>

START = "Start qpsmtpd when the system starts"
INTEGRATION = "Integration with Postfix:"
LISTEN = "Addresses to listen on:"
METHOD = "Delivery method:"
PROXY = "SMTP server to hand mail to:"
MAILDIR = "Directory of the Maildir:"
RCPTHOSTS = "Domains to accept mail for:"
PROTECTION = "Filters against unwanted mail:"
REPORT = "Addresses for a daily report:"


@pytest.fixture(params=RELEASES)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A system beside Postfix where the package was just installed, and nothing asked."""
    packages = ("whiptail", *systems.MAIL_SYSTEM_PACKAGES["postfix"], *systems.DEPENDENCIES)
    tar = layer_tar(request.param, packages, systems.MAIL_SYSTEM_ANSWERS)
    with systems.with_package(tar) as system:
        system.run("dpkg", "--install", *systems.GUEST_PACKAGES)
        yield system


@contextmanager
def reconfigured(system: System) -> Iterator[Terminal]:
    """Somebody at the screen of dpkg-reconfigure."""
    environment = {**ENVIRONMENT, "TERM": "linux"}
    del environment["DEBIAN_FRONTEND"]  # it would be stronger than the option
    # In a network of its own, where nobody listens.
    command = ("unshare", "--net", *system.command("dpkg-reconfigure", "-fdialog", "qpsmtpd"))
    with on_terminal(command, environment) as terminal:
        yield terminal


def window(terminal: Terminal, text: str) -> str:
    """Wait until a window with this text is there, down to its buttons."""
    shown = terminal.wait_for(rf"{re.escape(text)}[\s\S]*<(?:Ok|No)>[\s\S]*┘")
    assert "Configuring qpsmtpd" in shown
    return shown


def integrate(terminal: Terminal, keys: str) -> str:
    """Answer the question that has a window for its text, and one for the choice; the text."""
    shown = window(terminal, "In front of Postfix, qpsmtpd takes mail")
    terminal.type(ENTER)
    window(terminal, INTEGRATION)
    terminal.type(keys)
    return shown


def settings(system: System) -> dict[str, str]:
    return variables(system.root / "etc/qpsmtpd/debconf-settings")


def test_answers_back_and_mistakes(system: System) -> None:
    with reconfigured(system) as terminal:
        window(terminal, START)
        terminal.type(YES)
        integrate(terminal, ENTER)  # in front, as always
        window(terminal, LISTEN)
        terminal.type(f"eth0{ENTER}")
        complaint = window(terminal, "Not an address to listen on")
        assert "This cannot be understood: eth0" in complaint
        assert "192.0.2.1:2525" in complaint
        terminal.type(ENTER)
        assert "eth0" in window(terminal, LISTEN)  # to be mended, not to be typed again
        terminal.type(f"{CLEAR}192.0.2.1{ENTER}")
        explained = [line.strip(" │") for line in window(terminal, METHOD).splitlines()]
        terminal.type(f"{DOWN}{DOWN}{ENTER}")  # from Postfix, which is there and proposed
        window(terminal, PROXY)
        terminal.type(BACK)
        window(terminal, METHOD)
        terminal.type(f"{DOWN}{ENTER}")
        assert "/var/spool/qpsmtpd/Maildir" in window(terminal, MAILDIR)
        terminal.type(f"{CLEAR}/srv/mail{ENTER}")
        window(terminal, RCPTHOSTS)
        terminal.type(f"{CLEAR}example.com .example.net{ENTER}")
        levels = window(terminal, PROTECTION)
        terminal.type(f"{DOWN}{ENTER}")  # from standard
        window(terminal, REPORT)
        terminal.type(f"{CLEAR}anna@example.org{ENTER}")
        terminal.wait_for_end()
    # Nothing is wrapped, and four of the six methods can be seen at once.
    assert "none:                 not decided yet; qpsmtpd does not start." in explained
    assert {"Exim", "Postfix", "qmail", "SMTP server"} <= set(explained)
    assert lines_of((system.root / "etc/qpsmtpd/debian-queue-method").read_text()) == [
        "queue/maildir /srv/mail"
    ]
    assert lines_of((system.root / "etc/qpsmtpd/debian-rcpthosts").read_text()) == [
        *("example.com", ".example.net")
    ]
    assert all(re.search(rf"^[ │]*{level} *│", levels, re.MULTILINE) for level in LEVELS)
    assert filters(system) == [f"$include {CHAINS}/strict"]
    assert lines_of((system.root / "etc/qpsmtpd/report_to").read_text()) == ["anna@example.org"]
    wants = system.root / "etc/systemd/system/timers.target.wants"
    assert (wants / "qpsmtpd-report.timer").is_symlink()
    socket = (system.root / "etc/systemd/system/qpsmtpd.socket.d/debconf.conf").read_text()
    assert "\nListenStream=192.0.2.1:25\n" in socket
    assert settings(system)["ENABLED"] == "true"
    assert (system.root / "etc/systemd/system/multi-user.target.wants/qpsmtpd.service").is_symlink()
    assert (system.root / "srv/mail/new").is_dir()


def test_inside_postfix_and_back(system: System) -> None:
    drop_in = system.root / SOCKET
    before = drop_in.read_text()
    with reconfigured(system) as terminal:
        window(terminal, START)
        terminal.type(YES)
        shown = integrate(terminal, f"{DOWN}{ENTER}")
        window(terminal, PROTECTION)
        terminal.type(BACK)
        integrate(terminal, ENTER)
        for name in (PROTECTION, REPORT):
            window(terminal, name)
            terminal.type(ENTER)
        terminal.wait_for_end()
    explained = [line.strip(" │") for line in shown.splitlines()]
    assert "postconf -e smtpd_milters=unix:qpsmtpd/milter" in explained
    assert f"\nListenStream={MILTER_SOCKET}\n" in drop_in.read_text()
    assert (settings(system)["INTEGRATION"], settings(system)["ENABLED"]) == ("inside", "true")
    with reconfigured(system) as terminal:
        window(terminal, START)
        terminal.type(ENTER)  # it is started already
        integrate(terminal, f"{UP}{ENTER}")
        for name in (LISTEN, METHOD, RCPTHOSTS, PROTECTION, REPORT):
            window(terminal, name)
            terminal.type(ENTER)
        terminal.wait_for_end()
    assert drop_in.read_text() == before


def filters(system: System) -> list[str]:
    return lines_of((system.root / FILTERS).read_text())


def test_filters_of_ones_own_are_replaced_after_the_difference_was_shown(system: System) -> None:
    own = "$include /etc/qpsmtpd/filters"
    shipped = (system.root / FILTERS).read_text()
    system.write(f"/{FILTERS}", shipped.replace(f"$include {CHAINS}/standard", own))
    question = rf"/{FILTERS}[\s\S]*┘"
    with reconfigured(system) as terminal:
        window(terminal, START)
        terminal.type(YES)
        integrate(terminal, ENTER)
        for name in (LISTEN, METHOD, RCPTHOSTS, PROTECTION, REPORT):
            window(terminal, name)
            terminal.type(ENTER)  # the level of the last time
        terminal.wait_for(question)
        terminal.type(f"{DOWN}{ENTER}")  # from keeping it to the difference
        shown = terminal.wait_for(r"\+\$include [\s\S]*┘")
        assert f"-{own} " in shown
        assert f"+$include {CHAINS}/standard " in shown
        assert filters(system) == [own]
        terminal.type(ENTER)
        terminal.wait_for(question)
        terminal.type(f"{UP}{ENTER}")
        terminal.wait_for_end()
    assert filters(system) == [f"$include {CHAINS}/standard"]


def test_the_first_question_is_enough_for_who_says_no(system: System) -> None:
    with reconfigured(system) as terminal:
        window(terminal, START)
        terminal.type(ENTER)
        terminal.wait_for_end()
    assert settings(system)["ENABLED"] == "false"
