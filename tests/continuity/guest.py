# SPDX-License-Identifier: MIT
"""In the guest: the installed package is reloaded, restarted, killed and upgraded under load.

Called as `python3 -m tests.continuity.guest`.  systemd holds the sockets.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.continuity.stream import (
    MESSAGES,
    Account,
    Client,
    Door,
    Session,
    Stream,
    in_maildir,
    message,
    streaming,
)
from tests.packaging.guest.apt import PACKAGES, VERSION, apt_get
from tests.packaging.guest.client import DOMAIN, ME, wait_until_served
from tests.packaging.guest.report import (
    POLL_INTERVAL,
    RESULTS,
    check,
    expect,
    keep_log,
    run,
    wait_for,
)

LISTEN = ("127.0.0.2", 25)
DOORS = (Door(*LISTEN), Door(*LISTEN, "starttls"))
RECIPIENT = f"alice@{DOMAIN}"
MAILDIR = Path("/var/spool/qpsmtpd/Maildir")
PLUGINS = Path("/etc/qpsmtpd/plugins")
LOG = Path("/var/log/qpsmtpd/qpsmtpd.log")
UNIT = "qpsmtpd.service"
CERTIFICATE, KEY = Path("/etc/qpsmtpd/mx.pem"), Path("/etc/qpsmtpd/mx.key")
NEXT_VERSION = "2.0.0-1+next"
NEXT_PACKAGES = tuple(path.replace(VERSION, NEXT_VERSION) for path in PACKAGES)
#: Where the host reads the accounts.
ACCOUNTS = RESULTS / "accounts"

Event = Callable[[Stream], Awaitable[None]]


def prepare() -> None:
    """A short chain, with TLS and a Maildir."""
    new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={ME}")
    run(*new, "-keyout", str(KEY), "-out", str(CERTIFICATE))
    KEY.chmod(0o644)
    PLUGINS.write_text(f"tls {CERTIFICATE} {KEY}\nrcpt_ok\nqueue/maildir {MAILDIR}\n")
    run("systemctl", "restart", UNIT)
    wait_until_served(LISTEN)


async def measure(name: str, event: Event) -> Account:
    """Do something to the daemon while clients come; what they saw."""
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    context.check_hostname = False
    async with streaming(DOORS, context=context, to=RECIPIENT) as stream:
        await event(stream)
        await stream.more(MESSAGES // 4)
    killed = name.startswith("killed")
    account = stream.tally.account(name, in_maildir_of(stream, killed=killed))
    print(account, flush=True)
    with ACCOUNTS.open("a") as accounts:
        accounts.write(f"{account}\n")
    return account


def in_maildir_of(stream: Stream, *, killed: bool) -> list[str]:
    """What has arrived of this stream; the others have been accounted for."""
    ids = in_maildir(MAILDIR, killed=killed)
    return [id_ for id_ in ids if id_.startswith(stream.prefix)]


async def system(*command: str) -> str:
    return await asyncio.to_thread(run, *command)


async def reloads(stream: Stream) -> None:
    for _ in range(5):
        await system("systemctl", "reload", UNIT)
        await stream.more(MESSAGES // 5)
    expect(not stream.tally.told, f"{stream.tally.told} were told 421")


async def restarts(stream: Stream) -> None:
    for _ in range(3):
        await system("systemctl", "restart", UNIT)
        await stream.more(MESSAGES // 4)


async def upgrade(stream: Stream) -> None:
    """To a higher version, with a client whose message is under way until the daemon stops."""
    id_ = f"{stream.prefix}-slow"
    slow = await before_the_dot(id_)
    before = main_pid()
    installing = asyncio.create_task(asyncio.to_thread(apt_get, "install", *NEXT_PACKAGES))
    while await state() != "deactivating":
        expect(not installing.done(), "the service was not stopped, or waited for nobody")
        await asyncio.sleep(POLL_INTERVAL)
    slow.send(b".\r\n")
    await slow.reply(250)
    stream.tally.accepted.append(id_)
    slow.close()
    await installing
    version = await system("dpkg-query", "--show", "--showformat=${Version}", "qpsmtpd")
    expect(version == NEXT_VERSION, f"version {version}")
    expect(main_pid() != before, "the same process")


async def reinstallation(stream: Stream) -> None:
    """With a client that falls silent in the middle of its message: nobody waits long for it."""
    silent = await before_the_dot(f"{stream.prefix}-silent")
    await asyncio.to_thread(apt_get, "install", "--reinstall", "--allow-downgrades", *PACKAGES)
    await silent.reply(421)
    silent.close()


async def before_the_dot(id_: str) -> Client:
    """A client that has sent all of its message but the end."""
    client = await Client.connect(DOORS[0], None)
    await client.reply(220)
    await client.command("EHLO client.example", 250)
    await client.envelope(RECIPIENT)
    client.send(message(id_, 200)[:-3])
    return client


async def death(stream: Stream) -> None:
    """Of the main process, without warning; the rest of the unit is killed by systemd."""
    before = main_pid()
    os.kill(before, signal.SIGKILL)
    await asyncio.to_thread(wait_for, "another", lambda: main_pid() not in (0, before))
    stream.epoch += 1
    await stream.more(MESSAGES // 2)


async def state() -> str:
    said = await system("systemctl", "show", "--property=ActiveState", "--value", UNIT)
    return said.strip()


def main_pid() -> int:
    return int(run("systemctl", "show", "--property=MainPID", "--value", UNIT))


def build_next_packages() -> None:
    """The same packages as a higher version."""
    for package, next_package in zip(PACKAGES, NEXT_PACKAGES, strict=True):
        tree = Path(f"{next_package}.tree")
        run("dpkg-deb", "--raw-extract", package, str(tree))
        control = tree / "DEBIAN/control"
        text = re.sub("^Version: .*", f"Version: {NEXT_VERSION}", control.read_text(), flags=re.M)
        control.write_text(text.replace(f"(= {VERSION})", f"(= {NEXT_VERSION})"))
        run("dpkg-deb", "--build", str(tree), next_package)


#: What is done to the daemon; whose sessions may be cut by it.
EVENTS: dict[str, Event] = {
    "5 times systemctl reload": reloads,
    "3 times systemctl restart": restarts,
    "upgrade to a higher version": upgrade,
    "reinstallation with a silent client": reinstallation,
    "killed main process": death,
}


def check_names() -> list[str]:
    """Every check that is reported, in order."""
    return [name.replace(" ", "_") for name in EVENTS]


def was_there(session: Session) -> bool:
    """Whether it began before the process was killed."""
    return session.epoch == 0


def main() -> None:
    """Do all of it, with whatever does not work reported and left behind."""
    build_next_packages()
    prepare()
    for name, event in EVENTS.items():
        with check(name.replace(" ", "_")):
            account = asyncio.run(measure(name, event))
            problems = account.problems(cut=was_there) if event is death else account.problems()
            expect(not problems, str(problems))
    keep_log(str(LOG))


if __name__ == "__main__":
    main()
