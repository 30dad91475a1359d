# SPDX-License-Identifier: MIT
"""How the tests read AppArmor's rules and strace's traces (tests/packaging/apparmor.py).

That the profile is complete, and nothing broad is in it, is checked where the service runs:
tests/packaging/guest/units.py.
"""

from __future__ import annotations

import re

import pytest

from tests.debian_system import CHECKOUT
from tests.packaging.apparmor import Access, Profile, accesses

RULES = """\
# A comment,
@{HOMES}=/home/ /srv/home/
@{HOME}=@{HOMES}/*/ /root/
@{run}=/run/
@{run}+=/var/run/
profile one flags=(complain) {
  # of a block
  /etc/one/{,**} r,
  owner @{HOME}/.one rw,   # his own
  @{run}/one.{sock,socket} rw,
  /usr/lib{,32,64}/**.so* mr,
  /usr/bin/python3* mrix,
  deny /etc/one/secret r,
  /proc/@{pid}/fd/ r,
  /srv/[a-c]?/* w,
  network inet stream,
  network netlink,
  capability setuid,
}
"""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/etc/one/", "r"),
        ("/etc/one/a/b", "r"),
        ("/etc/one", ""),
        ("/etc/oneself", ""),
        ("/home/me/.one", "rw"),
        ("/srv/home/me/.one", "rw"),
        ("/root/.one", "rw"),
        ("/home/me/you/.one", ""),
        ("/run/one.socket", "rw"),
        ("/var/run/one.sock", "rw"),
        ("/run/one.socket2", ""),
        ("/usr/lib64/x/y.so.1", "mr"),
        ("/usr/bin/python3.13", "mrix"),
        ("/proc/17/fd/", "r"),
        ("/proc/self/fd/", ""),
        ("/srv/b1/x", "w"),
        ("/srv/b1/", ""),
        ("/srv/d1/x", ""),
    ],
)
def test_rules(path: str, allowed: str) -> None:
    assert Profile(RULES).allowed(path) == set(allowed)


def test_networks() -> None:
    profile = Profile(RULES)
    assert profile.allows(Access("inet", "stream"))
    assert profile.allows(Access("netlink", "raw"))
    assert not profile.allows(Access("inet", "raw"))
    assert not profile.allows(Access("packet", "raw"))


@pytest.mark.parametrize(
    ("line", "done"),
    [
        ('7 openat(AT_FDCWD</>, "/lib/x", O_RDONLY|O_CLOEXEC) = 3</usr/lib/x>', "r /usr/lib/x"),
        ('7 openat(AT_FDCWD</>, "/x", O_RDONLY) = -1 ENOENT (No such file or directory)', ""),
        ('7 openat(AT_FDCWD</>, "/x", O_RDONLY|O_DIRECTORY) = 3</x>', "r /x/"),
        ('7 openat(4</x>, "y", O_RDWR|O_CREAT, 0600) = 3</x/y>', "r /x/y w /x/y"),
        ('7 openat(4</>, "s", O_RDWR|O_TMPFILE, 0600) = 3</s/#7 (deleted)>', "r /s/#7 w /s/#7"),
        ('7 execve("/usr/bin/env", ["env"], 0x7f /* 9 vars */) = 0', "x /usr/bin/env"),
        ("7 mmap(NULL, 9, PROT_READ|PROT_EXEC, MAP_PRIVATE, 3</l/x.so>, 0) = 0x7f", "m /l/x.so"),
        ("7 fcntl(5</s/db>, F_SETLK, {l_type=F_RDLCK, l_whence=SEEK_SET}) = 0", "k /s/db"),
        ('7 unlink("/s/db-journal") = 0', "w /s/db-journal"),
        ('7 mkdir("/s/new", 0700) = 0', "w /s/new/"),
        ('7 renameat(AT_FDCWD</>, "/s/a", AT_FDCWD</>, "/s/b") = 0', "w /s/a w /s/b"),
        ('7 connect(5<socket:[9]>, {sa_family=AF_UNIX, sun_path="/run/x"}, 9) = 0', "w /run/x"),
        ('7 connect(5, {sa_family=AF_UNIX, sun_path="/run/x"}, 9) = -1 ENOENT (No)', ""),
        ('7 connect(5, {sa_family=AF_UNIX, sun_path="/x"}, 9) = -1 ECONNREFUSED (No)', "w /x"),
        ("7 socket(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 5", "stream inet6"),
        ("7 socket(AF_UNIX, SOCK_STREAM, 0) = 5", ""),
        ('7 newfstatat(AT_FDCWD</>, "/etc/shadow", {st_mode=S_IFREG}, 0) = 0', ""),
    ],
)  # fmt: skip
def test_traces(line: str, done: str) -> None:
    assert " ".join(f"{each.kind} {each.path}" for each in accesses([line])) == done


def test_calls_of_several_threads() -> None:
    trace = [
        '7 openat(AT_FDCWD</>, "/a", O_RDONLY <unfinished ...>',
        '8 unlink("/b") = 0',
        "7 <... openat resumed>) = 3</a>",
    ]
    assert sorted(accesses(trace)) == [Access("/a", "r"), Access("/b", "w")]


@pytest.mark.parametrize(
    "unit",
    [
        "qpsmtpd.service",
        "qpsmtpd.qpsmtpd-dmarc-report.service",
        "qpsmtpd.qpsmtpd-report.service",
        "qpsmtpd.qpsmtpd-dashboard.service",
    ],
)
def test_units_have_the_profile_if_it_is_loaded(unit: str) -> None:
    assert "\nAppArmorProfile=-qpsmtpd\n" in (CHECKOUT / "debian" / unit).read_text()


def test_programs_can_be_read_and_mapped_as_well() -> None:
    """The kernel does that when it starts one; strace does not show it."""
    text = (CHECKOUT / "debian/apparmor/qpsmtpd").read_text()
    programs = dict(re.findall(r"^  (/\S+) (\w*x),$", text, re.MULTILINE))
    assert programs.pop("/usr/bin/qpsmtpd") == "rix"  # a script
    assert set(programs.values()) == {"mrix"}


def test_the_profile_reports_and_can_be_extended() -> None:
    text = (CHECKOUT / "debian/apparmor/qpsmtpd").read_text()
    assert "\nprofile qpsmtpd flags=(attach_disconnected,complain) {\n" in text
    assert text.endswith("  include if exists <local/qpsmtpd>\n}\n")
