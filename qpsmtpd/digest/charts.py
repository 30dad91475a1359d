# SPDX-License-Identifier: MIT
"""Charts of a digest in SVG, drawn by svgwrite (python3-svgwrite), which need not be installed.

Nothing is said by colour alone: the tables below have the same figures, and bars are stacked in a
fixed order.  No scripts, no styles, nothing from elsewhere; text has the colour of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any
from xml.etree.ElementTree import Element

from qpsmtpd.decisions.decision import Outcome
from qpsmtpd.digest.digest import DELAY_BOUNDS, Bin, Digest
from qpsmtpd.digest.sections import shown_duration, shown_moment

#: They can be told apart on white and on black, also by most of those who see few colours.
COLOURS: Mapping[Outcome, str] = {
    "accepted": "#2f9e6e",
    "deferred": "#d9912b",
    "refused": "#cc4b4b",
}

_WIDTH, _HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 30, 26
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_MOST_LABELS = 7
#: From one label to the next.
_STEPS = (1, 2, 3, 4, 5, 6, 7, 10, 12, 15, 20, 30, 60, 100)
_ROW = 24
_NAMES = 300


def are_there() -> bool:
    """Whether charts can be drawn on this machine."""
    return find_spec("svgwrite") is not None


def charts_of(digest: Digest) -> dict[str, Element]:
    """Each chart as an element `svg`, by the key of its section; without svgwrite there is none."""
    if not are_there():
        return {}
    found = {}
    if digest.totals.total:
        found["course"] = columns(digest.course, "Decisions in the course of the period")
    if digest.reasons.rows:
        bars = [(f"{each.plugin}: {each.reply}", each.number) for each in digest.reasons.rows]
        found["reasons"] = _bars("Why mail was not accepted", bars, COLOURS["refused"])
    if any(each.came_back for each in digest.delays):
        classes = [sum(column) for column in zip(*(d.classes for d in digest.delays), strict=True)]
        found["delays"] = _bars(
            "How long mail was delayed",
            list(zip(_class_names(), classes, strict=True)),
            COLOURS["deferred"],
        )
    return found


def _class_names() -> Iterator[str]:
    for bound in DELAY_BOUNDS:
        yield f"up to {shown_duration(bound)}"
    yield "longer"


# --- the course of a period: columns --------------------------------------------------------------


def columns(bins: Sequence[Bin], title: str) -> Element:
    """A column for each part of a period, with what became of mail in it; not all are empty."""
    drawing = _drawing(_HEIGHT, title)
    most = max(each.counts.total for each in bins)
    # So that half of it is a number as well.
    most += most % 2
    _scale(drawing, most)
    step = _PLOT_WIDTH / len(bins)
    for place, each in enumerate(bins):
        _column(drawing, _LEFT + place * step, step, each, most)
    every = next((each for each in _STEPS if len(bins) <= each * _MOST_LABELS), len(bins))
    for place in range(0, len(bins), every):
        moment = shown_moment(bins[place].begin)
        label = moment[11:] if _is_short(bins) else moment[5:10]
        _text(drawing, label, _LEFT + place * step, _HEIGHT - 8)
    _legend(drawing)
    return _element(drawing)


def _is_short(bins: Sequence[Bin]) -> bool:
    """Whether its parts are shorter than a day."""
    return len(bins) < 2 or bins[1].begin - bins[0].begin < 86400


def _column(drawing: Any, x: float, step: float, each: Bin, most: int) -> None:
    bottom = float(_TOP + _PLOT_HEIGHT)
    for outcome, colour in COLOURS.items():
        height = _PLOT_HEIGHT * getattr(each.counts, outcome) / most
        if height:
            bottom -= height
            _rectangle(drawing, (x + step * 0.1, bottom), (step * 0.8, height), colour)


def _scale(drawing: Any, most: int) -> None:
    for part in (0, 1, 2):
        y = _TOP + _PLOT_HEIGHT * (1 - part / 2)
        drawing.add(
            drawing.line(
                (_LEFT, y), (_WIDTH - _RIGHT, y), stroke="currentColor", stroke_opacity=0.25
            )
        )
        _text(drawing, str(most * part // 2), _LEFT - 6, y + 4, anchor="end")


def _legend(drawing: Any) -> None:
    for place, (outcome, colour) in enumerate(COLOURS.items()):
        x = _LEFT + place * 110
        _rectangle(drawing, (x, 6), (12, 12), colour)
        _text(drawing, outcome, x + 18, 16)


# --- shares: bars ---------------------------------------------------------------------------------


def _bars(title: str, bars: Sequence[tuple[str, int]], colour: str) -> Element:
    """A bar for each name, from left to right."""
    drawing = _drawing(len(bars) * _ROW + 8, title)
    most = max(count for _, count in bars)
    room = _WIDTH - _NAMES - 90
    for place, (name, count) in enumerate(bars):
        y = place * _ROW + 4
        _text(drawing, _cut(name), _NAMES - 8, y + 14, anchor="end")
        _rectangle(drawing, (_NAMES, y), (max(room * count / most, 1) if count else 0, 18), colour)
        _text(drawing, str(count), _NAMES + room * count / most + 6, y + 14)
    return _element(drawing)


def _cut(text: str, most: int = 40) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


# --- drawing --------------------------------------------------------------------------------------


def _drawing(height: int, title: str) -> Any:
    from svgwrite import Drawing

    drawing = Drawing(size=(_WIDTH, height), debug=False)
    drawing.viewbox(0, 0, _WIDTH, height)
    drawing.set_desc(title=title)
    drawing.attribs.update(
        {"role": "img", "aria-label": title, "font-family": "sans-serif", "font-size": "12"}
    )
    return drawing


def _rectangle(
    drawing: Any, place: tuple[float, float], size: tuple[float, float], colour: str
) -> None:
    corner, sides = (tuple(round(value, 2) for value in pair) for pair in (place, size))
    drawing.add(drawing.rect(corner, sides, fill=colour))


def _text(drawing: Any, text: str, x: float, y: float, *, anchor: str = "start") -> None:
    place = (round(x, 2), round(y, 2))
    drawing.add(drawing.text(text, insert=place, fill="currentColor", text_anchor=anchor))


def _element(drawing: Any) -> Element:
    element: Element = drawing.get_xml()
    return element
