"""Rows on workers that have something to do: how busy they are kept, and who waits for whom."""

from tests.benchmarks.contestants import WORK, Setting
from tests.benchmarks.plans import Kind, Plan
from tests.benchmarks.processes import PeerFailed
from tests.benchmarks.rounds import Column, Row, Sections, Turn
from tests.benchmarks.rows_of_echo import CPU, EVERYBODY, LATENCIES, RATE, figures_of
from tests.benchmarks.statistics_of_rounds import percentile

BURN_S = 0.005


def measure_burning(turn: Turn) -> Sections:
    kinds = (Kind(cpu_s=BURN_S),)
    with turn.opened() as running:
        plan = turn.plan(Plan(8, 1.2, None, kinds, warm_up=8))
        figures = figures_of(running.run(plan))
    figures["extra CPU ms"] = figures["CPU s/1000"] - BURN_S * 1000
    return {"8 outstanding": figures}


SLEEP_S = 0.02


def measure_pool_sizes(turn: Turn) -> Sections:
    """Twice as many outstanding as there are workers, so that none of them need ever be idle."""
    workers = turn.setting.workers
    with turn.opened() as running:
        outstanding = 2 * workers
        plan = Plan(outstanding, 1.0, None, (Kind(sleep_s=SLEEP_S),), warm_up=outstanding)
        figures = figures_of(running.run(turn.plan(plan)))
    figures["% of ideal"] = 100 * figures["req/s"] * SLEEP_S / workers
    return {f"{workers} worker{'s' * (workers > 1)}": figures}


SHORT = Kind(95, cpu_s=0.0001)
LONG = Kind(5, sleep_s=0.05)


def measure_mixed_work(turn: Turn) -> Sections:
    with turn.opened() as running:
        plan = turn.plan(Plan(32, 1.5, None, (SHORT, LONG), warm_up=100))
        outcome = running.run(plan)
    figures = figures_of(outcome)
    short_s, long_s = outcome.latencies_s
    for name, latencies_s in (("short", short_s), ("long", long_s)):
        if latencies_s:  # a test sends so few that none may be long
            figures[f"{name} p50 ms"] = percentile(latencies_s, 0.5) * 1000
            figures[f"{name} p99 ms"] = percentile(latencies_s, 0.99) * 1000
    return {"32 outstanding": figures}


def measure_half_load(turn: Turn) -> Sections:
    """Requests come at their times, at half of what was just found to be the most."""
    with turn.opened() as running:
        capacity = figures_of(running.run(turn.plan(Plan(64, 0.7))))["req/s"]
        turn.notes[f"{turn.contestant} capacity"] = capacity
        if "loop capacity" not in turn.notes:
            raise PeerFailed("half of what is not known: loop has no figure")
        sections: Sections = {}
        for whose, most in (("loop", turn.notes["loop capacity"]), ("it", capacity)):
            rate_per_s = most / 2
            plan = turn.plan(Plan(1, 1.5, rate_per_s=rate_per_s, warm_up=0))
            outcome = running.run(plan, may_refuse=True)
            figures = figures_of(outcome)
            lost = outcome.wrong + outcome.unanswered
            figures["offered/s"] = rate_per_s
            figures["refused %"] = 100 * lost / (lost + outcome.answered)
            sections[f"half of what {whose} can"] = figures
        return sections


ROWS = [
    Row(
        "cpu",
        f"{BURN_S * 1000:g} ms of processor time, 4 workers",
        (RATE, *LATENCIES[:2], Column("CPU s/1000", 2), Column("extra CPU ms", 2)),
        measure_burning,
        EVERYBODY,
        (Setting(job=WORK),),
    ),
    Row(
        "mixed",
        f"{SHORT.percent} % of {SHORT.cpu_s * 1000:g} ms of processor time, "
        f"{LONG.percent} % that sleep {LONG.sleep_s * 1000:g} ms, 4 workers",
        (
            RATE,
            Column("short p50 ms", 2),
            Column("short p99 ms", 2, is_compared=True),
            Column("long p99 ms", 2),
        ),
        measure_mixed_work,
        EVERYBODY,
        (Setting(job=WORK),),
    ),
    Row(
        "half",
        "open loop of echoes, 4 workers",
        (
            Column("offered/s"),
            *LATENCIES[:2],
            Column("p99.9 ms", 2, is_compared=True),
            CPU,
            Column("refused %", 2),
        ),
        measure_half_load,
        ("loop", "strict", "batch"),
        keeps_order=True,
    ),
    Row(
        "sizes",
        f"{SLEEP_S * 1000:g} ms of sleep, twice as many outstanding as workers",
        (RATE, Column("% of ideal", 1), *LATENCIES[:2], CPU),
        measure_pool_sizes,
        ("loop", "executor", "strict", "batch"),
        tuple(Setting(workers, WORK) for workers in (1, 4, 16, 64, 256)),
        rounds=1,
    ),
]
