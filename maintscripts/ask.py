# SPDX-License-Identifier: MIT
"""ask: look at the system, and ask qpsmtpd's debconf questions.

debian/rules writes this file into the package's `config`.  That may run before anything is
unpacked, with nothing but essential packages, so it is one file, longer than others, and needs
nothing but the standard library.

Where an answer comes from, first match first:

1. an answer that `postinst` has not written to the files yet: from the screen (the flag `pending`
   of the question), or from debconf-set-selections, if nobody has edited the files;
2. the files that hold the last answers, with what the administrator changed in them;
3. debconf: a preseeded answer, or its memory;
4. what the installed mail system suggests.

A suggestion is stored only if it was shown: by the next run another mail system may be installed.
"""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

STARTUP = "qpsmtpd/startup_enabled"
INTEGRATION = "qpsmtpd/integration"
LISTEN = "qpsmtpd/listen_interfaces"
METHOD = "qpsmtpd/queue_plugin"
PROXY = "qpsmtpd/queue_smtp_proxy_destination"
MAILDIR = "qpsmtpd/queue_maildir_destination"
NONE_CONFIRM = "qpsmtpd/queue_none_confirm"
RCPTHOSTS = "qpsmtpd/rcpthosts"
PROTECTION = "qpsmtpd/protection"
REPORT_TO = "qpsmtpd/report_to"
LEAVE_OUT = "qpsmtpd/leave_out_plugins"
STOP = "qpsmtpd/stop_upgrade"

#: In front of a mail system, or inside Postfix, as its milter.
INTEGRATIONS = ("front", "inside")
#: Where Postfix finds us then, as from its chroot, and where that is.
MILTER = "unix:qpsmtpd/milter"
MILTER_SOCKET = "/var/spool/postfix/qpsmtpd/milter"
METHODS = ("exim", "postfix", "qmail", "proxy", "maildir", "none")
#: The graded chains; each has all plugins of the one before it.
LEVELS = ("minimal", "standard", "strict")
DEFAULT_LEVEL = "standard"
CHAINS = "/usr/share/qpsmtpd/chains"
DEFAULT_PROXY = "localhost"
DEFAULT_MAILDIR = "/var/spool/qpsmtpd/Maildir"
UNSET = "unset"  # what the older package stored for "never asked"
BACK = (
    30  # debconf's status for "skipped" (INPUT) and "back" (GO); our own for "back out of it all"
)
SMTP_PORT = 25
LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
PORT_TAKEN = "qpsmtpd/port_taken"

SETTINGS = "etc/qpsmtpd/debconf-settings"
QUEUE_METHOD = "etc/qpsmtpd/debian-queue-method"
DOMAINS = "etc/qpsmtpd/debian-rcpthosts"
REPORTS = "etc/qpsmtpd/report_to"
FILTERS = "etc/qpsmtpd/debian-protection"
PLUGINS = "etc/qpsmtpd/plugins"
SOCKET = "etc/systemd/system/qpsmtpd.socket.d/debconf.conf"
_CHOICES = {INTEGRATION: INTEGRATIONS, METHOD: METHODS, PROTECTION: LEVELS}
_WANTS = (
    "etc/systemd/system/sockets.target.wants/qpsmtpd.socket",
    "etc/systemd/system/multi-user.target.wants/qpsmtpd.service",
)
_LABEL = r"[0-9A-Za-z_\xa1-\U0010ffff-]+"
_looks_like_domain = re.compile(rf"\.?{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Za-z:.]+\]").fullmatch
_is_directory = re.compile(r"(?:/[\w.+@%=,:~-]+)+/?", re.ASCII).fullmatch
_is_address = re.compile(r"[0-9A-Za-z_.+=-]+@[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*").fullmatch
_is_one_word = re.compile(r"[\w@%+=:,./-]+", re.ASCII).fullmatch  # for a shell
_has_dots_only = re.compile(r"/\.\.?(?:/|$)").search
_is_variable = re.compile(r"\s*(\w+)=(?:\"([^\"]*)\"|'([^']*)'|(\S*))\s*").fullmatch

# --- what an answer has to look like ------------------------------------------------------------


def _is_domain(word: str) -> bool:
    # What was not UTF-8 has become U+FFFD, and must not be guessed.
    return bool(_looks_like_domain(word)) and "\ufffd" not in word


