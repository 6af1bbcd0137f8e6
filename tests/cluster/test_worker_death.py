"""A worker is killed while it holds a request: the next one answers, and the slot comes back."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.asking import Asker, Record, asker
from tests.cluster.running import Cluster, processes_of_session_tree, wait_until

WORK_S = 0.5
SLOTS = [f"work-{number}" for number in range(1, 5)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster("tests.cluster.jobs:work", "-w", "4") as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Asker]:
    cluster.wait_for_workers(4)
    with asker(cluster.address) as client:
        yield client


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "runs")


@pytest.mark.parametrize("slot", SLOTS)
def test_whichever_worker_is_killed_its_request_is_answered_without_delay(
    cluster: Cluster, client: Asker, record: Record, slot: str
) -> None:
    job = {"sleep_s": WORK_S, "record": record.path}
    numbers = [client.send({**job, "name": str(n)}) for n in range(4)]
    wait_until(lambda: sum(len(record.runs(str(n))) for n in range(4)) == 4)
    lines_before = len(cluster.log().splitlines())
    killed = cluster.kill(slot)
    replies = [client.reply(number) for number in numbers]
    assert [reply.status for reply in replies] == [200] * 4
    moved = [n for n, reply in enumerate(replies) if reply.tried]
    assert [replies[n].tried for n in moved] == [[(slot, "died")]]
    first, second = record.runs(str(moved[0]))
    assert first["pid"] == killed != second["pid"]
    answered_at = replies[moved[0]].at
    print(f"{slot}: answered {(answered_at - second['started_at'] - WORK_S) * 1000:.0f} ms late")
    assert answered_at - second["started_at"] < WORK_S + 0.3  # about 1 ms where it is quiet
    assert second["started_at"] - _free_at(second, record) < 0.3  # about 10 ms, too
    assert _time_to_return_ms(cluster, slot, lines_before) < 2000  # about 200 ms


@pytest.mark.parametrize("size_bytes", [0, 200_000])
def test_a_worker_that_is_told_to_stop_answers_what_it_holds(
    cluster: Cluster, client: Asker, record: Record, size_bytes: int
) -> None:
    job = {"sleep_s": WORK_S, "record": record.path, "cargo": bytes(size_bytes)}
    number = client.send(job, once=True)
    record.wait_for_runs(1)
    [run] = record.runs()
    os.kill(run["pid"], signal.SIGTERM)
    reply = client.reply(number)
    assert (reply.status, reply.tried, reply.body["pid"]) == (200, [], run["pid"])
    wait_until(lambda: cluster.worker(reply.worker)["pid"] != run["pid"], 10, "it is replaced")


def _free_at(run: dict[str, Any], record: Record) -> float:
    """The instant at which the worker could have begun this run."""
    others = [r for n in range(4) for r in record.runs(str(n)) if r["pid"] == run["pid"]]
    before = [r["started_at"] + WORK_S for r in others if r["started_at"] < run["started_at"]]
    return float(max([*before, run["ready_at"]]))


def _time_to_return_ms(cluster: Cluster, slot: str, lines_before: int) -> int:
    """What the log says of how long the slot was without a worker in rotation."""

    def line() -> re.Match[str] | None:
        new_lines = "\n".join(cluster.log().splitlines()[lines_before:])
        return re.search(rf" {slot} +back after (\d+) ms", new_lines)

    took = wait_until(line, 10, f"{slot} is back")
    assert took is not None
    print(f"{slot}: back after {took[1]} ms")
    return int(took[1])


def test_a_request_whose_holders_are_killed_one_after_another_is_answered_by_the_third(
    cluster: Cluster, client: Asker, record: Record
) -> None:
    number = client.send({"sleep_s": WORK_S, "record": record.path})
    holders: list[str] = []
    for attempt in (1, 2):
        record.wait_for_runs(attempt)
        holder = cluster.wait_for_holder(but=holders[-1] if holders else "")["name"]
        holders.append(holder)
        cluster.kill(holder)
    reply = client.reply(number)
    assert (reply.status, reply.fields["attempts"]) == (200, 3)
    assert reply.tried == [(holder, "died") for holder in holders]
    assert reply.worker not in holders
    assert [run["attempt"] for run in record.runs()] == [1, 2, 3]


def test_a_child_that_keeps_the_dead_workers_connection_open_delays_nothing(
    cluster: Cluster, client: Asker, record: Record
) -> None:
    number = client.send({"do": "leave a daemon", "tries": 1, "record": record.path})
    record.wait_for_runs(1)
    pid = record.runs()[0]["pid"]
    wait_until(lambda: len(processes_of_session_tree(pid)) == 2)
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    reply = client.reply(number)
    print(f"answered {(reply.at - killed_at) * 1000:.0f} ms after the worker was killed")
    assert (reply.status, [why for _, why in reply.tried]) == (200, ["died"])
    assert reply.at - killed_at < 1.0  # 60 ms where it is quiet


def test_the_log_tells_what_died_of_what_and_where_its_request_went(
    cluster: Cluster, client: Asker, record: Record
) -> None:
    number = client.send({"sleep_s": WORK_S, "record": record.path})
    record.wait_for_runs(1)
    holder = cluster.wait_for_holder()["name"]
    pid = cluster.kill(holder, signal.SIGSEGV)
    reply = client.reply(number)
    line = cluster.wait_for_log("killed by SIGSEGV")
    assert re.search(
        rf"{holder} +killed by SIGSEGV after .*pid {pid}.* while it held request", line
    )
    assert "restarting at once" in line
    log = cluster.log()
    assert re.search(rf"lost {holder}, which died .*; forwarded to {reply.worker}", log)


def test_a_worker_that_writes_where_it_should_not_harms_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(STRAY)
    with Cluster("jobs:stray", "-w", "2", cwd=tmp_path) as cluster:
        cluster.wait_for_workers(2)
        with asker(cluster.address) as client:
            assert client.ask("junk").status in (200, 500)
            cluster.wait_for_log("it wrote nonsense to its launcher")
            assert client.ask("good").status == 200
        assert cluster.launcher.poll() is None


STRAY = """
import os

def stray(request):
    if request == "junk":
        for descriptor in range(3, 40):
            try:
                os.write(descriptor, b"junk\\n")
            except OSError:
                pass
    return request
"""


def test_what_a_thawed_balancer_says_of_a_dead_worker_comes_too_late() -> None:
    arguments = ("tests.cluster.jobs:work", "-w", "2", "--no-restart", "--try-timeout", "500ms")
    with Cluster(*arguments, "--hang-kill-after", "300ms") as cluster:
        cluster.wait_for_workers(2)
        balancer = cluster.look()["cluster"]["balancer_pid"]
        with asker(cluster.address) as client:
            client.send({"do": "spin"}, once=True)
            holder = cluster.wait_for_holder()
            os.kill(balancer, signal.SIGSTOP)
            cluster.kill(holder["name"], signal.SIGKILL)
            cluster.wait_for_log("killed by SIGKILL")
            time.sleep(1.0)  # longer than the timeout and the patience with a hanging worker
            os.kill(balancer, signal.SIGCONT)
            assert client.ask({}).status == 200
        assert cluster.launcher.poll() is None
