# SPDX-License-Identifier: MIT
"""Answers that cannot be used and files that are broken: apt goes on, and says what is wrong."""

from __future__ import annotations

import pytest

from maintscripts.ask import lines_of, variables
from tests.debian_system import RELEASES, System
from tests.packaging import systems
from tests.packaging.systems import GUEST_PACKAGES

pytestmark = pytest.mark.real_systems

#: What nobody who is asked could answer, but debconf-set-selections takes.
WRONG_ANSWERS = """\
qpsmtpd qpsmtpd/startup_enabled boolean true
qpsmtpd qpsmtpd/listen_interfaces string eth0 10.0.0.256
qpsmtpd qpsmtpd/queue_plugin select sendmail
qpsmtpd qpsmtpd/rcpthosts string example.com *@example.net
"""
WRONG_DESTINATIONS = {
    "proxy": "qpsmtpd qpsmtpd/queue_smtp_proxy_destination string mail:example.com:99999",
    "maildir": "qpsmtpd qpsmtpd/queue_maildir_destination string ../mail",
}
NO_TEXT = b'\xff\xfe\x00\x80\n\n="\n'


def install(system: System) -> str:
    """Install the package with nobody at the screen; what was said."""
    keep = ("-o", "Dpkg::Options::=--force-confold")
    options = ("--yes", "--no-install-recommends", "--reinstall", *keep)
    said = system.run("apt-get", *options, "install", *GUEST_PACKAGES)
    assert system.run("dpkg-query", "--show", "--showformat=${Status}", "qpsmtpd") == (
        "install ok installed"
    )
    assert "Traceback" not in said
    return said


def text(system: System, path: str) -> str:
    return (system.root / path.lstrip("/")).read_text()


def is_enabled(system: System) -> bool:
    return any((system.root / "etc/systemd/system").glob("*.wants/qpsmtpd*"))


@pytest.mark.parametrize("release", RELEASES)
def test_wrong_answers_are_replaced_by_safe_ones(release: str) -> None:
    with systems.with_package(systems.layer(release, "postfix")) as system:
        system.run("debconf-set-selections", stdin=WRONG_ANSWERS)
        said = install(system)
        for word in ("'eth0'", "'10.0.0.256'", "'sendmail'", "'*@example.net'"):
            assert f"qpsmtpd: {word} " in said
        assert "no address is left to listen on: only 127.0.0.1 is used" in said
        socket = text(system, "/etc/systemd/system/qpsmtpd.socket.d/debconf.conf")
        assert "\nListenStream=127.0.0.1:25\n" in socket
        assert lines_of(text(system, "/etc/qpsmtpd/debian-queue-method")) == ["queue/postfix-queue"]
        assert lines_of(text(system, "/etc/qpsmtpd/debian-rcpthosts")) == ["example.com"]


@pytest.mark.parametrize("method", WRONG_DESTINATIONS)
@pytest.mark.parametrize("release", RELEASES)
def test_a_wrong_destination_is_none(release: str, method: str) -> None:
    """Rather no delivery than a wrong one: and then nothing starts."""
    with systems.with_package(systems.layer(release, "postfix")) as system:
        answers = ("qpsmtpd/startup_enabled boolean true", f"qpsmtpd/queue_plugin select {method}")
        lines = [*(f"qpsmtpd {answer}" for answer in answers), WRONG_DESTINATIONS[method]]
        system.run("debconf-set-selections", stdin="\n".join(lines))
        said = install(system)
        assert "nothing is delivered" in said
        assert "not started: it has no delivery method yet" in said
        assert lines_of(text(system, "/etc/qpsmtpd/debian-queue-method")) == []
        assert not is_enabled(system)


@pytest.mark.parametrize("release", RELEASES)
def test_broken_files_stop_no_installation(release: str) -> None:
    with systems.with_package(systems.layer(release, "postfix")) as system:
        install(system)
        etc = system.root / "etc/qpsmtpd"
        for name in ("debian-queue-method", "debconf-settings", "plugins", "plugin_dirs"):
            (etc / name).write_bytes(NO_TEXT)
        (etc / "debian-rcpthosts").unlink()
        (etc / "debian-rcpthosts").symlink_to("/srv/not/mounted")
        said = install(system)
        assert "/etc/qpsmtpd/debian-rcpthosts is not a file and is left alone" in said
        assert (etc / "debian-queue-method").read_bytes() == NO_TEXT  # an edit, as far as we know
        assert variables(etc / "debconf-settings")["ENABLED"] == "false"
        with pytest.raises(RuntimeError, match="/etc/qpsmtpd/plugins:"):
            system.run("qpsmtpd", "check-config")
        system.run("apt-get", "--yes", "purge", "qpsmtpd")


@pytest.mark.parametrize("release", RELEASES)
def test_postfix_chosen_before_it_is_there(release: str) -> None:
    """Neither a mail system nor the group postdrop: that is said, and nothing fails."""
    with systems.with_package(systems.bare_layer(release)) as system:
        system.run("debconf-set-selections", stdin="qpsmtpd qpsmtpd/queue_plugin select postfix")
        assert "no group postdrop yet" in install(system)
        assert lines_of(text(system, "/etc/qpsmtpd/debian-queue-method")) == ["queue/postfix-queue"]
        assert "postdrop" not in text(system, "/etc/group")
