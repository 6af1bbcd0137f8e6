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
