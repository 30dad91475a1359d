# SPDX-License-Identifier: MIT
"""The Debian package: how it builds, what is in it, what lintian and systemd say about it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from maintscripts.render import LEVELS, render_chain
from tests.debian_system import CHECKOUT, RELEASES, System, layer_tar, unpacked
from tests.packaging.package import BUILD_DEPENDENCIES, TOOLS, VERSION, built

pytestmark = pytest.mark.real_systems

CONFFILES = {
    "/etc/apparmor.d/qpsmtpd",
    "/etc/fail2ban/filter.d/qpsmtpd.conf",
    "/etc/logcheck/ignore.d.server/qpsmtpd",
    "/etc/logrotate.d/qpsmtpd",
    "/etc/qpsmtpd/badhelo",
    "/etc/qpsmtpd/badmailfrom",
    "/etc/qpsmtpd/badrcptto",
    "/etc/qpsmtpd/dnsbl_zones",
    "/etc/qpsmtpd/logging",
    "/etc/qpsmtpd/loglevel",
    "/etc/qpsmtpd/plugin_dirs",
    "/etc/qpsmtpd/plugins",
    "/etc/qpsmtpd/rcpthosts",
    "/etc/qpsmtpd/relayclients",
    "/etc/qpsmtpd/rhsbl_zones",
    "/etc/qpsmtpd/spool_dir",
    "/etc/ufw/applications.d/qpsmtpd",
}

#: Where Debian's policy and systemd want what; directories of documents are not listed.
FILES = {
    "/usr/bin/qpsmtpd",
    "/usr/bin/qpsmtpd-forkserver",
    "/usr/bin/qpsmtpd-prefork",
    "/usr/lib/systemd/system/qpsmtpd-dashboard.service",
    "/usr/lib/systemd/system/qpsmtpd-dashboard.socket",
    "/usr/lib/systemd/system/qpsmtpd-dmarc-report.service",
    "/usr/lib/systemd/system/qpsmtpd-dmarc-report.timer",
    "/usr/lib/systemd/system/qpsmtpd-handover.socket",
    "/usr/lib/systemd/system/qpsmtpd-handover@.service",
    "/usr/lib/systemd/system/qpsmtpd-metrics.service",
    "/usr/lib/systemd/system/qpsmtpd-metrics.socket",
    "/usr/lib/systemd/system/qpsmtpd-pam.socket",
    "/usr/lib/systemd/system/qpsmtpd-pam@.service",
    "/usr/lib/systemd/system/qpsmtpd-postfix.socket",
    "/usr/lib/systemd/system/qpsmtpd-postfix@.service",
    "/usr/lib/systemd/system/qpsmtpd-report.service",
    "/usr/lib/systemd/system/qpsmtpd-report.timer",
    "/usr/lib/systemd/system/qpsmtpd.service",
    "/usr/lib/systemd/system/qpsmtpd.socket",
    "/usr/lib/sysusers.d/qpsmtpd.conf",
    "/usr/lib/tmpfiles.d/qpsmtpd.conf",
    "/usr/share/doc/qpsmtpd/changelog.Debian.gz",
    "/usr/share/doc/qpsmtpd/copyright",
    *(f"/usr/share/qpsmtpd/chains/{level}" for level in LEVELS),
    "/usr/share/qpsmtpd/maintscripts/configure.py",
    "/usr/share/qpsmtpd/plugins/README",
    "/usr/share/qpsmtpd/templates/etc/qpsmtpd/debian-queue-method.j2",
}
KNOWN = {
    # Of Debian 12's lintian alone; README.Debian says why there is no init script.
    "package-supports-alternative-init-but-no-init.d-script",
    # Of a snapshot, which debian/README.source explains.
    "changelog-news-debian-mismatch",
    "initial-upload-closes-no-bugs",
}
DIRECTORIES = {
    "/etc/qpsmtpd",
    "/usr/lib/systemd/system",
    "/usr/share/doc/qpsmtpd",
    "/usr/share/qpsmtpd",
}

#: The most that `systemd-analyze security` may find exposed, times ten.
MOST_EXPOSED = {
    "qpsmtpd.service": 11,
    "qpsmtpd-handover@.service": 75,
    "qpsmtpd-postfix@.service": 30,
    "qpsmtpd-pam@.service": 24,
    "qpsmtpd-dmarc-report.service": 12,
    "qpsmtpd-report.service": 12,
    "qpsmtpd-metrics.service": 12,
    "qpsmtpd-dashboard.service": 12,
}


@pytest.fixture(params=RELEASES)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A system of each release that has the package's files, but not installed."""
    release: str = request.param
    with unpacked(layer_tar(release, TOOLS[release])) as system:
        for package in built().put_into(system):
            system.run("dpkg-deb", "--extract", package, "/")
        yield system


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked package, with its control files in DEBIAN, and in `module` its modules."""
    directory = tmp_path_factory.mktemp("package")
    with unpacked(layer_tar("bookworm", TOOLS["bookworm"])) as system:
        daemon, module = built().put_into(system)
        system.run("dpkg-deb", "--raw-extract", daemon, "/var/tmp/root")
        system.run("dpkg-deb", "--raw-extract", module, "/var/tmp/module")
        for name in ("root", "module"):
            shutil.copytree(system.root / "var/tmp" / name, directory / name)
    return directory / "root"


@pytest.fixture(scope="module")
def module(contents: Path) -> Path:
    """The same of python3-qpsmtpd."""
    return contents.parent / "module"


def files_of(root: Path) -> Iterator[str]:
    for path in root.rglob("*"):
        name = f"/{path.relative_to(root)}"
        if not path.is_dir() and not name.startswith("/DEBIAN/"):
            yield name


# --- the build --------------------------------------------------------------------------------


def test_the_build_dependencies_are_those_of_the_control_file() -> None:
    control = (CHECKOUT / "debian/control").read_text()
    field = control.partition("Build-Depends:")[2].partition("Standards-Version")[0]
    names = {line.split()[0].rstrip(",") for line in field.splitlines() if line.strip()}
    # debhelper-compat and dh-sequences are names for debhelper and what it depends on.
    real = {name for name in names if not name.startswith(("debhelper-", "dh-sequence-"))}
    assert real | {"debhelper"} == set(BUILD_DEPENDENCIES)


def test_two_builds_are_the_same_byte_by_byte() -> None:
    assert built().data == built().again


def test_the_build_runs_tests() -> None:
    assert re.search(r"[1-9]\d{2,} passed", built().log)


# --- what is in it ----------------------------------------------------------------------------


def test_files_are_where_they_belong(contents: Path) -> None:
    assert FILES - set(files_of(contents)) == set()
    # Aliases of /usr are for the package base-files, /run and /var/tmp for nobody.
    tops = {name.split("/")[1] for name in files_of(contents)}
    assert tops <= {"etc", "usr"}
    for directory in DIRECTORIES:
        assert (contents / directory.lstrip("/")).is_dir()


def test_no_bytecode_tests_or_templates_of_the_build(contents: Path, module: Path) -> None:
    unwanted = re.compile(r"\.pyc$|__pycache__|/tests?/|/\.|\.orig$|~$|requires\.txt$")
    for package in (contents, module):
        assert [name for name in files_of(package) if unwanted.search(name)] == []


def test_conffiles(contents: Path) -> None:
    assert set((contents / "DEBIAN/conffiles").read_text().split()) == CONFFILES


def test_what_is_rendered_is_not_shipped(contents: Path) -> None:
    templates = contents / "usr/share/qpsmtpd/templates"
    rendered = {name.removesuffix(".j2") for name in files_of(templates)}
    assert len(rendered) >= 4
    assert rendered & set(files_of(contents)) == set()


@pytest.mark.parametrize("level", LEVELS)
def test_the_graded_chains(contents: Path, level: str) -> None:
    assert (contents / "usr/share/qpsmtpd/chains" / level).read_text() == render_chain(level)
    plugins = (contents / "etc/qpsmtpd/plugins").read_text()
    assert "\n$include /etc/qpsmtpd/debian-protection\n" in plugins


def test_the_config_script_holds_ask_py(contents: Path) -> None:
    config = (contents / "DEBIAN/config").read_text()
    assert not re.search(r"@[A-Z_]+@", config + (contents / "DEBIAN/preinst").read_text())
    assert built().sources["maintscripts/ask.py"] in config


def test_every_module_is_there(module: Path) -> None:
    package = module / "usr/lib/python3/dist-packages/qpsmtpd"
    shipped = {str(path.relative_to(package.parent)) for path in package.rglob("*.py")}
    assert shipped == {name for name in built().sources if name.startswith("qpsmtpd/")}
    assert (package / "py.typed").exists()


def test_modules_come_without_a_daemon(module: Path, contents: Path) -> None:
    """A package with a plugin depends on them, and its users are asked nothing."""
    outside = re.compile(r"/usr/(?:lib/python3/dist-packages/qpsmtpd[-/]|share/doc/)")
    assert [name for name in files_of(module) if not outside.match(name)] == []
    scripts = {path.name for path in (module / "DEBIAN").iterdir()}
    assert scripts == {"control", "md5sums", "postinst", "prerm"}  # of dh_python3
    assert "debconf" not in (module / "DEBIAN/control").read_text()
    assert f"python3-qpsmtpd (= {VERSION})," in (contents / "DEBIAN/control").read_text()


def test_the_user_and_the_directories_come_before_what_needs_them(contents: Path) -> None:
    postinst = (contents / "DEBIAN/postinst").read_text()
    steps = ("systemd-sysusers", "systemd-tmpfiles", "configure apply")
    places = [postinst.index(step) for step in steps]
    assert places == sorted(places)


# --- what others say --------------------------------------------------------------------------


def test_lintian_finds_nothing(system: System) -> None:
    """Not even information; what debian/qpsmtpd.lintian-overrides excepts has its reason there."""
    paths = built().put_into(system)
    options = ("--allow-root", "--fail-on=none", "--tag-display-limit=0", "-I", "--pedantic")
    found = re.findall(r"^[EWIP]: \S+ (\S+)", system.run("lintian", *options, *paths), re.MULTILINE)
    assert set(found) <= KNOWN


@pytest.mark.parametrize("unit", MOST_EXPOSED)
def test_exposure(system: System, unit: str) -> None:
    """Fails by itself when the unit is more exposed than it may be."""
    command = ("systemd-analyze", "security", "--offline=true", "--no-pager")
    output = system.run(*command, f"--threshold={MOST_EXPOSED[unit]}", unit)
    print(output.strip().splitlines()[-1])


def test_systemd_understands_the_units(system: System) -> None:
    sockets = ("qpsmtpd.socket", "qpsmtpd-handover.socket", "qpsmtpd-postfix.socket")
    others = (
        *("qpsmtpd-pam.socket", "qpsmtpd-metrics.socket", "qpsmtpd-dashboard.socket"),
        *("qpsmtpd-dmarc-report.timer", "qpsmtpd-report.timer"),
    )
    units = (*sockets, "qpsmtpd.service", *others)
    said = system.run("systemd-analyze", "verify", "--man=no", *units)
    about_us = [line for line in said.splitlines() if "qpsmtpd" in line and "cgroup" not in line]
    assert about_us == []


def test_the_programs_run_with_debians_libraries(system: System) -> None:
    assert "qpsmtpd 2.0.0" in system.run("qpsmtpd", "--version")
    assert "--limit-connections" in system.run("qpsmtpd-forkserver", "--help")
    assert "--children" in system.run("qpsmtpd-prefork", "--help")
    assert "batch SMTP" in system.run("qpsmtpd", "plugins", "queue/exim-bsmtp")


def test_log_rotation_is_understood_and_tolerates_a_stopped_service(system: System) -> None:
    text = (system.root / "etc/logrotate.d/qpsmtpd").read_text()
    script = text.partition("postrotate\n")[2].partition("endscript")[0]
    system.run("sh", "-ec", script)
    assert "restart" not in script
