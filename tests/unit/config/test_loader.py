# SPDX-License-Identifier: MIT
"""Loading a configuration as a whole."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import qpsmtpd.config.loader
from qpsmtpd.config.loader import load
from qpsmtpd.config.problems import ConfigErrors
from qpsmtpd.config.snapshot import Snapshot
from qpsmtpd.dns.resolver import DnsResolver
from qpsmtpd.errors import StoreError
from qpsmtpd.mail.verdict import accept, deny
from qpsmtpd.plugin.chain import QUEUE_TIMEOUT
from qpsmtpd.testing import FakeResolver, a_recipient, a_session, a_transaction

#: What the plugins below have done, in order.
JOURNAL: list[str] = []

PLUGIN = """
import tests.unit.config.test_loader as test
from qpsmtpd.api import *

class Local(Plugin[NoOptions]):
    async def start(self):
        test.JOURNAL.append(f"start {self.name}")
    async def stop(self):
        test.JOURNAL.append(f"stop {self.name}")
"""


@pytest.fixture(autouse=True)
def journal() -> list[str]:
    JOURNAL.clear()
    return JOURNAL


class Configuration:
    """A directory of configuration files, with plugins in its directory `local`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "local").mkdir()
        self.file("plugin_dirs", str(directory / "local"))
        self.file("spool_dir", str(directory / "spool"))
        self.plugin("taker", "async def hook_rcpt(self, tx, recipient): return accept()")
        self.plugin("keeper", "async def hook_queue(self, tx): ...")

    def file(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def plugin(self, name: str, body: str) -> None:
        (self.directory / "local" / f"{name}.py").write_text(f"{PLUGIN}    {body}\n")

    async def load(self, environment: Mapping[str, str] | None = None, **more: Any) -> Snapshot:
        more.setdefault("resolver", FakeResolver())
        return await load([self.directory], environment or {}, **more)

    async def problems(
        self, environment: Mapping[str, str] | None = None, **more: Any
    ) -> list[str]:
        """What is wrong, with the paths made relative."""
        with pytest.raises(ConfigErrors) as caught:
            await self.load(environment, **more)
        return [str(problem).replace(f"{self.directory}/", "") for problem in caught.value.problems]


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    return Configuration(tmp_path)


async def test_a_snapshot(configuration: Configuration, journal: list[str]) -> None:
    configuration.file("me", "mx.example")
    configuration.file("plugins", "taker\ntaker:2\nkeeper")
    snapshot = await configuration.load({"A": "b"})
    assert snapshot.settings.me == snapshot.services.me == "mx.example"
    assert snapshot.services.environment == {"A": "b"}
    assert snapshot.services.spool_dir == configuration.directory / "spool"
    assert snapshot.services.spool_dir.is_dir()
    assert await snapshot.services.config.lines("me") == ["mx.example"]
    assert configuration.directory / "plugins" in snapshot.files
    assert (snapshot.logging, snapshot.tls_context, snapshot.auth_mechanisms) == ((), None, ())
    assert snapshot.warnings == ()
    transaction = a_transaction()
    answer = await snapshot.chain.run(
        "rcpt", transaction.session, transaction, a_recipient("a@b.test")
    )
    assert answer is not None
    assert answer.verdict == accept()
    await snapshot.stop()
    names = ["taker", "taker:2", "keeper"]
    assert journal == [f"start {n}" for n in names] + [f"stop {n}" for n in reversed(names)]


async def test_logging_plugins_come_first(configuration: Configuration) -> None:
    configuration.plugin("sink", "def hook_logging(self, record): ...")
    configuration.file("plugins", "taker\nkeeper")
    configuration.file("logging", "sink")
    snapshot = await configuration.load()
    assert [c.plugin.name for c in snapshot.chain.plugins] == ["sink", "taker", "keeper"]
    assert [plugin.name for plugin in snapshot.logging] == ["sink"]


@pytest.mark.parametrize(
    ("hooks", "mechanisms"),
    [
        (["auth_plain"], ("PLAIN",)),
        (["auth_cram_md5", "auth_login"], ("LOGIN", "CRAM-MD5")),
        (["auth"], ("PLAIN", "LOGIN", "CRAM-MD5")),
    ],
)
async def test_auth_mechanisms(
    configuration: Configuration, hooks: list[str], mechanisms: tuple[str, ...]
) -> None:
    body = "\n    ".join(f"async def hook_{hook}(self, session, attempt): ..." for hook in hooks)
    configuration.plugin("passwords", body)
    configuration.file("plugins", "taker\nkeeper\npasswords")
    assert (await configuration.load()).auth_mechanisms == mechanisms


async def test_the_first_tls_context_counts(configuration: Configuration) -> None:
    configuration.plugin("tls_a", "def tls_context(self): return 'context a'")
    configuration.plugin("tls_b", "def tls_context(self): return 'context b'")
    configuration.file("plugins", "taker\nkeeper\ntls_a\ntls_b")
    assert str((await configuration.load()).tls_context) == "context a"


async def test_a_broken_tls_context(configuration: Configuration) -> None:
    configuration.plugin("tls_a", "def tls_context(self): raise ConfigError('', 'no key')")
    configuration.file("plugins", "taker\nkeeper\ntls_a")
    assert await configuration.problems() == ["plugins:3: tls_a: no key"]


async def test_treatment_of_plugins(configuration: Configuration) -> None:
    configuration.file("hook_timeout", "7")
    configuration.file("plugins", "taker\ntaker:1 hook_timeout=3 on_fault=skip\nkeeper")
    snapshot = await configuration.load()
    assert [(c.skip_faults, c.timeout) for c in snapshot.chain.plugins] == [
        (False, None),
        (True, 3),
        (False, None),
    ]
    assert [handler.timeout for handler in snapshot.chain.handlers("rcpt")] == [7, 3]
    assert [handler.timeout for handler in snapshot.chain.handlers("queue")] == [QUEUE_TIMEOUT]
    assert snapshot.chain.plugins[1].where == f"{configuration.directory}/plugins:2"


async def test_timeouts_of_plugins(configuration: Configuration) -> None:
    configuration.file("plugin_timeouts", "taker 9\ntaker:1:0\nkeeper 8")
    configuration.file("plugins", "taker\ntaker:1\ntaker:2 hook_timeout=3\nkeeper")
    snapshot = await configuration.load()
    assert [handler.timeout for handler in snapshot.chain.handlers("rcpt")] == [9, 0, 3]
    assert [handler.timeout for handler in snapshot.chain.handlers("queue")] == [8]


async def test_level_of_log_lines(
    configuration: Configuration, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="qpsmtpd")
    configuration.file("plugins", "taker loglevel -2\nkeeper")
    plugin = (await configuration.load()).chain.plugins[0].plugin
    plugin.log.info("important")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    configuration.file("plugins", "taker\nkeeper")
    await configuration.load()
    plugin.log.info("not so important")
    assert caplog.records[-1].levelname == "INFO"


async def test_plugins_supply_configuration(configuration: Configuration) -> None:
    configuration.plugin("supplier", "async def hook_config(self, name): return ['supplied']")
    configuration.file("badhelo", "from file")
    configuration.file("plugins", "supplier\ntaker\nkeeper")
    snapshot = await configuration.load()
    assert await snapshot.services.config.lines("badhelo") == ["supplied"]


# --- problems -------------------------------------------------------------------------------


async def test_every_problem_is_reported(configuration: Configuration, journal: list[str]) -> None:
    configuration.plugin("fussy", "async def start(self): raise ConfigError('rules:3', 'no rule')")
    configuration.plugin("broken", "async def start(self): 1 / 0")
    configuration.file("timeout", "soon")
    configuration.file("plugins", "taker\nfussy\nbroken\nno_such\n$include nothing\nkeeper x")
    assert await configuration.problems() == [
        "timeout:1: 'soon' is not a duration (5, 90s, 10m, 2h, 1d)",
        "plugins:4: no_such: there is no plugin no_such (looked in local, the shipped plugins): "
        "a plugin of your own in Perl has to be rewritten in Python (CONTRIBUTING.md)",
        "plugins:6: keeper: unknown option 'x'",
        "rules:3: fussy: no rule",
        "plugins:3: broken: ZeroDivisionError: division by zero (local/broken.py:10)",
        "plugins:5: warning: there is no file 'nothing'",
    ]
    assert journal == ["start taker", "stop taker"]


async def test_every_wrong_line_of_a_list_is_reported(configuration: Configuration) -> None:
    configuration.file("plugins", "badmailfrom\nrelay\nrcpt_ok\nkeeper")
    configuration.file("badmailfrom", "nobody\n@good.example\n(\n[[:^alpha:]]@x+\n")
    configuration.file("rcpthosts", "a/b\nexample.com\nc d\n")
    configuration.file("relayclients", "10.0.0.1/8\n10")
    found = [problem.partition(": ")[0] for problem in await configuration.problems()]
    assert found == [
        *("badmailfrom:1", "badmailfrom:3", "badmailfrom:4"),
        *("relayclients:2", "rcpthosts:1", "rcpthosts:3", "relayclients:1"),
    ]


async def test_a_warning_about_a_line_as_a_whole(configuration: Configuration) -> None:
    body = "async def start(self): self.services.config.warn('', 'is odd')"
    configuration.plugin("strange", body)
    configuration.file("plugins", "taker\nstrange\nkeeper\nstrange:2")
    warnings = [str(problem) for problem in (await configuration.load()).warnings]
    assert [warning.rpartition("/")[2] for warning in warnings] == [
        "plugins:2: warning: strange: is odd",
        "plugins:4: warning: strange:2: is odd",
    ]


async def test_warnings_are_no_errors(configuration: Configuration) -> None:
    configuration.file("plugins", "taker\nkeeper\n$include nothing")
    assert [str(p.severity) for p in (await configuration.load()).warnings] == ["warning"]


async def test_files_that_nobody_reads_are_told_of_when_it_is_only_looked_at(
    configuration: Configuration,
) -> None:
    configuration.file("plugins", "taker\nkeeper")
    configuration.file("databites", "1M")
    assert (await configuration.load()).warnings == ()
    (warning,) = (await configuration.load(check_only=True)).warnings
    assert warning.text.endswith("(did you mean 'databytes'?)")


async def test_a_line_that_is_not_understood_may_be_of_the_plugin_that_reads_a_file(
    configuration: Configuration,
) -> None:
    configuration.file("plugins", "taker\nkeeper\nquota")
    configuration.file("quotas", "x")
    assert len(await configuration.problems(check_only=True)) == 1


async def test_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=f"{tmp_path}: there is no file named plugins"):
        await load([tmp_path], {}, resolver=FakeResolver(), check_only=True)


