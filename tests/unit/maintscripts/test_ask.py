# SPDX-License-Identifier: MIT
"""Tests of ask: what is asked, what is understood, and where answers come from."""

from __future__ import annotations

import ast
import io
import ipaddress
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintscripts import ask as ask_module
from maintscripts.ask import (
    BACK,
    CHAINS,
    FILTERS,
    INTEGRATION,
    LEVELS,
    LISTEN,
    MAILDIR,
    METHOD,
    MILTER_SOCKET,
    NONE_CONFIRM,
    PLUGINS,
    PORT_TAKEN,
    PROTECTION,
    PROXY,
    RCPTHOSTS,
    REPORT_TO,
    REPORTS,
    SETTINGS,
    SOCKET,
    STARTUP,
    Debconf,
    Facts,
    address_and_port,
    addresses,
    ask,
    detect,
    domains,
    host_and_port,
    lines_of,
    recall,
    short,
    usable_directory,
)
from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.domains import DomainList
from qpsmtpd.plugin.services import Entry
from tests.unit.maintscripts.fake_debconf import GO_BACK, FakeDebconf

FRONT = {INTEGRATION: "front"}
POSTFIX = Facts(mta="postfix", local_domains={"postfix": ("example.com", "localhost")})
SOURCE = Path(ask_module.__file__)


# --- the file itself ----------------------------------------------------------------------------


def test_fits_into_config() -> None:
    text = SOURCE.read_text()
    assert len(text.encode()) < 128 * 1024  # one argument of a program
    assert "PY" not in text.splitlines()
    assert "@ASK_PY@" not in text


def test_needs_the_standard_library_only() -> None:
    tree = ast.parse(SOURCE.read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names
    }
    tops = {str(name).partition(".")[0] for name in imported}
    assert tops <= set(sys.stdlib_module_names)
    guard = (SOURCE.parents[1] / "debian/qpsmtpd.config.in").read_text()
    assert all(name in guard for name in tops - {"__future__", "collections", "re", "os"})


def test_protocol() -> None:
    commands = io.BytesIO()
    db = Debconf(commands, io.BytesIO("0 b\u00fccher.example\n10 no such\n".encode()))
    assert db.get("qpsmtpd/rcpthosts") == "b\u00fccher.example"
    assert db.get("qpsmtpd/other") == ""
    assert commands.getvalue() == b"GET qpsmtpd/rcpthosts\nGET qpsmtpd/other\n"


def test_debconf_goes_away() -> None:
    with pytest.raises(EOFError):
        Debconf(io.BytesIO(), io.BytesIO()).command("GO")


def test_what_is_no_utf_8_is_no_domain(tmp_path: Path) -> None:
    latin_1 = "b\u00fccher.example".encode("latin-1")
    answer = Debconf(io.BytesIO(), io.BytesIO(b"0 " + latin_1 + b"\n")).get("q")
    assert domains(answer)[0] == []
    path = write(tmp_path, "etc/qpsmtpd/debian-rcpthosts")
    path.write_bytes(latin_1 + b"\nexample.com\n")
    assert look(tmp_path).on_disk == {RCPTHOSTS: "example.com"}


def test_files_are_in_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    write(tmp_path, "file", "b\u00fccher")
    code = (
        f"from maintscripts.ask import *; print(ascii(text_of(Path({str(tmp_path / 'file')!r}))))"
    )
    done = subprocess.run(
        (sys.executable, "-X", "utf8=0", "-c", code),
        env={"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
        cwd=SOURCE.parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "'b\\xfccher'\n"


def test_a_line_break_does_not_make_a_command() -> None:
    commands = io.BytesIO()
    Debconf(commands, io.BytesIO(b"0 ok\n")).command("SET", "q", "a\nGO")
    assert commands.getvalue() == b"SET q a GO\n"


# --- what an answer has to look like ------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 25)),
        ("192.0.2.1:2525", ("192.0.2.1", 2525)),
        ("2001:db8::1", ("2001:db8::1", 25)),
        ("[2001:db8::1]:587", ("2001:db8::1", 587)),
        ("[::]", ("::", 25)),
    ],
)
def test_address_and_port(word: str, expected: tuple[str, int]) -> None:
    assert address_and_port(word) == expected


@pytest.mark.parametrize(
    "word",
    [
        *("eth0", "localhost", "192.0.2.256", "192.0.2.1:0", "192.0.2.1:65536", "[::1", "::1]:25"),
        *("fe80::1%eth0", "[fe80::1%eth0]:25", "192.0.2.1:smtp", "", ":25", "1:2:3", "192.0.2.1:²"),
    ],
)
def test_no_address(word: str) -> None:
    with pytest.raises(ValueError):
        address_and_port(word)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_short_form_is_understood(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    endpoint = (str(address), port)
    assert address_and_port(short(endpoint)) == endpoint


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address, port = address_and_port(text)
    except ValueError:
        return
    assert ipaddress.ip_address(address)
    assert 0 < port < 65536


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail.example.com", ("mail.example.com", 25)),
        ("mail.example.com:587", ("mail.example.com", 587)),
        ("mail.example.com 587", ("mail.example.com", 587)),  # as the file has it
        ("[2001:db8::1]:10025", ("2001:db8::1", 10025)),
        ("2001:db8::1", ("2001:db8::1", 25)),
    ],
)
def test_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert host_and_port(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a b c", "host:", "host:99999", "[host]:25x", "-x", "a;b", '"']
)
def test_no_host(text: str) -> None:
    with pytest.raises(ValueError):
        host_and_port(text)


