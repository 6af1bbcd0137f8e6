"""How the lines of the screen are shared out: the less there are, the more is left out."""

from dataclasses import dataclass

ROWS_MIN = 4
EVENTS_MIN, EVENTS_ENOUGH, EVENTS_MAX = 3, 6, 12
GRAPHS = 2
GRAPH_LINES_MAX = 4
GAPS = 5


@dataclass(slots=True)
class Plan:
    """How many lines each part gets."""

    title: int = 0
    processes: int = 0
    figures: int = 0
    heading: int = 0
    rows: int = 0
    details: int = 0
    events: int = 0
    graph_lines: int = 0
    """Of each of the two graphs."""
    graph_gap: int = 0
    """1 if there is a free line above them."""
    gaps: int = 0
    """1 if there is a free line between one part and the next."""


def share_out(height: int, *, workers: int, figures: int, processes: int, details: int) -> Plan:
    """Each wish is granted if there is room for all of it, the first ones first."""
    plan, left = Plan(), height
    for part, lines, cost in (
        ("title", 1, 1),
        ("rows", min(1, workers), min(1, workers)),
        ("figures", figures, figures),
        ("heading", 1, 1),
        ("rows", min(ROWS_MIN, workers), min(ROWS_MIN, workers) - 1),
        ("processes", processes, processes),
        ("details", details, details),
        ("graph_lines", 1, GRAPHS),
        ("events", EVENTS_MIN, EVENTS_MIN),
        ("gaps", 1, GAPS),
    ):
        if 0 < cost <= left:
            setattr(plan, part, lines)
            left -= cost
    for part, lines_max, each in (
        ("rows", workers, 1),
        ("events", EVENTS_ENOUGH, 1),
        ("graph_gap", 1, 1),
        ("graph_lines", GRAPH_LINES_MAX, GRAPHS),
        ("events", EVENTS_MAX, 1),
    ):
        more = max(0, min(left // each, lines_max - getattr(plan, part)))
        setattr(plan, part, getattr(plan, part) + more)
        left -= more * each
    return plan