async def test_a_plugin_that_does_not_start_in_time(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch, journal: list[str]
) -> None:
    monkeypatch.setattr(qpsmtpd.config.loader, "LIFE_CYCLE_TIMEOUT", 0.01)
    configuration.plugin(
        "slow", "async def start(self): await __import__('asyncio').Event().wait()"
    )
    configuration.file("plugins", "taker\nkeeper\nslow")
    (problem,) = await configuration.problems()
    assert problem.startswith("plugins:3: slow: TimeoutError")
    assert journal[-1] == "stop taker"


async def test_cancelled_while_starting(configuration: Configuration, journal: list[str]) -> None:
    configuration.plugin(
        "slow",
        "async def start(self):\n        test.JOURNAL.append('waiting')\n"
        "        await __import__('asyncio').Event().wait()",
    )
    configuration.file("plugins", "taker\nkeeper\nslow")
    task = asyncio.create_task(configuration.load())
    while "waiting" not in journal:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journal[-2:] == ["stop keeper", "stop taker"]


async def test_a_plugin_that_does_not_stop(
    configuration: Configuration, journal: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    configuration.plugin("sticky", "async def stop(self): 1 / 0")
    configuration.file("plugins", "taker\nkeeper\nsticky")
    await (await configuration.load()).stop()
    assert "plugin=sticky does not stop" in caplog.text
    assert journal[-1] == "stop taker"


async def test_checking_makes_no_directory(configuration: Configuration) -> None:
    configuration.file("plugins", "taker\nkeeper")
    snapshot = await configuration.load(check_only=True)
    assert not snapshot.services.spool_dir.exists()


async def test_spool_dir_is_a_file(configuration: Configuration) -> None:
    configuration.file("spool", "")
    configuration.file("plugins", "taker\nkeeper")
    assert "is not a directory" in (await configuration.problems())[0]


# --- the resolver ---------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1:5353", "[::1]:5353"])
async def test_name_server_of_the_environment(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    asked: list[Any] = []

    class Noted(DnsResolver):
        def __init__(self, nameservers: list[tuple[str, int]] | None = None) -> None:
            super().__init__(nameservers)
            asked.append(nameservers)

        async def close(self) -> None:
            await super().close()
            asked.append("closed")

    monkeypatch.setattr(qpsmtpd.config.loader, "DnsResolver", Noted)
    configuration.file("plugins", "taker\nkeeper")
    environment = {"QPSMTPD_RESOLVER": address}
    await (await configuration.load(environment, resolver=None)).stop()
    assert asked == [[(address.rpartition(":")[0].strip("[]"), 5353)], "closed"]


@pytest.mark.parametrize("address", ["127.0.0.1", "ns.example:53", "nonsense", ":53"])
async def test_no_address_of_a_name_server(configuration: Configuration, address: str) -> None:
    configuration.file("plugins", "taker\nkeeper")
    assert await configuration.problems({"QPSMTPD_RESOLVER": address}, resolver=None) == [
        f"QPSMTPD_RESOLVER: {address!r} is not IP:PORT"
    ]


async def test_hooks_run_with_what_was_lent(configuration: Configuration) -> None:
    configuration.plugin(
        "asker",
        "async def hook_helo(self, session, host):\n"
        "        return deny(','.join(await self.services.resolver.a(host)))",
    )
    configuration.file("plugins", "asker\ntaker\nkeeper")
    snapshot = await configuration.load(resolver=FakeResolver({("A", "c.test"): ["192.0.2.7"]}))
    answer = await snapshot.chain.run("helo", a_session(), a_session(), "c.test")
    assert answer is not None
    assert answer.verdict == deny("192.0.2.7")


async def test_the_store_is_lent_and_closed(configuration: Configuration) -> None:
    configuration.file("plugins", "taker\nkeeper\n")
    snapshot = await configuration.load()
    store = snapshot.services.store
    file = configuration.directory / "spool/store.sqlite"
    assert not file.exists()
    assert await store.increment("a", 1, 60) == 1
    assert file.exists()
    await snapshot.stop()
    with pytest.raises(StoreError, match="closed"):
        await store.increment("a", 1, 60)


async def test_the_store_that_the_configuration_names(configuration: Configuration) -> None:
    configuration.file("plugins", "taker\nkeeper\n")
    configuration.file("store", str(configuration.directory / "here"))
    configuration.file("store_timeout", "7")
    snapshot = await configuration.load({"STATE_DIRECTORY": "/nowhere"})
    assert await snapshot.services.store.increment("a", 1, 60) == 1
    assert (configuration.directory / "here").exists()
    await snapshot.stop()


async def test_a_store_is_closed_if_the_configuration_is_wrong(
    configuration: Configuration,
) -> None:
    configuration.plugin(
        "early", "async def start(self): await self.services.store.get('a'); 1 / 0"
    )
    configuration.file("plugins", "early\ntaker\nkeeper\n")
    with pytest.raises(ConfigErrors, match="ZeroDivisionError"):
        await configuration.load()
    for thread in threading.enumerate():
        if thread.name == "store":
            await asyncio.to_thread(thread.join, 20)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("files", "warnings"),
    [
        ({}, 1),
        ({"tls_before_auth": "0"}, 0),
        ({"plugins": "taker\nkeeper\ntls_maker\npasswords"}, 0),
        ({"plugins": "taker\nkeeper"}, 0),
    ],
)
async def test_passwords_in_the_clear_are_told_of(
    configuration: Configuration, files: dict[str, str], warnings: int
) -> None:
    configuration.plugin("passwords", "async def hook_auth_plain(self, session, attempt): ...")
    body = (
        "def tls_context(self):\n"
        "        import ssl\n"
        "        return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)"
    )
    configuration.plugin("tls_maker", body)
    configuration.file("plugins", "taker\nkeeper\npasswords\npasswords:1")
    for name, text in files.items():
        configuration.file(name, text)
    found = (await configuration.load(check_only=True)).warnings
    assert ["in the clear" in each.text for each in found].count(True) == warnings
    assert not any("in the clear" in each.text for each in (await configuration.load()).warnings)


async def test_passwords_are_not_in_the_clear_if_tls_does_not_work(
    configuration: Configuration,
) -> None:
    """That is an error by itself, and may be none for the daemon (credentials of systemd)."""
    configuration.file("plugins", "taker\nkeeper\nauth/auth_pam\ntls /nowhere/crt /nowhere/key\n")
    with pytest.raises(ConfigErrors) as failure:
        await configuration.load(check_only=True)
    assert "/nowhere/crt" in str(failure.value)
    assert "in the clear" not in str(failure.value)


async def test_a_mechanism_that_no_plugin_can_use_is_not_offered(
    configuration: Configuration,
) -> None:
    body = (
        "async def hook_auth_plain(self, session, attempt): ...\n"
        "    async def hook_auth_cram_md5(self, session, attempt): ...\n"
        "    def unusable_mechanisms(self): return ['CRAM-MD5']"
    )
    configuration.plugin("hashes", body)
    configuration.plugin("passwords", body.rpartition("\n")[0])
    for plugins, mechanisms in (
        ("hashes", ("PLAIN",)),
        ("hashes\npasswords", ("PLAIN", "CRAM-MD5")),
        ("hashes\nauth/authdeny", ("PLAIN", "LOGIN")),
    ):
        configuration.file("plugins", f"taker\nkeeper\n{plugins}")
        assert (await configuration.load()).auth_mechanisms == mechanisms
