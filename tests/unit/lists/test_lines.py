# SPDX-License-Identifier: MIT
"""Reading lists line by line."""

from __future__ import annotations

import threading

import pytest

from qpsmtpd.errors import ConfigError
from qpsmtpd.lists.lines import made_of, read_all, read_each


def number(text: str) -> int:
    if text == "several":
        read_each(["a", "b"], number)
    if not text.isdecimal():
        raise ConfigError(text, "not a number")
    return int(text)


def test_each_line_is_read() -> None:
    assert read_each(["1", "2"], number) == [1, 2]
    assert read_each([], number) == []


def test_every_wrong_line_is_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        read_each(["1", "x", "2", "several", "y"], number)
    assert caught.value.where == "x"
    assert [error.where for error in caught.value.parts] == ["x", "a", "b", "y"]


async def test_the_wrong_lines_of_several_lists_are_reported() -> None:
    async def a_list(*lines: str) -> list[int]:
        return read_each(lines, number)

    assert await read_all(a_list("1"), a_list("2", "3")) == [[1], [2, 3]]
    with pytest.raises(ConfigError) as caught:
        await read_all(a_list("x", "1", "y"), a_list("2"), a_list("z"))
    assert [error.where for error in caught.value.parts] == ["x", "y", "z"]


def test_an_error_is_its_only_part() -> None:
    error = ConfigError("file:1", "wrong")
    assert error.parts == (error,)


@pytest.mark.parametrize(("count", "apart"), [(0, False), (999, False), (1000, True)])
async def test_of_many_lines_something_is_made_in_a_thread(count: int, apart: bool) -> None:
    lines = [str(index) for index in range(count)]
    made, thread = await made_of(lines, lambda given: (list(given), threading.get_ident()))
    assert made == lines
    assert (thread != threading.get_ident()) == apart


async def test_what_is_wrong_with_many_lines_is_reported_as_well() -> None:
    with pytest.raises(ConfigError) as caught:
        await made_of(["x"] * 2000, lambda lines: read_each(lines, number))
    assert len(caught.value.parts) == 2000
