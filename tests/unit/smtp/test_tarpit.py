# SPDX-License-Identifier: MIT
"""Who waits in the tarpit, and who has to go."""

from __future__ import annotations

from qpsmtpd.smtp.tarpit import Tarpit


class Wire:
    """A client whose pauses are counted when they end."""

    def __init__(self) -> None:
        self.ended = 0

    def end_pause(self) -> None:
        self.ended += 1


def test_who_has_waited_stays() -> None:
    tarpit, wire = Tarpit(), Wire()
    assert tarpit.enter(wire)
    assert len(tarpit) == 1
    assert tarpit.leave(wire)
    assert (len(tarpit), wire.ended) == (0, 0)


def test_nobody_waits_while_connections_are_scarce() -> None:
    tarpit = Tarpit()
    tarpit.scarce = True
    assert not tarpit.enter(Wire())
    assert len(tarpit) == 0


def test_all_are_answered() -> None:
    tarpit, wires = Tarpit(), [Wire(), Wire()]
    for wire in wires:
        tarpit.enter(wire)
    tarpit.answer_all()
    assert [wire.ended for wire in wires] == [1, 1]
    assert all(map(tarpit.leave, wires))


def test_who_has_waited_longest_goes_first() -> None:
    tarpit, wires = Tarpit(), [Wire(), Wire(), Wire()]
    for wire in wires:
        tarpit.enter(wire)
    assert tarpit.leave(wires[0])
    assert tarpit.enter(wires[0])
    assert [tarpit.give_one_away() for _ in range(2)] == [wires[1], wires[2]]
    assert [wire.ended for wire in wires] == [0, 1, 1]
    assert [tarpit.leave(wire) for wire in wires] == [True, False, False]
    assert tarpit.give_one_away() is None


def test_nobody_goes_twice() -> None:
    tarpit, wire = Tarpit(), Wire()
    tarpit.enter(wire)
    tarpit.give_one_away()
    assert not tarpit.leave(wire)
    assert tarpit.enter(wire)
    assert tarpit.leave(wire)
