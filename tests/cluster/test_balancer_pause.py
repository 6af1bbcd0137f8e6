"""A balancer that was paused does not blame its workers for the time it lost."""

import os
import signal
import time

import pytest

from tests.cluster.asking import asker
from tests.cluster.running import Cluster, wait_until

TRY_TIMEOUT_S = 0.5


@pytest.mark.parametrize("pause_s", [TRY_TIMEOUT_S + 0.1, TRY_TIMEOUT_S + 0.7])
def test_workers_that_replied_in_time_are_neither_left_nor_killed(pause_s: float) -> None:
    with Cluster(
        "tests.cluster.jobs:work", "-w", "4", "--try-timeout", f"{TRY_TIMEOUT_S}s"
    ) as cluster:
        cluster.wait_for_workers(4)
        before = cluster.look()
        with asker(cluster.address) as client:
            asked = [client.send({"sleep_s": 0.3}) for _ in range(4)]
            wait_until(lambda: {w["state"] for w in cluster.look()["workers"]} == {"busy"})
            balancer_pid = before["cluster"]["balancer_pid"]
            os.kill(balancer_pid, signal.SIGSTOP)
            stopped_at = time.monotonic()
            wait_until(lambda: time.monotonic() > stopped_at + pause_s, pause_s + 1)
            os.kill(balancer_pid, signal.SIGCONT)
            replies = [client.reply(number) for number in asked]
        after = cluster.look()
    assert [(reply.status, reply.tried) for reply in replies] == [(200, [])] * 4
    assert after["totals"]["tries"] == 4
    assert [w["pid"] for w in after["workers"]] == [w["pid"] for w in before["workers"]]


def test_what_is_due_after_a_pause_does_not_wait_until_nobody_asks_any_more() -> None:
    deadline_s, pause_s, between_s = 0.5, 0.08, 0.015
    with Cluster("tests.cluster.jobs:work", "-w", "2", "--try-timeout", "5s") as cluster:
        cluster.wait_for_workers(2)
        balancer_pid = cluster.look()["cluster"]["balancer_pid"]
        with asker(cluster.address) as client:
            started_at = time.monotonic()
            due_at = started_at + deadline_s
            hung = client.send({"sleep_s": 2.0}, timeout_ms=int(deadline_s * 1000))
            signals = [
                (due_at - pause_s / 2, signal.SIGSTOP),
                (due_at + pause_s / 2, signal.SIGCONT),
            ]
            for number in range(1, 100):
                next_at = started_at + number * between_s
                while signals and signals[0][0] < next_at:
                    _kill_at(*signals.pop(0), balancer_pid)
                while (left_s := next_at - time.monotonic()) > 0:
                    client.receive(left_s)
                client.send({})
            reply = client.reply(hung)
    assert (reply.status, reply.reason) == (504, "deadline")
    assert reply.at < due_at + pause_s / 2 + 0.25


def _kill_at(instant: float, number: int, pid: int) -> None:
    wait_until(lambda: time.monotonic() >= instant)
    os.kill(pid, number)
