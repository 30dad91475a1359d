# SPDX-License-Identifier: MIT
"""The upgrade from Debian's own package, the Perl version, on Debian 12 and 13."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from maintscripts.ask import lines_of, variables
from tests.debian_system import RELEASES, System
from tests.packaging import systems
from tests.packaging.guest.upgraded import check_names
from tests.packaging.systems import GUEST_PACKAGES

pytestmark = pytest.mark.real_systems

OLD_PACKAGE = "/var/tmp/old.deb"
PLUGINS = "/etc/qpsmtpd/plugins"
UNITS = {"qpsmtpd.service", "qpsmtpd.socket"}
ADDRESSES = ("192.0.2.1", "127.0.0.2")
DOMAINS = ("example.org", ".example.net")
PERL_PLUGIN = "sub register { my ($self, $qp) = @_; $self->register_hook('rcpt', 'check'); }\n"


@dataclass(frozen=True)
class Method:
    """A delivery method with its answers, and the plugin line that the Perl version wrote."""

    name: str
    line: str = ""
    mail_system: str = "postfix"
    answers: Mapping[str, str] | None = None


METHODS = (
    Method("postfix", "queue/postfix-queue"),
    Method("exim", "queue/exim-bsmtp", mail_system="exim4"),
    Method("qmail", "queue/qmail-queue /usr/sbin/qmail-queue"),
    Method(
        "proxy",
        "queue/smtp-forward mail.example.com 2525",
        answers={"queue_smtp_proxy_destination": "string mail.example.com:2525"},
    ),
    Method(
        "maildir",
        "queue/maildir /srv/mail/all",
        answers={"queue_maildir_destination": "string /srv/mail/all"},
    ),
    Method("none", answers={"queue_none_confirm": "boolean true"}),
)


@contextmanager
def perl_version(
    release: str, mail_system: str = "postfix", answers: Mapping[str, str] | None = None
) -> Iterator[System]:
    """A system, not booted, where the Perl version is configured with these answers."""
    with systems.with_package(systems.old_layer(release, mail_system)) as system:
        # Nothing may start: the network is that of this machine.
        system.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        if answers:
            lines = (f"qpsmtpd qpsmtpd/{name} {value}\n" for name, value in answers.items())
            system.run("debconf-set-selections", stdin="".join(lines))
            system.run("dpkg-reconfigure", "-fnoninteractive", "qpsmtpd")
        yield system


def answers_for(method: Method, enabled: str) -> dict[str, str]:
    return {
        "startup_enabled": f"boolean {enabled}",
        "listen_interfaces": f"string {' '.join(ADDRESSES)}",
        "queue_plugin": f"select {method.name}",
        "rcpthosts": f"string {' '.join(DOMAINS)}",
        **(method.answers or {}),
    }


def upgrade(system: System) -> str:
    """Upgrade to the built package; conffiles with changes are kept, as usual without a user."""
    keep = ("-o", "Dpkg::Options::=--force-confold")
    said = system.run(
        "apt-get", "--yes", "--no-install-recommends", *keep, "install", *GUEST_PACKAGES
    )
    show = "--showformat=${db:Status-Status} ${Version}"
    assert system.run("dpkg-query", "--show", show, "qpsmtpd") == "installed 2.0.0-1"
    assert "Traceback" not in said
    return said


def text(system: System, path: str) -> str:
    return (system.root / path.lstrip("/")).read_text()


def lines(system: System, name: str) -> list[str]:
    return lines_of(text(system, f"/etc/qpsmtpd/{name}"))


def listens_on(system: System) -> list[str]:
    drop_in = text(system, "/etc/systemd/system/qpsmtpd.socket.d/debconf.conf")
    return re.findall(r"^ListenStream=(.+)", drop_in, re.MULTILINE)


def settings(system: System) -> dict[str, str]:
    return variables(system.root / "etc/qpsmtpd/debconf-settings")


def enabled_units(system: System) -> set[str]:
    return {path.name for path in (system.root / "etc/systemd/system").glob("*.wants/qpsmtpd*")}


def assert_nothing_of_perls_is_left(system: System) -> None:
    etc = system.root / "etc"
    assert not (etc / "init.d/qpsmtpd").exists()
    assert not list(etc.glob("rc?.d/*qpsmtpd"))
    assert "qpsmtpd" not in text(system, "/var/lib/dpkg/statoverride")
    assert not list(system.root.glob("usr/share/qpsmtpd/plugins/*/*.p[lm]"))
    assert not list(etc.glob("**/qpsmtpd*.dpkg-*"))


@pytest.mark.parametrize("enabled", ["true", "false"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.name))
@pytest.mark.parametrize("release", RELEASES)
def test_no_setting_is_lost(release: str, method: Method, enabled: str) -> None:
    with perl_version(release, method.mail_system, answers_for(method, enabled)) as system:
        assert lines(system, "debian-queue-method") == [method.line] * bool(method.line)
        upgrade(system)
        assert lines(system, "debian-queue-method") == [method.line] * bool(method.line)
        assert lines(system, "debian-rcpthosts") == list(DOMAINS)
        assert listens_on(system) == [f"{address}:25" for address in ADDRESSES]
        assert settings(system)["QUEUE_PLUGIN"] == method.name
        assert settings(system)["ENABLED"] == enabled
        started = enabled == "true" and method.line
        assert enabled_units(system) == (
            {"qpsmtpd.service", "qpsmtpd.socket"} if started else set()
        )
        assert_nothing_of_perls_is_left(system)
        if method.line:
            system.run("qpsmtpd", "check-config")


@pytest.mark.parametrize("release", RELEASES)
def test_defect_11_what_was_never_answered_is_not_taken_literally(release: str) -> None:
    with perl_version(release) as system:
        assert lines(system, "debian-rcpthosts") == ["unset"]
        upgrade(system)
        assert "unset" not in lines(system, "debian-rcpthosts")
        assert listens_on(system) == ["25"]
        assert lines(system, "debian-queue-method") == ["queue/postfix-queue"]
        assert enabled_units(system) == set()
        assert_nothing_of_perls_is_left(system)
        system.run("qpsmtpd", "check-config")


@pytest.mark.parametrize("release", RELEASES)
def test_edits_and_old_names_of_plugins_survive(release: str) -> None:
    with perl_version(release, answers=answers_for(METHODS[0], "true")) as system:
        old = text(system, PLUGINS)
        assert "\ncheck_relay\n" in old
        edited = old.replace("\ncheck_loop\n", "\ncheck_loop 50\ncheck_badmailfromto\n")
        system.write(PLUGINS, edited)
        domains = text(system, "/etc/qpsmtpd/debian-rcpthosts") + "added.example\n"
        system.write("/etc/qpsmtpd/debian-rcpthosts", domains)
        upgrade(system)
        assert text(system, PLUGINS) == edited
        assert lines(system, "debian-rcpthosts") == [*DOMAINS, "added.example"]
        system.run("qpsmtpd", "check-config")


@pytest.mark.parametrize("release", RELEASES)
def test_a_perl_plugin_is_reported_by_name(release: str) -> None:
    with perl_version(release, answers=answers_for(METHODS[0], "true")) as system:
        system.write("/usr/share/qpsmtpd/plugins/our_own_filter", PERL_PLUGIN)
        system.write(PLUGINS, text(system, PLUGINS) + "our_own_filter strict 1\n")
        number = len(text(system, PLUGINS).splitlines())
        upgrade(system)
        with pytest.raises(RuntimeError) as failure:
            system.run("qpsmtpd", "check-config")
        said = str(failure.value)
        assert f"{PLUGINS}:{number}" in said
        assert "our_own_filter" in said
        assert "Perl" in said
        assert text(system, "/usr/share/qpsmtpd/plugins/our_own_filter") == PERL_PLUGIN


@pytest.mark.parametrize("agreed", ["true", "false"])
@pytest.mark.parametrize("release", RELEASES)
def test_lines_that_cannot_work_are_named_before_unpacking(release: str, agreed: str) -> None:
    with perl_version(release, answers=answers_for(METHODS[0], "true")) as system:
        system.write(PLUGINS, text(system, PLUGINS) + "our_own_filter strict 1\nvirus/sophie\n")
        number = len(text(system, PLUGINS).splitlines()) - 1
        answer = f"qpsmtpd qpsmtpd/leave_out_plugins boolean {agreed}\n"
        system.run("debconf-set-selections", stdin=answer)
        said = upgrade(system)
        before, _, after = said.partition("Unpacking qpsmtpd (2.0.0-1)")
        line = f"{PLUGINS}:{number}: our_own_filter strict 1"
        assert f"  {line}" in before
        assert "virus/sophie" not in said  # which nobody misses
        assert text(system, PLUGINS).endswith("our_own_filter strict 1\nvirus/sophie\n")
        assert enabled_units(system) == UNITS
        if agreed == "true":
            assert f"{line}: left out: there is no plugin our_own_filter" in after
            system.run("qpsmtpd", "check-config")
        else:
            assert f"{line}: it cannot start with this: there is no plugin our_own_filter" in after
            with pytest.raises(RuntimeError, match="our_own_filter"):
                system.run("qpsmtpd", "check-config")


@pytest.mark.parametrize("release", RELEASES)
def test_an_upgrade_that_would_stop_mail_can_be_stopped(release: str) -> None:
    with perl_version(release, answers=answers_for(METHODS[0], "true")) as system:
        before = text(system, PLUGINS)
        system.write(PLUGINS, f"{before}our_own_filter strict 1\n")
        answer = "qpsmtpd qpsmtpd/stop_upgrade boolean true\n"
        system.run("debconf-set-selections", stdin=answer)
        with pytest.raises(RuntimeError) as failure:
            upgrade(system)
        said = str(failure.value)
        assert re.search(r"qpsmtpd: the upgrade is stopped, and version 0\.94-\S+ stays", said), (
            said
        )
        assert f"  {PLUGINS}:{len(before.splitlines()) + 1}: our_own_filter strict 1" in said
        show = "--showformat=${db:Status-Status} ${Version}"
        assert "installed 0.94-" in system.run("dpkg-query", "--show", show, "qpsmtpd")
        assert (system.root / "etc/init.d/qpsmtpd").exists()
        system.write(PLUGINS, before)
        assert "the upgrade is stopped" not in upgrade(system)
        assert enabled_units(system) == UNITS


@pytest.mark.parametrize("release", RELEASES)
def test_questions_of_the_perl_version_are_forgotten(release: str) -> None:
    gone = {"qpsmtpd/server_type", "qpsmtpd/pre094_checkplugin_warning"}
    with perl_version(release, answers=answers_for(METHODS[0], "true")) as system:
        assert gone & asked(system)
        upgrade(system)
        assert not gone & asked(system)
        assert "qpsmtpd/queue_plugin" in asked(system)


def asked(system: System) -> set[str]:
    """The questions that debconf knows, by name."""
    return set(
        re.findall(r"^Name: (qpsmtpd/\S+)", text(system, "/var/cache/debconf/config.dat"), re.M)
    )


@pytest.mark.parametrize("release", RELEASES)
def test_what_was_removed_and_not_purged_is_taken_over(release: str) -> None:
    with perl_version(release, answers=answers_for(METHODS[0], "true")) as system:
        system.run("apt-get", "--yes", "remove", "qpsmtpd")
        upgrade(system)
        assert lines(system, "debian-queue-method") == ["queue/postfix-queue"]
        assert lines(system, "debian-rcpthosts") == list(DOMAINS)
        assert listens_on(system) == [f"{address}:25" for address in ADDRESSES]
        assert_nothing_of_perls_is_left(system)


@pytest.mark.parametrize("release", RELEASES)
def test_a_second_configuration_changes_nothing(release: str) -> None:
    """As after an interruption, when dpkg configures once more."""
    with perl_version(release, answers=answers_for(METHODS[0], "true")) as system:
        upgrade(system)
        files = ("debian-queue-method", "debian-rcpthosts", "debconf-settings")
        before = [text(system, f"/etc/qpsmtpd/{name}") for name in files]
        dpkg = ("DPKG_MAINTSCRIPT_NAME=postinst", "DPKG_MAINTSCRIPT_PACKAGE=qpsmtpd")
        system.run("env", *dpkg, "/var/lib/dpkg/info/qpsmtpd.postinst", "configure", "0.94-5")
        system.run("dpkg-reconfigure", "-fnoninteractive", "qpsmtpd")
        assert [text(system, f"/etc/qpsmtpd/{name}") for name in files] == before
        assert enabled_units(system) == UNITS


@pytest.mark.parametrize("release", RELEASES)
def test_going_back_to_the_perl_version_keeps_the_settings(release: str) -> None:
    with perl_version(release, answers=answers_for(METHODS[0], "true")) as system:
        system.run("sh", "-c", f"cd /tmp && dpkg-repack qpsmtpd && mv *.deb {OLD_PACKAGE}")
        upgrade(system)
        apt_get = ("apt-get", "--yes", "--no-install-recommends", "--allow-downgrades")
        system.run(*apt_get, "-o", "Dpkg::Options::=--force-confnew", "install", OLD_PACKAGE)
        assert lines(system, "debian-queue-method") == ["queue/postfix-queue"]
        assert lines(system, "debian-rcpthosts") == list(DOMAINS)
        assert (system.root / "etc/init.d/qpsmtpd").exists()
        upgrade(system)
        assert listens_on(system) == [f"{address}:25" for address in ADDRESSES]


CASES = [
    pytest.param(release, name, id=f"{release}-{name}")
    for release in RELEASES
    for name in check_names()
]


@pytest.mark.parametrize(("release", "check"), CASES)
def test_upgrade_of_a_running_service(release: str, check: str) -> None:
    """One check of one guest; tests/packaging/guest/upgraded.py says what it does."""
    failure = systems.boot(systems.old_layer(release, "postfix"), "upgraded").failure(check)
    if failure:
        pytest.fail(failure, pytrace=False)
