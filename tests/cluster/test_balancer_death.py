"""The balancer is killed under load: it comes back, its workers stay, clients send again."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from balancer.client import Client
from balancer.errors import ClusterError, Unavailable
from tests.cluster.asking import Record, Reply, asker
from tests.cluster.running import Cluster, wait_until

TRY_TIMEOUT_S = 1.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(
        "tests.cluster.jobs:work", "-w", "4", "--try-timeout", f"{TRY_TIMEOUT_S}s"
    ) as cluster:
        yield cluster


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "runs")


def kill_balancer(cluster: Cluster) -> None:
    os.kill(cluster.look()["cluster"]["balancer_pid"], signal.SIGKILL)


def pids(cluster: Cluster) -> dict[str, int]:
    return {worker["name"]: worker["pid"] for worker in cluster.look()["workers"]}


def test_calls_in_flight_are_answered_by_the_next_balancer_and_the_workers_stay(
    cluster: Cluster,
) -> None:
    cluster.wait_for_workers(4)
    before = pids(cluster)
    with Client(cluster.address, timeout=10.0) as client:
        callers = [Caller(client) for _ in range(8)]
        wait_until(lambda: all(len(caller.calls) > 3 for caller in callers))
        kill_balancer(cluster)
        killed_at = time.monotonic()
        wait_until(lambda: all(caller.calls[-1][0] > killed_at for caller in callers))
        for caller in callers:
            caller.stop()
    calls = [call for caller in callers for call in caller.calls]
    assert [call for call in calls if call[2] is not None] == []
    in_flight = [end - start for start, end, _ in calls if start < killed_at < end]
    first_s = min(end for start, end, _ in calls if start > killed_at) - killed_at
    print(
        f"{len(in_flight)} in flight, answered within {max(in_flight):.3f} s; "
        f"the first new call after {first_s:.3f} s"
    )
    assert len(in_flight) == 8
    assert max(in_flight) < 3.0  # 0.4 s where it is quiet
    cluster.wait_for_workers(4)
    assert pids(cluster) == before
    assert cluster.look()["cluster"]["balancer_restarts"] >= 1


class Caller:
    """A thread that calls again and again, and notes for each call its start, end and error."""

    def __init__(self, client: Client) -> None:
        self.calls: list[tuple[float, float, ClusterError | None]] = []
        self._client = client
        self._must_stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._must_stop.is_set():
            started_at, trouble = time.monotonic(), None
            try:
                self._client.call({"sleep_s": 0.05})
            except ClusterError as error:
                trouble = error
            self.calls.append((started_at, time.monotonic(), trouble))

    def stop(self) -> None:
        self._must_stop.set()
        self._thread.join(15)
        assert not self._thread.is_alive()


def test_a_once_call_in_flight_raises_and_is_not_run_again(
    cluster: Cluster, record: Record
) -> None:
    cluster.wait_for_workers(4)
    job: dict[str, Any] = {"sleep_s": 0.5, "record": record.path}
    with ThreadPoolExecutor() as pool, Client(cluster.address) as client:
        once = pool.submit(client.call, job, once=True)
        often = pool.submit(client.call, {**job, "name": "often"})
        record.wait_for_runs(1)
        wait_until(lambda: record.runs("often"))
        kill_balancer(cluster)
        killed_at = time.monotonic()
        with pytest.raises(Unavailable) as raised:
            once.result(15)
        print(f"once raised after {(time.monotonic() - killed_at) * 1000:.0f} ms: {raised.value}")
        assert raised.value.may_have_run
        assert raised.value.reason == "connection_lost"
        assert often.result(15)["pid"]
        assert client.call({"record": record.path, "name": "after"})
    assert len(record.runs()) == 1
    assert len(record.runs("often")) == 2


def test_of_many_once_calls_those_that_waited_are_answered_and_none_runs_twice(
    cluster: Cluster, record: Record
) -> None:
    cluster.wait_for_workers(4)
    job: dict[str, Any] = {"sleep_s": 0.5, "record": record.path}
    names = [str(number) for number in range(10)]
    with ThreadPoolExecutor(10) as pool, Client(cluster.address) as client:
        calls = {n: pool.submit(client.send, {**job, "name": n}, once=True) for n in names}
        wait_until(lambda: len(record.every_run()) == 4)
        wait_until(lambda: cluster.look()["queue"]["length"] == 6)
        in_flight = {run["name"] for run in record.every_run()}
        kill_balancer(cluster)
        replies = {name: call.result(15) for name, call in calls.items()}
    lost = {name for name, reply in replies.items() if reply.status != 200}
    assert lost == in_flight
    assert {(replies[name].reason, replies[name].may_have_run) for name in lost} == {
        ("connection_lost", True)
    }
    assert sorted(run["name"] for run in record.every_run()) == names


def test_what_ran_while_the_launcher_was_stuck_is_known_to_the_next_balancer(
    cluster: Cluster, record: Record
) -> None:
    cluster.wait_for_workers(4)
    names = [str(number) for number in range(1000)]
    balancer_pid = cluster.look()["cluster"]["balancer_pid"]
    os.kill(cluster.launcher.pid, signal.SIGSTOP)
    try:
        before = ask_once(cluster.address, names, record)
        os.kill(balancer_pid, signal.SIGKILL)
    finally:
        os.kill(cluster.launcher.pid, signal.SIGCONT)
    wait_until(lambda: cluster.look()["cluster"]["balancer_pid"] not in (None, balancer_pid))
    cluster.wait_for_workers(4)
    after = ask_once(cluster.address, names, record)
    answered = [name for name in names if before[name].status == 200]
    refused = [name for name in names if before[name].status == 503]
    print(f"{len(answered)} answered before the launcher's pipe was full, {len(refused)} refused")
    assert answered
    assert refused
    assert len(answered) + len(refused) == len(names)
    assert {before[name].fields["may_have_run"] for name in refused} == {False}
    assert {after[name].status for name in answered} == {409}
    assert {after[name].status for name in refused} == {200}
    assert sorted(run["name"] for run in record.every_run()) == sorted(names)


def ask_once(address: str, names: list[str], record: Record) -> dict[str, Reply]:
    """Ask for one run under each name, some at a time."""
    replies: dict[str, Reply] = {}
    with asker(address) as client:
        for first in range(0, len(names), 50):
            numbers = {
                name: client.send({"record": record.path, "name": name}, once=True, id=name)
                for name in names[first : first + 50]
            }
            replies |= {name: client.reply(number) for name, number in numbers.items()}
    return replies


def test_a_worker_that_hangs_since_before_the_balancer_died_is_replaced(
    cluster: Cluster, record: Record
) -> None:
    cluster.wait_for_workers(4)
    before = pids(cluster)
    with ThreadPoolExecutor() as pool, Client(cluster.address) as client:
        stuck = pool.submit(client.call, {"do": "spin", "record": record.path}, once=True)
        record.wait_for_runs(1)
        kill_balancer(cluster)
        with pytest.raises(Unavailable):
            stuck.result(15)
        assert client.call({})["pid"] in before.values()
        pid = record.runs()[0]["pid"]
        wait_until(lambda: pid not in pids(cluster).values(), 10)
        cluster.wait_for_workers(4)
    assert len(set(pids(cluster).items()) & set(before.items())) == 3
    cluster.wait_for_log("in _spin")


def test_the_balancer_is_back_as_often_as_it_dies(cluster: Cluster) -> None:
    cluster.wait_for_workers(4)
    before = pids(cluster)
    with Client(cluster.address, timeout=10.0) as client:
        for _ in range(3):
            kill_balancer(cluster)
            assert client.call({})["pid"] in before.values()
    cluster.wait_for_workers(4)
    assert pids(cluster) == before


def test_a_frozen_balancer_is_replaced_and_calls_in_flight_are_answered(cluster: Cluster) -> None:
    cluster.wait_for_workers(4)
    before = pids(cluster)
    with ThreadPoolExecutor() as pool, Client(cluster.address, timeout=20.0) as client:
        in_flight = pool.submit(client.call, {"sleep_s": 0.3})
        cluster.wait_for_holder()
        os.kill(cluster.look()["cluster"]["balancer_pid"], signal.SIGSTOP)
        frozen_at = time.monotonic()
        assert in_flight.result(20)["pid"] in before.values()
    took_s = time.monotonic() - frozen_at
    print(f"answered {took_s:.2f} s after the balancer froze")
    assert took_s < 10.0
    cluster.wait_for_workers(4)
    assert pids(cluster) == before
