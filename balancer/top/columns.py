"""The columns of the table of workers, and which of them a terminal has room for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.text import Text

from balancer.top.lines import QUIET, TROUBLE, WARNING
from balancer.top.words import NOTHING, age, count, harmless, took

Worker = Mapping[str, Any]

BETWEEN = 2
NAME_MAX = 24
FAILURES = ("empty", "timeout", "died", "garbled")
STYLES = {
    "idle": "green",
    "busy": "cyan",
    "starting": "blue",
    "connecting": "blue",
    "overdue": "magenta",
    "ejected": "magenta",
    "draining": "yellow",
    "drained": "yellow",
    "down": "bold red",
    "failed": "bold red",
}


class Column(NamedTuple):
    title: str
    width: int
    cell: Callable[[Worker], Text]
    is_number: bool = False


def number(value: float, style: str = "") -> Text:
    """Nothing is shown as little as possible, so that something is seen."""
    return Text(count(value), style) if value else Text(NOTHING, QUIET)


def reason(worker: Worker) -> str:
    """Why it is not in rotation, and how its last process died unless that says so already."""
    why, death = worker["why"], last_death(worker)
    if not death or worker["last_death"] in why:
        return harmless(why)
    return harmless(f"{why}; {death}" if why else death)


def last_death(worker: Worker) -> str:
    if not worker["last_death"]:
        return ""
    ago_s = worker["last_death_age_s"]
    ago = "" if ago_s is None else f", {age(ago_s).split()[0]} ago"
    return f"{worker['last_death']}{ago}"


def _state(worker: Worker) -> Text:
    state = worker["state"]
    return Text(harmless(state), STYLES.get(state, ""))


def _request(worker: Worker) -> Text:
    age_ms = worker["request_age_ms"]
    return Text(NOTHING, QUIET) if age_ms is None else Text(age(age_ms / 1000))


def _failures(worker: Worker) -> Text:
    """An empty reply is the handler's right, and counts against nobody."""
    return number(sum(worker[kind] for kind in FAILURES if kind != "empty"), WARNING)


def _counted(kind: str, style: str = "") -> Callable[[Worker], Text]:
    return lambda worker: number(worker[kind], style)


def _took(quantile: str) -> Callable[[Worker], Text]:
    def cell(worker: Worker) -> Text:
        duration_ms = worker[quantile]
        return Text(took(duration_ms), QUIET if duration_ms is None else "")

    return cell


def _why(worker: Worker) -> Text:
    return Text(
        reason(worker), TROUBLE if worker["state"] == "failed" else QUIET * (not worker["why"])
    )


_STATE = Column("STATE", 10, _state)
_REQUEST = Column("REQUEST", 7, _request, True)
_SERVED = Column("SERVED", 7, _counted("served"), True)
_FAILED = Column("FAILED", 6, _failures, True)
_KINDS = [Column(kind.upper(), len(kind), _counted(kind, WARNING), True) for kind in FAILURES]
_P50 = Column("P50", 6, _took("p50_ms"), True)
_P99 = Column("P99", 6, _took("p99_ms"), True)
_RESTARTS = Column("RESTARTS", 8, _counted("restarts"), True)
_WHY = Column("WHY", 16, _why)

# From the first to the last: the more of them, the wider the terminal must be.
_LAYOUTS: tuple[Sequence[Column], ...] = (
    (_STATE,),
    (_STATE, _REQUEST),
    (_STATE, _REQUEST, _WHY),
    (_STATE, _REQUEST, _SERVED, _WHY),
    (_STATE, _REQUEST, _SERVED, _FAILED, _WHY),
    (_STATE, _REQUEST, _SERVED, _FAILED, _P99, _WHY),
    (_STATE, _REQUEST, _SERVED, _FAILED, _P99, _RESTARTS, _WHY),
    (_STATE, _REQUEST, _SERVED, _FAILED, _P50, _P99, _RESTARTS, _WHY),
    (_STATE, _REQUEST, _SERVED, *_KINDS, _P50, _P99, _RESTARTS, _WHY),
)


def columns(workers: Sequence[Worker], width: int) -> list[Column]:
    """Those that fit, the name first; the last one gets what is left over."""
    longest = max((Text(harmless(worker["name"])).cell_len for worker in workers), default=0)
    name = Column("WORKER", min(max(6, longest), NAME_MAX), lambda one: Text(harmless(one["name"])))
    fitting = [name]
    for layout in _LAYOUTS:
        if _width_of([name, *layout]) <= width:
            fitting = [name, *layout]
    left_over = width - _width_of(fitting)
    if fitting[-1] is _WHY:
        fitting[-1] = _WHY._replace(width=_WHY.width + left_over)
    return fitting


def _width_of(some: Sequence[Column]) -> int:
    return sum(column.width for column in some) + BETWEEN * (len(some) - 1)
