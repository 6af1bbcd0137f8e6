"""Rows on what a cluster costs beside its requests: its start and its memory."""

import statistics
import time

import msgpack
import zmq

from tests.benchmarks.contestants import ECHO, Running, Setting, options_of
from tests.benchmarks.plans import Plan
from tests.benchmarks.processes import PeerFailed, pss_bytes
from tests.benchmarks.rounds import Column, Figures, Row, Sections, Turn
from tests.cluster.running import Cluster

START_TIMEOUT_S = 30.0
PAUSE_S = 0.005
_USUAL = {"PYTHONDONTWRITEBYTECODE": ""}
"""Python keeps what it has compiled, as it does unless it is told otherwise."""
MIB = 2**20


def measure_start(turn: Turn) -> Sections:
    """From the launcher's start to the first answer, and to the first with all workers up."""
    workers = str(turn.setting.workers)
    cluster = Cluster(ECHO, "-w", workers, *options_of(turn.contestant), env=_USUAL)
    cluster.start()
    try:
        first_s = _wait_for_answer(cluster)
        cluster.wait_for_workers(turn.setting.workers, START_TIMEOUT_S)
        all_s = time.monotonic() - cluster.started_at
    finally:
        cluster.close()
    return {
        f"{turn.setting.workers} workers": {
            "first answer ms": first_s * 1000,
            "all workers ms": all_s * 1000,
        }
    }


def _wait_for_answer(cluster: Cluster) -> float:
    """Ask until there is an answer; how long that was from the cluster's start."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.linger = 0
        client.reconnect_ivl = 5
        client.rcvtimeo = int(START_TIMEOUT_S * 1000)
        client.connect(cluster.address)
        while time.monotonic() < cluster.started_at + START_TIMEOUT_S:
            client.send_multipart([b"", msgpack.packb("first")])
            answer = msgpack.unpackb(client.recv_multipart()[-1])
            if answer.get("body") == "first":
                return time.monotonic() - cluster.started_at
            time.sleep(PAUSE_S)
    raise PeerFailed("no answer")


def measure_memory(turn: Turn) -> Sections:
    """After some requests, so that all that is imported and built lazily is there."""
    with turn.opened() as running:
        running.run(turn.plan(Plan(8, 5.0, requests_max=2000)))
        workers = [pss_bytes(pid) for pid in running.worker_pids]
        figures: Figures = {
            "balancer": pss_bytes(_balancer_of(running)) / MIB,
            "one worker": statistics.median(workers) / MIB,
            "everything": sum(map(pss_bytes, running.pids)) / MIB,
        }
    return {f"{turn.setting.workers} workers, MiB": figures}


MILLION = 1_000_000
WARM_UP = 20_000
MILLION_TIMEOUT_S = 1800.0


def measure_million(turn: Turn) -> Sections:
    """What the balancer keeps of requests that are over: nothing, if its memory stays."""
    with turn.opened() as running:
        balancer = _balancer_of(running)
        running.run(turn.plan(Plan(64, MILLION_TIMEOUT_S, requests_max=WARM_UP)))
        before_bytes = pss_bytes(balancer, "Pss_Anon")
        plan = Plan(64, MILLION_TIMEOUT_S, requests_max=MILLION, warm_up=0)
        outcome = running.run(turn.plan(plan))
        after_bytes = pss_bytes(balancer, "Pss_Anon")
    return {
        f"{outcome.answered:,} echoes": {
            "req/s": outcome.answered / outcome.elapsed_s,
            "before MiB": before_bytes / MIB,
            "after MiB": after_bytes / MIB,
            "grown KiB": (after_bytes - before_bytes) / 1024,
        }
    }


def _balancer_of(running: Running) -> int:
    assert running.balancer_pid is not None
    return running.balancer_pid


ROWS = [
    Row(
        "start",
        "from the start of run_cluster.py to its first answer",
        (Column("first answer ms"), Column("all workers ms")),
        measure_start,
        ("strict", "batch"),
    ),
    Row(
        "memory",
        "memory, what is shared counted by shares (PSS)",
        (
            Column("balancer", 1),
            Column("one worker", 1, is_compared=True),
            Column("everything", 1),
        ),
        measure_memory,
        ("loop", "strict", "batch"),
        (Setting(has_fresh_workers=True),),
    ),
    Row(
        "million",
        "memory of the balancer, files left out, before and after a million requests",
        (
            Column("req/s"),
            Column("before MiB", 2),
            Column("after MiB", 2),
            Column("grown KiB"),
        ),
        measure_million,
        ("strict", "batch"),
        rounds=1,
        is_default=False,
    ),
]
