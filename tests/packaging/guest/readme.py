# SPDX-License-Identifier: MIT
"""In the guest: the recipes of debian/README.Debian, taken from its text, do what they promise.

Called as `python3 -m tests.packaging.guest.readme MAIL_SYSTEM`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.debian_system import CHECKOUT
from tests.packaging.guest.apt import preseed
from tests.packaging.guest.client import CLIENT_ADDRESS, send, wait_until_served
from tests.packaging.guest.next_hop import ADDRESS, EXIM_LOG, RECIPIENT, USER
from tests.packaging.guest.report import check, expect, keep_log, run, wait_for
from tests.packaging.guest.service import SERVER
from tests.packaging.guest.units import (
    CONFIG,
    LISTEN,
    LOG,
    accepted,
    arrived_once,
    wait_for_log,
)

README = (CHECKOUT / "debian/README.Debian").read_text()
PASSWORD = "pa55word-of-a-user"
UNITS = Path("/etc/systemd/system")

#: Blocks that no check below runs, by their first words, and where else they are tried.
NOT_RUN = {
    "listen smtp": "tests/scaling/test_haproxy.py",
    "ssh -N ": "the socket, with a client of this machine: the_dashboard",
    "aa-enforce ": "no kernel here has AppArmor; the profile: tests/packaging/guest/confined.py",
}

#: What the examples of the text are in this system.
_HERE = {
    "192.0.2.1:25": "127.0.0.3:25",
    "[2001:db8::1]:25": "[::1]:2525",
    "192.0.2.7": CLIENT_ADDRESS,
}


def place_after(words: str) -> int:
    """The number of the first indented line of the text after these words."""
    before, found, after_it = README.partition(words)
    lines = after_it.splitlines()[1:]
    first = next((n for n, line in enumerate(lines) if line.startswith("  ")), None)
    if not found or first is None:
        raise AssertionError(f"the text has nothing after {words!r}")
    return len((before + found).splitlines()) + first


def after(words: str) -> str:
    """The first indented lines after these words, without the indentation."""
    first, lines = place_after(words), README.splitlines()
    indentation = lines[first][: -len(lines[first].lstrip())]
    block = takewhile(lambda line: not line or line.startswith(indentation), lines[first:])
    text = textwrap.dedent("\n".join(block)).rstrip()
    for example, here in _HERE.items():
        text = text.replace(example, here)
    return text


def shell(commands: str) -> None:
    """Run commands as the administrator would."""
    run("sh", "-exc", commands)


def drop_in(unit: str, text: str) -> None:
    """What `systemctl edit` would write."""
    path = UNITS / f"{unit}.d/override.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    run("systemctl", "daemon-reload")


def section(text: str) -> str:
    """Of a recipe with commands around it, what is in the file of a unit."""
    lines = text[text.index("[") :].splitlines()
    return "\n".join(line.strip() for line in lines) + "\n"


def make_certificate(name: str = "mx") -> None:
    """Where the text has it, and with a key that only root can read."""
    directory = Path("/etc/letsencrypt/live", name)
    directory.mkdir(parents=True, exist_ok=True)
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
        *("-days", "90"),
        *("-addext", f"subjectAltName=DNS:{name}.example.org"),
        *("-keyout", str(directory / "privkey.pem"), "-out", str(directory / "fullchain.pem")),
    )
    (directory / "privkey.pem").chmod(0o600)


def is_shown(name: str) -> bool:
    """Whether a client that asks for this name gets the certificate that is on disk."""
    pem = Path("/etc/letsencrypt/live", name, "fullchain.pem").read_text()
    with connect(*LISTEN) as client:
        client._host = f"{name}.example.org"  # type: ignore[attr-defined] # what it asks for
        client.starttls(context=any_certificate())
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(pem)


def connect(host: str, port: int) -> smtplib.SMTP:
    return smtplib.SMTP(host, port, timeout=20, source_address=(CLIENT_ADDRESS, 0))


def any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def running(command: str) -> Iterator[None]:
    """A command that runs until it is stopped."""
    process = subprocess.Popen(("sh", "-xc", f"exec {command}"))
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def served_at(host: str) -> None:
    wait_until_served((host, 25))
    with connect(host, 25) as client:
        expect(client.ehlo()[0] == 250, "no EHLO")


def first_word(line: str) -> str:
    return line.split()[0]


# --- recipes --------------------------------------------------------------------------------


def the_questions() -> None:
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    before = (CONFIG / "debconf-settings").read_text()
    shell(after("1. Start it\n-----------"))
    expect((CONFIG / "debconf-settings").read_text() == before, "the answers are others")
    for line in after("The answers are kept in files, and the files win").splitlines():
        expect(Path(first_word(line)).is_file(), line)


def a_first_message() -> None:
    """From an address that is not this machine's, as far as qpsmtpd knows."""
    block = after("Then send it something from another machine")
    for example, here in (("192.0.2.1", LISTEN[0]), ("user@example.org", RECIPIENT)):
        block = block.replace(example, here)
    stranger, accepted_one = block.splitlines()
    options = f"--local-interface {CLIENT_ADDRESS}"
    done = subprocess.run(("sh", "-xc", f"{stranger} {options}"), check=False, capture_output=True)
    expect(b"550 5.7.1 Relaying denied" in done.stdout, done.stdout.decode())
    shell(f"{accepted_one} {options}")


