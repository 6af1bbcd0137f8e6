"""A real cluster with its dashboard, which shows what is true, and whose troubles are its own."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from balancer import Client
from tests.cluster.running import Cluster, free_port, is_alive, run_cluster_command, wait_until
from tests.cluster.test_steering import Load
from tests.dashboard.browser import chromium

SLOW_CONNECTIONS = 500


class Watched:
    """A cluster with a page, and plain HTTP to ask that."""

    def __init__(self, cluster: Cluster, port: int) -> None:
        self.cluster = cluster
        self.port = port
        self.url = f"http://127.0.0.1:{port}/"

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.get("/status.json")[1])
        return status

    def metrics(self) -> dict[tuple[str, ...], float]:
        """By name and the values of the labels, in the order of their names."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }

    def pid(self) -> int:
        children = Path(f"/proc/{self.cluster.launcher.pid}/task/{self.cluster.launcher.pid}")
        for pid in (children / "children").read_text().split():
            with contextlib.suppress(FileNotFoundError):  # it has ended since
                if b"balancer.dashboard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        return 0


@pytest.fixture
def watched() -> Iterator[Watched]:
    port = free_port()
    page = ("--dashboard", f"127.0.0.1:{port}", "--dashboard-admin")
    times = ("--try-timeout", "500ms", "--hang-kill-after", "5s", "--deadline", "5s")
    with Cluster("workers.demo:slow", "-w", "4", "--client-limit", "200", *times, *page) as cluster:
        cluster.wait_for_workers(4)
        cluster.wait_for_log(f"on http://127.0.0.1:{port}/")
        watched = Watched(cluster, port)
        wait_until(lambda: watched.get("/readyz")[0] == 200)
        yield watched


def test_the_counters_add_up_to_what_the_clients_saw(watched: Watched) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    failed_over = 0
    with Client(watched.cluster.address) as client:
        for request in [0.001] * 40 + ["no number"] * 5 + [0.01] * 15:
            reply = client.send(request)
            seen[str(reply.status), reply.reason or "none"] += 1
        asker = threading.Thread(target=lambda: replies.append(client.send(0.3)))
        replies: list[Any] = []
        asker.start()
        watched.cluster.kill(watched.cluster.wait_for_holder()["name"])
        asker.join()
        reply = replies[0]
        seen[str(reply.status), "none"] += 1
        failed_over += reply.attempts - 1
        hung = client.send(60, timeout=0.4)
        seen[str(hung.status), hung.reason or "none"] += 1
    total = sum(seen.values())

    def is_told() -> bool:
        return sum(v for k, v in watched.metrics().items() if k[0] == REQUESTS) == total

    wait_until(is_told, what="all requests in the metrics")
    metrics = watched.metrics()
    told = {(status, reason): n for (name, reason, status), n in pairs(metrics) if n}
    assert told == seen
    assert metrics["failover_failovers_total",] == failed_over
    assert metrics["failover_tries_total", "died", "slow"] == failed_over == 1
    assert metrics["failover_tries_total", "answer", "slow"] == 61
    assert metrics["failover_request_duration_seconds_count", "slow"] == 61
    assert metrics["failover_request_duration_seconds_count", "none"] == total - 61
    assert metrics["failover_worker_restarts_total", "signal"] == 1
    assert metrics["failover_requests_in_flight",] == 0


REQUESTS = "failover_requests_total"


def pairs(metrics: dict[tuple[str, ...], float]) -> list[tuple[tuple[str, str, str], int]]:
    """Those of requests: name, reason and status with the number."""
    return [((k[0], k[1], k[2]), int(v)) for k, v in metrics.items() if k[0] == REQUESTS]


def test_it_dies_and_comes_back_and_nobody_notices(watched: Watched) -> None:
    load = Load(watched.cluster.address)
    pid = watched.pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: watched.pid() not in (0, pid))
    wait_until(lambda: answers(watched))
    assert set(load.stop()) == {200}
    watched.cluster.launcher.send_signal(signal.SIGTERM)
    assert watched.cluster.launcher.wait(10) == 0


def answers(watched: Watched) -> bool:
    try:
        return watched.get("/readyz")[0] == 200
    except OSError:
        return False


