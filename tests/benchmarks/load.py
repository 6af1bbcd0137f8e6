"""The frame of a load process: plans come in on stdin, what became of them goes out on stdout."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from tests.benchmarks.plans import Outcome, Plan
from tests.benchmarks.processes import cpu_s_of, hear, say

ANSWER_TIMEOUT_S = 15.0
WARM_UP_MAX_S = 15.0


@dataclass(slots=True)
class Tally:
    """What is noted while a load runs."""

    latencies_s: list[list[float]]
    wrong: int = 0
    unanswered: int = 0
    started_at: float = field(default_factory=time.perf_counter)
    last_at: float = 0.0

    def note(self, kind: int, sent_at: float, is_right: bool) -> float:
        """Note an answer; returns the time."""
        now = self.last_at = time.perf_counter()
        if is_right:
            self.latencies_s[kind].append(now - sent_at)
        else:
            self.wrong += 1
        return now


Play = Callable[[Plan, Tally], None]


def serve_plans(play: Play, own_pids: Callable[[], Iterable[int]]) -> None:
    """Carry out one plan after the other until stdin ends. ``own_pids`` run beside those told."""
    while (words := hear()) is not None:
        plan = Plan.from_words(words["plan"])
        _play_warm_up(play, plan)
        say(_measure(play, plan, [*words["pids"], *own_pids()]).to_words())


def _play_warm_up(play: Play, plan: Plan) -> None:
    if plan.warm_up:
        warm_up = replace(
            plan, seconds=WARM_UP_MAX_S, requests_max=plan.warm_up, rate_per_s=None, warm_up=0
        )
        play(warm_up, new_tally(warm_up))


def _measure(play: Play, plan: Plan, pids: Iterable[int]) -> Outcome:
    """The clocks are read here and not by who asks: packing the answer must not count."""
    everybody = {*pids, os.getpid()}
    before = cpu_s_of(everybody)
    tally = new_tally(plan)
    play(plan, tally)
    after = cpu_s_of(before)
    return Outcome(
        latencies_s=tally.latencies_s,
        wrong=tally.wrong,
        unanswered=tally.unanswered,
        elapsed_s=max(tally.last_at - tally.started_at, 1e-9),
        cpu_s={str(pid): after[pid] - before[pid] for pid in before.keys() & after.keys()},
        ended=len(everybody - after.keys()),
    )


def new_tally(plan: Plan) -> Tally:
    return Tally([[] for _ in plan.kinds])
