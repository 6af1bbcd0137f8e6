"""Figures read off a status: for each metric the values of its labels with what they count.

Labels come from bounded sets only: pools of the configuration, and the words below.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from balancer.core.events import STATUS, Why
from balancer.histogram import from_json

Status = Mapping[str, Any]
Reading = tuple[tuple[str, ...], float]
"""The values of the labels, and the figure."""


class Durations(NamedTuple):
    labels: tuple[str, ...]
    counts: Mapping[int, int]
    """As a Histogram has them."""
    sum_s: float


NONE = "none"
"""The pool of a request that nobody was asked for, the reason of an answer."""
STATES = (
    *("starting", "connecting", "idle", "busy", "overdue", "ejected", "draining", "drained"),
    *("down", "failed"),
)
OUTCOMES = ("answer", *(why.value for why in Why))
CAUSES = ("signal", "exit", "hung", "unresponsive", "startup", "by_hand", "recycled")
REASONS = {
    "malformed": 400,
    "handler_error": 500,
    **{reason.value: status for reason, status in STATUS.items()},
}
"""To which status each belongs. A worker's own error has the reasons of its status."""
STATUSES = tuple(sorted({200, *REASONS.values()}))


def requests(status: Status) -> Iterator[Reading]:
    """Every answer once. The reasons of a status are counted beside it: what they leave of it are
    answers that need no reason."""
    totals = status["totals"]
    if not totals:
        return
    by_status, by_reason = totals["by_status"], totals["by_reason"]
    for code in STATUSES:
        rest = by_status.get(str(code), 0)
        for reason in (reason for reason, its in REASONS.items() if its == code):
            count = min(rest, by_reason.get(reason, 0))
            yield (str(code), reason), count
            rest -= count
        if rest or code == 200:
            yield (str(code), NONE), rest


def tries(status: Status) -> Iterator[Reading]:
    found: Counter[tuple[str, ...]] = Counter()
    for pool in status["pools"]:
        if pool["name"]:
            found.update({(pool["name"], end): pool["tries"].get(end, 0) for end in OUTCOMES})
    yield from found.items()


def durations_of(which: str) -> Callable[[Status], Iterator[Durations]]:
    def read(status: Status) -> Iterator[Durations]:
        counts: dict[str, Counter[int]] = {}
        sums_s: defaultdict[str, float] = defaultdict(float)
        for pool in status["pools"]:
            name = pool["name"] or NONE  # which a pool may be called, too
            counts.setdefault(name, Counter()).update(from_json(pool[which]["counts"]))
            sums_s[name] += pool[which]["sum_s"]
        for name in counts:
            yield Durations((name,), counts[name], sums_s[name])

    return read


def workers(status: Status) -> Iterator[Reading]:
    found = Counter((worker["pool"], worker["state"]) for worker in status["workers"])
    pools = dict.fromkeys(pool["name"] for pool in status["pools"] if pool["name"])
    pools |= dict.fromkeys(worker["pool"] for worker in status["workers"])
    for pool in pools:
        for state in STATES:
            yield (pool, state), found[pool, state]


def worker_restarts(status: Status) -> Iterator[Reading]:
    for cause in CAUSES:
        yield (cause,), status["restarts"].get(cause, 0)


def queue_of(field: str) -> Callable[[Status], Iterator[Reading]]:
    """Its limits are known even while the balancer, who knows its length, does not answer."""

    def read(status: Status) -> Iterator[Reading]:
        if status["totals"] or field.startswith("limit"):
            yield (), status["queue"][field]

    return read


def total_of(*path: str) -> Callable[[Status], Iterator[Reading]]:
    def read(status: Status) -> Iterator[Reading]:
        found: Any = status["totals"]
        for name in path:
            found = found.get(name, {})
        if found != {}:
            yield (), found

    return read


def balancer_restarts(status: Status) -> Iterator[Reading]:
    yield (), status["cluster"]["balancer_restarts"]


def pulse(status: Status) -> Iterator[Reading]:
    pulse_ms = status["cluster"].get("balancer_pulse_ms")
    if pulse_ms is not None:
        yield (), pulse_ms / 1000


def up(status: Status) -> Iterator[Reading]:
    yield (), float(bool(status["totals"]))
