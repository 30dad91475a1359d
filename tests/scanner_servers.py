# SPDX-License-Identifier: MIT
"""Debian's spamd, clamd, rspamd and milters, each in a system of its own that ends with the test.

They listen on a Unix socket that is seen from outside of the system.  Nothing is downloaded but
their packages: clamd's only signature is that of the EICAR test file, and rspamd has rules of ours.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.debian_system import System, layer_tar, unpacked

RELEASE = "bookworm"
START_TIMEOUT = 120.0  # seconds; on a busy machine rspamd needs ten

#: What every spam filter takes for spam (https://spamassassin.apache.org/gtube/), and every virus
#: scanner for a virus (https://www.eicar.org), in two parts, so that this file is neither.
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
EICAR = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"

_CLAMD_CONF = """\
DatabaseDirectory /srv/signatures
LocalSocket /run/scanner.sock
LocalSocketMode 666
Foreground yes
User clamav
StreamMaxLength 1M
"""
#: The list of public suffixes is a short one, as to compile Debian's takes half a minute.
_RSPAMD_CONF = """\
options {
  url_tld = "/srv/suffixes"; tempdir = "/tmp"; filters = ""; disable_hyperscan = true;
  dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }
}
logging { type = "file"; filename = "/tmp/rspamd.log"; level = "error"; }
worker "normal" { bind_socket = "/run/scanner.sock mode=0666"; count = 1; }
actions { reject = 15; "rewrite subject" = 7; add_header = 6; greylist = 4; }
lua = "/srv/rules.lua";
"""
#: What the field X-Want of a message says is done to it.
_RSPAMD_RULES = r"""
rspamd_config:register_symbol({ name = 'WANTED', type = 'prefilter', callback = function(task)
  local wanted = task:get_header('X-Want')
  if wanted then task:set_pre_result(wanted, 'as you like it', 'test') end
  task:set_milter_reply({
    add_headers = {
      ['X-Folded'] = { value = 'one\r\n two', order = 1 },
      ['X-Known'] = tostring(task:get_from_ip()) .. ' ' .. (task:get_helo() or '') .. ' '
        .. (task:get_user() or '') .. ' ' .. task:get_recipients(1)[1].addr,
    },
    remove_headers = { ['X-Remove'] = 0 },
  })
end })
"""


@dataclass
class RealScanner:
    """A scanner that can be killed, paused and started again."""

    system: System
    command: Sequence[str]
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def place(self) -> str:
        """Its socket."""
        return str(self.system.root / "run/scanner.sock")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        Path(self.place).unlink(missing_ok=True)
        log = self.system.root / "tmp/output"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self.system.command(*self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command[0]} does not start:\n{log.read_text()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connected, suppress(OSError):
            connected.connect(self.place)
            return True
        return False

    def pause(self) -> None:
        """It keeps its connections, and even takes new ones, but does nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone, with all its processes; `start` may follow."""
        if self._process is not None:
            children = list(_descendants(self._process.pid))
            self._process.kill()
            self._process.wait()
            self._process = None
            # The kernel ends them with the first one, but a moment later.
            deadline = time.monotonic() + START_TIMEOUT
            while any(Path(f"/proc/{pid}/root").exists() for pid in children):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.command[0]} does not end")
                time.sleep(0.01)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        for pid in _descendants(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from _descendants(int(child))


@contextmanager
def _running(
    packages: Sequence[str], files: dict[str, str], command: Sequence[str], release: str = RELEASE
) -> Iterator[RealScanner]:
    with unpacked(layer_tar(release, packages)) as system:
        for path, text in files.items():
            system.write(path, text)
        # Each of them runs as a user of its own, and puts its socket there.
        (system.root / "run").chmod(0o777)
        scanner = RealScanner(system, command)
        try:
            scanner.start()
            yield scanner
        finally:
            scanner.kill()


_SIGNATURES = {"/srv/signatures/eicar.ndb": f"Eicar-Test-Signature:0:*:{EICAR.encode().hex()}\n"}


@contextmanager
def real_spamd() -> Iterator[RealScanner]:
    """SpamAssassin, without anything that needs the network."""
    options = ("--local", "--nouser-config", "--max-children=2", "--socketmode=0666")
    more = ("--socketpath=/run/scanner.sock", "--username=nobody", "--syslog=stderr")
    with _running(("spamd", "spamassassin"), {}, ("spamd", *options, *more)) as scanner:
        yield scanner


@contextmanager
def real_clamd() -> Iterator[RealScanner]:
    """ClamAV, which knows the EICAR test file only."""
    files = {**_SIGNATURES, "/srv/clamd.conf": _CLAMD_CONF}
    command = ("clamd", "--config-file=/srv/clamd.conf")
    with _running(("clamav-daemon", "clamav", "clamdscan"), files, command) as scanner:
        yield scanner


@contextmanager
def real_rspamd() -> Iterator[RealScanner]:
    """rspamd, whose only rules are GTUBE and what a message asks for itself."""
    files = {
        "/srv/suffixes": "com\nexample\ntest\n",
        "/srv/rspamd.conf": _RSPAMD_CONF,
        "/srv/rules.lua": _RSPAMD_RULES,
    }
    command = ("rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", "/srv/rspamd.conf")
    with _running(("rspamd",), files, command) as scanner:
        yield scanner


@contextmanager
def real_opendkim() -> Iterator[RealScanner]:
    """A milter that looks at signatures, and refuses nothing."""
    files = {
        "/srv/opendkim.conf": "Socket local:/run/scanner.sock\nUMask 000\nMode v\nSyslog no\n"
        "AuthservID mx.example\nAlwaysAddARHeader yes\n"
    }
    with _running(("opendkim",), files, ("opendkim", "-f", "-x", "/srv/opendkim.conf")) as scanner:
        yield scanner


_CLAMAV_MILTER_CONF = """\
MilterSocket /run/scanner.sock
MilterSocketMode 666
ClamdSocket unix:/run/clamd.sock
Foreground yes
User clamav
OnInfected Reject
RejectMsg "This message has a virus: %v"
AddHeader Replace
"""


@contextmanager
def real_clamav_milter() -> Iterator[RealScanner]:
    """clamav-milter, with a clamd of its own that knows the EICAR test file."""
    files = {
        **_SIGNATURES,
        "/srv/clamd.conf": _CLAMD_CONF.replace("scanner.sock", "clamd.sock"),
        "/srv/milter.conf": _CLAMAV_MILTER_CONF,
    }
    # The milter looks for it when it starts.
    start = (
        "rm -f /run/clamd.sock; clamd --config-file=/srv/clamd.conf & "
        "until [ -S /run/clamd.sock ]; do sleep 0.1; done; "
        "exec clamav-milter --config-file=/srv/milter.conf"
    )
    packages = ("clamav-milter", "clamav-daemon")
    with _running(packages, files, ("sh", "-c", start)) as scanner:
        yield scanner


_MILTER_GREYLIST_CONF = """\
socket "/run/scanner.sock" 666
pidfile "/tmp/milter-greylist.pid"
dumpfile "/tmp/greylist.db" 600
user "greylist"
nospf
racl whitelist from friend@client.example
racl greylist default delay 1s
"""


@contextmanager
def real_milter_greylist() -> Iterator[RealScanner]:
    """milter-greylist, which spares friends; Debian 12 does not have it."""
    files = {"/srv/greylist.conf": _MILTER_GREYLIST_CONF}
    command = ("milter-greylist", "-D", "-f", "/srv/greylist.conf")
    with _running(("milter-greylist",), files, command, "trixie") as scanner:
        yield scanner
