# SPDX-License-Identifier: MIT
"""dialogue_script.py: what a script may say, and that everything else is refused with its line."""

import warnings
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsmtpd.dialogue.script import MAX_SCRIPT, Closed, DialogueError, Expect, Send, Step, parse


def test_parse_reads_summary_settings_and_steps() -> None:
    script = parse(
        "# What it proves.\n# more\n\nconfig: plugins = rcpt_ok, queue/discard\r\n"
        "config: plugins += dnsbl a, b\nconfig: rcpthosts =\ntimeout: 2.5\n"
        "S: 220 *\n2C: QUIT  \nS: <closed>\n",
        "x.smtp",
    )
    assert script.summary == "What it proves."
    assert script.config == {
        "plugins": ["rcpt_ok", "queue/discard", "dnsbl a, b"],
        "rcpthosts": [],
    }
    assert script.timeout == 2.5
    assert [(step.line, step.connection) for step in script.steps] == [(8, 1), (9, 2), (10, 1)]
    assert isinstance(script.steps[0].action, Expect)
    assert script.steps[1:] == [Step(9, 2, Send(b"QUIT\r\n")), Step(10, 1, Closed())]


@pytest.mark.parametrize(
    ("line", "send"),
    [
        ("C:", Send(b"\r\n")),
        ("C:  a \\r", Send(b" a \\r\r\n")),
        ("C: m\xfcller", Send("m\xfcller\r\n".encode())),
        (r"C! a\r\n\0\t\"\\\x1Bz", Send(b'a\r\n\0\t"\\\x1bz')),
        (r'C* 3 x "a\"\n"', Send(b'a"\n', 3)),
        (r'C* 0 x "" "\r\n"', Send(b"", 0, b"\r\n")),
    ],
)
def test_parse_what_is_sent(line: str, send: Send) -> None:
    assert parse(line, "x").steps == [Step(1, 1, send)]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("HELO x", "x:1"),
        ("C:QUIT", "x:1"),
        ("0C: QUIT", "x:1"),
        ("\nC! \\q", "x:2"),
        ("C! \\x1", "x:1"),
        ("C* 3 x a", "x:1"),
        ('C* 99999999 x "1234567890"', "x:1"),
        ("C~ <GONE>", "x:1"),
        ("C~ EOF", "x:1"),
        ("TLS: stop", "x:1"),
        ("S:", "x:1"),
        ("S: 250-a ...", "x:1"),
        ("S: ...", "x:1"),
        ("S: <gone>", "x:1"),
        ("S: <silence long>", "x:1"),
        ("S: <silence nan>", "x:1"),
        ("S+", "x:1"),
        ("S~ (", "x:1"),
        ("timeout: 0", "x:1"),
        ("timeout: 3601", "x:1"),
        ("config: a b", "x:1"),
        ("config: ../passwd = x", "x:1"),
        ("S: 220 *\ntimeout: 3", "x:2"),
        ("S: 220 *\nconfig: me = a", "x:2"),
        ("#" * (MAX_SCRIPT + 1), "x"),
    ],
)
def test_parse_refuses(text: str, where: str) -> None:
    with pytest.raises(DialogueError) as caught:
        parse(text, "x")
    assert caught.value.where == where


MARKS = ["C: ", "C! ", "C* ", "C~ ", "S: ", "S~ ", "S+ ", "S- ", "TLS: ", "config: ", "timeout: "]


@given(st.lists(st.tuples(st.sampled_from(["", "2", *MARKS]), st.text(max_size=30)), max_size=5))
def test_parse_gives_a_script_or_a_dialogue_error(lines: list[tuple[str, str]]) -> None:
    with warnings.catch_warnings(), suppress(DialogueError):
        warnings.simplefilter("ignore")  # re warns of odd but valid patterns
        parse("\n".join(mark + rest for mark, rest in lines), "fuzz")


@given(st.binary(max_size=50))
def test_every_octet_can_be_sent(octets: bytes) -> None:
    escaped = "".join(f"\\x{octet:02x}" for octet in octets)
    assert parse(f"C! {escaped}", "x").steps[0].action == Send(octets)


def test_implicit_tls_is_a_handshake_before_the_greeting() -> None:
    assert parse("TLS: start\nS: 220 *", "x").implicit_tls
    assert not parse("S: 220 *\nTLS: start", "x").implicit_tls
    assert not parse("", "x").implicit_tls
