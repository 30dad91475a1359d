# SPDX-License-Identifier: MIT
"""The built `config` under Debian's debconf, with a database of its own and a made-up system."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.debconf_session import (
    BACK,
    BUILD_CONFIG,
    CHECKOUT,
    FRONTEND,
    Person,
    System,
    built_config,
    built_templates,
    unavailable,
)
from tests.packaging.terminal import on_terminal

_ORDER = -1 if sys.byteorder == "little" else 1  # of the octets in /proc/net/tcp
_POSTCONF = """\
#!/bin/sh
case "$*" in *mydestination*) echo 'mail.example.org, localhost' ;; esac
echo ''
"""
TEMPLATES = [
    dict(re.findall(r"^(\S+?): ?(.*(?:\n .*)*)", stanza, re.MULTILINE))
    for stanza in (built_templates().split("\n\n"))
]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A system with Postfix, where the package is not yet installed."""
    if reason := unavailable():
        pytest.skip(reason)
    system = System.create(tmp_path)
    system.write("usr/sbin/postconf", _POSTCONF).chmod(0o755)
    system.write("var/spool/postfix/public/cleanup", "")
    yield system


# --- nobody is there ----------------------------------------------------------------------------


def test_noninteractive(system: System) -> None:
    assert system.config() == ""
    assert system.values() == {"startup_enabled": "false"}


def test_noninteractive_and_enabled_stores_no_suggestion(system: System) -> None:
    system.preseed("qpsmtpd qpsmtpd/startup_enabled boolean true\n")
    assert system.config() == ""
    values = system.values()
    assert values["startup_enabled"] == "true"
    assert values.get("queue_plugin", "") == ""
    assert values.get("rcpthosts", "unset") == "unset"


def test_old_preseed_file(system: System) -> None:
    """One for the Perl version, with a question that is gone."""
    system.preseed(
        "qpsmtpd qpsmtpd/startup_enabled boolean true\n"
        "qpsmtpd qpsmtpd/server_type select prefork\n"
        "qpsmtpd qpsmtpd/listen_interfaces string 192.0.2.1 127.0.0.1\n"
        "qpsmtpd qpsmtpd/queue_plugin select proxy\n"
        "qpsmtpd qpsmtpd/queue_smtp_proxy_destination string mail.example.com:26\n"
        "qpsmtpd qpsmtpd/rcpthosts string example.com example.org\n"
    )
    assert system.config() == ""
    assert system.config() == ""  # and again, before the postinst
    assert system.values() == {
        "startup_enabled": "true",
        "server_type": "prefork",
        "listen_interfaces": "192.0.2.1 127.0.0.1",
        "queue_plugin": "proxy",
        "queue_smtp_proxy_destination": "mail.example.com:26",
        "rcpthosts": "example.com example.org",
        "integration": "",
        "protection": "",  # no answer: a suggestion is not stored
        "report_to": "",
    }


@pytest.mark.parametrize("confirmed", ["true", "false"])
def test_preseeded_none(system: System, confirmed: str) -> None:
    system.preseed(
        "qpsmtpd qpsmtpd/startup_enabled boolean true\n"
        "qpsmtpd qpsmtpd/queue_plugin select none\n"
        f"qpsmtpd qpsmtpd/queue_none_confirm boolean {confirmed}\n"
    )
    assert system.config() == ""
    assert system.values()["queue_plugin"] == "none"


def test_files_win_over_the_memory(system: System) -> None:
    system.preseed("qpsmtpd qpsmtpd/queue_plugin select exim\n")
    system.write("etc/qpsmtpd/debian-queue-method", "queue/maildir /srv/mail\n")
    system.write("etc/qpsmtpd/debian-rcpthosts", "bücher.example\n")
    system.config()
    values = system.values()
    assert values["queue_plugin"] == "maildir"
    assert values["queue_maildir_destination"] == "/srv/mail"
    assert values["rcpthosts"] == "bücher.example"


def test_without_python_nothing_is_asked(system: System) -> None:
    programs = system.root / "programs"
    programs.mkdir()
    for name in ("sh", "perl", "cat", "locale", "debconf-escape"):
        for directory in ("/usr/bin", "/bin"):
            if Path(directory, name).exists():
                (programs / name).unlink(missing_ok=True)
                (programs / name).symlink_to(Path(directory, name))
    assert system.config(PATH=str(programs)) == ""
    assert "startup_enabled" not in system.values()


# --- somebody is there --------------------------------------------------------------------------