def lines_that_the_package_has() -> None:
    for line in after("says what it does, what it costs (delays, DNS) and what it refuses:").split(
        "\n"
    ):
        if not line.startswith(" "):
            expect(Path("/usr/share/qpsmtpd/chains", first_word(line)).is_file(), line)
    line = after("To have a grade there, put the line")
    expect(f"\n{line}\n" in (CONFIG / "plugins").read_text(), "plugins has another line")


def a_key_that_signs() -> None:
    """There is no DNS here, so the second command finds nothing, and says so."""
    make, look = after("this prints the record that its DNS zone needs:").splitlines()
    expect("v=DKIM1" in run("sh", "-exc", make), "no record")
    done = subprocess.run(("sh", "-xc", look), check=False, capture_output=True, text=True)
    expect("example.org" in done.stdout and "Traceback" not in done.stderr, done.stderr)


def a_line_for_a_user() -> None:
    command = after("A line of the file flat_auth_pw that does not show the password:")
    done = subprocess.run(
        ("sh", "-exc", command), input=f"{PASSWORD}\n", capture_output=True, text=True, check=True
    )
    expect(done.stdout.startswith("user@example.org:"), done.stdout)
    expect(PASSWORD not in done.stdout, done.stdout)


def what_the_doctor_prints() -> None:
    """Its commands, as they are, put everything right."""
    for trouble in (
        "systemctl stop qpsmtpd.socket qpsmtpd.service",
        "systemctl stop postfix*",
        "gpasswd --delete qpsmtpd postdrop; systemctl restart qpsmtpd.service",
        "systemctl stop qpsmtpd.socket qpsmtpd.service; postconf -e inet_interfaces=all; "
        "systemctl restart postfix; systemctl start qpsmtpd.socket || true",
    ):
        follow_the_doctor(trouble)
        wait_until_served(LISTEN)


def findings() -> list[dict[str, Any]]:
    """What the doctor finds, but for the name servers, which are not there."""
    done = subprocess.run(("qpsmtpd", "doctor", "--json"), check=False, capture_output=True)
    expect(done.stdout, done.stderr.decode(errors="replace")[-2000:])
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return [each for each in found if each["area"] != "DNS"]


def follow_the_doctor(trouble: str) -> None:
    """Cause trouble, and run the commands of all that is wrong, until nothing is."""
    shell(trouble)
    for turn in range(4):
        wrong = [found for found in findings() if found["severity"] in ("error", "warning")]
        commands = list(dict.fromkeys(command for found in wrong for command in found["commands"]))
        expect(turn or commands, f"after {trouble!r} there is nothing to do: {wrong}")
        if not commands:
            return
        for command in commands:  # one may need what the next one does: then in the next turn
            subprocess.run(("sh", "-xc", command), check=False)
    raise AssertionError(f"after {trouble!r}, still wrong: {wrong}")


def starttls_with_a_key_that_only_root_can_read() -> None:
    make_certificate()
    drop_in("qpsmtpd.service", section(after("reads them\nat start and passes them on.")))
    plugins = CONFIG / "plugins"
    plugins.write_text(plugins.read_text().replace("\n#tls\n", "\ntls\n"))
    shell(after('Remove the # before "tls"'))
    with connect(*LISTEN) as client:
        code, _ = client.starttls(context=any_certificate())
        expect(code == 220, str(code))
        expect(client.ehlo()[0] == 250, "no EHLO after STARTTLS")


