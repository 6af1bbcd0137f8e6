"""Whom a bench has killed: one in rotation after the other, at fixed times."""

import os
from time import monotonic
from typing import Any

import pytest

from balancer.bench.killing import NO_CLUSTER, NO_PROCESS, Killer, kill, next_victim
from balancer.bench.tally import Tally
from tests.shell.fake_balancer import wait_until
from tests.shell.test_cli import cluster


def worker(name: str, state: str = "idle", pid: int | None = 1) -> dict[str, Any]:
    return {"name": name, "state": state, "pid": pid}


def name_of_next(workers: list[dict[str, Any]], last: str) -> str | None:
    victim = next_victim(workers, last)
    return victim["name"] if victim else None


def test_everybody_has_a_turn() -> None:
    workers = [worker("a-1"), worker("a-2", "busy"), worker("a-3")]
    turns = ["", "a-1", "a-2", "a-3"]
    assert [name_of_next(workers, last) for last in turns] == ["a-1", "a-2", "a-3", "a-1"]


def test_only_who_is_in_rotation_is_killed() -> None:
    out = ("starting", "connecting", "overdue", "ejected", "draining", "drained", "down", "failed")
    workers = [worker(f"a-{state}", state) for state in out]
    assert next_victim(workers, "") is None
    assert name_of_next([*workers, worker("b-1")], "a-starting") == "b-1"


def test_who_has_no_process_of_ours_is_left_alone() -> None:
    assert next_victim([worker("by-hand-1", pid=None)], "") is None


def test_a_cluster_without_workers_has_no_victim() -> None:
    assert next_victim([], "a-1") is None
    assert name_of_next([worker("b-1")], "a-9") == "b-1"


@pytest.mark.parametrize(
    ("reply", "why_not"),
    [
        ({"did": "a-1 (pid 7) is killed", "changed": True}, ""),
        ({"did": "a-1 is down already", "changed": False}, NO_PROCESS),
        ({"error": "there is no worker a-1"}, "there is no worker a-1"),
    ],
)
def test_what_the_cluster_says_to_an_order_to_kill(reply: dict[str, Any], why_not: str) -> None:
    name = f"killing-{os.getpid()}"
    with cluster(name, kill=reply):
        assert kill(name, "a-1") == why_not


def test_a_time_at_which_nobody_could_be_killed_is_noted_and_the_end_is_none() -> None:
    tally, started_at = Tally(duration_s=0.3), monotonic()
    killer = Killer("no-such-cluster", every_s=0.1, duration_s=0.3, started_at=started_at)
    killer.start()
    wait_until(lambda: monotonic() > started_at + 0.4)
    killer.stop()
    killer.report_to(tally)
    assert tally.missed_kills == {NO_CLUSTER: 2}
    assert tally.kills == 0


def test_a_stopped_killer_is_stopped_at_once() -> None:
    killer = Killer("no-such-cluster", every_s=60.0, duration_s=600.0, started_at=monotonic())
    killer.start()
    before = monotonic()
    killer.stop()
    assert monotonic() - before < 1.0