def words(text: str) -> list[str]:
    """The words of a list; blanks and commas separate them."""
    return re.split(r"[\s,]+", text.strip(" \t\n,")) if text.strip(" \t\n,") else []


def domains(text: str) -> tuple[list[str], list[str]]:
    """The domains of a list as rcpt_ok understands them, and the words that are not domains."""
    good: dict[str, None] = {}
    bad = []
    for word in words(text):
        domain = word.removesuffix(".")
        if _is_domain(domain):
            good[domain] = None
        else:
            bad.append(word)
    return list(good), bad


def address_and_port(word: str) -> tuple[str, int]:
    """ADDR, ADDR:PORT, [V6]:PORT as an address and a port.  Raises ValueError."""
    host, port = host_and_port(word)
    if "%" in host:
        raise ValueError(word)
    return str(ipaddress.ip_address(host)), port


def host_and_port(word: str) -> tuple[str, int]:
    """HOST, HOST:PORT, "HOST PORT", [V6]:PORT as a host and a port.  Raises ValueError."""
    match = re.fullmatch(r"\[([^\]\s]+)\](?:[:\s]+([0-9]+))?", word)
    if not match and word.count(":") > 1:
        return str(ipaddress.IPv6Address(word)), SMTP_PORT
    match = match or re.fullmatch(r"([^:\s\[\]]+)(?:[:\s]\s*([0-9]+))?", word)
    if not match or not 0 < int(match[2] or SMTP_PORT) < 2**16:
        raise ValueError(word)
    host, port = match[1], int(match[2] or SMTP_PORT)
    if ":" in host:
        return str(ipaddress.IPv6Address(host)), port
    if not _is_domain(host) or host.startswith((".", "-")):
        raise ValueError(word)
    return host, port


def usable_directory(path: str) -> bool:
    """Whether a Maildir can be there, and its path on a line of the file plugins."""
    return bool(_is_directory(path)) and not _has_dots_only(path)


def addresses(text: str) -> tuple[list[str], list[str]]:
    """The mail addresses of a list, and the words that are none."""
    found = dict.fromkeys(words(text))
    return [w for w in found if _is_address(w)], [w for w in found if not _is_address(w)]


def _bad_listen(answer: str) -> str:
    return " ".join(word for word in words(answer) if not _accepts(address_and_port, word))


def _bad_proxy(answer: str) -> str:
    return "" if not answer or _accepts(host_and_port, answer) else answer


def _bad_maildir(answer: str) -> str:
    return "" if not answer or usable_directory(answer) else answer


def _bad_rcpthosts(answer: str) -> str:
    return " ".join(domains(answer)[1])


def _bad_report_to(answer: str) -> str:
    return " ".join(addresses(answer)[1])


def _accepts(parse: Callable[[str], object], word: str) -> bool:
    try:
        parse(word)
    except ValueError:
        return False
    return True


# --- what is there ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the system says.

    mta: the installed mail system as one of METHODS, "" if we know none.
    milters: what Postfix has in smtpd_milters.
    local_domains: for each method the domains that its mail system takes mail for.
    on_disk: answers that the files hold, by the name of the question.
    written: the answers that this package wrote to the files the last time.
    dropped: words of debian-rcpthosts that are not domains; the older package wrote some.
    qmail_queue: the path of qmail's program.
    addresses: this machine's, without those of the loopback device and of a link.
    listeners: who listens on port 25, as address and program; systemd, in whose hands our own port
        is, is left out.
    graded: whether the level of filters counts: the file plugins includes it, or is yet to come.
    missing: the lines that stop the start because this version has no such plugin, as
        "FILE:NUMBER: LINE".
    replaces_old: an upgrade is about to replace the older version, which is not in Python.
    """

    mta: str = ""
    milters: str = ""
    local_domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    on_disk: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    qmail_queue: str = "/usr/sbin/qmail-queue"
    addresses: tuple[str, ...] = ()
    listeners: tuple[tuple[str, str], ...] = ()
    graded: bool = True
    missing: tuple[str, ...] = ()
    replaces_old: bool = False


def packages_of(status: Path) -> set[str]:
    """The packages that dpkg's status file calls unpacked or more."""
    gone = ("not-installed", "config-files", "half-installed")
    found = set()
    for paragraph in text_of(status).split("\n\n"):
        name = re.search(r"^Package: (\S+)", paragraph, re.MULTILINE)
        state = re.search(r"^Status: \S+ \S+ (\S+)", paragraph, re.MULTILINE)
        if name and state and state[1] not in gone:
            found.add(name[1])
    return found


