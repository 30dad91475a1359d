# SPDX-License-Identifier: MIT
"""Tests of qpsmtpd/plugin/options.py."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qpsmtpd.logs.levels import LogLevel
from qpsmtpd.mail.domain import Domain
from qpsmtpd.mail.ip import IPNetwork
from qpsmtpd.plugin.options import (
    NoOptions,
    OptionDoc,
    Seconds,
    Size,
    describe,
    format_value,
    matching,
    opt,
    parse,
    parse_value,
    spelling,
)

Mode = Literal["off", "On"]


@dataclass(frozen=True, kw_only=True)
class Everything:
    """One option of each type."""

    text: str = opt("", doc="Text.")
    switch: bool = opt(False, doc="A switch.")
    count: int = opt(0, doc="A count.")
    factor: float = opt(0.5, doc="A factor.")
    wait: Seconds = opt(Seconds(5), doc="A duration.")
    size: Size = opt(Size(0), doc="A size.")
    file: Path = opt(Path("x"), doc="A file.")
    network: IPNetwork = opt(None, doc="A network.")
    level: LogLevel = opt(LogLevel.LOGINFO, doc="A level.")
    mode: Mode = opt("off", doc="A mode.")
    port: Literal[25, 587] = opt(25, doc="A port.")
    zones: tuple[str, ...] = opt((), doc="Zones.")
    ports: tuple[int, ...] = opt((25,), doc="Ports.")
    maybe: int | None = opt(None, doc="Perhaps a number.")
    maybe_network: IPNetwork | None = opt(None, doc="Perhaps a network.")
    maybe_mode: Mode | None = opt(None, doc="Perhaps a mode.")
    maybe_zones: tuple[str, ...] | None = opt(None, doc="Perhaps zones.")


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a line can look like."""

    host: str = opt(doc="The host.", positional=True)
    port: int = opt(25, doc="The port.", positional=True)
    verbose: bool = opt(False, doc="Talk.", flag=True)
    time_out: Seconds = opt(Seconds(60), doc="How long.", was=("wait", "max-time"))
    from_: str = opt("", doc="The sender.")


@dataclass(frozen=True, kw_only=True)
class Rest:
    """Takes what remains."""

    loud: bool = opt(False, doc="Loudly.", flag=True)
    command: str = opt(doc="The command.", positional=True)
    message: str = opt("", doc="The rest.", rest=True)


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """Has bounds."""

    pool: int = opt(20, least=1, doc="Connections.")
    port: int = opt(25, least=1, most=65535, doc="The port.")
    share: float = opt(0.5, most=1, doc="A share.")
    wait: Seconds | None = opt(None, least=60, doc="A while.")
    sizes: tuple[Size, ...] = opt((), least=1024, doc="Sizes.")
    path: str = opt("", doc="A path.", check=matching(os.path.isabs, "an absolute path"))
    names: tuple[str, ...] = opt((), doc="Names.", check=matching(str.islower, "in lower case"))


def options_of(cls: type[Any], line: str) -> Any:
    options, problems = parse(cls, line.split())
    assert problems == []
    return options


def problems_of(cls: type[Any], line: str) -> list[str]:
    options, problems = parse(cls, line.split())
    assert options is None
    return problems


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, "Text=", "Text="),
        (bool, "yes", True),
        (bool, "1", True),
        (bool, "On", True),
        (bool, "TRUE", True),
        (bool, "no", False),
        (bool, "0", False),
        (bool, "off", False),
        (bool, "False", False),
        (int, "-12", -12),
        (int, "+3", 3),
        (int, "007", 7),
        (float, "-1.5e1", -15.0),
        (float, "3", 3.0),
        (Seconds, "5", 5),
        (Seconds, "90s", 90),
        (Seconds, "1.5m", 90),
        (Seconds, "2h", 7200),
        (Seconds, "1d", 86400),
        (Size, "1024", 1024),
        (Size, "64k", 65536),
        (Size, "64KB", 65536),
        (Size, "10M", 10 << 20),
        (Size, "1G", 1 << 30),
        (Path, "/etc/x", Path("/etc/x")),
        (IPNetwork, "192.0.2.1", ip_network("192.0.2.1/32")),
        (IPNetwork, "192.0.2.1/24", ip_network("192.0.2.0/24")),
        (IPNetwork, "2001:db8::/32", ip_network("2001:db8::/32")),
        (Domain, "Bücher.EXAMPLE.", Domain("xn--bcher-kva.example")),
        (Domain, "[192.0.2.1]", Domain("[192.0.2.1]")),
        (LogLevel, "LOGWARN", LogLevel.LOGWARN),
        (LogLevel, "debug", LogLevel.LOGDEBUG),
        (LogLevel, "4", LogLevel.LOGWARN),
        (Mode, "on", "On"),
        (Literal[25, 587], "587", 587),
        (tuple[str, ...], "a,b", ("a", "b")),
        (tuple[str, ...], ",a,,b,", ("a", "b")),
        (tuple[str, ...], "", ()),
        (tuple[int, ...], "1,2", (1, 2)),
        (int | None, "1", 1),
        (IPNetwork | None, "2001:db8::/32", ip_network("2001:db8::/32")),
        (Mode | None, "ON", "On"),
        (tuple[int, ...] | None, "1,2", (1, 2)),
    ],
)
def test_values(kind: Any, text: str, value: object) -> None:
    parsed = parse_value(kind, text)
    assert parsed == value
    assert type(parsed) is type(value) or isinstance(parsed, Seconds | Size)