def test_the_whole_way(system: System) -> None:
    person = Person({"startup_enabled": "true"})
    assert system.config_with(person) == ""
    assert person.shown == [
        ("startup_enabled", "false"),
        ("integration", "in front of Postfix"),
        ("listen_interfaces", ""),
        ("queue_plugin", "Postfix"),
        ("rcpthosts", "mail.example.org localhost"),
        ("protection", "standard"),
        ("report_to", ""),
    ]
    values = system.values()
    assert values["queue_plugin"] == "postfix"
    assert values["rcpthosts"] == "mail.example.org localhost"


def test_usually_one_question_is_asked(system: System) -> None:
    person = Person()
    system.config_with(person, priority="high")
    assert person.shown == [("startup_enabled", "false")]


def test_a_mail_system_on_loopback_is_left_there(system: System) -> None:
    system.write("proc/net/fib_trie", "Local:\n  |-- 192.0.2.7\n    /32 host LOCAL\n")
    loopback = f"{ipaddress.ip_address('127.0.0.1').packed[::_ORDER].hex().upper()}:0019"
    system.write("proc/net/tcp", f"  sl ...\n 0: {loopback} 0:0 0A 0:0 0:0 0 0 0 77 1\n")
    person = Person({"startup_enabled": "true", "listen_interfaces": ["", "192.0.2.7"]})
    person.answers["port_taken"] = [BACK]
    assert system.config_with(person, priority="high") == ""
    assert person.shown == [
        ("startup_enabled", "false"),
        ("integration", "in front of Postfix"),
        ("listen_interfaces", "192.0.2.7"),
        ("port_taken", ""),
        ("listen_interfaces", "192.0.2.7"),
    ]
    assert system.values()["listen_interfaces"] == "192.0.2.7"


@pytest.mark.parametrize(
    ("choice", "method", "question"),
    [
        ("Exim", "exim", None),
        ("qmail", "qmail", None),
        ("SMTP server", "proxy", "queue_smtp_proxy_destination"),
        ("Maildir", "maildir", "queue_maildir_destination"),
        ("none", "none", "queue_none_confirm"),
    ],
)
def test_methods(system: System, choice: str, method: str, question: str | None) -> None:
    answers: dict[str, str | list[str]] = {"startup_enabled": "true", "queue_plugin": choice}
    person = Person({**answers, "queue_none_confirm": "true"})
    system.config_with(person)
    asked = [name for name, _ in person.shown]
    assert asked == [
        *("startup_enabled", "integration", "listen_interfaces", "queue_plugin"),
        *([question] if question else []),
        *("rcpthosts", "protection", "report_to"),
    ]
    assert system.values()["queue_plugin"] == method


def test_inside_postfix(system: System) -> None:
    """Its own milter stays; nothing is asked that is of no use there."""
    system.write("usr/sbin/postconf", "#!/bin/sh\necho inet:localhost:8891\n").chmod(0o755)
    person = Person({"startup_enabled": "true", "integration": "inside Postfix"})
    assert system.config_with(person) == ""
    asked = [name for name, _ in person.shown]
    assert asked == ["startup_enabled", "integration", "protection", "report_to"]
    argument = "'smtpd_milters=unix:qpsmtpd/milter, inet:localhost:8891'"
    assert person.substituted["qpsmtpd/integration"] == argument
    assert system.values()["integration"] == "inside"


def test_preseeded_inside_postfix(system: System) -> None:
    system.preseed(
        "qpsmtpd qpsmtpd/startup_enabled boolean true\nqpsmtpd qpsmtpd/integration select inside\n"
    )
    assert system.config() == ""
    assert system.config() == ""
    assert system.values()["integration"] == "inside"


def test_back(system: System) -> None:
    person = Person(
        {
            "startup_enabled": "true",
            "queue_plugin": ["Maildir", "SMTP server"],
            "queue_maildir_destination": [BACK],
        }
    )
    system.config_with(person)
    assert [name for name, _ in person.shown][3:] == [
        *("queue_plugin", "queue_maildir_destination"),
        *("queue_plugin", "queue_smtp_proxy_destination", "rcpthosts", "protection"),
        "report_to",
    ]
    assert system.values()["queue_plugin"] == "proxy"


def test_back_out(system: System) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        system.config_with(Person({"startup_enabled": BACK}))
    assert failed.value.returncode == 30


def test_bad_answers(system: System) -> None:
    person = Person(
        {"startup_enabled": "true", "listen_interfaces": ["eth0 192.0.2.1", "192.0.2.1:2525"]}
    )
    assert system.config_with(person) == ""
    assert [name for name, _ in person.shown][2:5] == [
        *("listen_interfaces", "bad_listen_interfaces", "listen_interfaces"),
    ]
    assert person.substituted == {
        "qpsmtpd/bad_listen_interfaces": "eth0",
        "qpsmtpd/listen_interfaces": "127.0.0.1, ::1",
        "qpsmtpd/integration": "smtpd_milters=unix:qpsmtpd/milter",
    }
    assert system.values()["listen_interfaces"] == "192.0.2.1:2525"