def a_renewed_certificate() -> None:
    shell(after("With certbot, this restarts the daemon after a renewal:"))
    make_certificate()
    expect(not is_shown("mx"), "it is shown before")
    shell("/etc/letsencrypt/renewal-hooks/deploy/qpsmtpd")
    expect(is_shown("mx"), "the old one is shown")


def certificates_for_several_names() -> None:
    make_certificate("other")
    override = UNITS / "qpsmtpd.service.d/override.conf"
    drop_in("qpsmtpd.service", f"{override.read_text()}{after('Add two')}\n")
    shell(after("and restart the daemon after"))
    shell("systemctl restart qpsmtpd.service")
    for name in ("mx", "other"):
        expect(is_shown(name), f"another certificate is shown for {name}")
    shell("qpsmtpd check-config")


def users_of_this_machine() -> None:
    """With the unit as it is: what it may not do, PAM does not need."""
    plugins = CONFIG / "plugins"
    plugins.write_text(plugins.read_text().replace("\n#auth/auth_dovecot\n", "\nauth/auth_pam\n"))
    subprocess.run(["chpasswd"], input=f"{USER}:{PASSWORD}", text=True, check=True)
    shell(after('Add\nthe line "auth/auth_pam"'))
    with connect(*LISTEN) as client:
        client.starttls(context=any_certificate())
        try:
            client.login(USER, "wrong")
        except smtplib.SMTPAuthenticationError as error:
            expect(error.smtp_code == 535, str(error))
        else:
            raise AssertionError("a wrong password is right")
        expect(client.login(USER, PASSWORD)[0] == 235, "not logged in")
    expect(PASSWORD not in run("journalctl", "--boot"), "the journal has the password")


def a_port_with_tls_from_the_first_byte() -> None:
    unit = after("/etc/systemd/system/qpsmtpd-submissions.socket:")
    (UNITS / "qpsmtpd-submissions.socket").write_text(section(unit))
    shell(
        after(
            "FileDescriptorName=submissions\n    Service=qpsmtpd.service\n\n"
            "    [Install]\n    WantedBy=sockets.target"
        )
    )
    source = (CLIENT_ADDRESS, 0)
    with smtplib.SMTP_SSL(
        LISTEN[0], 465, timeout=20, source_address=source, context=any_certificate()
    ) as client:
        expect(client.ehlo()[0] == 250, "no EHLO on port 465")
    with connect(*LISTEN) as client:
        expect(client.ehlo()[0] == 250, "no EHLO on port 25")


def other_addresses() -> None:
    drop_in("qpsmtpd.socket", section(after("systemctl edit qpsmtpd.socket")))
    shell(after("The empty line removes the previous addresses."))
    with connect("127.0.0.3", 25) as client:
        expect(client.ehlo()[0] == 250, "no EHLO on the new address")
    try:
        connect(*LISTEN).close()
    except ConnectionRefusedError:
        pass
    else:
        raise AssertionError("it still listens on the old address")
    (UNITS / "qpsmtpd.socket.d/override.conf").unlink()
    shell("systemctl daemon-reload; systemctl restart qpsmtpd.socket qpsmtpd.service")
    wait_until_served(LISTEN)


def local_plugins() -> None:
    shell(after("Your own plugins belong in"))
    Path("/usr/local/share/qpsmtpd/plugins/mine.py").write_text(
        '"""mine: of our own."""\n\nfrom qpsmtpd.api import Plugin\n\n\n'
        "class Mine(Plugin):\n    async def hook_quit(self, session):\n        return None\n"
    )
    expect("of our own" in run("qpsmtpd", "plugins", "mine"), "the plugin is not found")


def commands_for_daily_use() -> None:
    """A table: the commands, and what they do."""
    for line in after("Commands for daily use:").splitlines():
        if not line.startswith(" "):
            shell(re.split(" {2,}", line)[0])
    reply = send(f"{USER}@elsewhere.example", "refused", server=SERVER).reply_to("RCPT")
    expect(reply.startswith("550 "), reply)
    shell(after("the journal and in /var/log/qpsmtpd/qpsmtpd.log:"))


