# SPDX-License-Identifier: MIT
"""The examples of aiosmtpd's documentation, and the handlers of its own tests, work in our chain.

They are read from the aiosmtpd that is installed (its packages on PyPI bring both along), and what
is expected of them is what aiosmtpd's documentation and tests expect.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import mailbox
import smtplib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import aiosmtpd
import pytest

from qpsmtpd.testing import serve

T = TypeVar("T")

PACKAGE = Path(aiosmtpd.__file__).parent

if not (PACKAGE / "docs/controller.rst").exists():
    pytest.skip("needs the aiosmtpd of PyPI, with its documentation", allow_module_level=True)

#: What the handlers in the module test_smtp.py and test_handlers.py use of their modules.
NAMES = """
from __future__ import annotations

from aiosmtpd.handlers import AsyncMessage, Message as AbstractMessageHandler
from aiosmtpd.smtp import MISSING, AuthResult, auth_mechanism
from aiosmtpd.testing.statuscodes import SMTP_STATUS_CODES as S, StatusCode
"""


def documented(document: str, *wanted: str) -> str:
    """The examples of a document that have one of these words, as one module."""
    text = (PACKAGE / "docs" / document).read_text()
    examples = doctest.DocTestParser().get_examples(text)
    found = [e.source for e in examples if any(word in e.source for word in wanted)]
    assert len(found) >= len(wanted), f"{document} has other examples now"
    return "".join(found)


def of_its_tests(file: str, *classes: str) -> str:
    """Classes of aiosmtpd's own tests, as one module."""
    text = (PACKAGE / "tests" / file).read_text()
    found = {
        node.name: ast.get_source_segment(text, node)
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and node.name in classes
    }
    assert set(found) == set(classes), f"{file} has other handlers now"
    decorated = "\n\n\n".join(str(found[name]) for name in classes)
    return f"{NAMES}\n\n{decorated}\n"


def run(
    tmp_path: Path,
    module: str,
    plugins: Sequence[str],
    talk: Callable[[smtplib.SMTP], T],
    **files: Sequence[str],
) -> T:
    """Run a module's handlers, and talk to the server with smtplib."""
    (tmp_path / "example.py").write_text(module)
    config: Mapping[str, Sequence[str]] = {
        "plugin_dirs": [str(tmp_path)],
        "plugins": plugins,
        "rcpthosts": ["example.com", "example.net"],
        **files,
    }

    def client(port: int) -> T:
        with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=20) as smtp:
            return talk(smtp)

    async def session() -> T:
        async with asyncio.timeout(60), serve(config) as serving:
            return await asyncio.to_thread(client, serving.port)

    return asyncio.run(session())


def message(number: str) -> str:
    return f"From: {number} <{number}@example.com>\nMessage-ID: <{number}>\n\nHi, {number}.\n"


# --- the documentation -----------------------------------------------------------------------


def test_the_handler_of_the_chapter_about_controllers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def talk(smtp: smtplib.SMTP) -> Any:
        assert smtp.sendmail("a@example.com", ["b@example.com"], message("ant")) == {}
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            smtp.sendmail("a@example.com", ["c@example.net"], message("another"))
        return refused.value.recipients

    module = documented("controller.rst", "class ExampleHandler")
    refused = run(tmp_path, module, ["aiosmtpd example:ExampleHandler", "rcpt_ok"], talk)
    assert refused == {"c@example.net": (550, b"5.7.1 not relaying to that domain")}
    text = capsys.readouterr().out
    assert text.startswith("Message from a@example.com\nMessage for ['b@example.com']\n")
    assert text.endswith("> Message-ID: <ant>\n>\n> Hi, ant.\n\nEnd of message\n")


def test_the_mailbox_of_the_chapter_about_handlers(tmp_path: Path) -> None:
    def talk(smtp: smtplib.SMTP) -> None:
        for sender, recipient, number in ("abx", "cdy", "efz"):
            to = [f"{recipient}@example.com"]
            assert smtp.sendmail(f"{sender}@example.com", to, message(number)) == {}

    run(tmp_path, "", [f"aiosmtpd aiosmtpd.handlers:Mailbox {tmp_path}/box", "rcpt_ok"], talk)
    found = sorted(mailbox.Maildir(tmp_path / "box"), key=itemgetter("message-id"))
    assert [m["Message-ID"] for m in found] == ["<x>", "<y>", "<z>"]
    assert [m["X-RcptTo"] for m in found] == ["b@example.com", "d@example.com", "f@example.com"]


def test_the_server_of_the_chapter_about_subclassing(tmp_path: Path) -> None:
    def talk(smtp: smtplib.SMTP) -> Any:
        return smtp.docmd("PING"), smtp.help("PING"), smtp.help()

    module = documented("smtp.rst", "import SMTP as Server", "class MyServer")
    line = "aiosmtpd aiosmtpd.handlers:Sink server=example:MyServer"
    plugins = [line, "rcpt_ok", "queue/discard"]
    assert run(tmp_path, module, plugins, talk) == (
        (259, b"2.0.0 Pong"),
        b"2.0.0 Syntax: PING [ignored]",
        b"2.0.0 Supported commands: AUTH DATA EHLO HELO HELP MAIL NOOP PING QUIT RCPT RSET VRFY",
    )