@pytest.mark.parametrize(
    ("kind", "text", "right"),
    [
        (bool, "maybe", "yes or no"),
        (bool, "", "yes or no"),
        (int, "1.5", "a whole number"),
        (int, "1_000", "a whole number"),
        (int, "²", "a whole number"),
        (int, "1" * 5000, "a whole number"),
        (float, "one", "a number"),
        (float, "nan", "a number"),
        (float, "inf", "a number"),
        (float, "1e999", "a number"),
        (Seconds, "-5", "a duration"),
        (Seconds, "5 m", "a duration"),
        (Seconds, "5w", "a duration"),
        (Seconds, "9" * 400, "a duration"),
        (Size, "1.5M", "a size in bytes"),
        (Size, "-1", "a size in bytes"),
        (Size, "9" * 5000, "a size in bytes"),
        (IPNetwork, "192.0.2.0/33", "an address or network"),
        (IPNetwork | None, "x", "an address or network"),
        (Domain, "user@example.com", "a domain"),
        (Domain, ".", "a domain"),
        (Domain, "[192.0.2]", "a domain"),
        (LogLevel, "loud", "a log level"),
        (LogLevel, "-8", "a log level"),
        (Mode, "auto", "one of off, On"),
        (Literal[25, 587], "26", "one of 25, 587"),
        (tuple[int, ...], "1,x", "a whole number"),
        (int | None, "none", "a whole number"),
    ],
)
def test_no_values(kind: Any, text: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"^{right}"):
        parse_value(kind, text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Seconds(0), "0s"),
        (Seconds(5), "5s"),
        (Seconds(0.25), "0.25s"),
        (Seconds(1e-7), "0.0000001s"),
        (Seconds(90), "90s"),
        (Seconds(600), "10m"),
        (Seconds(7200), "2h"),
        (Seconds(86400 * 36), "36d"),
        (Seconds(1234567.5), "1234567.5s"),
        (Size(0), "0"),
        (Size(1000), "1000"),
        (Size(1536), "1536"),
        (Size(65536), "64k"),
        (Size(10 << 20), "10M"),
        (Size(1 << 30), "1G"),
        (True, "yes"),
        (False, "no"),
        (("a", "b"), "a,b"),
        ((Seconds(60), True), "1m,yes"),
        (Path("/etc"), "/etc"),
        (LogLevel.LOGWARN, "LOGWARN"),
        (7.0, "7"),
        (0.5, "0.5"),
    ],
)
def test_format(value: object, text: str) -> None:
    assert format_value(value) == text


@given(
    given=st.one_of(
        st.tuples(st.just(bool), st.booleans()),
        st.tuples(st.just(int), st.integers(-(10**18) + 1, 10**18 - 1)),
        st.tuples(st.just(float), st.floats(allow_nan=False, allow_infinity=False)),
        st.tuples(st.just(Seconds), st.floats(0, 1e9).map(Seconds)),
        st.tuples(st.just(Seconds), st.integers(0, 10**9).map(Seconds)),
        st.tuples(st.just(Size), st.integers(0, 10**18 - 1).map(Size)),
        st.tuples(st.just(IPNetwork), st.ip_addresses().map(ip_network)),
        st.tuples(st.just(LogLevel), st.sampled_from(LogLevel)),
        st.tuples(st.just(Mode | None), st.sampled_from(["off", "On"])),
        st.tuples(st.just(tuple[int, ...]), st.lists(st.integers(0, 99)).map(tuple)),
    )
)
@example(given=(Seconds, Seconds(1e6 + 1)))
@example(given=(Seconds, Seconds(86400.5)))
def test_what_is_formatted_parses_back(given: tuple[Any, object]) -> None:
    kind, value = given
    assert parse_value(kind, format_value(value)) == value


