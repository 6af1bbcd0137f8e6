"""Rows on what passing a request on costs: echoes, few and many at once, small and large."""

from tests.benchmarks.contestants import Running
from tests.benchmarks.plans import Outcome, Plan
from tests.benchmarks.rounds import Column, Figures, Row, Sections, Turn
from tests.benchmarks.statistics_of_rounds import percentile

EVERYBODY = ("direct", "proxy", "loop", "executor", "pool", "pebble", "strict", "batch")
OUTSTANDING = (1, 8, 64, 256)

RATE = Column("req/s", 0, is_compared=True)
CPU = Column("CPU s/1000", 3, is_compared=True)
LATENCIES = (Column("p50 ms", 2), Column("p99 ms", 2), Column("p99.9 ms", 2))


def figures_of(outcome: Outcome) -> Figures:
    """Rate, cost and latencies of a load."""
    latencies_s = outcome.all_latencies_s
    return {
        "req/s": outcome.answered / outcome.elapsed_s,
        "CPU s/1000": sum(outcome.cpu_s.values()) / outcome.answered * 1000,
        "p50 ms": percentile(latencies_s, 0.5) * 1000,
        "p99 ms": percentile(latencies_s, 0.99) * 1000,
        "p99.9 ms": percentile(latencies_s, 0.999) * 1000,
    }


def measure_echo(turn: Turn) -> Sections:
    with turn.opened() as running:
        return {
            section_of(outstanding): figures_of(running.run(turn.plan(Plan(outstanding, 0.8))))
            for outstanding in OUTSTANDING
        }


def section_of(outstanding: int) -> str:
    return f"{outstanding} outstanding"


PAYLOADS = {"100 B": 100, "10 kB": 10_000, "1 MB": 1_000_000, "10 MB": 10_000_000}
PAYLOADS_OUTSTANDING = 4


def measure_payloads(turn: Turn) -> Sections:
    with turn.opened() as running:
        return {name: _payload(turn, running, size) for name, size in PAYLOADS.items()}


def _payload(turn: Turn, running: Running, size_bytes: int) -> Figures:
    plan = Plan(PAYLOADS_OUTSTANDING, 0.5, size_bytes, warm_up=PAYLOADS_OUTSTANDING)
    figures = figures_of(running.run(turn.plan(plan)))
    figures["MB/s"] = figures["req/s"] * size_bytes / 1e6
    figures["CPU s/GB"] = figures["CPU s/1000"] / size_bytes * 1e6
    return figures


def measure_watched(turn: Turn) -> Sections:
    """Long enough for what comes once a second to come several times."""
    with turn.opened() as running:
        return {section_of(64): figures_of(running.run(turn.plan(Plan(64, 5.0))))}


ROWS = [
    Row(
        "echo",
        "echo of 100 bytes, 4 workers",
        (RATE, *LATENCIES, CPU),
        measure_echo,
        EVERYBODY,
    ),
    Row(
        "payloads",
        "echo of payloads, 4 outstanding, 4 workers",
        (Column("MB/s", 1, is_compared=True), Column("p50 ms", 2), Column("CPU s/GB", 2)),
        measure_payloads,
        EVERYBODY,
    ),
    Row(
        "watched",
        "echo of 100 bytes, 4 workers, with page, scrapes, top and events",
        (RATE, *LATENCIES, CPU),
        measure_watched,
        ("strict", "watched"),
        rounds=5,
        is_default=False,
    ),
]
