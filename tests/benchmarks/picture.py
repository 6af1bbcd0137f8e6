"""The row ``echo`` as a bar chart: SVG by hand, readable on a light and on a dark page."""

from collections.abc import Iterator
from html import escape

from tests.benchmarks.rounds import Results
from tests.benchmarks.rows_of_echo import OUTSTANDING, section_of
from tests.benchmarks.table import OURS, number

FIGURE = "req/s"
PANEL_WIDTH = 380
NAME_WIDTH = 70
VALUE_WIDTH = 60
BAR_HEIGHT = 14
BAR_STEP = 19
HEAD_HEIGHT = 34
MARGIN = 16
COLUMNS = 2

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.head { font-weight: 600; }
.value { font-variant-numeric: tabular-nums; }
.peer { fill: #afb8c1; }
.ours { fill: #0969da; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .peer { fill: #57606a; }
  .ours { fill: #58a6ff; }
}
"""


def draw(results: Results) -> str:
    """A panel for each number of outstanding requests, all on the same scale."""
    names = [name for name in results.row.contestants if _is_known(results, name)]
    panel_height = HEAD_HEIGHT + BAR_STEP * len(names) + MARGIN
    rows = -(-len(OUTSTANDING) // COLUMNS)
    width, height = COLUMNS * PANEL_WIDTH + MARGIN, rows * panel_height + MARGIN
    most = max((_rate(results, o, name) or 0.0 for o in OUTSTANDING for name in names), default=0.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        "<title>Echo requests per second, by requests outstanding</title>",
        f"<style>{STYLE}</style>",
    ]
    for at, outstanding in enumerate(OUTSTANDING):
        x, y = MARGIN + at % COLUMNS * PANEL_WIDTH, MARGIN + at // COLUMNS * panel_height
        parts.append(f'<g transform="translate({x} {y})">')
        parts += _panel(results, outstanding, names, most)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(results: Results, outstanding: int, names: list[str], most: float) -> Iterator[str]:
    yield f'<text class="head" x="0" y="14">{outstanding} outstanding: echoes per second</text>'
    room = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH - MARGIN
    for at, name in enumerate(names):
        top = HEAD_HEIGHT - 8 + at * BAR_STEP
        base = top + BAR_HEIGHT - 3
        rate = _rate(results, outstanding, name)
        length = max(1.0, room * (rate or 0.0) / most) if most else 1.0
        kind = "ours" if name in OURS else "peer"
        label = f'x="{NAME_WIDTH - 8}" y="{base}" text-anchor="end"'
        yield f"<text {label}>{escape(name)}</text>"
        yield (
            f'<rect class="{kind}" x="{NAME_WIDTH}" y="{top}" '
            f'width="{length:.1f}" height="{BAR_HEIGHT}" rx="2"/>'
        )
        value_at = NAME_WIDTH + length + 6
        yield f'<text class="value" x="{value_at:.1f}" y="{base}">{number(rate, 0)}</text>'


def _rate(results: Results, outstanding: int, name: str) -> float | None:
    return results.median(section_of(outstanding), name, FIGURE)


def _is_known(results: Results, name: str) -> bool:
    return any(_rate(results, outstanding, name) is not None for outstanding in OUTSTANDING)
