"""Every worker is dead at once: they come back, or are not to come back, or cannot come back."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.asking import asker
from tests.cluster.running import Cluster, wait_until


def kill_all(cluster: Cluster) -> None:
    for pid in [worker["pid"] for worker in cluster.look()["workers"]]:
        os.kill(pid, signal.SIGKILL)


def test_requests_wait_for_workers_that_come_back() -> None:
    with Cluster("tests.cluster.jobs:work", "-w", "3") as cluster:
        cluster.wait_for_workers(3)
        with asker(cluster.address) as client:
            numbers = [client.send({"sleep_s": 0.2}) for _ in range(9)]
            wait_until(lambda: all(w["state"] == "busy" for w in cluster.look()["workers"]))
            kill_all(cluster)
            killed_at = time.monotonic()
            late = client.send({})
            replies = [client.reply(number) for number in (*numbers, late)]
        assert [reply.status for reply in replies] == [200] * 10
        assert sorted(why for r in replies for _, why in r.tried) == ["died"] * 3
        print(f"all answered {max(r.at for r in replies) - killed_at:.2f} s after all were killed")


@pytest.fixture(scope="module")
def deserted() -> Iterator[Cluster]:
    """No worker of it is alive, and none is to be started again."""
    arguments = ("-w", "2", "--no-restart", "--revive-grace", "20s")
    with Cluster("tests.cluster.jobs:work", *arguments) as cluster:
        cluster.wait_for_workers(2)
        kill_all(cluster)
        wait_until(lambda: all(w["pid"] is None for w in cluster.look()["workers"]))
        yield cluster


def test_a_cluster_that_may_not_restart_its_workers_stays_up_and_says_that_there_are_none(
    deserted: Cluster,
) -> None:
    with asker(deserted.address) as client:
        for _ in range(3):
            asked_at = time.monotonic()
            reply = client.ask({})
            print(f"503 after {(reply.at - asked_at) * 1000:.1f} ms")
            assert (reply.status, reply.reason) == (503, "no_workers")
            assert reply.fields["may_have_run"] is False
            assert reply.at - asked_at < 1.5
    workers = deserted.look()["workers"]
    assert [(w["state"], w["why"]) for w in workers] == [
        ("down", "killed by SIGKILL; restart is off")
    ] * 2


def test_a_new_balancer_knows_that_nobody_will_come_back(deserted: Cluster) -> None:
    old_pid = deserted.look()["cluster"]["balancer_pid"]
    os.kill(old_pid, signal.SIGKILL)
    wait_until(lambda: deserted.look()["cluster"]["balancer_pid"] not in (old_pid, None))
    with asker(deserted.address) as client:
        asked_at = time.monotonic()
        reply = client.ask({})
        assert (reply.status, reply.reason) == (503, "no_workers")
        assert reply.at - asked_at < 1.5 + 2.0  # the second is for the balancer's start


FRAGILE = """\
from pathlib import Path

if Path(__file__).with_name("broken").exists():
    raise RuntimeError("this machine has lost its model")

def answer(request):
    return request
"""


def test_a_broken_slot_is_given_up_and_the_last_one_of_a_pool_ends_the_cluster(
    tmp_path: Path,
) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    with Cluster("fragile:answer", "workers.demo:echo", "-w", "2", cwd=tmp_path) as cluster:
        cluster.wait_for_workers(4)
        (tmp_path / "broken").touch()
        cluster.kill("answer-1")
        wait_until(lambda: cluster.worker("answer-1")["state"] == "failed", 20)
        with asker(cluster.address) as client:
            assert client.ask("hello").worker == "answer-2"
        cluster.kill("answer-2")
        began_at = time.monotonic()
        assert cluster.launcher.wait(30) == 1
        print(f"ended after {time.monotonic() - began_at:.1f} s")
        log = cluster.log()
    assert log.count("this machine has lost its model") <= 3  # not for each of ten starts
    assert "every worker of pool 'answer' failed" in log
