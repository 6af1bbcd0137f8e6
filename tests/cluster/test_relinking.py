"""Links that end while the worker lives: whose fault it was decides whether the worker stays."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.asking import asker
from tests.cluster.running import Cluster, wait_until

SHORT = {"sleep_s": 0.1}
"""Long enough for some of them to keep every worker busy if they are sent at once."""
PAUSE_S = 1.8
"""Longer than a link lives without a heartbeat, shorter than a balancer may be silent."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster("tests.cluster.cutting:work", "-w", "3") as cluster:
        yield cluster


def pids(cluster: Cluster) -> dict[str, int]:
    return {worker["name"]: worker["pid"] for worker in cluster.look()["workers"]}


def test_a_worker_whose_connection_broke_is_linked_again(cluster: Cluster) -> None:
    cluster.wait_for_workers(3)
    before = pids(cluster)
    with asker(cluster.address) as client:
        reply = client.ask({"cut": "now"}, once=True)
        assert (reply.status, reply.fields["may_have_run"]) == (503, True)
        [(cut, why)] = reply.tried
        assert why == "died"
        cluster.wait_for_log(f"{cut:<11} linked again (pid {before[cut]})")
        wait_until(lambda: cluster.worker(cut)["state"] == "idle")
        worker = cluster.worker(cut)
        assert (worker["incarnation"], worker["restarts"], worker["why"]) == (2, 0, "")
        assert {reply.body for reply in client.ask_at_once(6, SHORT)} == set(before.values())
    assert pids(cluster) == before


def test_what_it_does_meanwhile_is_finished_before_the_next(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.wait_for_workers(3)
    before, finish = pids(cluster), tmp_path / "finish"
    with asker(cluster.address) as client:
        reply = client.ask({"cut": "now", "until": str(finish)}, once=True)
        [(cut, _)] = reply.tried
        wait_until(lambda: cluster.worker(cut)["state"] == "connecting", what="it is dialed again")
        assert {reply.worker for reply in client.ask_at_once(6, SHORT)} == set(before) - {cut}
        assert cluster.worker(cut)["state"] == "connecting"
        finish.touch()
        cluster.wait_for_workers(3)
    assert pids(cluster) == before


def test_a_worker_that_cannot_keep_a_connection_is_replaced(cluster: Cluster) -> None:
    cluster.wait_for_workers(3)
    with asker(cluster.address) as client:
        reply = client.ask({"cut": "always"}, once=True)
        if reply.status == 200:
            cut, pid = reply.worker, reply.body
        else:
            [(cut, _)] = reply.tried
            pid = pids(cluster)[cut]
    cluster.wait_for_log(f"(pid {pid}): it was frozen or its link broke")
    wait_until(lambda: pids(cluster)[cut] != pid)
    cluster.wait_for_workers(3)


def test_no_worker_dies_of_the_balancers_own_pause(cluster: Cluster) -> None:
    cluster.wait_for_workers(3)
    before = pids(cluster)
    balancer = cluster.look()["cluster"]["balancer_pid"]
    os.kill(balancer, signal.SIGSTOP)
    time.sleep(PAUSE_S)
    os.kill(balancer, signal.SIGCONT)
    with asker(cluster.address) as client:
        wait_until(
            lambda: {reply.body for reply in client.ask_at_once(6, SHORT)} == set(before.values())
        )
    assert cluster.look()["cluster"]["balancer_pid"] == balancer
    assert pids(cluster) == before


def test_a_frozen_worker_is_still_replaced_at_once(cluster: Cluster) -> None:
    cluster.wait_for_workers(3)
    links = cluster.worker("work-2")["incarnation"]
    pid, frozen_at = cluster.kill("work-2", signal.SIGSTOP), time.monotonic()
    wait_until(lambda: cluster.worker("work-2")["pid"] != pid, 10, "work-2 is replaced")
    took_s = time.monotonic() - frozen_at
    print(f"replaced {took_s:.2f} s after it froze")
    assert took_s < 4.5  # 2.2 s where it is quiet
    cluster.wait_for_log(f"(pid {pid}): it was frozen or its link broke; restarting at once")
    cluster.wait_for_workers(3)
    assert cluster.worker("work-2")["incarnation"] == links + 1, "it was not dialed while frozen"
