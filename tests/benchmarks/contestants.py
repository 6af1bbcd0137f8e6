"""Who is measured: each started fresh for a turn, with the load that fits it, and stopped after."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from tests.benchmarks.onlookers import onlookers
from tests.benchmarks.plans import Outcome, Plan
from tests.benchmarks.processes import Peer, PeerFailed, deadline, peer
from tests.chaos.processes import children_of
from tests.cluster.running import (
    PROJECT,
    Cluster,
    free_port,
    processes_of_session_tree,
    run_cluster_command,
)

START_TIMEOUT_S = 60.0
PLAN_SPARE_S = 60.0
"""What warm-up and the last answers may take beside the time of the plan itself."""
ECHO = "tests.benchmarks.jobs:echo"
WORK = "tests.benchmarks.jobs:work"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a contestant is started with, and under which title its figures are shown."""

    workers: int = 4
    job: str = ECHO
    has_fresh_workers: bool = False
    """Whether the peers' workers are started one by one, as ours are, and not forked from one
    process: what they share in memory is not the same then."""


@dataclass(frozen=True, slots=True)
class Running:
    """A contestant that runs, with its load process."""

    load: Peer
    pids: list[int] = field(default_factory=list)
    """All of its processes but those that the load itself has started."""
    endpoint: str = ""
    balancer_pid: int | None = None
    worker_pids: list[int] = field(default_factory=list)

    def run(self, plan: Plan, *, may_refuse: bool = False) -> Outcome:
        """PeerFailed if not every request was answered, and with its echo; with ``may_refuse`` if
        none was."""
        with deadline(plan.seconds + PLAN_SPARE_S, "the load"):
            self.load.tell({"plan": plan.to_words(), "pids": self.pids})
            outcome = Outcome.from_words(self.load.hear())
        if outcome.ended:
            raise PeerFailed(f"{outcome.ended} of its processes ended under the load")
        if not outcome.answered or (not may_refuse and outcome.wrong + outcome.unanswered):
            sent = outcome.answered + outcome.wrong + outcome.unanswered
            raise PeerFailed(
                f"of {sent} requests {outcome.wrong} were not answered with their echo, "
                f"{outcome.unanswered} not at all"
            )
        return outcome


Open = Callable[[Setting], AbstractContextManager[Running]]


@contextmanager
def crew(setting: Setting, endpoint: str) -> Iterator[tuple[list[str], list[int]]]:
    """Plain REP workers that are ready: their endpoints and pids."""
    words: list[dict[str, Any]] = []
    with ExitStack() as stack:
        while len(words) < setting.workers:
            count = 1 if setting.has_fresh_workers else setting.workers
            arguments = (setting.job, endpoint, str(len(words)), str(count))
            process = stack.enter_context(peer("tests.benchmarks.rep_worker", *arguments))
            with deadline(START_TIMEOUT_S, "the workers' start"):
                words += [process.hear() for _ in range(count)]
        yield [word["endpoint"] for word in words], [word["pid"] for word in words]


@contextmanager
def open_direct(setting: Setting) -> Iterator[Running]:
    """The client's DEALER connected to all workers, in turn and whether or not they are busy."""
    with crew(setting, "tcp://127.0.0.1:*") as (endpoints, pids), dealer(*endpoints) as load:
        yield Running(load, pids, worker_pids=pids)


def behind(module: str) -> Open:
    """A balancer process of the peers between client and workers."""

    @contextmanager
    def open_balancer(setting: Setting) -> Iterator[Running]:
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as directory,
            crew(setting, f"ipc://{directory}/{{number}}") as (endpoints, pids),
            peer(module, json.dumps(endpoints)) as balancer,
        ):
            with deadline(START_TIMEOUT_S, "the balancer's start"):
                endpoint = balancer.hear()["endpoint"]
            with dealer(endpoint) as load:
                yield Running(load, [*pids, balancer.pid], endpoint, balancer.pid, pids)

    return open_balancer


def ours(*options: str) -> Open:
    """Our own cluster: its launcher, its balancer and its workers all count."""

    @contextmanager
    def open_cluster(setting: Setting) -> Iterator[Running]:
        with _cluster(setting, *options) as cluster, _loaded(cluster) as running:
            yield running

    return open_cluster


@contextmanager
def open_watched(setting: Setting) -> Iterator[Running]:
    """Our own with everybody looking on; of those only its dashboard is counted."""
    port = free_port()
    with _cluster(setting, "--dashboard", f"127.0.0.1:{port}") as cluster:
        cluster.wait_for_log("dashboard   on", START_TIMEOUT_S)
        with onlookers(cluster, port), _loaded(cluster) as running:
            yield running


@contextmanager
def _cluster(setting: Setting, *options: str) -> Iterator[Cluster]:
    cluster = Cluster(setting.job, "-w", str(setting.workers), *options)
    cluster.start()
    with closing(cluster):
        cluster.wait_for_log("ready on", START_TIMEOUT_S)
        cluster.wait_for_workers(setting.workers, START_TIMEOUT_S)
        yield cluster


@contextmanager
def _loaded(cluster: Cluster) -> Iterator[Running]:
    pids = sorted(processes_of_session_tree(cluster.launcher.pid))
    [balancer_pid] = children_of(cluster.launcher.pid, "balancer")
    worker_pids = children_of(cluster.launcher.pid, "workers")
    with dealer(cluster.address) as load:
        yield Running(load, pids, cluster.address, balancer_pid, worker_pids)


def dealer(*endpoints: str) -> AbstractContextManager[Peer]:
    return peer("tests.benchmarks.dealer_load", json.dumps(endpoints))


def within(kind: str) -> Open:
    """A pool in the client's own process, whose load is started with it."""

    @contextmanager
    def open_pool(setting: Setting) -> Iterator[Running]:
        arguments = (kind, setting.job, str(setting.workers))
        with peer("tests.benchmarks.executor_load", *arguments) as load:
            yield Running(load)

    return open_pool


def usable() -> tuple[list[str], list[str]]:
    """The contestants that can be had here, and in words why the others cannot."""
    missing = []
    if not _takes(*BATCH_OPTIONS):
        missing.append(f"batch: run_cluster.py does not know {BATCH_OPTIONS[0]}")
    if find_spec("pebble") is None:
        missing.append("pebble: not installed, pip install -e '.[bench]' does it")
    out = {line.partition(":")[0] for line in missing}
    return [name for name in CONTESTANTS if name not in out], missing


def _takes(*options: str) -> bool:
    command = run_cluster_command(ECHO, *options, "--print-config")
    return subprocess.run(command, cwd=PROJECT, capture_output=True, timeout=20).returncode == 0


BATCH_OPTIONS = ("--batch-max", "32")


def options_of(contestant: str) -> tuple[str, ...]:
    """What one of ours is started with, for whoever starts it by hand."""
    return BATCH_OPTIONS if contestant == "batch" else ()


CONTESTANTS: dict[str, Open] = {
    "direct": open_direct,
    "proxy": behind("tests.benchmarks.proxy_balancer"),
    "loop": behind("tests.benchmarks.loop_balancer"),
    "executor": within("executor"),
    "pool": within("pool"),
    "pebble": within("pebble"),
    "strict": ours(),
    "batch": ours(*BATCH_OPTIONS),
    "watched": open_watched,
}