# --- lines ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("mx", {"host": "mx"}),
        ("mx 587", {"host": "mx", "port": 587}),
        ("host mx port 587", {"host": "mx", "port": 587}),
        ("port 587 mx", {"host": "mx", "port": 587}),
        ("host=mx port=587", {"host": "mx", "port": 587}),
        ("HOST mx", {"host": "mx"}),
        ("mx verbose", {"host": "mx", "verbose": True}),
        ("verbose mx", {"host": "mx", "verbose": True}),
        ("mx verbose=no", {"host": "mx"}),
        ("mx verbose=yes", {"host": "mx", "verbose": True}),
        ("mx time_out 5", {"host": "mx", "time_out": 5}),
        ("mx time-out 5", {"host": "mx", "time_out": 5}),
        ("mx wait 5m", {"host": "mx", "time_out": 300}),
        ("mx max_time=5", {"host": "mx", "time_out": 5}),
        ("mx max-time=5", {"host": "mx", "time_out": 5}),
        ("mx from a@b", {"host": "mx", "from_": "a@b"}),
        ("mx from=", {"host": "mx"}),
        ("mx from=a=b", {"host": "mx", "from_": "a=b"}),
        ("mx port 25 port 26", {"host": "mx", "port": 26}),
        # No option has this name: it is a value.
        ("a=b", {"host": "a=b"}),
        # Nor can the last word name one that still needs a value.
        ("port", {"host": "port"}),
    ],
)
def test_lines(line: str, values: dict[str, Any]) -> None:
    assert options_of(Line, line) == Line(**values)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("run", {"command": "run"}),
        ("run this  and that", {"command": "run", "message": "this and that"}),
        ("run loud is it", {"command": "run", "loud": True, "message": "is it"}),
        ("run it loud", {"command": "run", "message": "it loud"}),
        ("run message=a b", None),
        ("run message a", {"command": "run", "message": "a"}),
    ],
)
def test_rest(line: str, values: dict[str, Any] | None) -> None:
    if values is None:
        assert problems_of(Rest, line) == ["unknown option 'b'"]
    else:
        assert options_of(Rest, line) == Rest(**values)


def test_lists_add_up_and_replace_the_default() -> None:
    options = options_of(Everything, "zones a,b zones c ports 1")
    assert (options.zones, options.ports) == (("a", "b", "c"), (1,))


def test_every_type_on_one_line() -> None:
    options = options_of(
        Everything,
        "text t switch on count 1 factor 2 wait 1m size 1k file /f network ::1 level 3 mode ON"
        " port 587 maybe 1 maybe_network 192.0.2.0/24 maybe_mode off maybe_zones a,b",
    )
    assert options == Everything(
        text="t",
        switch=True,
        count=1,
        factor=2.0,
        wait=Seconds(60),
        size=Size(1024),
        file=Path("/f"),
        network=ip_network("::1"),
        level=LogLevel.LOGERROR,
        mode="On",
        port=587,
        maybe=1,
        maybe_network=ip_network("192.0.2.0/24"),
        maybe_mode="off",
        maybe_zones=("a", "b"),
    )


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ("", ["option 'host' is required"]),
        ("mx prot 25", ["port: 'prot' is not a whole number", "unknown option '25'"]),
        ("mx 25 prot", ["unknown option 'prot' (did you mean 'port'?)"]),
        ("mx 25 frmo=x", ["unknown option 'frmo=x' (did you mean 'from'?)"]),
        ("mx 25 time-otu", ["unknown option 'time-otu' (did you mean 'time_out'?)"]),
        ("mx 25 zzz", ["unknown option 'zzz'"]),
        ("mx 25 zzz 1 2 from a", ["unknown option 'zzz 1 2'"]),
        (
            "mx 25 frmo x zzz",
            ["unknown option 'frmo x' (did you mean 'from'?)", "unknown option 'zzz'"],
        ),
        (
            "mx 25 # the best  one",
            ["'# the best one' is not a comment: write comments on lines of their own"],
        ),
        ("mx 25 time_out", ["option 'time_out' has no value"]),
        ("mx port x", ["port: 'x' is not a whole number"]),
        ("mx from=x wait soon", ["time_out: 'soon' is not a duration (5, 90s, 10m, 2h, 1d)"]),
        ("mx verbose=perhaps", ["verbose: 'perhaps' is not yes or no"]),
        (
            "port x time_out y",
            [
                "port: 'x' is not a whole number",
                "time_out: 'y' is not a duration (5, 90s, 10m, 2h, 1d)",
                "option 'host' is required",
            ],
        ),
    ],
)
def test_problems(line: str, problems: list[str]) -> None:
    assert problems_of(Line, line) == problems


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("pool 0", "pool: '0' is too small: the minimum is 1"),
        ("pool -3", "pool: '-3' is too small: the minimum is 1"),
        ("port 65536", "port: '65536' is too big: the maximum is 65535"),
        ("port 0", "port: '0' is too small: the minimum is 1"),
        ("share 1.5", "share: '1.5' is too big: the maximum is 1"),
        ("wait 59", "wait: '59' is too small: the minimum is 1m"),
        ("sizes 2k,1", "sizes: '1' is too small: the minimum is 1k"),
        ("path var", "path: 'var' is not an absolute path"),
        ("names a,B", "names: 'B' is not in lower case"),
        ("pool x", "pool: 'x' is not a whole number"),
    ],
)
def test_bounds(line: str, problem: str) -> None:
    assert problems_of(Bounded, line) == [problem]