def test_none_has_to_be_confirmed(system: System) -> None:
    person = Person(
        {
            "startup_enabled": "true",
            "queue_plugin": ["none", "Exim"],
            "queue_none_confirm": ["false"],
        }
    )
    system.config_with(person)
    assert [name for name, _ in person.shown][3:6] == [
        *("queue_plugin", "queue_none_confirm", "queue_plugin"),
    ]
    assert system.values()["queue_plugin"] == "exim"


def test_answers_survive_the_second_run(system: System) -> None:
    """`config` runs when the package is fetched and again before its postinst."""
    system.write("etc/qpsmtpd/debian-queue-method", "queue/postfix-queue\n")
    system.config_with(Person({"startup_enabled": "true", "queue_plugin": "Exim"}))
    person = Person()
    system.config_with(person)
    assert person.shown == []
    assert system.values()["queue_plugin"] == "exim"


def test_reconfiguring_shows_what_the_files_say(system: System) -> None:
    system.preseed("qpsmtpd qpsmtpd/rcpthosts string old.example\n")
    system.config()
    system.write("etc/qpsmtpd/debian-rcpthosts", "new.example\n$myhostname\n")
    system.forget_seen()
    person = Person({"startup_enabled": "true"})
    system.config_with(person)
    assert ("rcpthosts", "new.example") in person.shown


# --- a terminal ---------------------------------------------------------------------------------


def test_on_a_terminal(system: System) -> None:
    """The plainest front end, with answers typed when the question is there."""
    typed = [
        (r"starts\? \[yes/no\]", "yes"),
        (r"with Postfix:", "in front of Postfix"),
        (r"listen on:", "eth0"),
        (r"Not an address[\s\S]*listen on:", "192.0.2.1"),
        (r"Delivery method:", "maildir"),
        (r"of the Maildir:", "/srv/mail"),
        (r"accept mail for:", "example.com"),
        (r"unwanted mail:", "minimal"),
        (r"a daily report:", "anna@example.org"),
    ]
    frontend = {"DEBIAN_FRONTEND": "teletype", "DEBIAN_PRIORITY": "low", "TERM": "dumb"}
    command = (str(FRONTEND), str(system.root / "scripts/config"), "configure", "")
    with on_terminal(command, {**system.environment(), **frontend}) as terminal:
        for question, answer in typed:
            terminal.wait_for(rf"{question}[^\n]*$")
            terminal.type(f"{answer}\n")
        terminal.wait_for_end()
    values = system.values()
    assert values["queue_plugin"] == "maildir"
    assert values["queue_maildir_destination"] == "/srv/mail"
    assert values["listen_interfaces"] == "192.0.2.1"
    assert values["protection"] == "minimal"
    assert values["report_to"] == "anna@example.org"


# --- plugins that there are not -----------------------------------------------------------------

MISSING = "rcpt_ok\nqueue/maildir /srv\nour_own_filter strict 1\nvirus/uvscan\nvirus/sophie\n"


def test_lines_that_cannot_work_are_named_and_asked_about(system: System) -> None:
    system.preseed("qpsmtpd qpsmtpd/startup_enabled boolean true\n")
    system.write("etc/qpsmtpd/plugins", MISSING)
    person = Person(answers={"leave_out_plugins": "true"})
    assert system.config_with(person, priority="critical") == ""
    assert [name for name, _ in person.shown] == ["leave_out_plugins"]
    lines = "our_own_filter strict 1 (plugins:3), virus/uvscan (plugins:4)"
    assert person.substituted["qpsmtpd/leave_out_plugins"] == lines
    assert system.values()["leave_out_plugins"] == "true"


@pytest.mark.parametrize("agrees", ["true", "false"])
def test_an_upgrade_that_would_stop_mail_can_be_stopped(system: System, agrees: str) -> None:
    system.preseed("qpsmtpd qpsmtpd/startup_enabled boolean true\n")
    system.write("etc/qpsmtpd/debconf-settings", 'ENABLED="1"\nSERVER="forkserver"\n')  # Perl's
    system.write("etc/qpsmtpd/plugins", MISSING)
    person = Person(answers={"leave_out_plugins": agrees, "stop_upgrade": "true"})
    system.config_with(person, priority="critical")
    shown = [name for name, _ in person.shown]
    assert shown == ["leave_out_plugins", "stop_upgrade"][: 1 if agrees == "true" else 2]
    if agrees == "false":
        lines = "our_own_filter strict 1 (plugins:3), virus/uvscan (plugins:4)"
        assert person.substituted["qpsmtpd/stop_upgrade"] == lines
        assert system.values()["stop_upgrade"] == "true"


