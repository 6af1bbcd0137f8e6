"""``status`` says in words why a worker is not in rotation."""

import re
import threading

from balancer import Client
from tests.cluster.running import Cluster, wait_until


def wait_for_why(cluster: Cluster, name: str, pattern: str) -> str:
    def matching() -> str:
        why = str(cluster.worker(name)["why"])
        return why if re.fullmatch(pattern, why) else ""

    return wait_until(matching, what=f"{pattern} in {cluster.worker(name)}")


def test_one_that_dies_again_and_again_says_how_and_what_comes_next() -> None:
    with Cluster("workers.demo:echo", "-w", "2") as cluster:
        cluster.wait_for_workers(2)
        # Killed as soon as it is ready, holding nothing: its own fault, so each wait is longer.
        for _ in range(4):
            wait_until(lambda: cluster.worker("echo-1")["state"] == "idle")
            cluster.kill("echo-1")
            wait_until(lambda: cluster.worker("echo-1")["state"] != "idle")
        ordinal = r"(3rd|4th|5th) restart in [0-9]\.[0-9] s"
        wait_for_why(cluster, "echo-1", rf"killed by SIGKILL [0-9]\.[0-9] s ago, {ordinal}")
        assert cluster.worker("echo-2")["why"] == ""


def test_one_that_is_overdue_names_the_request_and_then_shows_where_it_hung() -> None:
    times = ("--try-timeout", "300ms", "--hang-kill-after", "700ms", "--deadline", "1s")
    with Cluster("workers.demo:slow", "-w", "1", *times) as cluster:
        cluster.wait_for_workers(1)
        with Client(cluster.address) as client:
            asker = threading.Thread(target=client.send, args=(60,))
            asker.start()
            wait_for_why(cluster, "slow-1", r"overdue 0\.[0-9] s on request [0-9a-f]+-1")
            asker.join()
        stack = wait_until(lambda: str(cluster.worker("slow-1")["stack"]))
        assert "in slow" in stack
        wait_until(lambda: cluster.worker("slow-1")["state"] == "idle")
        worker = cluster.worker("slow-1")
        assert (worker["stack"], worker["why"]) == ("", "")
        assert re.fullmatch(r"hung in request [0-9a-f]+-1", worker["last_death"])
        assert cluster.look()["restarts"]["hung"] == 1


def test_one_that_failed_says_what_tries_again() -> None:
    handlers = ("workers.demo:echo", "workers.demo:slow")
    with Cluster(*handlers, "--no-restart") as cluster:
        cluster.wait_for_workers(2)
        cluster.kill("slow-1")
        wait_for_why(cluster, "slow-1", "killed by SIGKILL; restart is off")