def what_became_of_mail() -> None:
    """What is written now is in the store when the daemon has stopped, or two seconds later."""
    reply = send("user@example.org", "unknown", server=SERVER).reply_to("RCPT")
    expect(reply.startswith("550 "), reply)
    shell("systemctl restart qpsmtpd.service")
    follow, *search = after(
        "(files decisions_days and decisions_size), and quicker to search:"
    ).splitlines()
    with running(follow):
        for command in search:
            prints_or_finds_nothing(command)
    shell(after("Why something was refused, and what to do if that was wrong:"))
    expect("user@example.org" in run("sh", "-exc", search[0]), "not found")


def prints_or_finds_nothing(command: str) -> None:
    done = subprocess.run(("sh", "-xc", command), check=False, capture_output=True, text=True)
    expect(done.returncode in (0, 1) and not done.stderr.count("Traceback"), done.stderr)


def what_would_become_of_mail() -> None:
    message = f"Return-Path: <x@sender.example>\nTo: {RECIPIENT}\nSubject: x\n\nx\n"
    Path("message.eml").write_text(message)
    mailbox = Path("/var/mail", USER)
    before = mailbox.read_bytes() if mailbox.exists() else b""
    mailbox.write_text(f"From x@sender.example Thu Nov 26 10:00:00 2026\n{message}")
    shutil.copytree(CONFIG, "/etc/qpsmtpd.new")
    Path("/etc/qpsmtpd.new/badmailfrom").write_text("@sender.example\n")
    one, compared = after("without delivering it:").splitlines()
    done = subprocess.run(("sh", "-xc", one), check=False, capture_output=True, text=True)
    expect(done.stdout.startswith("standard input: "), done.stdout + done.stderr)
    done = subprocess.run(("sh", "-xc", compared), check=False, capture_output=True, text=True)
    expect("badmailfrom" in done.stdout, done.stdout + done.stderr)
    mailbox.write_bytes(before)
    shutil.rmtree("/etc/qpsmtpd.new")


def more_than_the_profile_allows() -> None:
    rules = Path("/etc/apparmor.d/local/qpsmtpd")
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text(f"{after('goes into /etc/apparmor.d/local/qpsmtpd, for instance')}\n")
    run("apparmor_parser", "--skip-kernel-load", "--skip-cache", "/etc/apparmor.d/qpsmtpd")


def after_a_wrong_configuration() -> None:
    plugins = CONFIG / "plugins"
    good = plugins.read_text()
    plugins.write_text(f"{good}no_such_plugin\n")
    tried = subprocess.run(("systemctl", "restart", "qpsmtpd.service"), check=False)
    expect(tried.returncode != 0, "it starts")
    plugins.write_text(good)
    shell(after("mended: the port stays open, and no command is needed after that, but"))
    wait_until_served(LISTEN)


def without_a_plugin_that_is_missing() -> None:
    plugins = CONFIG / "plugins"
    good = plugins.read_text()
    plugins.write_text(f"{good}no_such_plugin\n")
    shell(after("and asks (the question qpsmtpd/leave_out_plugins;"))
    shell("systemctl reload qpsmtpd")
    plugins.write_text(good)


def a_maildir_elsewhere() -> None:
    run("install", "-d", "-o", "qpsmtpd", "-g", "qpsmtpd", "-m", "0700", "/srv/mail")
    before = (CONFIG / "debian-queue-method").read_text()
    (CONFIG / "debian-queue-method").write_text("queue/maildir /srv/mail\n")
    drop_in(
        "qpsmtpd.service", section(after("If you choose another one by hand, allow it as well"))
    )
    shell("systemctl restart qpsmtpd.service")
    accepted("elsewhere")
    expect(len(list(Path("/srv/mail/new").iterdir())) == 1, "it is not there")
    (CONFIG / "debian-queue-method").write_text(before)
    shell("systemctl reload qpsmtpd")


def a_line_for_another_server() -> None:
    """Nobody answers there: only whether the line is understood can be tried."""
    before = (CONFIG / "debian-queue-method").read_text()
    (CONFIG / "debian-queue-method").write_text(f"{after('TLS and more are arguments of')}\n")
    run("qpsmtpd", "check-config")
    (CONFIG / "debian-queue-method").write_text(before)