@pytest.mark.parametrize("enabled, plugins", [("false", MISSING), ("true", "rcpt_ok\n")])
def test_nothing_is_asked_about_plugins_without_need(
    system: System, enabled: str, plugins: str
) -> None:
    system.preseed(f"qpsmtpd qpsmtpd/startup_enabled boolean {enabled}\n")
    system.write("etc/qpsmtpd/plugins", plugins)
    person = Person()
    system.config_with(person, priority="critical")
    assert person.shown == []


def test_nobody_agrees_without_being_asked(system: System) -> None:
    system.preseed("qpsmtpd qpsmtpd/startup_enabled boolean true\n")
    system.write("etc/qpsmtpd/plugins", MISSING)
    assert system.config() == ""
    assert system.values().get("leave_out_plugins", "false") == "false"
    system.preseed("qpsmtpd qpsmtpd/leave_out_plugins boolean true\n")
    assert system.config() == ""
    assert system.values()["leave_out_plugins"] == "true"


# --- the files ----------------------------------------------------------------------------------


def test_config_holds_the_body() -> None:
    text = built_config()
    assert not re.search(r"@[A-Z_]+@", text)
    assert (CHECKOUT / "maintscripts/ask.py").read_text() in text
    assert text.startswith("#!/bin/sh\n")


def test_config_is_built_here_as_in_the_package() -> None:
    rules = (CHECKOUT / "debian/rules").read_text().replace("$$", "$").replace("'", "")
    assert f"{' '.join(BUILD_CONFIG)} >debian/qpsmtpd.config\n" in rules


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template["Template"])
def test_templates_keep_debians_style(template: dict[str, str]) -> None:
    """What lintian looks at, and what translators are spared from."""
    short, _, long = template["Description"].partition("\n")
    assert len(short) <= 50
    assert short.endswith("?") == (template["Type"] == "boolean")
    assert short.endswith(":") == (template["Type"] in ("string", "select"))
    assert not short.endswith(".")
    assert all(len(line) <= 80 for line in long.splitlines())
    assert not re.search(r"\b(I|we|my|our|us|you|your)\b", long + short, re.IGNORECASE)
    assert not re.search(r"\b(click|press|button|choose|screen|enter key)\b", long.lower())
    assert long.strip()


def test_every_text_can_be_translated() -> None:
    source = (CHECKOUT / "debian/qpsmtpd.templates").read_text()
    assert not re.search(r"^(Description|Choices):", source, re.MULTILINE)
    assert (CHECKOUT / "debian/po/POTFILES.in").read_text().split()[-1] == "qpsmtpd.templates"


def test_the_catalogue_for_translators_is_complete() -> None:
    catalogue = (CHECKOUT / "debian/po/templates.pot").read_text()
    messages = "".join(re.findall(r'^(?:msgid )?"(.*)"$', catalogue, re.MULTILINE))
    messages = re.sub(r"\\(.)", r"\1", messages)
    for template in TEMPLATES:
        short, _, long = template["Description"].partition("\n")
        for paragraph in (short, *re.split(r"\n \.\n", long)):
            words = " ".join(paragraph.split())
            if not paragraph.startswith("  "):
                assert words in messages


def test_names_and_values_of_the_older_package_are_kept() -> None:
    found = {t["Template"].removeprefix("qpsmtpd/"): t for t in TEMPLATES}
    types = {name: found[name]["Type"] for name in found if not name.startswith(("bad_", "port_"))}
    assert types == {
        "startup_enabled": "boolean",
        "listen_interfaces": "string",
        "queue_plugin": "select",
        "queue_smtp_proxy_destination": "string",
        "queue_maildir_destination": "string",
        "queue_none_confirm": "boolean",
        "rcpthosts": "string",
        "integration": "select",  # of our own, as the next ones
        "protection": "select",
        "report_to": "string",
        "leave_out_plugins": "boolean",
        "stop_upgrade": "boolean",
    }
    choices = found["queue_plugin"]["Choices-C"]
    assert choices == "exim, postfix, qmail, proxy, maildir, none"
    assert len(found["queue_plugin"]["Choices"].split(", ")) == 6
    assert found["startup_enabled"]["Default"] == "false"