def run_postconf(root: Path, *arguments: str) -> str:
    """What Postfix says of its configuration; "" if it cannot."""
    try:
        return subprocess.run(  # noqa: S603 - a fixed command
            (str(root / "usr/sbin/postconf"), "-h", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=False,
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return ""


def detect(
    root: Path,
    installed: Callable[[Path], set[str]] = packages_of,
    postconf: Callable[..., str] = run_postconf,
) -> Facts:
    """What the system below `root` says.  `installed` reads dpkg's status file."""
    queue = next((path for path in _QMAIL_QUEUE if (root / path).exists()), "")
    on_disk, dropped = _answers_on_disk(root)
    return Facts(
        mta=_detect_mta(root, installed(root / "var/lib/dpkg/status"), queue),
        milters=postconf(root, "smtpd_milters").strip(),
        local_domains={
            "postfix": _only_domains(words(postconf(root, "-x", "mydestination", "relay_domains"))),
            "exim": _only_domains(_exim_words(root)),
            "qmail": _only_domains(_qmail_words(root)),
        },
        on_disk=on_disk,
        written=_answers_written(root),
        dropped=dropped,
        qmail_queue=f"/{queue}" if queue else Facts.qmail_queue,
        addresses=(*_ipv4_addresses(root), *_ipv6_addresses(root)),
        listeners=tuple(_listeners(root)),
        graded=_is_graded(root),
        missing=tuple(os.environ.get("QPSMTPD_MISSING", "").splitlines()),
        replaces_old="SERVER" in variables(root / SETTINGS),
    )


_QMAIL_QUEUE = ("usr/sbin/qmail-queue", "var/qmail/bin/qmail-queue")


def _is_graded(root: Path) -> bool:
    lines = lines_of(text_of(root / PLUGINS))
    wanted = ("$include", f"/{FILTERS}"), ("$include", FILTERS.rpartition("/")[2])
    return not (root / PLUGINS).exists() or any(tuple(line.split()) in wanted for line in lines)


def _detect_mta(root: Path, packages: set[str], qmail_queue: str) -> str:
    sendmail = root / "usr/sbin/sendmail"
    if sendmail.is_symlink() and "exim" in str(sendmail.readlink()):
        return "exim"
    if (root / "var/spool/postfix/public/cleanup").exists() or "postfix" in packages:
        return "postfix"
    if any(name.startswith("exim4-daemon-") for name in packages):
        return "exim"
    return "qmail" if qmail_queue else ""


def _only_domains(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(domains(" ".join(names))[0])


def _exim_words(root: Path) -> Iterator[str]:
    settings = variables(root / "etc/exim4/update-exim4.conf.conf")
    for name in ("dc_other_hostnames", "dc_relay_domains"):
        text = settings.get(name, "")
        # A list with a slash in it names lookups such as lsearch;/etc/file, which are not domains.
        for word in re.split(r"[:\s]+" if "/" in text else r"[:;\s]+", text):
            yield word.removeprefix("*") if word.startswith("*.") else word


def _qmail_words(root: Path) -> Iterator[str]:
    for directory in ("etc/qmail", "var/qmail/control"):
        for line in text_of(root / directory / "rcpthosts").splitlines():
            if not line.startswith("#"):
                yield line.strip()


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def variables(path: Path) -> dict[str, str]:
    """NAME="value" lines, read and not run."""
    matches = (_is_variable(line) for line in text_of(path).splitlines())
    return {m[1]: (m[2] or m[3] or m[4] or "").strip() for m in matches if m}


# --- the network, of /proc ----------------------------------------------------------------------


def _ipv4_addresses(root: Path) -> list[str]:
    found: dict[str, None] = {}
    address = ""
    for line in text_of(root / "proc/net/fib_trie").splitlines():
        if line.strip().startswith("|-- "):
            address = line.split()[1]
        elif line.strip() == "/32 host LOCAL" and not address.startswith("127."):
            found[address] = None
    return list(found)


def _ipv6_addresses(root: Path) -> list[str]:
    """Those of global scope that are neither temporary nor about to go."""
    rows = (line.split() for line in text_of(root / "proc/net/if_inet6").splitlines())
    passing = 0x01 | 0x20 | 0x40  # temporary, deprecated, tentative
    return [
        str(ipaddress.IPv6Address(int(row[0], 16)))
        for row in rows
        if len(row) == 6 and row[3] == "00" and not int(row[4], 16) & passing
    ]


def _listeners(root: Path) -> Iterator[tuple[str, str]]:
    """Who listens on port 25: the address and the program."""
    sockets = dict(_listening_sockets(root))
    programs = _programs_of(root, set(sockets)) if sockets else {}
    for inode, address in sockets.items():
        if (program := programs.get(inode, "")) != "systemd":
            yield address, _KNOWN_AS.get(program, program)


_KNOWN_AS = {"master": "Postfix", "exim4": "Exim", "exim": "Exim"}
_LISTENING = "0A"  # the state of a socket, as /proc has it


def _listening_sockets(root: Path) -> Iterator[tuple[str, str]]:
    for name in ("tcp", "tcp6"):
        for line in text_of(root / "proc/net" / name).splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == _LISTENING and int(port, 16) == SMTP_PORT:
                yield fields[9], _address_of_words(address)


def _address_of_words(text: str) -> str:
    """An address of words of 32 bits, each in the order of this machine's octets."""
    words = [bytes.fromhex(text[i : i + 8]) for i in range(0, len(text), 8)]
    octets = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return str(ipaddress.ip_address(octets))


def _programs_of(root: Path, inodes: set[str]) -> dict[str, str]:
    """The programs that have these sockets open; the oldest process counts."""
    found: dict[str, str] = {}
    processes = (path for path in (root / "proc").glob("[0-9]*") if path.name.isdecimal())
    for process in sorted(processes, key=lambda path: int(path.name)):
        for inode in inodes & _sockets_of(process):
            found.setdefault(inode, text_of(process / "comm").strip())
    return found


def _sockets_of(process: Path) -> set[str]:
    try:
        links = [str(path.readlink()) for path in (process / "fd").iterdir()]
    except OSError:  # it has ended, or is none of ours
        return set()
    return {link[8:-1] for link in links if link.startswith("socket:[")}


# --- the last answers ---------------------------------------------------------------------------


def lines_of(text: str) -> list[str]:
    """The lines of a configuration file that mean something."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _answers_on_disk(root: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    settings = variables(root / SETTINGS)
    found = _of_settings(settings)
    ours = "SERVER" not in settings and settings.get("UNITS_SWITCHED") != "false"
    if ours and found.get(METHOD, "none") != "none":
        # Somebody who has switched the units on or off by hand since then has decided.
        found[STARTUP] = "true" if any((root / path).is_symlink() for path in _WANTS) else "false"
    found |= _of_queue_method(text_of(root / QUEUE_METHOD))
    found |= _of_socket(text_of(root / SOCKET))
    found |= of_filters(text_of(root / FILTERS))
    good, bad = _domains_on_disk(text_of(root / DOMAINS))
    if (root / DOMAINS).exists() and (good or not bad):
        found[RCPTHOSTS] = " ".join(good)
    if (root / REPORTS).exists():
        found[REPORT_TO] = " ".join(lines_of(text_of(root / REPORTS)))
    return found, tuple(bad)


def _answers_written(root: Path) -> dict[str, str]:
    settings = variables(root / SETTINGS)
    if "SERVER" in settings:
        return {}  # of the Perl version, whose init script read it: it was edited
    found = _of_settings(settings)
    if settings:
        found.setdefault(INTEGRATION, "front")  # as in versions that did not ask
    if "RCPTHOSTS" in settings:
        found[RCPTHOSTS] = settings["RCPTHOSTS"]
    return found


def _domains_on_disk(text: str) -> tuple[list[str], list[str]]:
    entries = [line for line in lines_of(text) if line.split()[0] != "$include"]
    good, bad = domains(" ".join(entries))
    return [domain for domain in good if domain != UNSET], bad + [UNSET] * (UNSET in good)


def _of_settings(settings: Mapping[str, str]) -> dict[str, str]:
    names = {
        INTEGRATION: "INTEGRATION",
        LISTEN: "INTERFACES",
        METHOD: "QUEUE_PLUGIN",
        MAILDIR: "QUEUE_MAILDIR_DESTINATION",
        PROXY: "QUEUE_PROXY_DESTINATION",
        PROTECTION: "PROTECTION",
        REPORT_TO: "REPORT_TO",
    }
    found = {question: settings[name] for question, name in names.items() if name in settings}
    if "ENABLED" in settings:
        found[STARTUP] = "true" if settings["ENABLED"] in ("true", "1") else "false"
    for question, choices in _CHOICES.items():
        if found.get(question) not in choices:
            found.pop(question, None)
    if found.get(LISTEN) == UNSET:
        del found[LISTEN]
    return found


def _of_queue_method(text: str) -> dict[str, str]:
    """The method of a plugin line; nothing if it is one that debconf cannot write."""
    lines = lines_of(text)
    match lines[0].split() if len(lines) == 1 else []:
        case ["queue/exim-bsmtp", *_]:
            return {METHOD: "exim"}
        case ["queue/postfix-queue", *_]:
            return {METHOD: "postfix"}
        case ["queue/qmail-queue", *_]:
            return {METHOD: "qmail"}
        case ["queue/maildir", path, *_]:
            return {METHOD: "maildir", MAILDIR: path}
        case ["queue/smtp-forward", host, port, *_] if port.isdecimal():
            return {METHOD: "proxy", PROXY: f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
        case ["queue/smtp-forward", host, *_]:
            return {METHOD: "proxy", PROXY: host}
    return {}


def of_filters(text: str) -> dict[str, str]:
    """The level of filters; nothing if they are the administrator's own."""
    for level in LEVELS:
        if lines_of(text) == [f"$include {CHAINS}/{level}"]:
            return {PROTECTION: level}
    return {}


def _of_socket(text: str) -> dict[str, str]:
    """What a drop-in of the socket stands for; nothing if debconf could not have written it."""
    found: list[str] = []
    for line in lines_of(text):
        name, _, value = (part.strip() for part in line.partition("="))
        if name == "ListenStream":
            found = [*found, value] if value else []
    if found == [MILTER_SOCKET]:
        return {INTEGRATION: "inside"}
    if found == [str(SMTP_PORT)]:
        return {INTEGRATION: "front", LISTEN: ""}
    if not found or not all(_accepts(address_and_port, word) for word in found):
        return {}
    listen = " ".join(short(address_and_port(word)) for word in found)
    return {INTEGRATION: "front", LISTEN: listen}


def short(endpoint: tuple[str, int]) -> str:
    """An address or host and its port as one would type them."""
    address, port = endpoint
    if port == SMTP_PORT:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# --- debconf ------------------------------------------------------------------------------------


class Debconf:
    """The debconf protocol: a command goes out as a line, its status and result come back."""

    def __init__(self, commands: IO[bytes], replies: IO[bytes]) -> None:
        self._commands = commands
        self._replies = replies

    def command(self, *arguments: str) -> tuple[int, str]:
        """The status (0 is success) and the result.  Raises EOFError when debconf has gone."""
        line = " ".join(arguments).replace("\n", " ")
        self._commands.write(line.encode() + b"\n")
        self._commands.flush()
        reply = self._replies.readline()
        if not reply:
            raise EOFError(f"no reply from debconf to {line!r}")
        status, _, result = reply.decode(errors="replace").rstrip("\n").partition(" ")
        return int(status), result

    def get(self, question: str) -> str:
        """The answer; "" if there is none, or no such question."""
        status, result = self.command("GET", question)
        return "" if status else result.strip()


# --- the questions ------------------------------------------------------------------------------

Answers = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question of the package.

    asked: whether to ask it here, after these answers.
    suggest: the answer for somebody who has given none.
    unanswered: values in debconf that stand for no answer.
    undecided: what the files hold if nobody has answered and nothing could be suggested; by now
        that may be possible, as mail systems come later.
    wrong: what is wrong in an answer, "" for a good one; `complaint` is the template that says so.
    retry: the question to go back to after a wrong answer, if it is another one.
    high: whether to ask, without an answer yet, even somebody who wants to see few questions.
    always_high: the same, with an answer.
    low: whether to ask only somebody who wants to see everything.
    """

    name: str
    suggest: Callable[[Facts, Answers], str]
    asked: Callable[[Facts, Answers], bool] = lambda facts, answers: answers[STARTUP] == "true"
    unanswered: tuple[str, ...] = ("",)
    undecided: tuple[str, ...] = ()
    wrong: Callable[[str], str] = lambda answer: ""
    complaint: str = ""
    retry: str = ""
    high: Callable[[Facts, Answers], bool] = lambda facts, answers: False
    always_high: bool = False
    low: bool = False


def _in_front(facts: Facts, answers: Answers) -> bool:
    """Whether it is to take mail from the network and to hand it over."""
    return answers[STARTUP] == "true" and answers[INTEGRATION] != "inside"


def _by_method(method: str) -> Callable[[Facts, Answers], bool]:
    return lambda facts, answers: _in_front(facts, answers) and answers[METHOD] == method


def _has_a_choice(facts: Facts, answers: Answers) -> bool:
    """Whether it can be inside; or is to be, where Postfix was."""
    is_there = facts.mta == "postfix" or answers[INTEGRATION] == "inside"
    return answers[STARTUP] == "true" and is_there


QUESTIONS = (
    Question(
        name=STARTUP,
        suggest=lambda facts, answers: "false",
        asked=lambda facts, answers: True,
        always_high=True,
    ),
    Question(
        name=INTEGRATION,
        suggest=lambda facts, answers: "front",
        asked=_has_a_choice,
        high=lambda facts, answers: bool(facts.listeners),
    ),
    Question(
        name=LISTEN,
        suggest=lambda facts, answers: " ".join(facts.addresses) if facts.listeners else "",
        asked=_in_front,
        unanswered=(UNSET,),
        wrong=_bad_listen,
        complaint="qpsmtpd/bad_listen_interfaces",
        high=lambda facts, answers: bool(facts.listeners),
    ),
    Question(
        name=METHOD,
        suggest=lambda facts, answers: facts.mta or "none",
        asked=_in_front,
        undecided=("none",),
        high=lambda facts, answers: not facts.mta,
    ),
    Question(
        name=PROXY,
        suggest=lambda facts, answers: DEFAULT_PROXY,
        asked=_by_method("proxy"),
        wrong=_bad_proxy,
        complaint="qpsmtpd/bad_proxy_destination",
    ),
    Question(
        name=MAILDIR,
        suggest=lambda facts, answers: DEFAULT_MAILDIR,
        asked=_by_method("maildir"),
        wrong=_bad_maildir,
        complaint="qpsmtpd/bad_maildir_destination",
    ),
    Question(
        name=NONE_CONFIRM,
        suggest=lambda facts, answers: "false",
        asked=_by_method("none"),
        unanswered=("", "false"),
        wrong=lambda answer: "" if answer == "true" else "none",
        retry=METHOD,
        high=lambda facts, answers: True,
    ),
    Question(
        name=RCPTHOSTS,
        suggest=lambda facts, answers: " ".join(facts.local_domains.get(answers[METHOD], ())),
        asked=_in_front,
        unanswered=(UNSET,),
        undecided=("",),
        wrong=_bad_rcpthosts,
        complaint="qpsmtpd/bad_rcpthosts",
    ),
    Question(
        name=PROTECTION,
        suggest=lambda facts, answers: DEFAULT_LEVEL,
        asked=lambda facts, answers: answers[STARTUP] == "true" and facts.graded,
    ),
    Question(
        name=REPORT_TO,
        suggest=lambda facts, answers: "",
        wrong=_bad_report_to,
        complaint="qpsmtpd/bad_report_to",
        low=True,
    ),
)
#: After this many wrong answers in all, nothing is asked again: a terminal that has gone gives the
#: same answer forever.  What is wrong is then left to postinst, as when nobody is asked.
_PATIENCE = 20
_STEPS = {question.name: step for step, question in enumerate(QUESTIONS)}


def recall(db: Debconf, facts: Facts) -> None:
    """Tell debconf what the files say, except where somebody has just answered otherwise."""
    for question in QUESTIONS:
        on_disk = facts.on_disk.get(question.name)
        if on_disk is None or db.command("FGET", question.name, "pending") == (0, "true"):
            continue
        if _preseeded_since(db, question, facts):
            continue
        answered = db.get(question.name) not in question.unanswered
        if answered or on_disk not in question.undecided:
            db.command("SET", question.name, on_disk)


def _preseeded_since(db: Debconf, question: Question, facts: Facts) -> bool:
    """Whether debconf has been given another answer than we wrote, and nobody has edited that."""
    answer, on_disk, written = (
        _normal(question.name, text)
        for text in (
            db.get(question.name),
            facts.on_disk[question.name],
            facts.written.get(question.name, UNSET),
        )
    )
    seen = db.command("FGET", question.name, "seen") == (0, "true")
    choices = _CHOICES.get(question.name, (answer,))
    usable = answer not in question.unanswered and answer in choices
    return seen and usable and written == on_disk != answer


def _normal(name: str, answer: str) -> str:
    if name == PROXY and _accepts(host_and_port, answer):
        return short(host_and_port(answer))
    return answer.rstrip("/") if name == MAILDIR else answer


def current(db: Debconf, question: Question, facts: Facts, answers: Answers) -> tuple[str, bool]:
    """The answer so far, and whether it is only a suggestion."""
    answer = db.get(question.name)
    known = answer not in question.unanswered
    if question.name == LISTEN and not answer:
        # Empty is an answer, and what there is before anybody has given one.
        known = LISTEN in facts.on_disk or db.command("FGET", LISTEN, "seen") == (0, "true")
    if answer not in _CHOICES.get(question.name, (answer,)):
        known = False
    if question.name == RCPTHOSTS and known and answer:
        good, bad = domains(answer)
        known = bool(good) or not bad or not facts.local_domains.get(answers[METHOD])
    return (answer, False) if known else (question.suggest(facts, answers), True)


def ask(db: Debconf, facts: Facts) -> int:
    """Ask what has to be asked; return the exit status of `config`."""
    db.command("CAPB", "backup")
    db.command("SUBST", LISTEN, "ADDRESSES", ", ".join((*LOOPBACK_ADDRESSES, *facts.addresses)))
    db.command("SUBST", INTEGRATION, "MILTERS", milters_with_us(facts.milters))
    recall(db, facts)
    answers: dict[str, str] = {}
    insist: set[str] = set()
    way_back: list[int] = []
    patience = _PATIENCE
    step = 0
    while step < len(QUESTIONS):
        question = QUESTIONS[step]
        outcome = _pose(db, question, facts, answers, insist)
        if outcome == "back":
            if not way_back:
                return BACK
            step = way_back.pop()
        elif outcome == "again" and patience:
            patience -= 1
            step = _STEPS.get(question.retry, step)
            way_back = [earlier for earlier in way_back if earlier < step]
        else:
            if outcome != "skipped":
                way_back.append(step)
            step += 1
    if facts.missing and answers[STARTUP] == "true":
        _ask_to_leave_out(db, facts)
    return 0


def milters_with_us(milters: str) -> str:
    """The argument of `postconf -e`, as one types it, that has Postfix ask us before these others.

    We see each message as it came then, and the others see what we have found.
    """
    named = MILTER in re.split(r"[\s,{}]+", milters)
    text = f"smtpd_milters={milters if named else ', '.join(filter(None, (MILTER, milters)))}"
    return text if _is_one_word(text) else "'" + text.replace("'", "'\\''") + "'"


def _ask_to_leave_out(db: Debconf, facts: Facts) -> None:
    """Name the lines that cannot work, and ask whether to start without them.

    Whoever wants to see only what is critical sees it as well: otherwise no mail is taken.
    """
    lines = (line.split(": ", 1) for line in facts.missing)
    named = ", ".join(f"{text} ({where.rpartition('/')[2]})" for where, text in lines)
    db.command("SUBST", LEAVE_OUT, "LINES", named)
    db.command("INPUT", "critical", LEAVE_OUT)
    db.command("GO")
    if facts.replaces_old and db.get(LEAVE_OUT) != "true":
        db.command("SUBST", STOP, "LINES", named)  # preinst does what is answered here
        db.command("INPUT", "critical", STOP)
        db.command("GO")


def _pose(
    db: Debconf, question: Question, facts: Facts, answers: dict[str, str], insist: set[str]
) -> str:
    """Ask one question: "answered", "skipped" when it is not to be shown, "again" or "back".

    `insist` are the questions whose answer was wrong: those are shown whatever the user wants to
    see.  One that was not shown is never asked again, so this ends even without a user.
    """
    stored = db.get(question.name)
    value, suggested = current(db, question, facts, answers)
    answers[question.name] = value
    if not question.asked(facts, answers):
        return "skipped"
    # A select without a valid value would become its first choice, even where nothing is shown.
    db.command("SET", question.name, value)
    high = question.always_high or (suggested and question.high(facts, answers))
    priority = "high" if high else "low" if question.low else "medium"
    if question.name in insist:
        db.command("FSET", question.name, "seen", "false")
        priority = "critical"
    shown = db.command("INPUT", priority, question.name)[0] == 0
    if db.command("GO")[0] == BACK:
        return "back"
    if not shown:
        if suggested and stored in question.unanswered:
            db.command("RESET", question.name)
        elif suggested:
            db.command("SET", question.name, stored)  # it is wrong; postinst says so
        return "skipped"
    outcome = _judge(db, question, answers, insist)
    if question.name == LISTEN and outcome == "answered":
        return _tell_who_listens_there(db, facts, answers[LISTEN], insist)
    return outcome


def _judge(db: Debconf, question: Question, answers: dict[str, str], insist: set[str]) -> str:
    """Take an answer from the screen: "answered", or "again"."""
    answer = answers[question.name] = db.get(question.name)
    db.command("FSET", question.name, "pending", "true")
    wrong = question.wrong(answer)
    if not wrong:
        insist.discard(question.name)
        return "answered"
    insist.add(question.retry or question.name)
    _complain(db, question.complaint, wrong)
    return "again"


def _tell_who_listens_there(db: Debconf, facts: Facts, answer: str, insist: set[str]) -> str:
    """Say what has to be done first; who goes back gives other addresses."""
    for address, program in facts.listeners:
        if _collides(answer, address):
            commands = _COMMANDS.get(program, (_WHO_COMMAND, f"systemctl stop {program or '...'}"))
            texts = {"PROGRAM": program or "-", "ADDRESS": address}
            texts |= {"FIRST": commands[0], "SECOND": commands[1]}
            for name, text in texts.items():
                db.command("SUBST", PORT_TAKEN, name, text)
            db.command("FSET", PORT_TAKEN, "seen", "false")
            db.command("INPUT", "critical", PORT_TAKEN)
            if db.command("GO")[0] == BACK:
                insist.add(LISTEN)
                return "again"
            break
    return "answered"


#: What leaves the loopback device to the mail system, and the rest to us.
_COMMANDS = {
    "Postfix": ("postconf -e inet_interfaces=loopback-only", "systemctl restart postfix"),
    "Exim": (
        """sed -i "s/^dc_local_interfaces=.*/dc_local_interfaces='127.0.0.1 ; ::1'/" """
        "/etc/exim4/update-exim4.conf.conf",
        "systemctl restart exim4",
    ),
}
_WHO_COMMAND = "ss --listening --tcp --processes 'sport = :25'"


def _collides(answer: str, taken: str) -> bool:
    """Whether these addresses, port 25 of each, cannot be had while somebody has that one."""
    wanted = [address_and_port(word) for word in words(answer)]
    ours = {ipaddress.ip_address(address) for address, port in wanted if port == SMTP_PORT}
    his = ipaddress.ip_address(taken)
    if not wanted:
        return True
    if his.is_unspecified:  # of IPv6, it has those of IPv4 as well
        return any(his.version == 6 or one.version == 4 for one in ours)
    return his in ours or any(one.is_unspecified and one.version == his.version for one in ours)


def _complain(db: Debconf, template: str, wrong: str) -> None:
    if template:
        db.command("FSET", template, "seen", "false")
        db.command("SUBST", template, "WRONG", wrong)
        db.command("INPUT", "critical", template)
        db.command("GO")


def system_root() -> Path:
    """The root of the system to configure: dpkg can configure one below a directory."""
    return Path(os.environ.get("DPKG_ROOT") or "/")


def main() -> int:
    """The body of `config`: commands go to descriptor 3, replies come on standard input."""
    with open(3, "wb", closefd=False) as commands:
        return ask(Debconf(commands, sys.stdin.buffer), detect(system_root()))


if __name__ == "__main__":
    sys.exit(main())
