"""SIGHUP: every worker is replaced, one at a time, whatever else happens meanwhile."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.asking import asker
from tests.cluster.running import Cluster, is_alive, wait_until
from tests.cluster.stream import stream

WORKERS = 3
SLOW_START = """
import os, pathlib, signal, time
class Slow:
    def setup(self):
        pathlib.Path(f"started-{os.getpid()}").touch()
        wait = pathlib.Path("wait")
        while wait.exists():
            time.sleep(0.01)
        if pathlib.Path("broken").exists():
            raise ValueError("no model today")
    def __call__(self, request):
        time.sleep(request)
        return os.getpid()
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster("tests.cluster.jobs:work", "-w", str(WORKERS)) as cluster:
        cluster.wait_for_workers(WORKERS)
        yield cluster


def pids(cluster: Cluster) -> dict[str, int]:
    return {worker["name"]: worker["pid"] for worker in cluster.look()["workers"]}


def hang_up(cluster: Cluster) -> None:
    os.kill(cluster.launcher.pid, signal.SIGHUP)


def wait_for_log_count(cluster: Cluster, text: str, number: int, timeout_s: float = 20.0) -> None:
    wait_until(lambda: cluster.log().count(text) >= number, timeout_s, f"{number} x {text!r}")


def test_every_worker_is_replaced_and_no_request_notices(cluster: Cluster, tmp_path: Path) -> None:
    before = pids(cluster)
    with stream(cluster.address, tmp_path / "runs") as requests:
        wait_until(lambda: len(set(requests.pids)) == WORKERS)
        for number in (1, 2):
            hang_up(cluster)
            wait_for_log_count(cluster, "reloaded: 3 workers", number)
    requests.assert_undisturbed()
    after = pids(cluster)
    assert not set(before.values()) & set(after.values())
    assert cluster.log().count("replaced after") == 2 * WORKERS
    wait_until(lambda: not any(map(is_alive, before.values())), 5, "the old ones have ended")
    assert [worker["restarts"] for worker in cluster.look()["workers"]] == [0] * WORKERS


def test_a_second_signal_meanwhile_starts_again_with_what_is_new(cluster: Cluster) -> None:
    hang_up(cluster)
    cluster.wait_for_log("work-1      replaced after")
    first = pids(cluster)["work-1"]
    hang_up(cluster)
    wait_until(lambda: pids(cluster)["work-1"] != first, 20, "work-1 is replaced again")
    cluster.wait_for_log("reloaded: 3 workers")
    cluster.wait_for_workers(WORKERS)
    assert cluster.log().count("reloaded: ") == 1


def test_it_can_be_stopped_meanwhile(cluster: Cluster) -> None:
    hang_up(cluster)
    cluster.wait_for_log("work-1      replaced after")
    cluster.launcher.send_signal(signal.SIGTERM)
    assert cluster.launcher.wait(10) == 0
    assert "reloaded: " not in cluster.log()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Cluster]:
    """Its workers start when a file called ``wait`` is gone, and fail if one called ``broken`` is
    there."""
    (tmp_path / "slow.py").write_text(SLOW_START)
    arguments = ["slow:Slow", "-w", "2", "--startup-timeout", "2s"]
    with Cluster(*arguments, cwd=tmp_path) as cluster:
        cluster.wait_for_workers(2)
        (tmp_path / "wait").touch()
        yield cluster


def started(directory: Path) -> set[int]:
    return {int(path.name.partition("-")[2]) for path in directory.glob("started-*")}


def begin(cluster: Cluster, directory: Path) -> int:
    """Hang up and wait for the first new process, which waits in its turn; its pid."""
    before = started(directory)
    hang_up(cluster)
    wait_until(lambda: started(directory) - before, 10, "a process gets ready")
    (pid,) = started(directory) - before
    return pid


def test_the_balancer_may_die_meanwhile(slow: Cluster, tmp_path: Path) -> None:
    before = set(pids(slow).values())
    begin(slow, tmp_path)
    os.kill(slow.look()["cluster"]["balancer_pid"], signal.SIGKILL)
    slow.wait_for_log("linked again")
    (tmp_path / "wait").unlink()
    slow.wait_for_log("reloaded: 2 workers")
    assert not before & set(pids(slow).values())
    slow.wait_for_workers(2)


def test_a_worker_that_dies_meanwhile_is_followed_by_its_successor(
    slow: Cluster, tmp_path: Path
) -> None:
    successor = begin(slow, tmp_path)
    old = slow.kill("Slow-1")
    slow.wait_for_log(f"(pid {old}); its successor is on its way")
    (tmp_path / "wait").unlink()
    slow.wait_for_log("reloaded: 2 workers")
    assert pids(slow)["Slow-1"] == successor
    slow.wait_for_workers(2)


def test_it_stops_at_a_process_that_cannot_start(slow: Cluster, tmp_path: Path) -> None:
    before = pids(slow)
    (tmp_path / "broken").touch()
    (tmp_path / "wait").unlink()
    hang_up(slow)
    line = slow.wait_for_log("reload stopped at Slow-1")
    assert "ValueError: no model today" in line
    with asker(slow.address) as client:
        assert {reply.body for reply in client.ask_at_once(4, 0.1)} == set(before.values())
    assert pids(slow) == before
    assert slow.log().count("ValueError: no model today") == 2, "the traceback, and the line"
    assert {worker["state"] for worker in slow.look()["workers"]} == {"idle"}


def test_it_stops_at_a_process_that_does_not_become_ready(slow: Cluster, tmp_path: Path) -> None:
    before = pids(slow)
    successor = begin(slow, tmp_path)
    line = slow.wait_for_log("reload stopped at Slow-1")
    assert started(tmp_path) == {*before.values(), successor}, "one at a time"
    assert "not ready within startup_timeout (2 s)" in line
    assert pids(slow) == before
    assert not is_alive(successor)


def test_it_stops_where_the_successor_and_then_the_old_one_die(
    slow: Cluster, tmp_path: Path
) -> None:
    """Nobody is left in the slot: its own process is started again."""
    successor = begin(slow, tmp_path)
    old = slow.kill("Slow-1")
    slow.wait_for_log("its successor is on its way")
    os.kill(successor, signal.SIGKILL)
    slow.wait_for_log("reload stopped at Slow-1")
    (tmp_path / "wait").unlink()
    slow.wait_for_workers(2)
    assert pids(slow)["Slow-1"] not in (old, successor)