def fail2ban_jail() -> None:
    Path("/etc/fail2ban/jail.d").mkdir(parents=True, exist_ok=True)
    shell(after("No jail is enabled; copy the example"))
    expect("[qpsmtpd]" in Path("/etc/fail2ban/jail.d/qpsmtpd.conf").read_text(), "no jail")


def a_proxy() -> None:
    shell(after("List the address from which HAProxy connects to this machine:"))
    expect((CONFIG / "proxy_networks").read_text() == "192.0.2.10\n", "another address")
    accepted("of-a-client-that-is-no-proxy")
    (CONFIG / "proxy_networks").unlink()


def another_grade_of_filters() -> None:
    protection = CONFIG / "debian-protection"
    before = protection.read_text()
    shell(after("That file may be edited as well:"))
    expect("bogus_bounce" in run("qpsmtpd", "plugins"), "another chain")
    protection.write_text(before)
    shell("systemctl reload qpsmtpd")


def a_daily_report() -> None:
    shell(after("checks a higher level of filters would add:"))
    before = (CONFIG / "report_to").read_text()
    shell(after("one per\nline, and enable the timer:"))
    expect("qpsmtpd-report" in run("systemctl", "list-timers"), "no timer")
    shell("qpsmtpd check-config; systemctl disable --now qpsmtpd-report.timer")
    (CONFIG / "report_to").write_text(before)


def dmarc_reports() -> None:
    """Nothing is to be sent, but the timer's service starts, and says so."""
    filters, protection = CONFIG / "filters", CONFIG / "debian-protection"
    before = protection.read_text()
    line = after("and a timer sends them, if\nyou want that:")
    chain = Path("/usr/share/qpsmtpd/chains/standard").read_text()
    filters.write_text(re.sub(r"^dmarc\b", line, chain, flags=re.MULTILINE))
    protection.write_text(f"$include {filters}\n")
    expect(line in filters.read_text(), "nothing replaced")
    shell(after("for that address. Then"))
    shell("systemctl start qpsmtpd-dmarc-report.service")
    expect("qpsmtpd-dmarc-report" in run("systemctl", "list-timers"), "no timer")
    shell("qpsmtpd dmarc-report")
    protection.write_text(before)
    shell("systemctl disable --now qpsmtpd-dmarc-report.timer; systemctl reload qpsmtpd")


def status_and_metrics() -> None:
    shell(after("How the daemon is doing, for root and members of the group qpsmtpd:"))
    shell(after("metrics are served on 127.0.0.1:9725 once you say"))
    with urlopen("http://127.0.0.1:9725/metrics") as answer:
        expect(b"\nqpsmtpd_workers " in answer.read(), "no metrics")
    shell("systemctl disable --now qpsmtpd-metrics.socket; systemctl stop qpsmtpd-metrics.service")


def the_dashboard() -> None:
    """Behind both web servers; systemd starts it when somebody asks."""
    _, enable = after("and runs only when somebody looks:").splitlines()
    shell(enable)
    with _web_server("nginx", "/etc/nginx/sites-available/default", "server {") as configure:
        line = after("below a site of nginx that has TLS: the line")
        Path(line.split()[1].rstrip(";")).write_text(after("with this in that file,"))
        shell(after("and a user:").replace("passwd -6", "passwd -6 secret"))
        configure(line)
    with _web_server("apache2", "/etc/apache2/sites-available/000-default.conf", ">") as configure:
        shell("a2enmod proxy_http; cp -p /etc/nginx/qpsmtpd-users /etc/apache2")
        configure(after("and in its VirtualHost"))
    shell("systemctl disable --now qpsmtpd-dashboard.socket; systemctl stop qpsmtpd-dashboard")


@contextlib.contextmanager
def _web_server(name: str, site: str, begin: str) -> Iterator[Callable[[str], None]]:
    """A web server whose site is to be configured; then it has the pages, with a password."""
    file = Path(site)

    def configure(text: str) -> None:
        before, found, after_it = file.read_text().partition(begin)
        file.write_text(f"{before}{found}\n{text}\n{after_it}")

    shell(f"systemctl start {name}")
    yield configure
    shell(f"systemctl restart {name}")
    wait_for("web server", _is_there)
    expect(_page("admin:wrong")[0] == 401, "without a password")
    status, text = _page("admin:secret")
    expect((status, "<h1>Decisions</h1>" in text) == (200, True), f"{status} {text[:2000]}")
    expect("does not answer" not in text, "the store cannot be read")
    shell(f"systemctl stop {name}")


