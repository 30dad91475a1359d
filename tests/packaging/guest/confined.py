# SPDX-License-Identifier: MIT
"""In the guest: what the service does, compared with the AppArmor profile that the package has.

The service runs under strace(1), with a chain of much that can be in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.packaging.apparmor import STRACE, Access, Profile, accesses
from tests.packaging.guest.report import expect, run

PROFILE = "/etc/apparmor.d/qpsmtpd"
CONFIG = Path("/etc/qpsmtpd")
_TRACES = Path("/var/spool/qpsmtpd/traces")
#: seccomp filters would forbid ptrace(2); they are checked elsewhere.
_TRACED = """\
[Service]
ExecStart=
ExecStart={strace} -D -o {trace} {command}
SystemCallFilter=
ReadWritePaths=/var/spool/qpsmtpd
{settings}
"""
#: What is not the daemon's, whatever its configuration says; `owner` in a rule does not count here.
FORBIDDEN = (
    *("r /etc/shadow", "r /etc/gshadow", "r /root/.ssh/id_ed25519", "r /home/alice/.profile"),
    *("r /var/mail/alice", "r /var/spool/postfix/active/A1", "r /var/log/mail.log"),
    *("r /etc/ssl/private/mx.key", "r /etc/letsencrypt/live/mx/privkey.pem", "r /dev/sda"),
    *("r /proc/1/environ", "r /proc/kcore", "r /var/lib/dpkg/status", "r /boot/vmlinuz"),
    *("w /etc/qpsmtpd/plugins", "w /etc/passwd", "w /usr/bin/qpsmtpd", "w /etc/cron.d/x"),
    *("w /usr/share/qpsmtpd/plugins/x.py", "w /usr/local/share/qpsmtpd/plugins/x.py"),
    *("w /var/mail/alice", "w /var/spool/postfix/maildrop/A1", "w /etc/systemd/system/x.service"),
    *("w /run/systemd/private", "w /run/dbus/system_bus_socket", "w /run/docker.sock"),
    *("w /proc/sys/kernel/core_pattern", "w /sys/fs/cgroup/x", "w /dev/sda", "w /srv/x"),
    *("x /bin/sh", "x /usr/bin/bash", "x /usr/sbin/exim4", "x /usr/sbin/postdrop", "x /usr/bin/su"),
    *("x /tmp/x", "x /var/spool/qpsmtpd/x", "x /var/lib/qpsmtpd/x", "x /usr/bin/curl"),
    *("m /tmp/x.so", "m /var/spool/qpsmtpd/x.so", "m /var/lib/qpsmtpd/x.so"),
    *("raw packet", "raw inet", "raw inet6"),
)


def profile() -> Profile:
    """The installed profile, which the parser has compiled: there is no kernel here to load it."""
    run("apparmor_parser", "--skip-kernel-load", "--skip-cache", PROFILE)
    return Profile(run("apparmor_parser", "--preprocess", PROFILE))


def expect_nothing_broad() -> None:
    """What has no place in the profile is not in it, and the services are told to have it."""
    found = profile()
    kinds = [tuple(line.split(" ", 1)) for line in FORBIDDEN]
    broad = [line for line, (kind, what) in zip(FORBIDDEN, kinds, strict=True)
             if found.allows(Access(what, kind))]  # fmt: skip
    expect(not broad, f"allowed: {broad}")
    rules = Path(PROFILE).read_text()
    for word in ("capability", "ptrace", "mount", "dbus", "unix", "change_profile", "Ux", "ux"):
        expect(f"\n  {word}" not in rules and f" {word}," not in rules, f"it has {word}")


@contextmanager
def traced(unit: str, command: str, settings: str = "") -> Iterator[Path]:
    """Have a unit run under strace; the file that it writes is in the daemon's own directory."""
    run("install", "-d", "-o", "qpsmtpd", "-g", "qpsmtpd", str(_TRACES))
    trace = _TRACES / unit
    drop_in = Path(f"/run/systemd/system/{unit}.d/traced.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    strace = " ".join(("/usr/bin/strace", *STRACE[1:])).replace("%", "%%")
    drop_in.write_text(
        _TRACED.format(strace=strace, trace=trace, command=command, settings=settings)
    )
    run("systemctl", "daemon-reload")
    try:
        yield trace
    finally:
        drop_in.unlink()
        run("systemctl", "daemon-reload")


def expect_allowed(traces: Sequence[Path], least: int) -> None:
    """All that was done is allowed, and at least so many things have been done."""
    found = profile()
    done = {each for trace in traces for each in _of_the_daemon(trace.read_text().splitlines())}
    expect(len(done) >= least, f"only {len(done)} accesses: {sorted(done)}")
    missing = sorted(f"{each.path} {each.kind}" for each in done if not found.allows(each))
    expect(not missing, f"not allowed: {missing}")


def _of_the_daemon(trace: Iterable[str]) -> Iterator[Access]:
    """As AppArmor sees them: without links, directories with a slash; not the traces themselves."""
    for access in accesses(trace):
        if not access.path.startswith("/"):
            yield access
        elif not access.path.startswith(str(_TRACES)):
            path = Path(access.path).resolve()
            is_directory = access.path.endswith("/") or path.is_dir()
            yield Access(f"{path}/".replace("//", "/") if is_directory else str(path), access.kind)
