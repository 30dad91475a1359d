# SPDX-License-Identifier: MIT
"""In the guest: the life of the package, from its installation to its purge, beside a mail system.

Called as `python3 -m tests.packaging.guest.installed MAIL_SYSTEM`.  The checks build on each other.
"""

from __future__ import annotations

import re
import smtplib
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from maintscripts.ask import detect
from tests.packaging.guest import inside, life, service
from tests.packaging.guest.apt import (
    CHAINS,
    FILTERS,
    QUEUE_METHOD,
    RCPTHOSTS,
    dpkg_reconfigure,
    install,
    meaning,
    members,
    preseed,
    reconfigure,
)
from tests.packaging.guest.client import CLIENT_ADDRESS, DOMAIN, SENDER, send, wait_until_served
from tests.packaging.guest.clients import open_transaction, undisturbed_clients
from tests.packaging.guest.next_hop import (
    ADDRESS,
    EXIM_LOG,
    MAIL_SYSTEMS,
    RECIPIENT,
    USER,
    messages,
)
from tests.packaging.guest.report import RESULTS, check, expect, keep_log, run, wait_for
from tests.packaging.guest.service import LISTEN, LOG, MAILDIR, deliver

Check = Callable[[str], None]


def installs_and_asks_nothing(mail_system: str) -> None:
    preseed(
        {
            "startup_enabled": "boolean true",
            "listen_interfaces": f"string {LISTEN[0]}",
            "rcpthosts": f"string {DOMAIN}",
        }
    )
    said = install()
    (RESULTS / "apt-get-install").write_text(said)
    expect("ifconfig" not in said, said)
    expect("Traceback" not in said, said)


def defect_02_starts_with_what_it_depends_on(mail_system: str) -> None:
    for unit in ("qpsmtpd.socket", "qpsmtpd.service"):
        expect(service.state("is-enabled", unit) == "enabled", f"{unit} is not enabled")
        expect(service.state("is-active", unit) == "active", f"{unit} is not active")
    wait_until_served(LISTEN)


def detects_the_mail_system(mail_system: str) -> None:
    expect(meaning(QUEUE_METHOD) == [service.QUEUE_PLUGINS[mail_system]], QUEUE_METHOD.read_text())
    expect(meaning(RCPTHOSTS) == [DOMAIN], RCPTHOSTS.read_text())


def defect_13_joins_postdrop_for_postfix_only(mail_system: str) -> None:
    found = members("postdrop")
    expect(("qpsmtpd" in found) == (mail_system == "postfix"), str(found))


def defect_01_delivers_and_keeps_the_envelope_sender(mail_system: str) -> None:
    deliver("envelope_sender")
    found = wait_for("message", lambda: messages("envelope_sender"))
    expect(found[0].startswith(f"From {SENDER} ".encode()), f"{found[0][:80]!r}")


def refuses_an_unknown_domain(mail_system: str) -> None:
    dialogue = send(f"{USER}@elsewhere.example", "refused", server=service.SERVER)
    reply = dialogue.reply_to("RCPT")
    expect(reply.startswith("550 "), f"RCPT was answered {reply!r}")


def _journal() -> str:
    return run("journalctl", "--unit=qpsmtpd", "--boot", "--no-pager", "--output=cat")


def _has_both(read: Callable[[], str]) -> bool:
    text = read()
    return f"{USER}@elsewhere.example" in text and "message accepted" in text


def the_journal_says_why(mail_system: str) -> None:
    """One line for each message and each refusal, in the journal as in the file."""
    for read in (_journal, LOG.read_text):
        wait_for("both lines", partial(_has_both, read))
        text = read()
        refused = [line for line in text.splitlines() if f"{USER}@elsewhere.example" in line]
        expect(len(refused) == 1 and "plugin=rcpt_ok" in refused[0], str(refused))
        expect("reply=550 5.7.1" in refused[0], refused[0])
        accepted = [line for line in text.splitlines() if "message accepted" in line]
        expect(re.search(r" plugin=queue/\S+ ", accepted[0]), accepted[0])
        expect(" message_id=" in accepted[0], accepted[0])
        if mail_system == "postfix":  # Exim tells none in this way
            expect(re.search(r" next_hop_id=[0-9A-Za-z]{6,} ", accepted[0]), accepted[0])


def clients_are_told_what_the_mail_system_takes(mail_system: str) -> None:
    """By default, and the doctor says the same."""
    largest = {"postfix": 10240000, "exim4": 52428800}[mail_system]
    with smtplib.SMTP(*LISTEN, source_address=(CLIENT_ADDRESS, 0)) as client:
        client.ehlo()
        expect(client.esmtp_features.get("size") == str(largest), str(client.esmtp_features))
        code, text = client.mail(SENDER, [f"SIZE={largest + 1}"])
        expect(code == 552, f"{code} {text!r}")
    said = subprocess.run(("qpsmtpd", "doctor"), capture_output=True, text=True, check=False).stdout
    expect(
        f"takes messages of up to {largest} octets, clients send up to {largest}"
        in " ".join(said.split()),
        said,
    )


def reconfigures_to_proxy(mail_system: str) -> None:
    with undisturbed_clients(LISTEN), open_transaction(LISTEN, RECIPIENT, "half_proxy"):
        reconfigure({"queue_plugin": "proxy", "queue_smtp_proxy_destination": "127.0.0.1:25"})
        expect(meaning(QUEUE_METHOD) == ["queue/smtp-forward 127.0.0.1 25"], "not written")
    deliver("reconfigures_to_proxy")
    wait_for("message", lambda: messages("reconfigures_to_proxy"))
    expect("qpsmtpd" not in members("postdrop"), "still in the group postdrop")
    wait_for("the message that was under way", lambda: messages("half_proxy"))


