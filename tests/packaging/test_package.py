# SPDX-License-Identifier: MIT
"""The built package in booted Debian 12 and 13, beside Postfix and Exim."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from maintscripts.ask import lines_of
from tests.debian_system import RELEASES, Outcome, System
from tests.packaging import systems
from tests.packaging.guest.installed import check_names
from tests.packaging.guest.service import QUEUE_PLUGINS
from tests.packaging.sample import put_sample_into

pytestmark = pytest.mark.real_systems


@functools.cache
def booted(release: str, mail_system: str) -> Outcome:
    """All checks in a system that has the package, and not installed; another has a plugin."""
    tar = systems.layer(release, mail_system)
    return systems.boot(tar, f"installed {mail_system}", prepare=put_sample_into)


CASES = [
    pytest.param(release, mail_system, name, id=f"{release}-{mail_system}-{name}")
    for release in RELEASES
    for mail_system in systems.MAIL_SYSTEM_PACKAGES
    for name in check_names()
]


@pytest.mark.parametrize(("release", "mail_system", "check"), CASES)
def test_package(release: str, mail_system: str, check: str) -> None:
    """One check of one guest; guest/{installed,service,life}.py say what it does."""
    failure = booted(release, mail_system).failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)


# --- installed without booting ------------------------------------------------------------------


@contextmanager
def installed(release: str, mail_system: str, answers: str = "") -> Iterator[System]:
    """A system where the package was just installed; in the answers `qpsmtpd/` is left out."""
    with systems.with_package(systems.layer(release, mail_system)) as system:
        lines = (f"qpsmtpd qpsmtpd/{line}\n" for line in answers.splitlines())
        system.run("debconf-set-selections", stdin="".join(lines))
        apt_get = ("apt-get", "--yes", "--no-install-recommends", "install")
        system.run(*apt_get, *systems.GUEST_PACKAGES)
        yield system


def lines(system: System, name: str) -> list[str]:
    return lines_of((system.root / "etc/qpsmtpd" / name).read_text())


def is_enabled(system: System) -> bool:
    return any((system.root / "etc/systemd/system").glob("*.wants/qpsmtpd*"))


@pytest.mark.parametrize("release", RELEASES)
def test_defect_03_a_blank_proxy_destination_is_localhost(release: str) -> None:
    answers = "startup_enabled boolean true\nqueue_plugin select proxy\n"
    answers += "queue_smtp_proxy_destination string\n"
    with installed(release, "postfix", answers) as system:
        assert lines(system, "debian-queue-method") == ["queue/smtp-forward localhost 25"]
        assert is_enabled(system)
        system.run("qpsmtpd", "check-config")


@pytest.mark.parametrize("release", RELEASES)
def test_defect_04_no_method_unconfirmed_comes_to_an_end(release: str) -> None:
    answers = "startup_enabled boolean true\nqueue_plugin select none\n"
    with installed(release, "postfix", f"{answers}queue_none_confirm boolean false\n") as system:
        assert lines(system, "debian-queue-method") == []
        assert not is_enabled(system)


@pytest.mark.parametrize("release", RELEASES)
def test_defect_09_domains_of_exim_are_read_from_its_configuration(release: str) -> None:
    with installed(release, "exim4") as system:
        assert lines(system, "debian-rcpthosts") == ["example.org"]
        assert not is_enabled(system)


@pytest.mark.parametrize("release", RELEASES)
def test_defect_10_domains_of_postfix_are_expanded(release: str) -> None:
    with installed(release, "postfix") as system:
        found = lines(system, "debian-rcpthosts")
        assert "localhost" in found
        assert not any("$" in domain or not domain.strip() for domain in found)
        assert not is_enabled(system)


@pytest.mark.parametrize("release", RELEASES)
def test_defect_16_an_unknown_argument_of_postinst_is_an_error(release: str) -> None:
    with installed(release, "postfix") as system, pytest.raises(RuntimeError, match="frobnicate"):
        system.run("/var/lib/dpkg/info/qpsmtpd.postinst", "frobnicate")


# --- with a mail system that comes later --------------------------------------------------------


@pytest.mark.parametrize("mail_system", systems.MAIL_SYSTEM_PACKAGES)
@pytest.mark.parametrize("release", RELEASES)
def test_a_mail_system_installed_together_is_found(release: str, mail_system: str) -> None:
    packages = systems.MAIL_SYSTEM_PACKAGES[mail_system]
    with systems.with_package(systems.bare_layer(release)) as system:
        system.install((*systems.GUEST_PACKAGES, *packages), systems.MAIL_SYSTEM_ANSWERS)
        assert_handed_over_to(system, mail_system)


@pytest.mark.parametrize("mail_system", systems.MAIL_SYSTEM_PACKAGES)
@pytest.mark.parametrize("release", RELEASES)
def test_a_mail_system_installed_later_is_found(release: str, mail_system: str) -> None:
    packages = systems.MAIL_SYSTEM_PACKAGES[mail_system]
    with systems.with_package(systems.bare_layer(release)) as system:
        system.install(systems.GUEST_PACKAGES)
        assert lines(system, "debian-queue-method") == []
        system.install(packages, systems.MAIL_SYSTEM_ANSWERS)
        assert_handed_over_to(system, mail_system)


def assert_handed_over_to(system: System, mail_system: str) -> None:
    assert lines(system, "debian-queue-method") == [QUEUE_PLUGINS[mail_system]]
    members = re.search(r"^postdrop:.*:(.*)$", (system.root / "etc/group").read_text(), re.M)
    assert (members is not None and members[1] == "qpsmtpd") == (mail_system == "postfix")
    assert not is_enabled(system)
    system.run("qpsmtpd", "check-config")
