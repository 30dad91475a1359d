# SPDX-License-Identifier: MIT
"""In the guest: the recipes of debian/README.Debian, taken from its text, do what they promise.

Called as `python3 -m tests.packaging.guest.readme MAIL_SYSTEM`.
"""

from __future__ import annotations

import smtplib
import ssl
import sys
import textwrap
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

from tests.debian_system import CHECKOUT
from tests.packaging.guest.client import CLIENT_ADDRESS, wait_until_served
from tests.packaging.guest.next_hop import ADDRESS, EXIM_LOG, RECIPIENT, USER
from tests.packaging.guest.report import check, expect, keep_log, run
from tests.packaging.guest.units import CONFIG, LISTEN, LOG, accepted, arrived_once

README = (CHECKOUT / "debian/README.Debian").read_text()
UNITS = Path("/etc/systemd/system")

#: What the examples of the text are in this system.
_HERE = {
    "192.0.2.1:25": "127.0.0.3:25",
    "[2001:db8::1]:25": "[::1]:2525",
}


def after(words: str) -> str:
    """The first indented lines after these words, without the indentation."""
    lines = README.partition(words)[2].splitlines()[1:]
    first = next((n for n, line in enumerate(lines) if line.startswith("  ")), None)
    if first is None:
        raise AssertionError(f"the text has nothing after {words!r}")
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


def make_certificate() -> None:
    """Where the text has it, and with a key that only root can read."""
    directory = Path("/etc/letsencrypt/live/mx")
    directory.mkdir(parents=True)
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mx"),
        *("-keyout", str(directory / "privkey.pem"), "-out", str(directory / "fullchain.pem")),
    )
    (directory / "privkey.pem").chmod(0o600)


def connect(host: str, port: int) -> smtplib.SMTP:
    return smtplib.SMTP(host, port, timeout=20, source_address=(CLIENT_ADDRESS, 0))


def any_certificate() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# --- recipes --------------------------------------------------------------------------------


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


def a_port_with_tls_from_the_first_byte() -> None:
    unit = after("/etc/systemd/system/qpsmtpd-submissions.socket:")
    (UNITS / "qpsmtpd-submissions.socket").write_text(section(unit))
    shell(after("WantedBy=sockets.target"))
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


def postfix_by_smtp() -> None:
    with Path("/etc/postfix/master.cf").open("a") as file:
        file.write(f"\n{after('let Postfix listen there, in master.cf:')}\n")
    run("systemctl", "restart", "postfix")
    wait_until_served(("127.0.0.1", 10025))
    (CONFIG / "debian-queue-method").write_text("queue/smtp-forward 127.0.0.1 10025\n")
    run("systemctl", "reload", "qpsmtpd")
    accepted("by-smtp")
    arrived_once("by-smtp")


def exim_trusts_us() -> None:
    then = after("then, in both cases:")
    for form in ("false", "true"):
        shell(f"sed -i 's/^dc_use_split_config=.*/dc_use_split_config={form!r}/' {_EXIM}")
        shell(after('one file ("unsplit"):' if form == "false" else "split into small files"))
        shell(then)
        trusted = run("exim4", "-bP", "trusted_users")
        expect("qpsmtpd" in trusted, f"split={form}: {trusted}")
    accepted("trusted")
    arrived_once("trusted")


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
    other_addresses,
    local_plugins,
    starttls_with_a_key_that_only_root_can_read,
    a_port_with_tls_from_the_first_byte,
)
CHECKS: dict[str, tuple[Callable[[], None], ...]] = {
    "postfix": (*_ALL, postfix_by_smtp),
    "exim4": (exim_trusts_us, exim_on_another_port),
}


def main(mail_system: str) -> None:
    """Try every recipe; the package is installed, and was started at boot."""
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
