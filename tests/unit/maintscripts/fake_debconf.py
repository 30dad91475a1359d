# SPDX-License-Identifier: MIT
"""FakeDebconf: debconf's database and somebody at the screen, in memory."""

from __future__ import annotations

import io
from collections.abc import Mapping

from maintscripts.ask import (
    BACK,
    INTEGRATION,
    INTEGRATIONS,
    LEVELS,
    METHOD,
    METHODS,
    NONE_CONFIRM,
    PORT_TAKEN,
    PROTECTION,
    RCPTHOSTS,
    STARTUP,
    Debconf,
)

GO_BACK = "(back)"
_PRIORITIES = ("low", "medium", "high", "critical")
_CHOICES = {INTEGRATION: INTEGRATIONS, METHOD: METHODS, PROTECTION: LEVELS}
_DEFAULTS = {STARTUP: "false", NONE_CONFIRM: "false", RCPTHOSTS: "unset"}


class FakeDebconf(Debconf):
    """Behaves like debconf as far as `config` can see it.

    values: what is stored; seen: questions that are not shown again.
    screen: answers of the person there, None for nobody; a list answers time after time, and a
    question without an answer is confirmed.  `shown` records what was shown, with its value.
    """

    def __init__(
        self,
        values: Mapping[str, str] | None = None,
        screen: Mapping[str, str | list[str]] | None = None,
        priority: str = "low",
    ) -> None:
        super().__init__(io.BytesIO(), io.BytesIO())
        self.values = dict(values or {})
        self.flags: set[tuple[str, str]] = {(name, "seen") for name in self.values}
        self.screen = screen
        self.priority = priority
        self.shown: list[tuple[str, str]] = []
        self.substituted: dict[str, str] = {}  # by question; of several, the last one
        self.variables: dict[str, str] = {}  # the same by variable
        self.commands = 0
        self._input: list[tuple[str, bool]] = []

    def command(self, *arguments: str) -> tuple[int, str]:
        self.commands += 1
        assert self.commands < 500, "endless"
        match arguments:
            case ["CAPB", "backup"]:
                return 0, "multiselect backup"
            case ["GET", name]:
                return 0, self.values.get(name, _DEFAULTS.get(name, ""))
            case ["SET", name, value]:
                self.values[name] = value
            case ["RESET", name]:
                self.values.pop(name, None)
                self.flags.discard((name, "seen"))
            case ["FGET", name, flag]:
                return 0, "true" if (name, flag) in self.flags else "false"
            case ["FSET", name, flag, value]:
                (self.flags.add if value == "true" else self.flags.discard)((name, flag))
            case ["SUBST", name, variable, value]:
                self.substituted[name] = self.variables[variable] = value
            case ["INPUT", priority, name]:
                visible = self._visible(priority, name)
                self._input.append((name, visible))
                return (0 if visible else BACK), ""
            case ["GO"]:
                return self._go(), ""
            case _:
                raise AssertionError(arguments)
        return 0, ""

    def _visible(self, priority: str, name: str) -> bool:
        if self.screen is None:
            return False
        if "/bad_" in name or name == PORT_TAKEN:
            return True
        enough = _PRIORITIES.index(priority) >= _PRIORITIES.index(self.priority)
        return enough and (name, "seen") not in self.flags

    def _go(self) -> int:
        questions, self._input = self._input, []
        for name, visible in questions:
            value = self.values.get(name, "")
            choices = _CHOICES.get(name, (value,))
            if value not in choices:
                self.values[name] = choices[0]  # as the real one does, visible or not
            if visible and self._answer(name, value) == GO_BACK:
                return BACK
        return 0

    def _answer(self, name: str, value: str) -> str:
        self.shown.append((name, value))
        given = (self.screen or {}).get(name, value)
        answer = given if isinstance(given, str) else given.pop(0) if given else value
        if answer != GO_BACK:
            self.values[name] = answer
        return answer

    def names_shown(self) -> list[str]:
        return [name.removeprefix("qpsmtpd/") for name, _ in self.shown]
