"""The launcher is killed, and cannot do anything about it: nothing that it started survives it."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from balancer.client import Client
from balancer.runtime_directory import path_of
from tests.cluster.asking import Asker, Record, asker
from tests.cluster.running import (
    Cluster,
    is_alive,
    plain_client,
    processes_of_session_tree,
    wait_until,
)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "runs")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster("tests.cluster.jobs:work", "-w", "4") as cluster:
        cluster.wait_for_workers(4)
        yield cluster
    shutil.rmtree(path_of(cluster.name), ignore_errors=True)


def kill_launcher(cluster: Cluster) -> set[int]:
    """Kill it and give back what it leaves behind."""
    family = processes_of_session_tree(cluster.launcher.pid)
    cluster.launcher.kill()
    cluster.launcher.wait()
    return family - {cluster.launcher.pid}


def assert_all_end(family: set[int]) -> None:
    began_at = time.monotonic()
    wait_until(lambda: not any(map(is_alive, family)), 10, "nothing of the cluster is alive")
    took_s = time.monotonic() - began_at
    print(f"{len(family)} processes ended within {took_s * 1000:.0f} ms")
    assert took_s < 4.0  # 20 ms where it is quiet


def hold_all_ways(client: Asker, record: Record) -> int:
    """Have a worker that hangs, one that is frozen, and one that hangs after it has started a
    process of its own; the pid of that."""
    for deed in ("hold the gil", "spin", "start a process and hold the gil"):
        client.send({"do": deed, "record": record.path, "name": deed})
    (parent,) = wait_until(lambda: record.runs("start a process and hold the gil"))
    (frozen,) = wait_until(lambda: record.runs("spin"))
    os.kill(frozen["pid"], signal.SIGSTOP)
    wait_until(lambda: record.runs("hold the gil"))
    (child,) = wait_until(lambda: processes_of_session_tree(parent["pid"]) - {parent["pid"]})
    return child


def test_no_process_outlives_the_launcher_whatever_it_is_doing(
    cluster: Cluster, record: Record
) -> None:
    with asker(cluster.address) as client:
        grandchild = hold_all_ways(client, record)
        os.kill(cluster.look()["cluster"]["balancer_pid"], signal.SIGSTOP)
        family = kill_launcher(cluster)
        assert grandchild in family
        assert len(family) >= 6  # the balancer, four workers, and what one of them started
        assert_all_end(family)


def test_a_once_call_in_flight_is_not_run_again_by_the_next_cluster_at_the_address(
    cluster: Cluster, record: Record
) -> None:
    job = {"sleep_s": 1.0, "record": record.path}
    with Client(cluster.address) as client, ThreadPoolExecutor(2) as pool:
        once = pool.submit(client.send, job, once=True)
        often = pool.submit(client.send, {**job, "name": "often"})
        wait_until(lambda: len(record.every_run()) == 2)
        # Else it might find time to tell of a worker that died before it.
        os.kill(cluster.look()["cluster"]["balancer_pid"], signal.SIGSTOP)
        assert_all_end(kill_launcher(cluster))
        with Cluster("tests.cluster.jobs:work", "-w", "1", bind=cluster.address):
            reply = once.result(15)
            assert often.result(15).status == 200
            assert client.call({"record": record.path, "name": "after"}, once=True)
    assert (reply.status, reply.reason, reply.may_have_run) == (503, "connection_lost", True)
    assert len(record.runs()) == 1
    assert len(record.runs("often")) == 2


def test_a_dead_launcher_is_not_in_the_way_of_the_next_of_its_name(cluster: Cluster) -> None:
    assert_all_end(kill_launcher(cluster))
    left_behind = list(path_of(cluster.name).iterdir())
    assert left_behind
    successor = Cluster("tests.cluster.jobs:work", "-w", "1")
    successor.name, successor.address = cluster.name, cluster.address
    with successor, plain_client(successor.address) as client:
        assert client.ask({}, timeout_ms=5000)["status"] == 200
    assert not path_of(cluster.name).exists()