# --- its tests -------------------------------------------------------------------------------


def test_recipients(tmp_path: Path) -> None:
    def talk(smtp: smtplib.SMTP) -> Any:
        smtp.ehlo()
        smtp.mail("anne@example.com")
        return smtp.rcpt("bart@example.com"), smtp.rcpt("cate@example.com")[0]

    module = of_its_tests("test_handlers.py", "RCPTHandler")
    refused = (550, b"5.7.1 Rejected")
    plugins = ["aiosmtpd example:RCPTHandler", "rcpt_ok", "queue/discard"]
    assert run(tmp_path, module, plugins, talk) == (refused, 250)


@pytest.mark.parametrize(
    ("handler", "code"),
    [
        ("DataHandler", 250),
        ("MessageHandler", 250),
        ("AsyncMessageHandler", 250),
        ("ErroringDataHandler", 599),
    ],
)
@pytest.mark.parametrize("option", ["", "decode_data"])
def test_messages(tmp_path: Path, handler: str, code: int, option: str) -> None:
    def talk(smtp: smtplib.SMTP) -> int:
        try:
            smtp.sendmail("anne@example.com", ["bart@example.com"], message("ant"))
        except smtplib.SMTPDataError as error:
            return error.smtp_code
        return 250

    module = of_its_tests("test_handlers.py", handler)
    plugins = [f"aiosmtpd example:{handler} {option}", "rcpt_ok"]
    assert run(tmp_path, module, plugins, talk) == code


def test_ehlo(tmp_path: Path) -> None:
    def talk(smtp: smtplib.SMTP) -> Any:
        smtp.ehlo()
        return smtp.esmtp_features

    module = of_its_tests("test_handlers.py", "EHLOHandlerNew")
    line = "aiosmtpd example:EHLOHandlerNew FEATURE1 FEATURE2"
    features = run(tmp_path, module, [line, "rcpt_ok", "queue/discard"], talk)
    assert features == {"feature1": "", "feature2": ""}


@pytest.mark.parametrize("handler", ["EHLOHandlerIncompatibleShort", "EHLOHandlerIncompatibleLong"])
def test_hooks_that_aiosmtpd_cannot_call(tmp_path: Path, handler: str) -> None:
    module = of_its_tests("test_handlers.py", handler)
    with pytest.raises(Exception, match=rf"example\.py:\d+: aiosmtpd: {handler}\.handle_EHLO"):
        run(tmp_path, module, [f"aiosmtpd example:{handler}", "rcpt_ok", "queue/discard"], print)


def test_exceptions(tmp_path: Path) -> None:
    def talk(smtp: smtplib.SMTP) -> Any:
        with pytest.raises(smtplib.SMTPDataError) as error:
            smtp.sendmail("anne@example.com", ["bart@example.com"], message("ant"))
        return error.value.smtp_code, error.value.smtp_error

    module = of_its_tests("test_smtp.py", "ErroringHandler")
    plugins = ["aiosmtpd example:ErroringHandler", "rcpt_ok"]
    answer = 499, b"4.7.1 Could not accept the message"
    assert run(tmp_path, module, plugins, talk) == answer


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        (["AUTH NULL"], [235]),
        (["AUTH DENYMISSING"], [535]),
        (["AUTH DENYFALSE"], [535]),
        (["AUTH DONT"], [535]),
        (["AUTH WITH-MULTI-DASH"], [235]),
        (["AUTH WITH-DASH"], [235]),
        (["AUTH WITH_UNDERSCORE", encoded("x")], [334, 235]),
        ([f"AUTH PLAIN {encoded(chr(0) + 'goodlogin' + chr(0) + 'goodpasswd')}"], [235]),
        ([f"AUTH PLAIN {encoded(chr(0) + 'goodlogin' + chr(0) + 'badpasswd')}"], [535]),
        (["AUTH LOGIN", encoded("goodlogin"), encoded("goodpasswd")], [334, 334, 235]),
        (["AUTH LOGIN", "*"], [334, 501]),
        (["AUTH GSSAPI"], [504]),
    ],
)
@pytest.mark.filterwarnings("ignore:AUTH interaction logging", "ignore:Sensitive information")
def test_authentication(tmp_path: Path, lines: list[str], codes: list[int]) -> None:
    def talk(smtp: smtplib.SMTP) -> list[int]:
        smtp.ehlo()
        return [smtp.docmd(line)[0] for line in lines]

    module = of_its_tests("test_smtp.py", "PeekerHandler")
    module += "\n\ndef judge(*words):\n    return PeekerHandler().authcallback(*words)\n"
    plugins = ["aiosmtpd example:PeekerHandler auth_callback=example:judge", "rcpt_ok"]
    assert run(tmp_path, module, [*plugins, "queue/discard"], talk) == codes
