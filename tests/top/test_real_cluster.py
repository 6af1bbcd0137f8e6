"""top before a real cluster: what the fake one promises is what is really said."""

import os
import signal

from tests.cluster.running import Cluster, wait_until
from tests.top.terminals import top


def test_a_worker_is_killed_by_key_and_seen_to_come_back() -> None:
    with Cluster("workers.demo:slow", "-w", "2") as cluster, top(cluster.name) as terminal:
        terminal.wait_for("running", cluster.address, "workers 2 of 2 in rotation", "▸ slow-1")
        pid = cluster.worker("slow-2")["pid"]
        terminal.press("jx")
        terminal.wait_for("kill slow-2?")
        terminal.press("y")
        terminal.wait_for(f"slow-2 (pid {pid}) is killed", "(by top)")
        wait_until(lambda: cluster.worker("slow-2")["pid"] not in (pid, None))
        terminal.wait_for("workers 2 of 2 in rotation", "restarts 1")


def test_the_death_of_the_balancer_is_survived() -> None:
    with Cluster("workers.demo:slow", "-w", "1") as cluster, top(cluster.name) as terminal:
        terminal.wait_for("workers 1 of 1 in rotation")
        os.kill(cluster.look()["cluster"]["balancer_pid"], signal.SIGKILL)
        terminal.wait_for(", 1 restart", "workers 1 of 1 in rotation", "queue 0 of 1,024")


def test_the_end_of_the_cluster_is_told() -> None:
    with Cluster("workers.demo:slow", "-w", "1") as cluster, top(cluster.name) as terminal:
        terminal.wait_for("workers 1 of 1 in rotation")
        cluster.launcher.terminate()
        terminal.wait_for("not running", "It ended")
        terminal.press("q")
        assert terminal.wait_for_end() == 0