def _is_there() -> bool:
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", 80)):
        return True
    return False


def _page(credentials: str) -> tuple[int, str]:
    client = http.client.HTTPConnection("127.0.0.1", timeout=20)
    token = base64.b64encode(credentials.encode()).decode()
    client.request("GET", "/qpsmtpd/decisions", headers={"Authorization": f"Basic {token}"})
    answer = client.getresponse()
    return answer.status, answer.read().decode()


def out_of_service() -> None:
    shell(after("Take a machine out of service with"))
    try:
        connect(*LISTEN).close()
    except ConnectionRefusedError:
        return
    raise AssertionError("it still listens")


def without_the_units() -> None:
    """The other ways to start it, while nobody else has port 25."""
    shell("systemctl stop qpsmtpd.socket qpsmtpd.service postfix*")
    with running(after("or start the daemon from a supervisor of your own:")):
        served_at("127.0.0.4")
    with running(after("units disabled (dpkg-reconfigure qpsmtpd, first question), then")):
        served_at("127.0.0.4")
    with Path("/etc/inetd.conf").open("a") as file:
        file.write(f"{after('or in /etc/inetd.conf:')}\n")
    shell("systemctl restart openbsd-inetd")
    served_at("127.0.0.1")
    shell("systemctl stop openbsd-inetd; systemctl start postfix qpsmtpd.socket qpsmtpd.service")
    wait_until_served(LISTEN)


def postfix_on_loopback_only() -> None:
    shell(after("Take port 25 of the public addresses from Postfix:"))
    wait_until_served(ADDRESS)


def postfix_without_the_public_port() -> None:
    shell("postconf -e inet_interfaces=all")
    shell(after("serves submission (587 or 465), inet_interfaces would stop that"))
    wait_until_served(ADDRESS)
    services = run("postconf", "-M").splitlines()
    ports = [line.split()[0] for line in services if line.split()[-1] == "smtpd"]
    expect(ports == ["127.0.0.1:smtp"], str(ports))
    wait_until_served(LISTEN)


def postfix_by_smtp() -> None:
    shell(after("If you need the others, hand over by SMTP instead"))
    wait_until_served(("127.0.0.1", 10025))
    (CONFIG / "debian-queue-method").write_text("queue/smtp-forward 127.0.0.1 10025\n")
    run("systemctl", "reload", "qpsmtpd")
    accepted("by-smtp")
    arrived_once("by-smtp")


def before_postfixs_queue() -> None:
    """After `postfix_by_smtp`.  A client of Postfix is told what we say."""
    with (CONFIG / "badmailfrom").open("a") as file:
        file.write("bad@sender.example\n")
    shell("postconf -e inet_interfaces=loopback-only; postconf -MX 127.0.0.1:smtp/inet")
    shell("postconf -M smtp/inet='smtp inet n - y - - smtpd'")
    drop_in("qpsmtpd.socket", section(after("Let qpsmtpd\nlisten where Postfix finds it,")))
    shell(after("let Postfix listen there as above,\nand then"))
    wait_until_served(("127.0.0.1", 10024))
    wait_until_served(ADDRESS)
    with connect(*ADDRESS) as client:
        wishes = ["NOTIFY=SUCCESS", "ORCPT=rfc822;before@the.queue"]
        text = f"From: <{RECIPIENT}>\r\nSubject: before the queue\r\n\r\nx\r\n"
        client.sendmail(RECIPIENT, RECIPIENT, text, ["RET=HDRS", "ENVID=before"], wishes)
        # Postfix asks us at RCPT, about the sender too.
        client.mail("bad@sender.example")
        reply = client.rcpt(RECIPIENT)
        expect(reply[0] == 550 and b"not accepted here" in reply[1], str(reply))
        client.rset()
    arrived_once("before the queue")
    wait_for_log(f"forwarded ip={CLIENT_ADDRESS} by=127.0.0.1:")
    wait_for_log(f"message accepted ip={CLIENT_ADDRESS} ")
    mailbox = Path("/var/mail", USER)
    wait_for("notice", lambda: "rfc822;before@the.queue\n" in mailbox.read_text(errors="replace"))
    shell("postconf -PX smtp/inet/smtpd_proxy_filter; systemctl restart postfix")
    (CONFIG / "xforward_networks").unlink()


