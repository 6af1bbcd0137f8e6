"""The table of workers, and below it all that is known of the selected one."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from balancer.top.columns import BETWEEN, FAILURES, STYLES, Column, Worker, columns, reason
from balancer.top.lines import MARGIN, QUIET, RIGHT_MARGIN, STRONG, WARNING, flow, pair
from balancer.top.model import Model
from balancer.top.words import age, count, harmless, took

_MARK = "▸".ljust(MARGIN)


def heading(model: Model, width: int, rows: int) -> Text:
    """The titles of the columns, and which part of the workers is seen if it is not all."""
    line = _row(columns(model.workers, _room(width)), None)
    if rows >= len(model.workers):
        return line
    first = first_row(model, rows)
    part = f" {first + 1}-{first + rows} of {len(model.workers)}"
    line.truncate(width - RIGHT_MARGIN - len(part), pad=True)
    return line.append(part, QUIET)


def first_row(model: Model, rows: int) -> int:
    """The selected one is in the middle, as far as there are others around it."""
    return max(0, min(model.selected_place - rows // 2, len(model.workers) - rows))


def table(model: Model, width: int, rows: int) -> list[Text]:
    """So many workers at most, the selected one among them."""
    fitting = columns(model.workers, _room(width))
    first = first_row(model, rows)
    seen = enumerate(model.workers[first : first + rows], first)
    return [_row(fitting, worker, place == model.selected_place) for place, worker in seen]


def _room(width: int) -> int:
    return width - MARGIN - RIGHT_MARGIN


def _row(fitting: Sequence[Column], worker: Worker | None, is_selected: bool = False) -> Text:
    line = Text(_MARK if is_selected else " " * MARGIN, STRONG * is_selected)
    for place, column in enumerate(fitting):
        cell = Text(column.title, QUIET) if worker is None else column.cell(worker)
        cell.truncate(column.width, overflow="ellipsis")
        free = " " * (column.width - cell.cell_len)
        line.append(" " * BETWEEN * (place > 0))
        line = (
            line.append(free).append_text(cell)
            if column.is_number
            else line.append_text(cell).append(free)
        )
    return line


def details(model: Model, width: int) -> list[Text]:
    """Of the selected worker: its process, its figures, and its troubles in full."""
    if not model.workers:
        return []
    worker = model.workers[model.selected_place]
    why = reason(worker) or "in rotation"
    return [
        *flow(_process(worker), width)[:1],
        *flow(_figures(worker), width)[:2],
        Text(" " * MARGIN).append(why, WARNING if worker["why"] else QUIET),
    ]


def _process(worker: Worker) -> Iterator[Text]:
    name = Text(harmless(worker["name"]), STRONG)
    yield name.append(f"  {harmless(worker['state'])}", STYLES.get(worker["state"], ""))
    if worker["request"] is not None:
        since = worker["request_age_ms"]
        yield pair(
            "request",
            harmless(worker["request"]) + ("" if since is None else f" for {age(since / 1000)}"),
        )
    yield pair("pid", "none" if worker["pid"] is None else str(worker["pid"]))
    yield pair("restarts", count(worker["restarts"]))
    yield pair("pool", harmless(worker["pool"]))
    yield pair("endpoint", harmless(worker["endpoint"] or "none"))


def _figures(worker: Worker) -> Iterator[Text]:
    yield pair("served", count(worker["served"]))
    failures = [f"{count(worker[kind])} {kind}" for kind in FAILURES if worker[kind]]
    yield pair("failures", ", ".join(failures) or "none", WARNING if failures else "")
    yield pair("p50", took(worker["p50_ms"]))
    yield pair("p99", took(worker["p99_ms"]))
