"""The last lines: what has happened lately, what top has to say, and the keys."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from balancer.top.lines import (
    GAP,
    MARGIN,
    QUIET,
    RIGHT_MARGIN,
    STRONG,
    TROUBLE,
    WARNING,
    indented,
    wrapped,
)
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


def happenings(model: Model, width: int, rows: int) -> list[Text]:
    """The last events in so many lines, the latest at the bottom; a long one takes two."""
    latest = list(model.events)[-rows:] if rows else []
    sources = [cell_len(harmless(event.get("source", ""))) for event in latest]
    source_width = min(max([_SOURCE_MIN, *sources]), _SOURCE_MAX)
    lines: list[Text] = []
    for event in reversed(latest):
        lines[:0] = _happening(event, source_width, width, min(2, rows - len(lines)))
        if len(lines) == rows:
            break
    return lines


def _happening(event: Message, source_width: int, width: int, lines_max: int) -> list[Text]:
    style = _LEVELS.get(str(event.get("level")), "")
    source = Text(harmless(event.get("source", "")))
    source.truncate(source_width, overflow="ellipsis", pad=True)
    head = Text(" " * MARGIN).append(time_of_day(str(event.get("time", ""))), QUIET)
    head.append("  ").append_text(source)
    said = Text(harmless(event.get("text", "")), style)
    used = head.cell_len
    lines = wrapped(said, width - used, lines_max)
    return [head.append_text(lines[0]), *(indented(line, used) for line in lines[1:])]


def footer(model: Model, width: int, now: float) -> list[Text]:
    """A question, what was answered, or the keys."""
    if model.doubted is not None:
        order = model.doubted
        asked = f"{order.op} {harmless(order.worker)}? y does it, any other key does not"
        return wrapped(Text(asked, style="bold yellow"), width, NOTICE_LINES_MAX)
    if (notice := model.notice(now)) is not None:
        said = Text(harmless(notice.text), style=_NOTICES[notice.kind])
        return wrapped(said, width, NOTICE_LINES_MAX)
    if model.is_help_shown:
        return [Text(" " * MARGIN + "any key goes back", QUIET)]
    return [_keys(width, _KEYS if model.workers else _KEYS[-2:])]


def _keys(width: int, known: Sequence[tuple[str, str]]) -> Text:
    """All if they fit; the last ones are missed most."""
    for gap, names in ((GAP, known), (2, known), (2, known[1:]), (2, known[-2:])):
        line = _named(names, gap)
        if line.cell_len <= width - RIGHT_MARGIN:
            return line
    return line


def _named(names: Sequence[tuple[str, str]], gap: int) -> Text:
    line = Text(" " * MARGIN)
    for place, (key, name) in enumerate(names):
        line.append(" " * gap * (place > 0)).append(key, STRONG).append(f" {name}", QUIET)
    return line