def delivery_by_lmtp() -> None:
    """To a Maildir of ours, as there is no Dovecot here."""
    run("install", "-d", "-o", "qpsmtpd", "-g", "qpsmtpd", "-m", "0700", "/srv/store")
    before = (CONFIG / "debian-queue-method").read_text()
    (CONFIG / "debian-queue-method").write_text("queue/maildir /srv/store\n")
    service = (UNITS / "qpsmtpd.service.d/override.conf").read_text()
    drop_in("qpsmtpd.service", f"{service}\nReadWritePaths=/srv/store\n")
    unit = after("/etc/systemd/system/qpsmtpd-lmtp.socket:")
    (UNITS / "qpsmtpd-lmtp.socket").write_text(section(unit))
    shell(after("The last command here has Postfix deliver the mail of its local users so:"))
    shell("systemctl restart postfix")
    wait_until_served(ADDRESS)
    with connect(*ADDRESS) as client:
        text = f"From: <{RECIPIENT}>\r\nSubject: by LMTP\r\n\r\nx\r\n"
        client.sendmail(RECIPIENT, RECIPIENT, text)
    new = Path("/srv/store/new")
    (path,) = wait_for("message", lambda: list(new.iterdir()) if new.exists() else [])
    expect(re.search(r"by \S+ \(qpsmtpd/\S+\)\s+with LMTP id", path.read_text()), path.read_text())
    shell("postconf -X mailbox_transport; systemctl disable --now qpsmtpd-lmtp.socket")
    drop_in("qpsmtpd.service", service)
    (CONFIG / "debian-queue-method").write_text(before)
    shell("systemctl restart postfix qpsmtpd.service")


def inside_postfix() -> None:
    """Postfix has port 25, and asks; then as a policy service, without the milter."""
    with (CONFIG / "badmailfrom").open("a") as file:
        file.write("bad@sender.example\n")
    (UNITS / "qpsmtpd.socket.d/override.conf").unlink()
    preseed({"integration": "select inside"})
    shell(after('asks qpsmtpd as its milter. Answer "inside Postfix"\nin'))
    shell(after("the second command, mail is deferred while qpsmtpd is down:"))
    shell(after("port 25 of other addresses gets it back:"))
    wait_until_served(ADDRESS)
    asked_by_postfix("inside-milter")
    postfix_on_loopback_only()
    preseed({"integration": "select front"})
    shell(after('asks qpsmtpd as its milter. Answer "inside Postfix"\nin'))
    shell(after("other milter, that is:"))
    unit = after("Postfix asks it as a policy service:")
    (UNITS / "qpsmtpd-policy.socket").write_text(section(unit))
    shell(after("WantedBy=sockets.target\n\nwith"))
    asked_by_postfix("inside-policy")


def asked_by_postfix(subject: str) -> None:
    """A good message arrives, a bad sender is refused, and the doctor knows who asks."""
    server = "127.0.0.1:25"
    good = send(RECIPIENT, subject, server=server)
    expect(good.data_reply.startswith("250 "), good.transcript)
    arrived_once(subject)
    bad = send(RECIPIENT, subject, server=server, sender="bad@sender.example")
    expect("<** 55" in bad.transcript, bad.transcript)
    asked = [found["text"] for found in findings() if found["text"] == "is asked by Postfix"]
    expect(asked, str(findings()))


def exim_trusts_us() -> None:
    then = after("then, in both cases:")
    for form in ("false", "true"):
        shell(f"sed -i 's/^dc_use_split_config=.*/dc_use_split_config={form!r}/' {_EXIM}")
        shell(after('one file ("unsplit"):' if form == "false" else "split into small files"))
        shell(then)
        trusted = run("exim4", "-bP", "trusted_users")
        expect({"uucp", "qpsmtpd"} <= set(re.findall(r"\w+", trusted)), f"{form}: {trusted}")
    accepted("trusted")
    arrived_once("trusted")


def exims_own_questions() -> None:
    """A command, and what to answer."""
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    shell(re.split(" {2,}", after("Either with its own questions,").splitlines()[0])[0])
    wait_until_served(ADDRESS)


