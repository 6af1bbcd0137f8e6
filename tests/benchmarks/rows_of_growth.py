"""Rows on what must not grow: the cost of a request beside many workers, requests and clients."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.contestants import START_TIMEOUT_S, Running, Setting
from tests.benchmarks.plans import Plan
from tests.benchmarks.processes import PeerFailed, deadline, peer
from tests.benchmarks.rounds import Column, Figures, Row, Sections, Turn
from tests.benchmarks.rows_of_echo import CPU, RATE, figures_of

FEW = 4
MANY = 256
QUEUE = 1000

GROWTH = "x base"


def measure_growth(turn: Turn) -> Sections:
    workers = turn.setting.workers
    with turn.opened() as running:
        plan = turn.plan(Plan(64, 1.0, warm_up=2 * workers + 200))
        figures = figures_of(running.run(plan))
    _compare(turn, figures, "CPU s/1000", "all", is_base=workers == FEW)
    return {f"{workers} workers": figures}


def measure_flat(turn: Turn) -> Sections:
    """What the balancer's process alone spends, with only one thing different from the base."""
    with turn.opened() as running:
        if turn.setting.workers == MANY:
            return {f"{MANY} workers, 4 outstanding": _balance(turn, running, 4, "4")}
        sections = {
            "4 workers, 4 outstanding": _balance(turn, running, 4, "4", is_base=True),
            "4 workers, 64 outstanding": _balance(turn, running, 64, "64", is_base=True),
            f"{QUEUE} outstanding": _balance(turn, running, QUEUE, "64"),
        }
        clients = turn.scale.idle_clients
        with _idle_clients(running, clients):
            sections[f"64, {clients} idle clients"] = _balance(turn, running, 64, "64")
    return sections


@contextmanager
def _idle_clients(running: Running, clients: int) -> Iterator[None]:
    with peer("tests.benchmarks.idle_clients", running.endpoint, str(clients)) as process:
        with deadline(START_TIMEOUT_S, f"{clients} clients"):
            process.hear()
        yield


def _balance(
    turn: Turn, running: Running, outstanding: int, base: str, *, is_base: bool = False
) -> Figures:
    outcome = running.run(turn.plan(Plan(outstanding, 1.0, warm_up=2 * turn.setting.workers + 200)))
    used_s = outcome.cpu_s[str(running.balancer_pid)]
    figures = figures_of(outcome) | {"balancer us": used_s / outcome.answered * 1e6}
    _compare(turn, figures, "balancer us", base, is_base=is_base)
    return figures


def _compare(turn: Turn, figures: Figures, figure: str, base: str, *, is_base: bool) -> None:
    """Note how many times the base's figure this one is; the base has its turn first."""
    name = f"{turn.contestant} {base}"
    if is_base:
        turn.notes[name] = figures[figure]
    if name not in turn.notes:
        raise PeerFailed("nothing to compare with: the base has no figure")
    figures[GROWTH] = figures[figure] / turn.notes[name]


ROWS = [
    Row(
        "growth",
        "echo of 100 bytes, 64 outstanding",
        (RATE, CPU, Column(GROWTH, 2)),
        measure_growth,
        ("direct", "loop", "strict", "batch"),
        tuple(Setting(workers) for workers in (FEW, 16, 64, MANY)),
        rounds=1,
    ),
    Row(
        "flat",
        "processor time of the balancer's process for a request",
        (Column("req/s"), Column("balancer us", 1, is_compared=True), Column(GROWTH, 2)),
        measure_flat,
        ("loop", "strict", "batch"),
        (Setting(FEW), Setting(MANY)),
        rounds=1,
    ),
]
