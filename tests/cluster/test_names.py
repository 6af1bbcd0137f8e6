"""A name belongs to one cluster at a time, and is free again however that one ended."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from balancer.runtime_directory import path_of
from tests.cluster.running import (
    Cluster,
    free_address,
    is_alive,
    plain_client,
    processes_of_session_tree,
    run_cluster_command,
    wait_until,
)


@pytest.fixture
def first() -> Iterator[Cluster]:
    with Cluster("workers.demo:echo", "-w", "1") as cluster:
        yield cluster


def start_second(name: str) -> subprocess.CompletedProcess[str]:
    command = run_cluster_command("--name", name, "--bind", free_address(), "workers.demo:echo")
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def test_a_second_cluster_of_the_same_name_is_refused_and_the_first_goes_on(first: Cluster) -> None:
    second = start_second(first.name)
    assert second.returncode == 2
    assert second.stdout == ""
    assert second.stderr == (
        f"run_cluster.py: error: a cluster named '{first.name}' is running already "
        f"(pid {first.launcher.pid}): stop it with 'run_cluster.py stop --name {first.name}', "
        "or give this one another --name and --bind\n"
    )
    with plain_client(first.address) as client:
        assert client.ask("still here")["body"] == "still here"
    assert first.look()["cluster"]["launcher_pid"] == first.launcher.pid


def test_two_clusters_of_different_names_are_not_in_each_others_way(first: Cluster) -> None:
    with Cluster("workers.demo:server1", "-w", "1") as second:
        for cluster, word in ((first, "hello"), (second, "Hello, welcome to the Load Balancer.")):
            with plain_client(cluster.address) as client:
                assert client.ask("hello")["body"] == word
        assert start_second(second.name).returncode == 2


def test_what_a_killed_launcher_left_is_not_in_the_way(first: Cluster) -> None:
    """The lock, the sockets, and on its address the same port."""
    tree = processes_of_session_tree(first.launcher.pid)
    first.launcher.kill()
    first.launcher.wait()
    assert (path_of(first.name) / "control.sock").is_socket()
    wait_until(lambda: not any(map(is_alive, tree)), 2, "no process is left")
    again = Cluster("workers.demo:echo", "-w", "1", bind=first.address)
    again.name = first.name
    with again, plain_client(again.address) as client:
        assert client.ask("again")["body"] == "again"
    assert not path_of(first.name).exists()


def test_a_path_that_a_killed_cluster_left_is_taken_over(tmp_path: Path) -> None:
    arguments, bind = ("workers.demo:echo", "-w", "1"), f"ipc://{tmp_path}/socket"
    with Cluster(*arguments, bind=bind) as first:
        tree = processes_of_session_tree(first.launcher.pid)
        first.launcher.kill()
        wait_until(lambda: not any(map(is_alive, tree)), 5, "no process is left")
        assert (tmp_path / "socket").is_socket()
        with Cluster(*arguments, bind=bind), plain_client(bind) as client:
            assert client.ask("again")["body"] == "again"


def test_a_name_is_free_as_soon_as_stop_returns(first: Cluster) -> None:
    stop = subprocess.run(
        run_cluster_command("stop", "--name", first.name), capture_output=True, text=True
    )
    assert (stop.returncode, stop.stdout) == (0, f"cluster '{first.name}' stopped\n")
    again = Cluster("workers.demo:echo", "-w", "1", bind=first.address)
    again.name = first.name
    with again, plain_client(again.address) as client:
        assert client.ask("again")["body"] == "again"


def test_a_name_is_taken_until_the_last_request_is_answered() -> None:
    """A cluster that drains is still there."""
    with Cluster("workers.demo:slow", "-w", "1") as slow, plain_client(slow.address) as client:
        client.send(1.0)
        slow.wait_for_holder()
        os.kill(slow.launcher.pid, signal.SIGTERM)
        slow.wait_for_log("draining")
        assert start_second(slow.name).returncode == 2
        assert client.receive()["status"] == 200


def test_who_asks_for_another_is_told_which_there_are(first: Cluster) -> None:
    command = run_cluster_command("status", "--name", f"not-{first.name}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (1, "")
    before, _, others = done.stderr.partition(" is running, but by --name: ")
    assert before == f"no cluster named 'not-{first.name}'"
    assert first.name in others.removesuffix("\n").split(", ")