@pytest.mark.parametrize("path", ["/var/mail/all", "/srv/Maildir/", "/a"])
def test_directory(path: str) -> None:
    assert usable_directory(path)


@pytest.mark.parametrize(
    "path", ["", "/", "Maildir", "./x", "/a b", "/a/../b", "/a/.", '/a"', "/$HOME", "/a\n", "/a;b"]
)
def test_no_directory(path: str) -> None:
    assert not usable_directory(path)


def test_domains() -> None:
    assert domains("example.com, .example.org\texample.com example.net.") == (
        ["example.com", ".example.org", "example.net"],
        [],
    )
    assert domains("$myhostname *.example.com a@b hash:/etc/x") == (
        [],
        ["$myhostname", "*.example.com", "a@b", "hash:/etc/x"],
    )


@given(st.text(alphabet="aB1.-_[]:$*@ü,;/\\'\"#% \t"))
def test_a_domain_is_what_rcpt_ok_takes(text: str) -> None:
    good, bad = domains(text)
    for domain in good:
        assert domain in DomainList([Entry(domain, "file:1")])
    for word in bad:
        with pytest.raises(ConfigError):
            DomainList([Entry(word, "file:1")])


# --- what is there ------------------------------------------------------------------------------


def write(root: Path, path: str, text: str = "") -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def look(root: Path) -> Facts:
    return detect(root, postconf=lambda *_: "")


def test_nothing_is_there(tmp_path: Path) -> None:
    facts = detect(tmp_path)
    assert facts.mta == ""
    assert facts.on_disk == {}
    assert not any(facts.local_domains.values())


def test_exim_by_the_link_of_sendmail(tmp_path: Path) -> None:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/sendmail").symlink_to("exim4")
    assert look(tmp_path).mta == "exim"


def test_postfix_by_its_socket(tmp_path: Path) -> None:
    write(tmp_path, "var/spool/postfix/public/cleanup")
    assert look(tmp_path).mta == "postfix"


def test_qmail_by_its_program(tmp_path: Path) -> None:
    write(tmp_path, "var/qmail/bin/qmail-queue")
    facts = look(tmp_path)
    assert (facts.mta, facts.qmail_queue) == ("qmail", "/var/qmail/bin/qmail-queue")


@pytest.mark.parametrize(
    ("package", "state", "mta"),
    [
        ("postfix", "install ok installed", "postfix"),
        ("postfix", "install ok unpacked", "postfix"),
        ("postfix", "deinstall ok config-files", ""),
        ("exim4-daemon-light", "install ok installed", "exim"),
        ("exim4-daemon-heavy", "purge ok not-installed", ""),
        ("postfix-doc", "install ok installed", ""),
    ],
)
def test_mta_by_the_status_of_dpkg(tmp_path: Path, package: str, state: str, mta: str) -> None:
    status = f"Package: zsh\nStatus: install ok installed\n\nPackage: {package}\nStatus: {state}\n"
    write(tmp_path, "var/lib/dpkg/status", status)
    assert look(tmp_path).mta == mta


def test_domains_of_postfix_are_expanded_by_postfix(tmp_path: Path) -> None:
    script = '#!/bin/sh\n[ "$*" = "-h -x mydestination relay_domains" ] || exit 1\n'
    script += "echo '$myhostname, mail.example.org, , localhost'\necho hash:/etc/postfix/relay\n"
    write(tmp_path, "usr/sbin/postconf", script).chmod(0o755)
    assert detect(tmp_path).local_domains["postfix"] == ("mail.example.org", "localhost")


def test_domains_of_exim(tmp_path: Path) -> None:
    text = "# comment\ndc_other_hostnames='example.org:*.example.com'\n"
    text += "dc_relay_domains='one.example;two.example : * : @mx_any'\ndc_smarthost='relay'\n"
    write(tmp_path, "etc/exim4/update-exim4.conf.conf", text)
    assert look(tmp_path).local_domains["exim"] == (
        *("example.org", ".example.com", "one.example", "two.example"),
    )


def test_look_ups_of_exim_are_no_domains(tmp_path: Path) -> None:
    text = "dc_other_hostnames='lsearch;/etc/domains:example.org'\n"
    write(tmp_path, "etc/exim4/update-exim4.conf.conf", text)
    assert look(tmp_path).local_domains["exim"] == ("example.org",)


def test_domains_of_qmail(tmp_path: Path) -> None:
    write(tmp_path, "var/qmail/control/rcpthosts", "example.org\n.example.com\n#no\n")
    assert look(tmp_path).local_domains["qmail"] == ("example.org", ".example.com")