def test_within_bounds() -> None:
    line = "pool 1 port 65535 share 1 wait 1m sizes 1k,2k path /var names a,b"
    assert options_of(Bounded, line) == Bounded(
        pool=1,
        port=65535,
        share=1.0,
        wait=Seconds(60),
        sizes=(Size(1024), Size(2048)),
        path="/var",
        names=("a", "b"),
    )


@dataclass(frozen=True)
class Needs:
    """Cannot do without a number."""

    number: int = opt(doc="A number.")


def test_a_required_option_with_a_wrong_value_is_not_missing() -> None:
    assert problems_of(Needs, "number x") == ["number: 'x' is not a whole number"]


def test_no_options() -> None:
    assert options_of(NoOptions, "") == NoOptions()
    assert problems_of(NoOptions, "x") == ["unknown option 'x'"]


@dataclass(frozen=True, kw_only=True)
class Legacy:
    """Understands an old form, and checks itself."""

    low: int = opt(0, doc="Low.")
    high: int = opt(9, doc="High.")

    @staticmethod
    def rewrite(words: Sequence[str]) -> list[str]:
        """LOW-HIGH of old versions."""
        return [word for old in words for word in (f"low={old[0]}", f"high={old[-1]}")]

    def check(self) -> list[str]:
        """Low is lower."""
        return [] if self.low <= self.high else ["low is above high"]


def test_old_forms() -> None:
    words = ["3-7"]
    assert parse(Legacy, words) == (Legacy(low=3, high=7), [])
    assert words == ["3-7"]


def test_problems_of_the_whole() -> None:
    assert parse(Legacy, ["7-3"]) == (None, ["low is above high"])
    assert parse(Legacy, ["x-3"]) == (None, ["low: 'x' is not a whole number"])


NAMES = "host port verbose wait from time_out text count zones level mode maybe maybe_network"
VALUES = "= count= zones=a,b =x - _ 25 5m 10M yes on ::1 a,b"
WORDS = st.one_of(st.text(max_size=12), st.sampled_from(f"{NAMES} {VALUES}".split()))


@given(words=st.lists(WORDS, max_size=8), cls=st.sampled_from([Everything, Line, Rest, NoOptions]))
def test_any_line_gives_options_or_problems(words: list[str], cls: type[Any]) -> None:
    options, problems = parse(cls, words)
    assert (options is None) is bool(problems)
    if options is not None:
        assert isinstance(options, cls)


# --- documentation ----------------------------------------------------------------------------


def test_describe() -> None:
    assert describe(Line) == [
        OptionDoc("host", "text", None, "The host.", True),
        OptionDoc("port", "number", "25", "The port.", True),
        OptionDoc("verbose", "flag", "no", "Talk.", False),
        OptionDoc("time_out", "duration", "1m", "How long.", False),
        OptionDoc("from", "text", "", "The sender.", False),
    ]
    assert [described.positional for described in describe(Rest)] == [False, True, True]
    assert describe(NoOptions) == []


def test_bounds_are_described() -> None:
    assert {described.name: described.bounds for described in describe(Bounded)} == {
        "pool": "at least 1",
        "port": "1 to 65535",
        "share": "at most 1",
        "wait": "at least 1m",
        "sizes": "at least 1k",
        "path": "",
        "names": "",
    }


def test_the_kind_of_every_type_has_a_name() -> None:
    assert {described.name: described.kind for described in describe(Everything)} == {
        "text": "text",
        "switch": "yes|no",
        "count": "number",
        "factor": "number",
        "wait": "duration",
        "size": "size",
        "file": "path",
        "network": "network",
        "level": "level",
        "mode": "off|On",
        "port": "25|587",
        "zones": "text,text…",
        "ports": "number,number…",
        "maybe": "number",
        "maybe_network": "network",
        "maybe_mode": "off|On",
        "maybe_zones": "text,text…",
    }


def test_described_defaults_can_be_typed() -> None:
    for described in describe(Everything):
        if described.default:
            options = options_of(Everything, f"{described.name} {described.default}")
            assert options == Everything()


def test_spelling() -> None:
    assert spelling("from_") == "from"
    assert spelling("time_out") == "time_out"