def what_the_doctor_prints_about_exim() -> None:
    follow_the_doctor(
        "systemctl stop qpsmtpd.socket qpsmtpd.service; "
        f"sed -i 's/^dc_local_interfaces=.*/dc_local_interfaces=/' {_EXIM}; "
        "update-exim4.conf; systemctl restart exim4; systemctl start qpsmtpd.socket || true"
    )
    accepted("the-doctor")


def reports_by_exims_sendmail() -> None:
    """The words go into two files, and both are understood."""
    words, command = after("there says:").splitlines()
    line = after("and a timer sends them, if\nyou want that:").replace(
        "report_via=127.0.0.1:25", words
    )
    filters, protection = CONFIG / "filters", CONFIG / "debian-protection"
    before = protection.read_text()
    chain = Path("/usr/share/qpsmtpd/chains/standard").read_text()
    filters.write_text(re.sub(r"^dmarc\b", line, chain, flags=re.MULTILINE))
    protection.write_text(f"$include {filters}\n")
    unit = Path("/usr/lib/systemd/system/qpsmtpd-handover@.service").read_text()
    (start,) = re.findall(r"^ExecStart=(?:.*\\\n)*.*", unit, re.MULTILINE)
    drop_in("qpsmtpd-handover@.service", f"[Service]\nExecStart=\n{start} {command}\n")
    shell("qpsmtpd check-config; systemctl reload qpsmtpd")
    accepted("with-reports")
    protection.write_text(before)
    (UNITS / "qpsmtpd-handover@.service.d/override.conf").unlink()
    shell("systemctl daemon-reload; systemctl reload qpsmtpd")


def exim_on_another_port() -> None:
    line = after("give Exim another port, and qpsmtpd can have all addresses")
    shell(f'sed -i "s/^dc_local_interfaces=.*/{line}/" {_EXIM}')
    shell(after("/etc/exim4/update-exim4.conf.conf, then"))
    wait_until_served(("127.0.0.1", 2526))
    try:
        connect(*ADDRESS).close()
    except ConnectionRefusedError:
        return
    raise AssertionError("Exim still listens on port 25")


_EXIM = "/etc/exim4/update-exim4.conf.conf"
_ALL = (
    the_questions,
    commands_for_daily_use,
    a_first_message,
    what_became_of_mail,
    what_would_become_of_mail,
    more_than_the_profile_allows,
    lines_that_the_package_has,
    a_key_that_signs,
    a_line_for_a_user,
    another_grade_of_filters,
    other_addresses,
    after_a_wrong_configuration,
    without_a_plugin_that_is_missing,
    a_maildir_elsewhere,
    a_line_for_another_server,
    fail2ban_jail,
    a_proxy,
    dmarc_reports,
    status_and_metrics,
    a_daily_report,
    the_dashboard,
    local_plugins,
    starttls_with_a_key_that_only_root_can_read,
    a_renewed_certificate,
    certificates_for_several_names,
    users_of_this_machine,
    a_port_with_tls_from_the_first_byte,
)
CHECKS: dict[str, tuple[Callable[[], None], ...]] = {
    "postfix": (
        what_the_doctor_prints,
        without_the_units,
        *_ALL,
        postfix_on_loopback_only,
        postfix_without_the_public_port,
        postfix_by_smtp,
        delivery_by_lmtp,
        before_postfixs_queue,
        out_of_service,
        inside_postfix,
    ),
    "exim4": (
        exims_own_questions,
        what_the_doctor_prints_about_exim,
        exim_trusts_us,
        reports_by_exims_sendmail,
        exim_on_another_port,
    ),
}


def main(mail_system: str) -> None:
    """Try every recipe; the package is installed, and was started at boot."""
    os.chdir("/root")  # where an administrator is, and the daemon's user must not look
    expect(Path.cwd().stat().st_mode & 0o077 == 0, "others may look into root's home")
    run("useradd", "--create-home", USER)
    expect(RECIPIENT.startswith(USER), RECIPIENT)
    if mail_system == "postfix":
        run("postconf", "-e", "mydestination = example.org, localhost")
        run("systemctl", "restart", "postfix*")
    wait_until_served(ADDRESS)
    for function in CHECKS[mail_system]:
        with check(function.__name__):
            function()
    for path in (EXIM_LOG, LOG):
        keep_log(str(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