# --- the last answers ---------------------------------------------------------------------------


def settings(**values: str) -> str:
    return "".join(f'{name}="{value}"\n' for name, value in values.items())


def test_settings_of_the_perl_version(tmp_path: Path) -> None:
    text = settings(ENABLED="1", SERVER="prefork", INTERFACES="192.0.2.1", QUEUE_PLUGIN="proxy")
    write(tmp_path, "etc/qpsmtpd/debconf-settings", text + settings(QUEUE_PROXY_DESTINATION="a:26"))
    found = {STARTUP: "true", LISTEN: "192.0.2.1", METHOD: "proxy", PROXY: "a:26"}
    assert look(tmp_path).on_disk == found


def test_settings_are_read_and_not_run(tmp_path: Path) -> None:
    write(tmp_path, "etc/qpsmtpd/debconf-settings", 'QUEUE_PLUGIN="$(touch x)"\nENABLED=`false`\n')
    assert METHOD not in look(tmp_path).on_disk


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("queue/postfix-queue", {METHOD: "postfix"}),
        ("queue/exim-bsmtp", {METHOD: "exim"}),
        ("queue/qmail-queue /opt/qmail-queue", {METHOD: "qmail"}),
        ("queue/smtp-forward 192.0.2.1 2525", {METHOD: "proxy", PROXY: "192.0.2.1:2525"}),
        ("queue/smtp-forward ::1 2525", {METHOD: "proxy", PROXY: "[::1]:2525"}),
        ("queue/smtp-forward mail tls=may", {METHOD: "proxy", PROXY: "mail"}),
        ("queue/maildir /srv/mail %d/%l", {METHOD: "maildir", MAILDIR: "/srv/mail"}),
        ("queue/lmtp unix:/run/lmtp", {}),
        ("queue/discard\nqueue/postfix-queue", {}),
        ("# queue/postfix-queue", {}),
    ],
)
def test_method_of_the_plugin_line(tmp_path: Path, line: str, found: dict[str, str]) -> None:
    write(tmp_path, "etc/qpsmtpd/debian-queue-method", f"# a comment\n\n{line}\n")
    assert look(tmp_path).on_disk == found


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["ListenStream=", "ListenStream=25"], {**FRONT, LISTEN: ""}),
        (
            ["ListenStream=192.0.2.1:25", "ListenStream=[::1]:26"],
            {**FRONT, LISTEN: "192.0.2.1 [::1]:26"},
        ),
        (
            ["ListenStream=1", "ListenStream=", "ListenStream = 192.0.2.1:25"],
            {**FRONT, LISTEN: "192.0.2.1"},
        ),
        (["ListenStream=", f"ListenStream={MILTER_SOCKET}"], {INTEGRATION: "inside"}),
        ([f"ListenStream={MILTER_SOCKET}", "ListenStream=25"], {}),
        (["ListenStream=/run/x.sock"], {}),
        (["ListenStream=2525"], {}),
        ([], {}),
    ],
)
def test_addresses_of_the_socket(tmp_path: Path, lines: list[str], found: dict[str, str]) -> None:
    path = "etc/systemd/system/qpsmtpd.socket.d/debconf.conf"
    write(tmp_path, path, "\n".join(["[Socket]", *lines]))
    assert look(tmp_path).on_disk == found


def test_domains_on_disk(tmp_path: Path) -> None:
    text = "# c\nexample.com\n$include /etc/more\n$myhostname\nlocalhost,example.org\n"
    write(tmp_path, "etc/qpsmtpd/debian-rcpthosts", text)
    facts = look(tmp_path)
    assert facts.on_disk == {RCPTHOSTS: "example.com localhost example.org"}
    assert facts.dropped == ("$myhostname",)


def test_an_empty_list_of_domains_is_an_answer(tmp_path: Path) -> None:
    write(tmp_path, "etc/qpsmtpd/debian-rcpthosts", "# nothing\n")
    assert look(tmp_path).on_disk == {RCPTHOSTS: ""}


def test_units_switched_by_hand_win(tmp_path: Path) -> None:
    write(tmp_path, "etc/qpsmtpd/debconf-settings", settings(ENABLED="false", QUEUE_PLUGIN="exim"))
    assert look(tmp_path).on_disk[STARTUP] == "false"
    link = tmp_path / "etc/systemd/system/sockets.target.wants/qpsmtpd.socket"
    link.parent.mkdir(parents=True)
    link.symlink_to("/lib/systemd/system/qpsmtpd.socket")
    assert look(tmp_path).on_disk[STARTUP] == "true"


def test_units_say_nothing_after_an_interruption(tmp_path: Path) -> None:
    """The answer was written, and nothing was switched on by it yet."""
    text = settings(ENABLED="true", QUEUE_PLUGIN="exim", UNITS_SWITCHED="false")
    write(tmp_path, "etc/qpsmtpd/debconf-settings", text)
    assert look(tmp_path).on_disk[STARTUP] == "true"
    write(tmp_path, "etc/qpsmtpd/debconf-settings", text.replace('ED="false"', 'ED="true"'))
    assert look(tmp_path).on_disk[STARTUP] == "false"


