"""One run of chaos: play the schedule, heal the world, and see whether all of it is well again."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from balancer.runtime_directory import path_of
from tests.chaos.checks import Violation, violations
from tests.chaos.faults import inject
from tests.chaos.history import History, load
from tests.chaos.processes import Size, marked, size_of
from tests.chaos.schedule import Due, plan
from tests.chaos.wishes import Wish
from tests.chaos.world import BY_HAND, PROXIED_SHELLS, SHELLS, WORKERS, World, until

HEAL_TIMEOUT_S = 15.0
GOODS = 1000
GOODS_IN_FLIGHT = 50
GROWTH_MAX_BYTES = 96 * 2**20
"""What malloc keeps of some answers of 10 MiB at a time: about 40 MiB."""
GROWTH_MAX_DESCRIPTORS = 12


@dataclass(slots=True)
class Verdict:
    """What a run has shown."""

    seed: int
    history: History
    violations: list[Violation]
    injected: Counter[str] = field(default_factory=Counter)
    baseline: Size | None = None
    final: Size | None = None
    healed_within_s: float = 0.0


async def run(
    directory: Path,
    seconds: float,
    seed: int,
    kinds: Iterable[str] | None = None,
    pace: float = 1.0,
) -> Verdict:
    """Play it in this directory, which keeps the histories and the cluster's log."""
    found: list[Violation] = []
    verdict = Verdict(seed, History(), found)
    world = World(directory, seed)
    async with world:
        await world.wait_until_serving()
        await _prove_well(world, verdict, "at the start")
        verdict.baseline = _balancer_size(world)
        for shell, via_proxy in (*SHELLS, *PROXIED_SHELLS):
            world.start_client(shell, via_proxy)
        await world.wait_for_clients()
        verdict.injected = await _play(world, plan(seconds, seed, kinds, pace))
        await world.stop_clients()
        began_at = time.monotonic()
        await _prove_well(world, verdict, "at the end")
        verdict.healed_within_s = time.monotonic() - began_at
        verdict.final = _balancer_size(world)
        exit_code = await world.stop_cluster()
        found += _left_behind(world, verdict, exit_code)
    verdict.history = load(sorted(directory.glob("*.jsonl")))
    found += violations(verdict.history)
    return verdict


async def _play(world: World, schedule: Iterable[Due]) -> Counter[str]:
    """Do every fault at its time, whatever the others do; how many of each there were."""
    started_at = time.monotonic()
    injected: Counter[str] = Counter()

    async def play(due: Due) -> None:
        await asyncio.sleep(started_at + due.at_s - time.monotonic())
        has_happened = await inject(world, due.kind, due.seed)
        injected[due.kind] += has_happened  # in one step: the others count, too

    await asyncio.gather(*map(play, schedule))
    return injected


# --- after the last fault -----------------------------------------------------------------------


async def _prove_well(world: World, verdict: Verdict, when: str) -> None:
    """C11: the pool is whole soon, and then all is answered, by all of its workers."""

    def is_whole() -> bool:
        return len(world.cluster.workers()) == WORKERS

    if not await until(is_whole, HEAL_TIMEOUT_S):
        text = f"{len(world.cluster.workers())} of {WORKERS} workers"
        verdict.violations.append(Violation("C11 well again", when, text))
    await _wait_for_all_to_answer(world)
    left = [Wish("echo")] * GOODS
    endings: Counter[int] = Counter()

    async def ask() -> None:
        while left:
            endings[(await world.ask(left.pop())).status] += 1

    await asyncio.gather(*(ask() for _ in range(GOODS_IN_FLIGHT)))
    if endings != {200: GOODS}:
        verdict.violations.append(Violation("C11 well again", when, f"{dict(endings)}"))


async def _wait_for_all_to_answer(world: World) -> None:
    """A worker that was killed last is a process at once, but in rotation only a little later."""
    dice = random.Random(0)
    deadline = time.monotonic() + HEAL_TIMEOUT_S
    pids: set[str] = set()
    while len(pids) < WORKERS and time.monotonic() < deadline:
        wishes = [Wish("echo", sleep_s=dice.uniform(0.005, 0.01)) for _ in range(2 * WORKERS)]
        replies = await asyncio.gather(*map(world.ask, wishes))
        pids = {reply.body["run"].split(".")[0] for reply in replies if reply.status == 200}


def _balancer_size(world: World) -> Size | None:
    balancer = world.cluster.balancer()
    return None if balancer is None else size_of(balancer)


def _left_behind(world: World, verdict: Verdict, exit_code: int | None) -> list[Violation]:
    """C12: no process, no file, no memory, no descriptor too many."""
    found = []
    if exit_code != 0:
        found.append(f"the launcher ended with {exit_code}")
    if len(orphans := marked(world.mark)) > len(BY_HAND):
        found.append(f"processes {orphans}")
    if path_of(world.cluster.name).exists():
        found.append(f"files {list(path_of(world.cluster.name).iterdir())}")
    before, after = verdict.baseline, verdict.final
    assert before is not None
    if after is None or after.resident_bytes > before.resident_bytes + GROWTH_MAX_BYTES:
        found.append(f"the balancer's memory: {before} at the start, {after} at the end")
    if after is None or after.descriptors > before.descriptors + GROWTH_MAX_DESCRIPTORS:
        found.append(f"the balancer's descriptors: {before} at the start, {after} at the end")
    return [Violation("C12 left behind", "the end", text) for text in found]