def reconfigures_to_maildir(mail_system: str) -> None:
    with undisturbed_clients(LISTEN), open_transaction(LISTEN, RECIPIENT, "half_maildir"):
        reconfigure({"queue_plugin": "maildir"})
        expect(meaning(QUEUE_METHOD) == [f"queue/maildir {MAILDIR}"], "not written")
    deliver("reconfigures_to_maildir")
    new = [path.read_text(errors="replace") for path in (MAILDIR / "new").iterdir()]
    expect(any("reconfigures_to_maildir" in text for text in new), f"{len(new)} others arrived")
    expect(service.owner(MAILDIR) == ("qpsmtpd", 0o700), str(service.owner(MAILDIR)))


def reconfigures_the_filters(mail_system: str) -> None:
    expect(meaning(FILTERS) == [f"$include {CHAINS}/standard"], FILTERS.read_text())
    reconfigure({"protection": "strict"})
    expect(meaning(FILTERS) == [f"$include {CHAINS}/strict"], FILTERS.read_text())
    expect("bogus_bounce" in run("qpsmtpd", "plugins"), "the chain is another")
    FILTERS.write_text("# mine\n$include /usr/share/qpsmtpd/chains/minimal\nresolvable_fromhost\n")
    reconfigure({"protection": "strict"})  # and nobody there to be shown the difference
    expect("# mine\n" in FILTERS.read_text(), "edits were replaced without a question")
    FILTERS.write_text(f"$include {CHAINS}/standard\n")
    dpkg_reconfigure()
    expect(meaning(FILTERS) == [f"$include {CHAINS}/standard"], "the file does not win")


def takes_preseeded_answers_when_reconfigured(mail_system: str) -> None:
    """What debconf-set-selections says wins over files that nobody has edited since."""
    preseed(
        {
            "queue_plugin": "select proxy",
            "queue_smtp_proxy_destination": "string 127.0.0.1:25",
        }
    )
    dpkg_reconfigure()
    expect(meaning(QUEUE_METHOD) == ["queue/smtp-forward 127.0.0.1 25"], QUEUE_METHOD.read_text())


def says_who_has_the_port(mail_system: str) -> None:
    said = " ".join(reconfigure({"listen_interfaces": ADDRESS[0]}).split())  # it folds its lines
    expect("qpsmtpd: not started" in said, said)
    name = {"postfix": "Postfix", "exim4": "Exim"}[mail_system]
    expect(f"{name} (process" in said and "so qpsmtpd cannot listen on" in said, said)
    expect("deb-systemd-invoke" not in said, said)
    reconfigure({"listen_interfaces": LISTEN[0]})
    wait_until_served(LISTEN)


def knows_who_listens_on_the_port(mail_system: str) -> None:
    """What the questions show: not systemd, in whose hands our own port is."""
    listeners = detect(Path("/")).listeners
    name = {"postfix": "Postfix", "exim4": "Exim"}[mail_system]
    expect((ADDRESS[0], name) in listeners or ("0.0.0.0", name) in listeners, str(listeners))
    expect({program for _, program in listeners} == {name}, str(listeners))


def defect_06_listens_on_ipv6_when_reconfigured(mail_system: str) -> None:
    reconfigure({"listen_interfaces": f"{LISTEN[0]} 127.0.0.3:2525 [::1]:2525"})
    for address in (LISTEN, ("127.0.0.3", 2525), ("::1", 2525)):
        wait_until_served(address)


def defect_07_all_addresses_can_be_chosen(mail_system: str) -> None:
    """An empty answer stands for all addresses; here the mail system is then in the way."""
    said = reconfigure({"listen_interfaces": ""})
    expect("qpsmtpd doctor" in said, said)
    listen = re.findall(r"^ListenStream=(.+)", service.SOCKET_DROP_IN.read_text(), re.MULTILINE)
    expect(listen == ["25"], f"listens on {listen}")
    reconfigure({"listen_interfaces": LISTEN[0]})
    wait_until_served(LISTEN)


CHECKS: tuple[Check, ...] = (
    installs_and_asks_nothing,
    defect_02_starts_with_what_it_depends_on,
    detects_the_mail_system,
    defect_13_joins_postdrop_for_postfix_only,
    defect_01_delivers_and_keeps_the_envelope_sender,
    refuses_an_unknown_domain,
    the_journal_says_why,
    clients_are_told_what_the_mail_system_takes,
    *service.CHECKS,
    reconfigures_to_proxy,
    reconfigures_to_maildir,
    reconfigures_the_filters,
    takes_preseeded_answers_when_reconfigured,
    says_who_has_the_port,
    knows_who_listens_on_the_port,
    defect_06_listens_on_ipv6_when_reconfigured,
    defect_07_all_addresses_can_be_chosen,
    *life.CHECKS,
    *inside.CHECKS,
)


def check_names() -> list[str]:
    """Every check that is reported, in order."""
    return [function.__name__ for function in CHECKS]


def prepare(mail_system: str) -> None:
    """A user who gets mail, and the mail system at its address."""
    run("useradd", "--create-home", USER)
    if mail_system == "postfix":
        run("postconf", "-e", f"mydestination = {DOMAIN}, localhost")
        run("systemctl", "restart", "postfix*")
    wait_until_served(ADDRESS)


def main(mail_system: str) -> None:
    """Do all of it, with whatever does not work reported and left behind."""
    assert mail_system in MAIL_SYSTEMS
    prepare(mail_system)
    for function in CHECKS:
        with check(function.__name__):
            function(mail_system)
    keep_log(str(EXIM_LOG))
    keep_log(str(LOG))


if __name__ == "__main__":
    main(*sys.argv[1:])
