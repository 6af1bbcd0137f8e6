"""Steady load on a cluster whose workers are killed all the time: what its clients see of it.

``python -m tests.cluster.load [--seconds 20] [--freeze] [--kill-balancer]`` prints the figures.
Requests are sent at their times, whether or not the ones before are answered, and the latency of
each is counted from the time at which it should have been sent.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from balancer.client.asynchronous import AsyncClient
from tests.cluster.asking import Asker, asker
from tests.cluster.running import Cluster

RATE_PER_S = 100
JOB = {"sleep_s": 0.02}
WORKERS = 4
KILL_EVERY_S = 0.5
LAST_ANSWER_TIMEOUT_S = 10.0

Fault = tuple[float, Callable[[], None]]
"""When it is due, in seconds from the start, and what it does."""


@dataclass(slots=True)
class Figures:
    """What became of the requests."""

    latencies_s: list[float] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    moved: int = 0
    killed: int = 0
    unanswered: int = 0

    @property
    def requests(self) -> int:
        return len(self.latencies_s) + self.unanswered

    @property
    def ok(self) -> int:
        return self.endings["200"]

    def percentile_s(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def note(self, latency_s: float, status: int, reason: str, has_moved: bool) -> None:
        self.latencies_s.append(latency_s)
        self.endings[f"{status} {reason}".strip()] += 1
        self.moved += has_moved

    def __str__(self) -> str:
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
        times = (f"{name} {self.percentile_s(at) * 1000:.1f} ms" for name, at in shares.items())
        endings = ", ".join(f"{count} x {name}" for name, count in self.endings.items())
        return (
            f"{self.requests} requests: {endings}, {self.unanswered} unanswered; "
            f"{self.moved} moved to another worker, {self.killed} workers killed\n"
            f"latency: {', '.join(times)}"
        )


# --- offering the load --------------------------------------------------------------------------


def due_dates(seconds: float, rate_per_s: int = RATE_PER_S) -> list[float]:
    """When the requests are due, in seconds from the start."""
    return [number / rate_per_s for number in range(int(rate_per_s * seconds))]


def offer(
    client: Asker,
    seconds: float,
    figures: Figures,
    rate_per_s: int = RATE_PER_S,
    job: Mapping[str, object] = JOB,
) -> None:
    """The load of a client that was written with pyzmq alone: it sends nothing twice."""
    due_at: dict[int, float] = {}
    started_at = time.monotonic()

    def send(when: float) -> None:
        due_at[client.send(job)] = started_at + when

    def take(until: float) -> None:
        number = client.receive(until - time.monotonic())
        if number is not None:
            reply = client.reply(number)
            latency_s = reply.at - due_at.pop(number)
            figures.note(latency_s, reply.status, reply.reason, bool(reply.tried))

    for when in due_dates(seconds, rate_per_s):
        while time.monotonic() < started_at + when:
            take(started_at + when)
        send(when)
    give_up_at = time.monotonic() + LAST_ANSWER_TIMEOUT_S
    while due_at and time.monotonic() < give_up_at:
        take(give_up_at)
    figures.unanswered = len(due_at)
    assert client.receive(0.2) is None, "a reply that nobody waits for"


async def offer_by_client(address: str, seconds: float, figures: Figures) -> None:
    """The load of our own client, which sends again what was in flight to a dead balancer."""
    loop = asyncio.get_running_loop()
    async with AsyncClient(address, timeout=LAST_ANSWER_TIMEOUT_S) as client:
        started_at = loop.time()

        async def call(when: float) -> None:
            await asyncio.sleep(started_at + when - loop.time())
            reply = await client.send(JOB)
            latency_s = loop.time() - started_at - when
            figures.note(latency_s, reply.status, reply.reason, bool(reply.tried))

        await asyncio.gather(*map(call, due_dates(seconds)))


# --- faults -------------------------------------------------------------------------------------


@contextmanager
def happening(faults: Sequence[Fault]) -> Iterator[None]:
    """Beside the load, which is not to wait while somebody looks for a victim: without requests
    there would soon be no worker at work. A fault that comes when all is over is a failure."""
    is_over = threading.Event()

    def happen(started_at: float) -> None:
        for when, what in sorted(faults, key=lambda fault: fault[0]):
            time.sleep(max(0.0, started_at + when - time.monotonic()))
            assert not is_over.is_set(), f"the load was over before the fault of {when:g} s"
            what()

    with ThreadPoolExecutor(max_workers=1) as beside:
        done = beside.submit(happen, time.monotonic())
        try:
            yield
        finally:
            is_over.set()
        done.result()


class Killer:
    """Picks its victims at random, by the pids that the cluster itself tells."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._killed: set[int] = set()
        self._frozen: set[int] = set()
        self._cluster = cluster
        self._random = random.Random(seed)

    @property
    def killed(self) -> int:
        return len(self._killed)

    def kill_worker(self) -> None:
        victim = self._victim()
        os.kill(victim, signal.SIGKILL)
        self._killed.add(victim)

    def freeze_worker(self) -> None:
        """One at work, for an idle one might never be asked. It is left alone from then on: to
        find it is the cluster's task."""
        pid = int(self._cluster.wait_for_holder()["pid"])
        self._frozen.add(pid)
        os.kill(pid, signal.SIGSTOP)

    def kill_balancer(self) -> None:
        os.kill(self._cluster.look()["cluster"]["balancer_pid"], signal.SIGKILL)

    def _victim(self) -> int:
        workers = self._cluster.look()["workers"]
        pids = {worker["pid"] for worker in workers} - {None} - self._frozen - self._killed
        return int(self._random.choice(sorted(pids)))


def run(seconds: float, *, freeze: bool, kill_balancer: bool, seed: int) -> Figures:
    """The load on a cluster of its own, with a kill every half second."""
    figures = Figures()
    with Cluster("tests.cluster.jobs:work", "-w", str(WORKERS)) as cluster:
        cluster.wait_for_workers(WORKERS)
        killer = Killer(cluster, seed)
        kills = int(seconds / KILL_EVERY_S) - 1
        faults = [(KILL_EVERY_S * (number + 1), killer.kill_worker) for number in range(kills)]
        if freeze:
            faults.append((seconds / 4 + KILL_EVERY_S / 2, killer.freeze_worker))
        if kill_balancer:
            faults.append((seconds / 2 + KILL_EVERY_S / 2, killer.kill_balancer))
            with happening(faults):
                asyncio.run(offer_by_client(cluster.address, seconds, figures))
        else:
            with asker(cluster.address) as client, happening(faults):
                offer(client, seconds, figures)
    figures.killed = killer.killed
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--freeze", action="store_true", help="freeze a worker, too")
    parser.add_argument("--kill-balancer", action="store_true", help="kill the balancer, too")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    arguments = parser.parse_args()
    print(
        f"{arguments.seconds:g} s at {RATE_PER_S} requests/s of {JOB['sleep_s'] * 1000:g} ms on "
        f"{WORKERS} workers, a kill every {KILL_EVERY_S * 1000:g} ms (seed {arguments.seed})"
    )
    figures = run(
        arguments.seconds,
        freeze=arguments.freeze,
        kill_balancer=arguments.kill_balancer,
        seed=arguments.seed,
    )
    print(figures)
    return 0 if figures.ok == figures.requests else 1


if __name__ == "__main__":
    sys.exit(main())
