# SPDX-License-Identifier: MIT
r"""Dialogue scripts: the language in which an SMTP conversation is written down, and its parser.

The runner is in run.py.  `C` is what the client sends, `S` what the server must answer:

    # comment; the first one says what the script proves
    config: NAME = LINE, LINE      setup for the test runner: a configuration file and its lines
    config: NAME += LINE           one more line, taken literally
    timeout: SECONDS               how long to wait for each reply line (default 10)
    S: 250-mx.example * ... 250 *  a reply line; `*` is any text, `...` any continuation lines
    S~ ^250[- ]SIZE \d+$           a reply line, as a regular expression
    S+ SIZE *    S- STARTTLS       some line, no line of the reply just read has this text
    S: <closed>                    the server closes the connection without another word
    S: <silence 0.2>               the server says nothing for that many seconds
    C: EHLO client.example         a line; CRLF is added
    C! a\rb\n\0\x1b\\              exactly these octets (\r \n \t \0 \xNN \" \\)
    C* 3000 x "text\r\n" "tail"    the first string 3000 times, then the second, if there is one
    C~ <EOF>    C~ <RESET>         end the sending half; reset the connection
    TLS: start                     TLS handshake now, accepting any certificate

`2C:`, `2S:`, `2TLS:` and so on speak on a second connection.  Each connection is opened on
first use.  Spaces at the end of a script line are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from qpsmtpd.errors import QpsmtpdError

MAX_SCRIPT = 256 * 1024
MAX_SEND = 64 * 1024 * 1024
MAX_WAIT = 600.0
SHOWN = 200


class DialogueError(QpsmtpdError):
    """A script that cannot be read, or a server that did not follow it.

    where: "FILE:LINE"; transcript: the conversation so far, empty for a bad script.
    """

    def __init__(self, where: str, problem: str, transcript: Transcript | None = None) -> None:
        self.where = where
        self.transcript = transcript if transcript is not None else Transcript()
        text = f"{where}: {problem}"
        if self.transcript.entries:
            text += f"\n\nthe conversation so far:\n{format_transcript(self.transcript)}"
        super().__init__(text)


@dataclass(frozen=True)
class Send:
    """Send `unit` `times` times, then `tail`."""

    unit: bytes
    times: int = 1
    tail: bytes = b""


@dataclass(frozen=True)
class Expect:
    """Expect reply lines; a pattern with `skip` may be preceded by continuation lines."""

    wanted: str
    patterns: tuple[tuple[bool, re.Pattern[str]], ...]


@dataclass(frozen=True)
class Mention:
    """The reply just read has (`present`) or does not have a line with this text."""

    wanted: str
    pattern: re.Pattern[str]
    present: bool


@dataclass(frozen=True)
class Closed:
    """The server closes the connection without another word."""


@dataclass(frozen=True)
class Silence:
    """The server says nothing for that many seconds."""

    seconds: float


@dataclass(frozen=True)
class HalfClose:
    """The client ends its sending half."""


@dataclass(frozen=True)
class Reset:
    """The client resets the connection."""


@dataclass(frozen=True)
class StartTls:
    """The client begins the TLS handshake."""


Action = Send | Expect | Mention | Closed | Silence | HalfClose | Reset | StartTls


@dataclass(frozen=True)
class Step:
    """One line of a script: what to do on which connection (1 is the usual one)."""

    line: int
    connection: int
    action: Action


@dataclass
class Script:
    """A parsed script.  `summary` is its first comment line, `timeout` in seconds."""

    name: str
    summary: str = ""
    config: dict[str, list[str]] = field(default_factory=dict)
    timeout: float = 10.0
    steps: list[Step] = field(default_factory=list)

    @property
    def implicit_tls(self) -> bool:
        """Whether the script starts with the TLS handshake, before the greeting."""
        return bool(self.steps) and isinstance(self.steps[0].action, StartTls)

    @property
    def lmtp(self) -> bool:
        """Whether the first thing that is said is the LHLO of LMTP."""
        said = (each.action.unit for each in self.steps if isinstance(each.action, Send))
        return next(said, b"").upper().startswith(b"LHLO")


@dataclass
class Transcript:
    """What was said: (connection, mark, text); the mark is as in a script, or `--` for a note."""

    entries: list[tuple[int, str, str]] = field(default_factory=list)


def format_transcript(transcript: Transcript) -> str:
    """The conversation for a human, line by line, in the notation of the scripts."""
    return "\n".join(
        f"  {connection if connection > 1 else ' '}{mark} {text}".rstrip()
        for connection, mark, text in transcript.entries
    )


# --- parsing -------------------------------------------------------------------------------------

_STEP = re.compile(r"([1-9])?(TLS:|[CS][:~]|C[!*]|S[+-])(?: (.*))?")
_CONFIG = re.compile(r"config:\s*(\w[\w.-]*)\s*(\+?=)\s*(.*)")
_SETTING = re.compile(r"(config|timeout):.*")
_ESCAPE = re.compile(r'([^\\]+)|\\(x[0-9A-Fa-f]{2}|[rnt0"\\])|(\\)')
_STRING = r'"((?:[^"\\]|\\.)*)"'
_REPEAT = re.compile(rf"([0-9]{{1,9}}) x {_STRING}(?: {_STRING})?")
_ESCAPED = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", '"': b'"', "\\": b"\\"}


def parse(text: str, name: str) -> Script:
    """Parse a script; `name` is for messages.  Raises DialogueError with FILE:LINE."""
    script = Script(name)
    if len(text) > MAX_SCRIPT:
        raise DialogueError(name, f"a script has at most {MAX_SCRIPT} characters")
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip(" \t\r")
        try:
            _parse_line(script, line, number)
        except ValueError as error:
            raise DialogueError(f"{name}:{number}", f"{error}: {line[:SHOWN]!r}") from None
    return script


def _parse_line(script: Script, line: str, number: int) -> None:
    if line.startswith("#"):
        script.summary = script.summary or line.lstrip("# ")
    elif _SETTING.fullmatch(line):
        _parse_setting(script, line)
    elif match := _STEP.fullmatch(line):
        connection, mark, rest = match.groups(default="")
        action = _PARSERS[mark](rest if mark[0] == "C" else rest.strip())
        script.steps.append(Step(number, int(connection or 1), action))
    elif line:
        raise ValueError("not a line of a dialogue script")


def _parse_setting(script: Script, line: str) -> None:
    if script.steps:
        raise ValueError("settings come before the conversation")
    if line.startswith("timeout:"):
        script.timeout = _seconds(line.removeprefix("timeout:"))
        return
    match = _CONFIG.fullmatch(line)
    if match is None:
        raise ValueError("write 'config: NAME = LINE, LINE' or 'config: NAME += LINE'")
    name, operator, value = match.groups()
    lines = script.config.setdefault(name, [])
    if operator == "+=":
        lines.append(value)
    else:
        lines[:] = value.split(", ") if value else []


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= MAX_WAIT:
        raise ValueError(f"seconds must be more than 0 and at most {MAX_WAIT:.0f}")
    return seconds


def _send_line(rest: str) -> Action:
    return Send(rest.encode() + b"\r\n")


def _send_raw(rest: str) -> Action:
    return Send(_unescape(rest))


def _send_repeated(rest: str) -> Action:
    match = _REPEAT.fullmatch(rest)
    if match is None:
        raise ValueError('write C* COUNT x "text" "tail"')
    count, unit, tail = match.groups(default="")
    send = Send(_unescape(unit), int(count), _unescape(tail))
    if len(send.unit) * send.times > MAX_SEND:
        raise ValueError(f"at most {MAX_SEND} octets")
    return send


def _unescape(text: str) -> bytes:
    octets = bytearray()
    for plain, escape, bad in _ESCAPE.findall(text):
        if bad:
            raise ValueError(r"the escapes are \r \n \t \0 \xNN \" \\")
        octets += plain.encode()
        octets += bytes.fromhex(escape[1:]) if escape[:1] == "x" else _ESCAPED.get(escape, b"")
    return bytes(octets)


def _expect(rest: str) -> Action:
    if rest == "<closed>":
        return Closed()
    if match := re.fullmatch(r"<silence (\S+)>", rest):
        return Silence(_seconds(match[1]))
    if not rest or rest.startswith("<"):
        raise ValueError("expected a reply, <closed> or <silence SECONDS>")
    return Expect(rest, tuple(_patterns(rest)))


def _patterns(rest: str) -> Iterator[tuple[bool, re.Pattern[str]]]:
    """The lines of a reply, each with whether others may come before it."""
    skip = False
    for part in re.split(r"(?:^|(?<!\s)\s+)(\.\.\.)(?:\s+|$)", rest):
        if part != "..." and part:
            yield skip, _glob(part)
        skip = part == "..."
    if skip or rest.endswith("..."):
        raise ValueError("'...' must be followed by the reply line it leads to")


def _glob(text: str) -> re.Pattern[str]:
    parts = map(re.escape, text.split("*"))
    return re.compile(r"\A" + ".*".join(parts) + r"\Z", re.DOTALL)


def _expect_regex(rest: str) -> Action:
    try:
        return Expect(rest, ((False, re.compile(rest, re.DOTALL)),))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression ({error})") from None


def _mention(present: bool) -> Callable[[str], Action]:
    def mention(rest: str) -> Action:
        if not rest:
            raise ValueError("expected the text of a reply line")
        return Mention(rest, _glob(rest), present)

    return mention


def _one_of(words: dict[str, Action]) -> Callable[[str], Action]:
    def pick(rest: str) -> Action:
        if rest not in words:
            raise ValueError(f"expected {' or '.join(words)}")
        return words[rest]

    return pick


_PARSERS: dict[str, Callable[[str], Action]] = {
    "C:": _send_line,
    "C!": _send_raw,
    "C*": _send_repeated,
    "C~": _one_of({"<EOF>": HalfClose(), "<RESET>": Reset()}),
    "S:": _expect,
    "S~": _expect_regex,
    "S+": _mention(True),
    "S-": _mention(False),
    "TLS:": _one_of({"start": StartTls()}),
}
