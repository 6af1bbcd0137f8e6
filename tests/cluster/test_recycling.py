"""Workers that have served enough, or have grown too large, are replaced; nobody notices."""

import re
from collections import Counter
from pathlib import Path

from tests.cluster.asking import asker
from tests.cluster.running import Cluster, is_alive, wait_until
from tests.cluster.stream import stream
from workers.worker_process import STOP_GRACE_S

JOBS = "tests.cluster.jobs:work"

LEAK = """
import os
kept = []
def grow(request):
    kept.append(b"x" * request)
    return os.getpid()
"""

SETUP_MAY_FAIL = """
import os, pathlib
class Picky:
    def setup(self):
        if pathlib.Path("broken").exists():
            raise ValueError("no model today")
    def __call__(self, request):
        return os.getpid()
"""


def test_workers_that_have_served_enough_are_replaced_and_no_request_notices(
    tmp_path: Path,
) -> None:
    with Cluster(JOBS, "-w", "3", "--max-requests", "20") as cluster:
        cluster.wait_for_workers(3)
        with stream(cluster.address, tmp_path / "runs") as requests:
            wait_until(lambda: len(set(requests.pids)) >= 8, 20, "five replaced")
        requests.assert_undisturbed()
        served = [int(n) for n in re.findall(r"replaced .* served (\d+) requests", cluster.log())]
        assert len(served) >= 5
        assert {16 <= number <= 20 for number in served} == {True}
        assert len(set(served)) > 1, "they are spread"
        cluster.wait_for_workers(3)
        living = set(requests.pids[-10:])
        ended = {pid for pid, runs in Counter(requests.pids).items() if pid not in living}
        wait_until(lambda: not any(map(is_alive, ended)), 5, "the replaced have ended")
        assert "warning" not in cluster.log()


def test_a_replaced_worker_finishes_what_it_holds(tmp_path: Path) -> None:
    with Cluster(JOBS, "-w", "1", "--max-requests", "1") as cluster, asker(cluster.address) as ask:
        old = ask.ask({}).body["pid"]
        # It goes on serving until somebody else is ready. Told to stop, it would not get so long.
        slow = ask.send({"sleep_s": STOP_GRACE_S + 0.5})
        cluster.wait_for_log(f"for {old}): served 1 requests")
        new = ask.ask({}).body["pid"]
        reply = ask.reply(slow)
        assert (reply.status, reply.body["pid"], reply.tried) == (200, old, [])
        assert new != old
        wait_until(lambda: not is_alive(old), 5, "the old one has ended")


def test_a_worker_that_has_grown_too_large_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "leak.py").write_text(LEAK)
    arguments = ["leak:grow", "-w", "1", "--max-rss", "150MiB"]
    with Cluster(*arguments, cwd=tmp_path) as cluster, asker(cluster.address) as client:
        small = {client.ask(1_000_000).body for _ in range(5)}
        large = client.ask(200_000_000).body
        line = cluster.wait_for_log("MiB of memory are above max_rss (150.0 MiB)")
        assert f"for {large})" in line
        assert small == {large}, "nobody is replaced without a reason"
        assert client.ask(1).body != large


def test_a_worn_worker_goes_on_while_its_successor_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(SETUP_MAY_FAIL)
    arguments = ["picky:Picky", "-w", "1", "--max-requests", "1"]
    with Cluster(*arguments, cwd=tmp_path) as cluster, asker(cluster.address) as client:
        (tmp_path / "broken").touch()
        old = client.ask(1).body
        cluster.wait_for_log("is to be replaced, but its successor cannot start")
        wait_until(lambda: cluster.log().count("trying again") >= 2, 10, "a second attempt")
        assert client.ask(1).body == old
        assert cluster.log().count("ValueError: no model today\n") == 1, "told once"
        assert cluster.worker("Picky-1")["state"] == "idle"
        (tmp_path / "broken").unlink()
        wait_until(lambda: client.ask(1).body != old, 20, "it is replaced")
