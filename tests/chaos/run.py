"""One run of chaos: play the schedule, heal the world, and see whether all of it is well again."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balancer.runtime_directory import path_of
from tests.chaos.checks import Violation, violations
from tests.chaos.configuration import WORKERS
from tests.chaos.faults import inject
from tests.chaos.growth import SAMPLE_INTERVAL_S, Growth, watch
from tests.chaos.history import History, load
from tests.chaos.processes import Size, marked, size_of
from tests.chaos.schedule import Due, plan
from tests.chaos.wishes import Wish
from tests.chaos.world import BY_HAND, PROXIED_SHELLS, SHELLS, World, until

HEAL_TIMEOUT_S = 15.0
GOODS = 1000
GOODS_IN_FLIGHT = 50
GROWTH_MAX_BYTES = 96 * 2**20
"""What malloc keeps of some answers of 10 MiB at a time: about 40 MiB."""
LASTING_GROWTH_MAX_BYTES = 64 * 2**20
"""The same: 41 MiB were seen, in steps of 10."""
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
    growth: Growth = field(default_factory=Growth)
    healed_within_s: float = 0.0


async def run(
    directory: Path,
    seconds: float,
    seed: int,
    kinds: Iterable[str] | None = None,
    pace: float = 1.0,
    batch_max: int = 1,
) -> Verdict:
    """Play it in this directory, which keeps the histories and the cluster's log."""
    found: list[Violation] = []
    verdict = Verdict(seed, History(), found)
    world = World(directory, seed, batch_max)
    async with world:
        await world.wait_until_serving()
        await _prove_well(world, verdict, "at the start")
        verdict.baseline = _balancer_size(world)
        watching = asyncio.create_task(watch(verdict.growth, world.cluster.balancer))
        for shell, via_proxy in (*SHELLS, *PROXIED_SHELLS):
            world.start_client(shell, via_proxy)
        await world.wait_for_clients()
        verdict.injected = await _play(world, plan(seconds, seed, kinds, pace))
        await world.stop_clients()
        began_at = time.monotonic()
        await _prove_well(world, verdict, "at the end")
        verdict.healed_within_s = time.monotonic() - began_at
        verdict.final = _balancer_size(world)
        watching.cancel()
        exit_code = await world.stop_cluster()
        found += _left_behind(world, verdict, exit_code)
        found += world.violations
    verdict.history = load(sorted(directory.glob("*.jsonl")))
    verdict.history.has_batches = batch_max > 1
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

    def complain(text: str) -> None:
        verdict.violations.append(Violation("C11 well again", when, text))

    if not await until(is_whole, HEAL_TIMEOUT_S):
        complain(f"{len(world.cluster.workers())} of {WORKERS} workers")
    if (states := await _states_at_last(world)) is not None:
        complain(f"not in rotation after {HEAL_TIMEOUT_S:g} s: {states}")
    if (answering := await _wait_for_all_to_answer(world)) < WORKERS:
        complain(f"only {answering} of {WORKERS} workers answer after {HEAL_TIMEOUT_S:g} s")
    left = [Wish("echo")] * GOODS
    endings: Counter[int] = Counter()

    async def ask() -> None:
        while left:
            endings[(await world.ask(left.pop())).status] += 1

    await asyncio.gather(*(ask() for _ in range(GOODS_IN_FLIGHT)))
    if endings != {200: GOODS}:
        complain(f"{dict(endings)}")


async def _states_at_last(world: World) -> dict[str, str] | None:
    """None once every slot is in rotation, those of endpoints, too."""
    deadline = time.monotonic() + HEAL_TIMEOUT_S
    while not is_in_rotation(states := await asyncio.to_thread(world.states)):
        if time.monotonic() > deadline:
            return states
        await asyncio.sleep(0.05)
    return None


def is_in_rotation(states: Mapping[str, str]) -> bool:
    """Whoever answers only with garbage may be ejected for a while; nobody else may."""
    garbling = f"by-hand-{1 + BY_HAND.index('garble')}"
    return len(states) == WORKERS + len(BY_HAND) and all(
        state in ("idle", "busy") or (state == "ejected" and name == garbling)
        for name, state in states.items()
    )


async def _wait_for_all_to_answer(world: World) -> int:
    """How many do, at last: a worker in rotation has not yet proved that it works."""
    dice = random.Random(0)
    deadline = time.monotonic() + HEAL_TIMEOUT_S
    pids: set[str] = set()
    while len(pids) < WORKERS and time.monotonic() < deadline:
        wishes = [Wish("echo", sleep_s=dice.uniform(0.005, 0.01)) for _ in range(2 * WORKERS)]
        replies = await asyncio.gather(*map(world.ask, wishes))
        pids |= {reply.body["run"].split(".")[0] for reply in replies if reply.status == 200}
    return len(pids)


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
    for pid, samples in verdict.growth.samples.items():
        if (grown_bytes := verdict.growth.bytes_of(pid)) > LASTING_GROWTH_MAX_BYTES:
            lived_s = len(samples) * SAMPLE_INTERVAL_S
            found.append(f"balancer {pid} grew by {grown_bytes / 2**20:.1f} MiB in {lived_s:g} s")
    if after is None or after.descriptors > before.descriptors + GROWTH_MAX_DESCRIPTORS:
        found.append(f"the balancer's descriptors: {before} at the start, {after} at the end")
    return [Violation("C12 left behind", "the end", text) for text in found]
