"""Many seeds on all cores: what came of them, added up, until one of them breaks a promise."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from time import monotonic
from types import FrameType

from tests.simulation.simulator import Result, play

BATCH = 50
_SEED_CPU_MAX_S = 20.0
"""The longest seeds take a tenth of a second: whoever takes so long never comes to an end."""


class Endless(RuntimeError):
    """The core, or the world, did not come back."""


@dataclass(slots=True)
class Tally:
    """What came of some seeds."""

    seeds: int = 0
    requests: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    situations: Counter[str] = field(default_factory=Counter)
    """How many seeds reached each."""
    failed_seed: int | None = None
    """The first of these that broke a promise; those after it were not played."""

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.requests += result.requests
        self.steps += len(result.trace)
        self.virtual_s += result.virtual_s
        self.faults += result.faults
        self.outcomes += result.outcomes
        self.situations.update(result.situations)

    def merge(self, other: "Tally") -> None:
        self.seeds += other.seeds
        self.requests += other.requests
        self.steps += other.steps
        self.virtual_s += other.virtual_s
        self.faults += other.faults
        self.outcomes += other.outcomes
        self.situations += other.situations
        failed = [seed for seed in (self.failed_seed, other.failed_seed) if seed is not None]
        self.failed_seed = min(failed, default=None)


def play_bounded(seed: int, cpu_max_s: float = _SEED_CPU_MAX_S) -> Result:
    """Play the seed; a core that runs in circles is a finding like any other."""
    with _limited(cpu_max_s):
        return play(seed)


def play_batch(start: int, count: int) -> Tally:
    tally = Tally()
    for seed in range(start, start + count):
        result = play_bounded(seed)
        tally.add(result)
        if result.error is not None:
            tally.failed_seed = seed
            break
    return tally


def run(
    seeds: int, start: int, ends_at: float, cores: int, report: Callable[[Tally], None]
) -> Tally:
    """Play the seeds, as many as there is time for, and stop soon after the first finding."""
    total = Tally()
    batches = iter(range(start, start + seeds, BATCH))
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        pending: set[Future[Tally]] = set()
        while True:
            while len(pending) < 2 * cores and total.failed_seed is None and monotonic() < ends_at:
                first = next(batches, None)
                if first is None:
                    break
                count = min(BATCH, start + seeds - first)
                pending.add(pool.submit(play_batch, first, count))
            if not pending:
                return total
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                total.merge(future.result())
            report(total)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _limited(cpu_s: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Endless(f"not done after {cpu_s} s of work")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
