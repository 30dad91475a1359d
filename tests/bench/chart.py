# SPDX-License-Identifier: MIT
"""The chart for README.md: bars of what servers do in a second of CPU time, as SVG.

Its ground is transparent, and its colours follow the reader's choice of light or dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from tests.bench.cases import CASES
from tests.bench.report import columns_of
from tests.bench.results import Results
from tests.bench.servers import SERVERS, Ours

#: Case and heading of each panel; the second column of the case's table is shown.
PANELS = (
    ("one-per-connection", ("one 4 KB message", "per connection")),
    ("many-per-connection", ("many 4 KB messages", "per connection")),
    ("strangers", ("one 4 KB message each,", "strangers with a name")),
    ("5mb", ("5 MB messages,", "in MB")),
    ("authentication", ("one 4 KB message each,", "SPF, DKIM, DMARC")),
)
ROWS = (
    *("ours-1", "perl-prefork", "perl-forkserver", "haraka", "postfix"),
    *("postfix-milters", "postfix-rspamd"),
    *("aiosmtpd", "smtp-sink", "bare"),
)
TITLE = "Messages per second of CPU time"

LABELS, PANEL, NUMBER, GAP = 200, 130, 50, 12  # widths, in pixels
TOP, ROW, BAR = 76, 24, 14  # heights

_STYLE = """\
text { font: 13px system-ui, "Segoe UI", "Helvetica Neue", sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.heading, .number { fill: #59636e; }
.number { font-size: 12px; }
.ours { font-weight: 600; }
rect { fill: #a5adb8; }
rect.ours { fill: #1f6feb; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .heading, .number { fill: #9198a1; }
  rect { fill: #59636e; }
  rect.ours { fill: #4493f8; }
}
"""


def draw(results: Results) -> str:
    """The chart of these results; servers without any are left out."""
    rows = [row for row in ROWS if any(_value(results, row, case) for case, _ in PANELS)]
    width = LABELS + len(PANELS) * (PANEL + NUMBER + GAP)
    height = TOP + ROW * len(rows) + 4
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">',
        f"<title>{TITLE}</title>",
        f"<style>\n{_STYLE}</style>",
        _text(0, 16, "title", TITLE),
        *(_text(0, _middle(at), _class(row), SERVERS[row].title) for at, row in enumerate(rows)),
    ]
    for number, (case, heading) in enumerate(PANELS):
        x = LABELS + number * (PANEL + NUMBER + GAP)
        lines += [_text(x, 44 + 17 * at, "heading", words) for at, words in enumerate(heading)]
        lines += _bars(results, case, rows, x)
    return "\n".join((*lines, "</svg>", ""))


def _bars(results: Results, case: str, rows: Sequence[str], x: int) -> Iterator[str]:
    values = [_value(results, row, case) for row in rows]
    most = max((value for value in values if value), default=0)
    for at, (row, value) in enumerate(zip(rows, values, strict=True)):
        if value is None:
            yield _text(x, _middle(at), "number", "-")
            continue
        length = max(1, round(PANEL * value / most))
        y = TOP + ROW * at + (ROW - BAR) // 2
        yield (
            f'<rect class="{_class(row)}" x="{x}" y="{y}" width="{length}" height="{BAR}" rx="2"/>'
        )
        yield _text(x + length + 5, _middle(at), "number", f"{value:.0f}")


def _value(results: Results, server: str, case: str) -> float | None:
    cell = results.cells.get((server, case))
    return columns_of(CASES[case])[1].value(cell) if cell else None


def _class(server: str) -> str:
    return "ours" if isinstance(SERVERS[server], Ours) else "peer"


def _middle(row: int) -> int:
    """The base line of the text beside a bar."""
    return TOP + ROW * row + ROW // 2 + 5


def _text(x: int, y: int, kind: str, words: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>'
