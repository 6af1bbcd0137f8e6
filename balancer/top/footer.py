"""The last lines: what has happened lately, what top has to say, and the keys."""

from collections.abc import Sequence

from rich.text import Text

from balancer.top.lines import GAP, MARGIN, QUIET, RIGHT_MARGIN, STRONG, TROUBLE, WARNING, wrapped
from balancer.top.model import Message, Model
from balancer.top.words import harmless, time_of_day

NOTICE_LINES_MAX = 3
_LEVELS = {"warning": WARNING, "error": "red"}
_NOTICES = {"done": "bold green", "error": TROUBLE, "plain": ""}
_SOURCE_MIN, _SOURCE_MAX = 9, 16
_KEYS = (
    ("↑↓", "select"),
    ("d", "drain"),
    ("r", "restart"),
    ("x", "kill"),
    ("u", "ready"),
    ("?", "help"),
    ("q", "quit"),
)


def happenings(model: Model, rows: int) -> list[Text]:
    """The last events, the latest at the bottom."""
    latest = list(model.events)[-rows:] if rows else []
    sources = [len(harmless(event.get("source", ""))) for event in latest]
    width = min(max([_SOURCE_MIN, *sources]), _SOURCE_MAX)
    return [_happening(event, width) for event in latest]


def _happening(event: Message, source_width: int) -> Text:
    style = _LEVELS.get(str(event.get("level")), "")
    source = Text(harmless(event.get("source", "")))
    source.truncate(source_width, overflow="ellipsis", pad=True)
    line = Text(" " * MARGIN).append(time_of_day(str(event.get("time", ""))), QUIET)
    return (
        line.append("  ").append_text(source).append(f"  {harmless(event.get('text', ''))}", style)
    )


def footer(model: Model, width: int, now: float) -> list[Text]:
    """A question, what was answered, or the keys."""
    if model.doubted is not None:
        order = model.doubted
        asked = f"{order.op} {harmless(order.worker)}? y does it, any other key does not"
        return wrapped(Text(asked, style="bold yellow"), width, NOTICE_LINES_MAX)
    if (notice := model.notice(now)) is not None:
        said = Text(harmless(notice.text), style=_NOTICES[notice.kind])
        return wrapped(said, width, NOTICE_LINES_MAX)
    return [_keys(width, _KEYS if model.workers else _KEYS[-2:])]


def _keys(width: int, known: Sequence[tuple[str, str]]) -> Text:
    """All if they fit."""
    for gap, names in ((GAP, known), (2, known), (2, known[-2:])):
        line = _named(names, gap)
        if line.cell_len <= width - RIGHT_MARGIN:
            return line
    return line


def _named(names: Sequence[tuple[str, str]], gap: int) -> Text:
    line = Text(" " * MARGIN)
    for place, (key, name) in enumerate(names):
        line.append(" " * gap * (place > 0)).append(key, STRONG).append(f" {name}", QUIET)
    return line