def test_without_a_method_the_units_say_nothing(tmp_path: Path) -> None:
    write(tmp_path, "etc/qpsmtpd/debconf-settings", settings(ENABLED="true", QUEUE_PLUGIN="none"))
    assert look(tmp_path).on_disk[STARTUP] == "true"


def test_lines_of() -> None:
    assert lines_of("# c\n\n a \n#b\nc") == ["a", "c"]


# --- the questions ------------------------------------------------------------------------------


def test_nothing_more_is_asked_of_who_does_not_start_it() -> None:
    db = FakeDebconf(screen={})
    assert ask(db, POSTFIX) == 0
    assert db.names_shown() == ["startup_enabled"]


def test_the_whole_way_with_postfix() -> None:
    db = FakeDebconf(screen={STARTUP: "true"})
    assert ask(db, POSTFIX) == 0
    assert db.shown == [
        (STARTUP, "false"),
        (INTEGRATION, "front"),
        (LISTEN, ""),
        (METHOD, "postfix"),
        (RCPTHOSTS, "example.com localhost"),
        (PROTECTION, "standard"),
        (REPORT_TO, ""),
    ]


@pytest.mark.parametrize(
    ("method", "question"), [("proxy", PROXY), ("maildir", MAILDIR), ("none", NONE_CONFIRM)]
)
def test_the_method_decides_what_is_asked_next(method: str, question: str) -> None:
    db = FakeDebconf(screen={STARTUP: "true", METHOD: method, NONE_CONFIRM: "true"})
    assert ask(db, POSTFIX) == 0
    assert [name for name, _ in db.shown] == [
        *(STARTUP, INTEGRATION, LISTEN, METHOD, question, RCPTHOSTS),
        *(PROTECTION, REPORT_TO),
    ]


def test_who_wants_few_questions_is_asked_for_the_method_if_nothing_suggests_one() -> None:
    preseeded = {STARTUP: "true"}
    db = FakeDebconf(preseeded, screen={METHOD: "exim"}, priority="high")
    assert ask(db, Facts()) == 0
    assert db.names_shown() == ["queue_plugin"]
    db = FakeDebconf(preseeded, screen={}, priority="high")
    assert ask(db, POSTFIX) == 0
    assert db.names_shown() == []


def test_suggestions_that_were_not_shown_are_not_stored() -> None:
    db = FakeDebconf({STARTUP: "true"})
    assert ask(db, POSTFIX) == 0
    assert METHOD not in db.values
    assert RCPTHOSTS not in db.values


def test_a_preseeded_answer_is_kept() -> None:
    preseeded = {STARTUP: "true", METHOD: "maildir", MAILDIR: "/srv/mail", RCPTHOSTS: "a.example"}
    db = FakeDebconf(preseeded)
    assert ask(db, POSTFIX) == 0
    assert preseeded.items() <= db.values.items()


def test_files_win_over_the_memory() -> None:
    db = FakeDebconf({STARTUP: "true", METHOD: "exim", RCPTHOSTS: "old.example"})
    files = {METHOD: "postfix", RCPTHOSTS: "new.example"}
    assert ask(db, Facts(on_disk=files)) == 0
    assert (db.values[METHOD], db.values[RCPTHOSTS]) == ("postfix", "new.example")


def test_files_win_where_nothing_is_asked() -> None:
    db = FakeDebconf({STARTUP: "false", METHOD: "exim"})
    assert ask(db, Facts(on_disk={METHOD: "postfix"})) == 0
    assert db.values[METHOD] == "postfix"


def test_what_is_preseeded_after_the_files_were_written_wins() -> None:
    files = {METHOD: "postfix", PROXY: "mx.example:25", RCPTHOSTS: "old.example"}
    written = {**files, PROXY: "mx.example"}
    given = {STARTUP: "false", METHOD: "proxy", PROXY: "mx.example", RCPTHOSTS: "new.example"}
    db = FakeDebconf(given)
    assert ask(db, Facts(on_disk=files, written=written)) == 0
    assert (db.values[METHOD], db.values[RCPTHOSTS]) == ("proxy", "new.example")


def test_files_that_were_edited_win_over_what_is_preseeded() -> None:
    db = FakeDebconf({METHOD: "proxy"})
    assert ask(db, Facts(on_disk={METHOD: "maildir"}, written={METHOD: "postfix"})) == 0
    assert db.values[METHOD] == "maildir"


@pytest.mark.parametrize(("question", "memory"), [(METHOD, ""), (METHOD, "exim"), (LISTEN, "")])
def test_files_win_over_a_memory_that_was_lost(question: str, memory: str) -> None:
    """Nobody has given that answer: it is a default, or was not seen."""
    db = FakeDebconf({question: memory})
    db.flags.clear()
    files = {METHOD: "postfix", LISTEN: "192.0.2.1"}
    assert ask(db, Facts(on_disk=files, written=files)) == 0
    assert db.values[question] == files[question]


