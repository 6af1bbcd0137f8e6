"""What top says of the cluster as a whole: who it is, its figures, and their last minutes."""

from collections.abc import Callable, Iterator, Mapping

from rich.text import Text

from balancer.history import Point
from balancer.top.lines import (
    GAP,
    MARGIN,
    QUIET,
    RIGHT_MARGIN,
    STRONG,
    TROUBLE,
    WARNING,
    apart,
    flow,
    pair,
)
from balancer.top.model import Model
from balancer.top.sparkline import bars, values_of
from balancer.top.words import age, count, harmless, rate, some, took

_IN_ROTATION = ("idle", "busy")
_GRAPH_LABEL = 11
_GRAPH_HIGHEST = 13


def title(model: Model, width: int, now: float) -> Text:
    """Its name and what state it is in."""
    left = Text(" " * MARGIN).append(model.name, STRONG).append(" " * GAP)
    left.append_text(_state(model, now))
    if model.status is None:
        return left
    cluster = model.status["cluster"]
    left.append(" " * GAP).append(harmless(cluster["bind"]))
    return apart(left, pair("up", age(cluster["uptime_s"])), width)


def _state(model: Model, now: float) -> Text:
    silent_s = model.silent_s(now)
    if silent_s is not None:
        return Text(f"no answer for {age(silent_s)}", TROUBLE)
    if model.status is None:
        return Text("not running" if not model.is_waiting else "connecting", WARNING)
    if model.status["cluster"]["draining"]:
        return Text("draining", WARNING)
    return Text("running", "green")


def processes(model: Model, width: int) -> list[Text]:
    """How many workers work, and who looks after them."""
    if model.status is None:
        return []
    cluster, workers = model.status["cluster"], model.workers
    working = sum(worker["state"] in _IN_ROTATION for worker in workers)
    style = "" if working == len(workers) else WARNING
    balancer = "down" if cluster["balancer_pid"] is None else str(cluster["balancer_pid"])
    parts = [
        pair("workers", f"{working} of {len(workers)} in rotation", style),
        pair("launcher", str(cluster["launcher_pid"])),
        pair("balancer", balancer, "" if cluster["balancer_pid"] is not None else TROUBLE),
    ]
    if cluster["balancer_restarts"]:
        parts[-1].append(f", {some(cluster['balancer_restarts'], 'restart')}", WARNING)
    return flow(parts, width)


def figures(model: Model, width: int) -> list[Text]:
    """What it has to do and how it does, and how the requests were answered."""
    if model.status is None:
        return []
    queue, totals = model.status["queue"], model.status["totals"]
    if not totals:
        return [Text(" " * MARGIN + "no figures: the balancer does not answer", TROUBLE)]
    is_full = queue["length"] >= queue["limit"]
    parts = [
        pair("queue", f"{count(queue['length'])} of {count(queue['limit'])}", TROUBLE * is_full),
        pair("open", count(totals["open"])),
        *_of_last_second(model),
        pair("failovers", count(totals["failovers"])),
        _answers(totals["by_status"]),
    ]
    return flow(parts, width)


def _of_last_second(model: Model) -> Iterator[Text]:
    point = model.history.points[-1] if model.history.points else None
    yield pair("rate", rate(point.answers_per_s) if point else "·", STRONG)
    yield pair("p50", took(point.p50_ms if point else None))
    yield pair("p99", took(point.p99_ms if point else None))


def _answers(by_status: Mapping[str, int]) -> Text:
    """How many of each status; whatever is no success stands out."""
    line = Text("answers", QUIET)
    for code, number in sorted(by_status.items()):
        line.append(f"  {harmless(code)} ", QUIET)
        line.append(count(number), "green" if code.startswith("2") else WARNING)
    return line if by_status else line.append(" none yet")


def graphs(model: Model, width: int, lines: int) -> list[Text]:
    """The last minutes, as far back as the line is long; each so many lines high."""
    return [
        *_graph(model, width, lines, "answers/s", "cyan", lambda point: point.answers_per_s, count),
        *_graph(model, width, lines, "p99", "magenta", lambda point: point.p99_ms, took),
    ]


def _graph(
    model: Model,
    width: int,
    lines: int,
    label: str,
    style: str,
    of: Callable[[Point], float | None],
    shown: Callable[[float], str],
) -> Iterator[Text]:
    room = max(1, width - MARGIN - RIGHT_MARGIN - _GRAPH_LABEL - _GRAPH_HIGHEST)
    values = values_of(model.history.points, of, model.interval_s, room)
    highest = max((value for value in values if value is not None), default=None)
    said = "" if highest is None else f"max {shown(highest)}"
    for place, row in enumerate(bars(values, lines)):
        line = Text(" " * MARGIN).append((label if not place else "").ljust(_GRAPH_LABEL), QUIET)
        line.append(row.rjust(room), style)
        yield line.append((said if not place else "").rjust(_GRAPH_HIGHEST), QUIET)
