"""Workers that are alive and of no use: frozen by a signal, or in code that never comes back."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.asking import Record, asker
from tests.cluster.running import Cluster, wait_until

TRY_TIMEOUT_S = 1.0


@pytest.fixture(scope="module")
def patient() -> Iterator[Cluster]:
    """It waits 10 s for a worker, as is the default."""
    with Cluster("tests.cluster.jobs:work", "-w", "3") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def brisk() -> Iterator[Cluster]:
    with Cluster(
        "tests.cluster.jobs:work", "-w", "3", "--try-timeout", f"{TRY_TIMEOUT_S}s"
    ) as cluster:
        yield cluster


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "runs")


def wait_for_replacement(cluster: Cluster, slot: str, old_pid: int) -> None:
    def is_replaced() -> bool:
        worker = cluster.worker(slot)
        return bool(worker["state"] == "idle" and worker["pid"] != old_pid)

    wait_until(is_replaced, 10, f"{slot} is replaced")


def thaw(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def test_what_a_frozen_worker_holds_is_answered_by_another_long_before_its_time_is_up(
    patient: Cluster, record: Record
) -> None:
    patient.wait_for_workers(3)
    with asker(patient.address) as client:
        number = client.send({"sleep_s": 0.2, "record": record.path})
        record.wait_for_runs(1)
        holder = patient.wait_for_holder()["name"]
        pid, frozen_at = patient.kill(holder, signal.SIGSTOP), time.monotonic()
        reply = client.reply(number)
        thaw(pid)
        print(f"answered {reply.at - frozen_at:.2f} s after its worker froze")
        assert reply.at - frozen_at < 4.5  # below 2.3 s where it is quiet
        assert reply.status == 200
        assert reply.tried == [(holder, "died")]
        wait_for_replacement(patient, holder, pid)
        assert [run["attempt"] for run in record.runs()] == [1, 2]
        assert client.receive(0.1) is None


def test_a_worker_that_thaws_does_not_run_what_has_moved_on(
    patient: Cluster, record: Record
) -> None:
    patient.wait_for_workers(3)
    late_before = patient.look()["totals"]["late_replies"]
    with asker(patient.address) as client:
        # Who has replied last is asked first, the two others by what is sent with it.
        frozen, pid = (last := client.ask({})).worker, last.body["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            job = {"record": record.path}
            names = [{**job, "name": str(n)} for n in range(3)]
            numbers = [client.send(named, try_timeout_ms=200) for named in names]
            replies = [client.reply(number) for number in numbers]
        finally:
            thaw(pid)
    assert [reply.status for reply in replies] == [200] * 3
    assert [reply.tried for reply in replies] == [[(frozen, "timeout")], [], []]
    wait_until(lambda: patient.look()["totals"]["late_replies"] > late_before)
    worker = patient.worker(frozen)
    assert (worker["state"], worker["pid"]) == ("idle", pid)
    assert [len(record.runs(str(n))) for n in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("deed", "line_of_stack"), [("spin", "in _spin"), ("hold the gil", "in _hold_the_gil")]
)
def test_code_that_never_comes_back_costs_one_try_and_leaves_its_stack_in_the_log(
    brisk: Cluster, deed: str, line_of_stack: str
) -> None:
    brisk.wait_for_workers(3)
    with asker(brisk.address) as client:
        sent_at = time.monotonic()
        number = client.send({"do": deed, "tries": 1})
        holder = brisk.wait_for_holder()
        slowest_s = longest_wait_s(brisk.address, until=sent_at + TRY_TIMEOUT_S)
        reply = client.reply(number)
    print(f"{deed}: answered after {reply.at - sent_at:.3f} s, others within {slowest_s:.3f} s")
    assert (reply.status, reply.tried) == (200, [(holder["name"], "timeout")])
    assert TRY_TIMEOUT_S <= reply.at - sent_at < TRY_TIMEOUT_S + 0.5  # 5 ms where it is quiet
    assert slowest_s < 0.5
    stack = brisk.wait_for_log(line_of_stack)
    assert "tests/cluster/jobs.py" in stack
    wait_for_replacement(brisk, holder["name"], holder["pid"])
    assert "hangs in request" in brisk.log()


def longest_wait_s(address: str, until: float) -> float:
    """Ask for small things, one after another, and measure how long the slowest took."""
    longest_s = 0.0
    with asker(address) as client:
        while (asked_at := time.monotonic()) < until:
            reply = client.ask({"sleep_s": 0.01})
            assert (reply.status, reply.tried) == (200, [])
            longest_s = max(longest_s, reply.at - asked_at)
    return longest_s