def test_answers_written_the_last_time(tmp_path: Path) -> None:
    text = settings(ENABLED="true", QUEUE_PLUGIN="exim", RCPTHOSTS="a.example b.example")
    write(tmp_path, "etc/qpsmtpd/debconf-settings", text)
    found = {STARTUP: "true", METHOD: "exim", RCPTHOSTS: "a.example b.example"}
    assert look(tmp_path).written == {**FRONT, **found}


def test_the_perl_version_let_its_answers_be_edited(tmp_path: Path) -> None:
    text = settings(SERVER="forkserver", INTERFACES="192.0.2.7")
    write(tmp_path, "etc/qpsmtpd/debconf-settings", text)
    assert look(tmp_path).written == {}


def test_a_mail_system_that_comes_later_is_suggested() -> None:
    """The files say "none" and no domains because there was nothing to suggest."""
    later = Facts(mta="exim", on_disk={METHOD: "none", RCPTHOSTS: ""})
    db = FakeDebconf({STARTUP: "true"})
    assert ask(db, later) == 0
    assert METHOD not in db.values
    assert RCPTHOSTS not in db.values


def test_none_and_no_domains_are_kept_where_somebody_said_so() -> None:
    facts = Facts(mta="exim", on_disk={METHOD: "none", RCPTHOSTS: ""})
    db = FakeDebconf({METHOD: "exim", RCPTHOSTS: "emptied.example"})
    assert ask(db, facts) == 0
    assert (db.values[METHOD], db.values[RCPTHOSTS]) == ("none", "")


def test_a_new_answer_wins_over_the_files() -> None:
    """`config` runs twice before postinst: the second time must not undo what was answered."""
    facts = Facts(on_disk={STARTUP: "true", METHOD: "postfix"})
    db = FakeDebconf(screen={METHOD: "exim"})
    assert ask(db, facts) == 0
    db.flags |= {(name, "seen") for name, _ in db.shown}
    assert ask(db, facts) == 0
    assert db.values[METHOD] == "exim"


# --- filters ------------------------------------------------------------------------------------

OWN_FILTERS = "$include /etc/qpsmtpd/filters\n"


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_in_the_file_wins(tmp_path: Path, level: str) -> None:
    write(tmp_path, FILTERS, f"# a comment\n$include {CHAINS}/{level}\n")
    write(tmp_path, SETTINGS, 'PROTECTION="standard"\n')
    assert look(tmp_path).on_disk[PROTECTION] == level


def test_behind_filters_of_ones_own_is_the_level_of_the_last_answer(tmp_path: Path) -> None:
    write(tmp_path, FILTERS, OWN_FILTERS)
    assert PROTECTION not in look(tmp_path).on_disk
    write(tmp_path, SETTINGS, 'PROTECTION="strict"\n')
    assert look(tmp_path).on_disk[PROTECTION] == "strict"
    write(tmp_path, SETTINGS, 'PROTECTION="paranoid"\n')
    assert PROTECTION not in look(tmp_path).on_disk


def test_the_level_stays_where_nobody_chooses_another() -> None:
    db = FakeDebconf({STARTUP: "true"})
    assert ask(db, Facts(mta="postfix", on_disk={PROTECTION: "minimal"})) == 0
    assert db.values[PROTECTION] == "minimal"


def test_no_level_is_stored_that_was_not_shown() -> None:
    db = FakeDebconf({STARTUP: "true"})
    assert ask(db, POSTFIX) == 0
    assert PROTECTION not in db.values


@pytest.mark.parametrize(
    ("plugins", "graded"),
    [
        (None, True),
        ("rcpt_ok\n  $include  debian-protection \n", True),
        (f"$include /{FILTERS}\n", True),
        (f"# $include /{FILTERS}\n$include {CHAINS}/standard\n", False),
        ("helo\nrcpt_ok\n", False),
    ],
)
def test_the_level_is_asked_for_where_it_counts(
    tmp_path: Path, plugins: str | None, graded: bool
) -> None:
    if plugins is not None:
        write(tmp_path, PLUGINS, plugins)
    facts = look(tmp_path)
    assert facts.graded == graded
    db = FakeDebconf(screen={STARTUP: "true", METHOD: "exim"})
    assert ask(db, facts) == 0
    assert (PROTECTION in dict(db.shown)) == graded


# --- this machine's network ---------------------------------------------------------------------

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 192.0.2.0
        /24 link UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
     |-- 192.0.2.7
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
     |-- 192.0.2.7
        /32 host LOCAL
"""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000021122fffe334455 02 40 20 80     eth0
20010db8000000000000000000000007 02 40 00 80     eth0
20010db80000000012345678abcdef01 02 40 00 01     eth0
"""
_COLUMNS = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid ...\n"


def tcp(*sockets: tuple[str, int, str, int]) -> str:
    """/proc/net/tcp with these sockets: address, port, state, inode."""
    return _COLUMNS + "".join(
        f"   0: {in_words(address)}:{port:04X} 00000000:0000 {state} 00000000:00000000 "
        f"00:00000000 00000000     0        0 {inode} 1 0000000000000000 100 0 0 10 0\n"
        for address, port, state, inode in sockets
    )