def test_it_dies_with_its_launcher(watched: Watched) -> None:
    pid = watched.pid()
    watched.cluster.launcher.kill()
    wait_until(lambda: not is_alive(pid))


def test_an_address_that_is_taken_ends_the_start_with_the_fix(watched: Watched) -> None:
    done = subprocess.run(
        run_cluster_command(
            *("workers.demo:echo", "--name", f"second-{os.getpid()}"),
            *("--bind", f"tcp://127.0.0.1:{free_port()}"),
            *("--dashboard", f"127.0.0.1:{watched.port}"),
        ),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 3
    assert "somebody else does; stop them, or give it another port with --dashboard" in done.stderr


def test_five_hundred_slow_connections_cost_no_request(watched: Watched) -> None:
    before = pace_s(watched)
    slow = [socket.create_connection(("127.0.0.1", watched.port)) for _ in range(SLOW_CONNECTIONS)]
    try:
        for connection in slow:
            connection.sendall(b"GET / HTTP/1.1\\r\\nHost: 127")
        load = Load(watched.cluster.address)
        assert pace_s(watched) < 4 * before + 0.05
        assert set(load.stop()) == {200}
        # And a person with a browser is let in all the same, at the latest after a moment.
        wait_until(lambda: answers(watched), 5.0)
    finally:
        for connection in slow:
            connection.close()


def pace_s(watched: Watched) -> float:
    """How long a request of no work takes, in the middle of many."""
    with Client(watched.cluster.address) as client:
        took_s = []
        for _ in range(30):
            began_at = time.monotonic()
            client.call(0)
            took_s.append(time.monotonic() - began_at)
    return sorted(took_s)[15]


def test_a_person_sees_a_death_and_drains_a_worker(watched: Watched, tmp_path: Path) -> None:
    """With requests under way: four tiles, one dies and comes back, the failover is in the feed."""
    cluster = watched.cluster
    line = cluster.wait_for_log("its buttons want the token in")
    token = Path(line.rpartition(" ")[2]).read_text().strip()
    load = Load(cluster.address, sleep_s=0.4)
    with chromium(tmp_path / "profile") as browser:
        browser.open(f"{watched.url}#token={token}")
        wait_until(lambda: browser.count(".tile") == 4, 5, "four tiles")
        tile = '.tile[data-worker="slow-3"]'
        wait_until(lambda: has_just_begun(cluster.worker("slow-3")))
        cluster.kill("slow-3")
        browser.wait_for_text(tile, "↻ 1", 1.0)
        browser.wait_for_text("#feed", "lost slow-3, which died after", 5.0)
        browser.wait_for_text("#feed", "attempt 2 after slow-3 died", 5.0)
        wait_until(lambda: is_in_rotation(browser.text(tile)), 3.0, "slow-3 in rotation")
        # It is overdue from its timeout until its heartbeats are missed, a second later.
        wait_until(lambda: has_just_begun(cluster.worker("slow-3")))
        pid = cluster.kill("slow-3", signal.SIGSTOP)
        browser.wait_for_text(tile, "overdue", 2.0)
        os.kill(pid, signal.SIGKILL)
        browser.wait_for_text(tile, "↻ 2", 1.0)
        wait_until(lambda: is_in_rotation(browser.text(tile)), 3.0, "slow-3 in rotation")
        browser.find('.tile[data-worker="slow-2"]').click()
        browser.find('[data-action="drain"]').click()
        browser.wait_for_text("#worker-result", "slow-2 takes nothing new")
        wait_until(lambda: cluster.worker("slow-2")["state"] == "drained")
        browser.wait_for_text("#worker-state", "drained", 1.0)
        assert "by dashboard" in cluster.wait_for_log("drain: slow-2")
        browser.find('[data-action="ready"]').click()
        browser.wait_for_text("#worker-result", "slow-2 is starting")
        cluster.wait_for_workers(4)
        assert browser.complaints() == []
    assert set(load.stop()) == {200}


def has_just_begun(worker: dict[str, Any]) -> bool:
    """It will not have answered by the time that it is killed."""
    return bool(worker["state"] == "busy" and worker["request_age_ms"] < 100)


def is_in_rotation(tile: str) -> bool:
    return re.search("idle|busy", tile) is not None
