"""The launcher as the first process of a container: starts, answers, reaps strangers, stops."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.running import (
    Cluster,
    is_alive,
    plain_client,
    processes_of_session_tree,
    wait_until,
)

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
HANDLER = """
import os, time
from pathlib import Path

def leave_an_orphan(request):
    '''Fork twice: the grandchild has nobody but the first process of all, and ends soon.'''
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(request)
        os._exit(0)
    os.waitpid(child, 0)
    return os.getpid()
"""


def may_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not may_unshare(), reason="unshare is not permitted here")


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The last test stops it."""
    directory = tmp_path_factory.mktemp("container")
    (directory / "jobs.py").write_text(HANDLER)
    arguments = ("jobs:leave_an_orphan", "-w", "2")
    with Cluster(*arguments, cwd=directory, prefix=UNSHARE) as cluster:
        cluster.wait_for_workers(2)
        yield cluster
        if cluster.launcher.poll() is None:
            os.kill(pid_one(cluster), signal.SIGTERM)  # unshare itself does not pass it on


def pid_one(container: Cluster) -> int:
    """The launcher as it is called outside of the container: the only child of unshare."""
    (pid,) = children_of(container.launcher.pid)
    return pid


def children_of(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def zombies_of(pid: int) -> set[int]:
    return {child for child in children_of(pid) if not is_alive(child)}


def test_it_answers_and_says_that_it_is_the_first_process(container: Cluster) -> None:
    with plain_client(container.address) as client:
        assert client.ask(0)["status"] == 200
    assert container.look()["cluster"]["launcher_pid"] == 1


def test_orphans_of_a_handler_do_not_stay_as_zombies(container: Cluster) -> None:
    launcher = pid_one(container)
    ours = children_of(launcher)
    with plain_client(container.address) as client:
        for _ in range(5):
            assert client.ask(0.3)["status"] == 200
        orphans = children_of(launcher) - ours
        assert orphans
        wait_until(lambda: not orphans & children_of(launcher), 5, "the orphans are reaped")
        assert client.ask(0)["status"] == 200


def test_a_worker_that_dies_is_reaped_and_replaced(container: Cluster) -> None:
    launcher = pid_one(container)
    # The orphans of the test before look like workers, too, as long as they last.
    wait_until(lambda: len(children_of(launcher)) == 3, 5, "only our own children")
    worker = min(children_of(launcher), key=lambda pid: "workers" not in command_of(pid))
    os.kill(worker, signal.SIGKILL)
    container.wait_for_log("killed by SIGKILL")
    container.wait_for_workers(2)
    assert not zombies_of(launcher)
    with plain_client(container.address) as client:
        assert client.ask(0)["status"] == 200


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_sigterm_stops_it_in_order(container: Cluster) -> None:
    tree = processes_of_session_tree(container.launcher.pid)
    os.kill(pid_one(container), signal.SIGTERM)
    assert container.launcher.wait(10) == 0
    wait_until(lambda: not any(map(is_alive, tree)), 2, "nothing is left")
    assert container.log().rstrip().endswith("stopped")
    assert "Traceback" not in container.log()