def in_words(address: str) -> str:
    octets = ipaddress.ip_address(address).packed
    words = (octets[i : i + 4] for i in range(0, len(octets), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def a_process(root: Path, pid: int, name: str, *inodes: int) -> None:
    write(root, f"proc/{pid}/comm", f"{name}\n")
    (root / f"proc/{pid}/fd").mkdir()
    for number, inode in enumerate(inodes):
        (root / f"proc/{pid}/fd/{number}").symlink_to(f"socket:[{inode}]")


def test_addresses_are_those_that_others_can_reach(tmp_path: Path) -> None:
    write(tmp_path, "proc/net/fib_trie", FIB_TRIE)
    write(tmp_path, "proc/net/if_inet6", IF_INET6)
    assert look(tmp_path).addresses == ("192.0.2.7", "2001:db8::7")


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    facts = look(tmp_path)
    assert (facts.addresses, facts.listeners) == ((), ())


def test_who_listens_on_the_port(tmp_path: Path) -> None:
    sockets = (("127.0.0.1", 25, "0A", 11), ("192.0.2.7", 25, "01", 12), ("0.0.0.0", 26, "0A", 13))
    write(tmp_path, "proc/net/tcp", tcp(*sockets))
    write(tmp_path, "proc/net/tcp6", tcp(("::1", 25, "0A", 14), ("2001:db8::7", 25, "0A", 15)))
    a_process(tmp_path, 1, "systemd", 15)
    a_process(tmp_path, 900, "smtpd", 11)
    a_process(tmp_path, 300, "master", 9, 11, 12, 13)
    assert look(tmp_path).listeners == (("127.0.0.1", "Postfix"), ("::1", ""))


ON_LOOPBACK = Facts(
    mta="postfix", addresses=("192.0.2.7", "2001:db8::7"), listeners=(("127.0.0.1", "Postfix"),)
)


def test_a_mail_system_keeps_loopback_and_we_get_the_rest() -> None:
    db = FakeDebconf(screen={STARTUP: "true"}, priority="high")
    assert ask(db, ON_LOOPBACK) == 0
    assert db.shown == [
        (STARTUP, "false"),
        (INTEGRATION, "front"),
        (LISTEN, "192.0.2.7 2001:db8::7"),
    ]
    assert db.variables["ADDRESSES"] == "127.0.0.1, ::1, 192.0.2.7, 2001:db8::7"


def test_an_empty_answer_stays_one() -> None:
    db = FakeDebconf({LISTEN: ""}, screen={STARTUP: "true"})
    assert ask(db, ON_LOOPBACK) == 0
    assert LISTEN not in dict(db.shown)
    assert db.values[LISTEN] == ""


@pytest.mark.parametrize(
    ("answer", "taken", "told"),
    [
        ("", "127.0.0.1", True),
        ("192.0.2.7", "127.0.0.1", False),
        ("192.0.2.7", "0.0.0.0", True),
        ("192.0.2.7", "::", True),
        ("2001:db8::7", "0.0.0.0", False),
        ("192.0.2.7:2525", "0.0.0.0", False),
        ("0.0.0.0", "192.0.2.7", True),
        ("192.0.2.7 [2001:db8::7]:25", "2001:db8::7", True),
    ],
)
def test_a_taken_port_is_told_with_what_frees_it(answer: str, taken: str, told: bool) -> None:
    db = FakeDebconf(screen={STARTUP: "true", LISTEN: answer})
    assert ask(db, Facts(mta="postfix", listeners=((taken, "Postfix"),))) == 0
    assert (PORT_TAKEN in dict(db.shown)) == told
    if told:
        assert (db.variables["PROGRAM"], db.variables["ADDRESS"]) == ("Postfix", taken)
        assert db.variables["FIRST"] == "postconf -e inet_interfaces=loopback-only"


@pytest.mark.parametrize("program", ["Exim", "tcpserver", ""])
def test_each_program_has_its_commands(program: str) -> None:
    db = FakeDebconf(screen={STARTUP: "true", METHOD: "exim"})
    ask(db, Facts(listeners=(("127.0.0.1", program),)))
    assert db.variables["FIRST"].startswith("sed -i" if program == "Exim" else "ss ")
    assert db.variables["SECOND"].startswith("systemctl ")
    assert program in db.variables["SECOND"].title() + db.variables["SECOND"]


def test_who_goes_back_gives_other_addresses() -> None:
    screen: dict[str, str | list[str]] = {STARTUP: "true", LISTEN: ["", "192.0.2.7"]}
    db = FakeDebconf(screen={**screen, PORT_TAKEN: [GO_BACK]}, priority="high")
    assert ask(db, ON_LOOPBACK) == 0
    asked = [name for name, _ in db.shown]
    assert asked == [STARTUP, INTEGRATION, LISTEN, PORT_TAKEN, LISTEN]
    assert db.values[LISTEN] == "192.0.2.7"


# --- inside Postfix -----------------------------------------------------------------------------


def test_inside_postfix_no_addresses_are_asked_for() -> None:
    db = FakeDebconf(screen={STARTUP: "true", INTEGRATION: "inside"})
    assert ask(db, ON_LOOPBACK) == 0
    assert db.names_shown() == ["startup_enabled", "integration", "protection", "report_to"]
    assert db.values[INTEGRATION] == "inside"


@pytest.mark.parametrize("mta", ["exim", "qmail", ""])
def test_without_postfix_there_is_nothing_to_choose(mta: str) -> None:
    db = FakeDebconf(screen={STARTUP: "true", NONE_CONFIRM: "true"})
    assert ask(db, Facts(mta=mta)) == 0
    assert INTEGRATION not in dict(db.shown)
    assert db.values.get(INTEGRATION, "") == ""


def test_who_was_inside_a_postfix_that_is_gone_gets_out() -> None:
    db = FakeDebconf(screen={STARTUP: "true", INTEGRATION: "front"})
    assert ask(db, Facts(mta="exim", on_disk={INTEGRATION: "inside"})) == 0
    assert db.shown[1:3] == [(INTEGRATION, "inside"), (LISTEN, "")]


def test_who_wants_few_questions_is_asked_if_postfix_has_the_port() -> None:
    for facts, asked in ((ON_LOOPBACK, True), (POSTFIX, False)):
        db = FakeDebconf(screen={STARTUP: "true"}, priority="high")
        assert ask(db, facts) == 0
        assert (INTEGRATION in dict(db.shown)) == asked


def test_back_to_the_integration() -> None:
    screen: dict[str, str | list[str]] = {
        STARTUP: "true",
        INTEGRATION: ["inside", "front"],
        PROTECTION: [GO_BACK],
    }
    db = FakeDebconf(screen=screen)
    assert ask(db, POSTFIX) == 0
    assert [name for name, _ in db.shown] == [
        *(STARTUP, INTEGRATION, PROTECTION, INTEGRATION, LISTEN, METHOD, RCPTHOSTS, PROTECTION),
        REPORT_TO,
    ]


@pytest.mark.parametrize("answer", ["inside", "front"])
def test_a_preseeded_integration_is_kept(answer: str) -> None:
    db = FakeDebconf({STARTUP: "true", INTEGRATION: answer})
    assert ask(db, POSTFIX) == 0
    assert db.values[INTEGRATION] == answer


def test_no_integration_is_stored_that_was_not_shown() -> None:
    db = FakeDebconf({STARTUP: "true", INTEGRATION: "beside"})
    assert ask(db, POSTFIX) == 0
    assert db.values[INTEGRATION] == "beside"  # postinst replaces it, and says so
    db = FakeDebconf({STARTUP: "true"})
    assert ask(db, POSTFIX) == 0
    assert INTEGRATION not in db.values


def test_an_upgrade_of_what_did_not_ask_stays_in_front(tmp_path: Path) -> None:
    """Until somebody answers: then the files, which nobody has edited, do not win."""
    write(tmp_path, SETTINGS, settings(ENABLED="true", QUEUE_PLUGIN="postfix", INTERFACES=""))
    write(tmp_path, SOCKET, "[Socket]\nListenStream=\nListenStream=25\n")
    facts = look(tmp_path)
    db = FakeDebconf({STARTUP: "true"})
    recall(db, facts)
    assert db.values[INTEGRATION] == "front"
    db = FakeDebconf({STARTUP: "true", INTEGRATION: "inside"})
    recall(db, facts)
    assert db.values[INTEGRATION] == "inside"


def test_the_socket_says_where_we_are(tmp_path: Path) -> None:
    write(tmp_path, SETTINGS, settings(INTEGRATION="front", INTERFACES="192.0.2.7"))
    write(tmp_path, SOCKET, f"[Socket]\nListenStream=\nListenStream={MILTER_SOCKET}\n")
    assert look(tmp_path).on_disk == {INTEGRATION: "inside", LISTEN: "192.0.2.7"}


@pytest.mark.parametrize(
    ("milters", "argument"),
    [
        ("", "smtpd_milters=unix:qpsmtpd/milter"),
        ("inet:localhost:8891", "'smtpd_milters=unix:qpsmtpd/milter, inet:localhost:8891'"),
        ("$a, { unix:x }", "'smtpd_milters=unix:qpsmtpd/milter, $a, { unix:x }'"),
        ("unix:qpsmtpd/milter", "smtpd_milters=unix:qpsmtpd/milter"),
        ("inet:a:1,unix:qpsmtpd/milter", "smtpd_milters=inet:a:1,unix:qpsmtpd/milter"),
        ("it's", """'smtpd_milters=unix:qpsmtpd/milter, it'\\''s'"""),
    ],
)
def test_postfix_is_told_of_us_and_of_no_other_less(
    tmp_path: Path, milters: str, argument: str
) -> None:
    text = f'#!/bin/sh\ncase "$*" in "-h smtpd_milters") cat <<"E"\n{milters}\nE\nesac\n'
    write(tmp_path, "usr/sbin/postconf", text).chmod(0o755)
    db = FakeDebconf(screen={STARTUP: "true", INTEGRATION: "inside"})
    assert ask(db, detect(tmp_path)) == 0
    assert db.variables["MILTERS"] == argument
    assert shlex.quote(shlex.split(argument)[0]).replace("'\"'\"'", "'\\''") == argument


# --- the daily report ---------------------------------------------------------------------------


def test_only_who_wants_to_see_everything_is_asked_for_a_daily_report() -> None:
    db = FakeDebconf(screen={STARTUP: "true"}, priority="medium")
    assert ask(db, POSTFIX) == 0
    assert REPORT_TO not in dict(db.shown)
    assert db.values.get(REPORT_TO, "") == ""


def test_addresses_for_reports() -> None:
    screen: dict[str, str | list[str]] = {
        STARTUP: "true",
        REPORT_TO: ["a@example.org nobody", "a@example.org b@example.org"],
    }
    db = FakeDebconf(screen=screen)
    assert ask(db, POSTFIX) == 0
    assert db.variables["WRONG"] == "nobody"
    assert db.values[REPORT_TO] == "a@example.org b@example.org"


@pytest.mark.parametrize(
    "word", ["a", "@", "a@", "@b", "a@b@c", "a@b..c", "<a@b>", 'a"@b', "ä@b.example", "a@bü.de"]
)
def test_words_that_are_not_addresses(word: str) -> None:
    assert addresses(f"x@y.example {word}") == (["x@y.example"], [word])


def test_addresses_on_disk_win(tmp_path: Path) -> None:
    write(tmp_path, SETTINGS, 'REPORT_TO="a@example.org"\n')
    assert look(tmp_path).on_disk[REPORT_TO] == "a@example.org"
    write(tmp_path, REPORTS, "# b\nb@example.org\nc@example.org\n")
    assert look(tmp_path).on_disk[REPORT_TO] == "b@example.org c@example.org"
    write(tmp_path, REPORTS, "")
    assert look(tmp_path).on_disk[REPORT_TO] == ""


# --- back ---------------------------------------------------------------------------------------


def test_back() -> None:
    screen: dict[str, str | list[str]] = {STARTUP: "true", METHOD: ["proxy", "maildir"]}
    screen[PROXY] = [GO_BACK]
    db = FakeDebconf(screen=screen)
    assert ask(db, POSTFIX) == 0
    assert [name for name, _ in db.shown] == [
        *(STARTUP, INTEGRATION, LISTEN, METHOD, PROXY, METHOD, MAILDIR, RCPTHOSTS, PROTECTION),
        REPORT_TO,
    ]


def test_back_skips_what_was_not_shown() -> None:
    db = FakeDebconf({LISTEN: ""}, screen={STARTUP: "true", METHOD: [GO_BACK, "exim"]})
    assert ask(db, POSTFIX) == 0
    assert db.names_shown() == [
        *("startup_enabled", "integration", "queue_plugin", "integration", "queue_plugin"),
        *("rcpthosts", "protection", "report_to"),
    ]


def test_back_out_of_the_first_question() -> None:
    db = FakeDebconf(screen={STARTUP: GO_BACK})
    assert ask(db, POSTFIX) == BACK


@pytest.mark.parametrize(
    ("question", "method", "bad", "good"),
    [
        (LISTEN, "postfix", "192.0.2.1 eth0", "192.0.2.1"),
        (PROXY, "proxy", "a b c", "mail.example"),
        (MAILDIR, "maildir", "Maildir", "/srv/Maildir"),
        (RCPTHOSTS, "postfix", "*", "example.org"),
    ],
)
def test_a_bad_answer_is_explained_and_asked_again(
    question: str, method: str, bad: str, good: str
) -> None:
    db = FakeDebconf(screen={STARTUP: "true", METHOD: method, question: [bad, bad, good]})
    assert ask(db, POSTFIX) == 0
    asked = [name for name, _ in db.shown]
    start = asked.index(question)
    complaint = asked[start + 1]
    assert "/bad_" in complaint
    assert asked[start : start + 5] == [question, complaint, question, complaint, question]
    assert db.values[question] == good
    assert db.substituted[complaint] in bad


def test_bad_preseeded_answers_are_left_to_the_postinst() -> None:
    db = FakeDebconf({STARTUP: "true", METHOD: "maildir", MAILDIR: "Maildir", LISTEN: "eth0"})
    assert ask(db, Facts()) == 0


def test_an_unknown_method_does_not_become_the_first_of_the_list() -> None:
    db = FakeDebconf({STARTUP: "true", METHOD: "sendmail"})
    assert ask(db, Facts()) == 0
    assert db.values[METHOD] == "sendmail"  # postinst replaces it, and says so


def test_an_unknown_method_does_not_win_over_the_files() -> None:
    """Not with each upgrade anew: what has replaced it is in the files now."""
    db = FakeDebconf({METHOD: "sendmail"})
    db.flags.add((METHOD, "seen"))
    recall(db, Facts(on_disk={METHOD: "postfix"}, written={METHOD: "postfix"}))
    assert db.values[METHOD] == "postfix"
