"""SIGHUP with another configuration: it is followed as a whole, or refused as a whole."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.cluster.asking import Asker, asker
from tests.cluster.running import Cluster, free_address, wait_until

HANDLERS = """
import time

def double(request):
    time.sleep(0.05)  # so that some at once keep every worker busy
    return request * 2

def triple(request):
    time.sleep(0.05)
    return request * 3

def nap(request):
    time.sleep(request)
    return request
"""
LATE = """
class Late:
    def setup(self):
        1 / {}
    def __call__(self, request):
        return request
"""
TRIPLE = '[[pool]]\nname = "sum"\nhandler = "sums:triple"\nworkers = 2\n'
DOUBLE = TRIPLE.replace("triple", "double")


class Configured:
    """A cluster and the file that it is configured by."""

    def __init__(self, cluster: Cluster, file: Path) -> None:
        self.cluster = cluster
        self._file = file

    def hang_up(self, text: str) -> None:
        """Write another configuration and have it followed."""
        self._file.write_text(text)
        os.kill(self.cluster.launcher.pid, signal.SIGHUP)

    def names(self) -> set[str]:
        return {worker["name"] for worker in self.cluster.look()["workers"]}

    def pids(self) -> set[int]:
        return {worker["pid"] for worker in self.cluster.look()["workers"]}


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Configured]:
    (tmp_path / "sums.py").write_text(HANDLERS)
    file = tmp_path / "cluster.toml"
    file.write_text(DOUBLE)
    arguments = ["--config", str(file), "--startup-timeout", "10s"]
    with Cluster(*arguments, cwd=tmp_path) as cluster:
        cluster.wait_for_workers(2)
        yield Configured(cluster, file)


def who_answers_what(client: Asker, number: int) -> set[tuple[str, Any]]:
    """The worker and the body of each answer to so many requests at once."""
    return {(reply.worker, reply.body) for reply in client.ask_at_once(number, 1)}


def test_a_new_handler_and_new_limits_are_followed_without_a_gap(configured: Configured) -> None:
    cluster, before = configured.cluster, configured.pids()
    answers = set()
    with asker(cluster.address) as client:
        configured.hang_up(
            'queue_limit = 7\nmax_requests = 1000000\nretry_budget = "10%"\n' + TRIPLE
        )
        while "reloaded: 2 workers" not in cluster.log():
            replies = client.ask_at_once(2, 1)
            assert [(reply.status, reply.tried) for reply in replies] == [(200, [])] * 2
            answers |= {reply.body for reply in replies}
        assert answers == {2, 3}
        assert who_answers_what(client, 4) == {("sum-1", 3), ("sum-2", 3)}
    assert cluster.look()["queue"]["limit"] == 7
    assert not before & configured.pids()


def test_new_limits_hold_for_the_next_balancer_too(configured: Configured) -> None:
    cluster = configured.cluster
    configured.hang_up("queue_limit = 1\n" + DOUBLE.replace("double", "nap"))
    cluster.wait_for_log("reloaded: 2 workers")
    os.kill(cluster.look()["cluster"]["balancer_pid"], signal.SIGKILL)
    wait_until(lambda: cluster.log().count("linked again") == 2)
    with asker(cluster.address) as client:
        numbers = [client.send(0.3) for _ in range(6)]
        reasons = [client.reply(number).reason for number in numbers]
    assert sorted(reasons) == ["", "", "", *["queue_full"] * 3]


def test_pools_and_workers_come_and_go(configured: Configured) -> None:
    cluster = configured.cluster
    other = '[[pool]]\nname = "who"\nhandler = "sums:triple"\nworkers = 3\n'
    configured.hang_up(other + DOUBLE.replace("workers = 2", "workers = 1"))
    cluster.wait_for_log("reloaded: 4 workers follow the new configuration, 1 retired")
    wait_until(lambda: configured.names() == {"who-1", "who-2", "who-3", "sum-1"}, 5)
    cluster.wait_for_workers(4)
    with asker(cluster.address) as client:
        in_order = {("who-1", 3), ("who-2", 3), ("who-3", 3)}
        assert who_answers_what(client, 6) == in_order, "the pools have an order"
    configured.hang_up(DOUBLE.replace("workers = 2", "workers = 3"))
    cluster.wait_for_log("reloaded: 3 workers follow the new configuration, 3 retired")
    wait_until(lambda: configured.names() == {"sum-1", "sum-2", "sum-3"}, 5)
    with asker(cluster.address) as client:
        replies = client.ask_at_once(6, 1)
        assert {reply.worker for reply in replies} == {"sum-1", "sum-2", "sum-3"}
        assert {(reply.body, *reply.tried) for reply in replies} == {(2,)}
    assert [worker["state"] for worker in cluster.look()["workers"]] == ["idle"] * 3


def test_a_reload_may_multiply_the_links(configured: Configured) -> None:
    """Three sockets each, and ZeroMQ's own limit cannot be raised once there is one."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = [context.socket(zmq.REP) for _ in range(30)]
    for socket in sockets:
        socket.bind("tcp://127.0.0.1:*")
    endpoints = [str(socket.getsockopt_string(zmq.LAST_ENDPOINT)) for socket in sockets]
    configured.hang_up(f'[[pool]]\nname = "hand"\nendpoints = {endpoints}\n{DOUBLE}')
    cluster = configured.cluster
    cluster.wait_for_log("reloaded: 2 workers")
    cluster.wait_for_workers(32)
    context.destroy(0)


def test_a_retired_worker_finishes_what_it_holds(configured: Configured) -> None:
    cluster = configured.cluster
    with asker(cluster.address) as client:
        configured.hang_up(DOUBLE.replace("sums:double", "sums:nap"))
        cluster.wait_for_log("reloaded: 2 workers")
        held = [client.send(2.0), client.send(2.0)]
        wait_until(lambda: {w["state"] for w in cluster.look()["workers"]} == {"busy"})
        # Nobody can take over before it is released, but who is only retired is not waited for.
        configured.hang_up('[[pool]]\nname = "other"\nhandler = "sums:double"\nworkers = 1\n')
        cluster.wait_for_log("reloaded: 1 workers follow the new configuration, 2 retired")
        assert client.ask(4).body == 8
        assert [client.reply(number).body for number in held] == [2.0, 2.0]
    wait_until(lambda: configured.names() == {"other-1"}, 5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('try_timeout = "2h"', "must be shorter than deadline"),
        ("deadlines = 1", "unknown option 'deadlines'; the nearest is 'deadline'"),
        ("[[pool", "is not TOML"),
        ('max_body = "1MiB"', "max_body cannot change while the cluster runs (from 16777216 to"),
        ('log_format = "json"', "log_format cannot change while the cluster runs"),
        ('[[pool]]\nname = "sum"\nendpoints = ["tcp://127.0.0.1:1"]', "give the new one another"),
        ('handlers = ["sums:tripel"]', "stays: sums:tripel: there is no attribute 'tripel'"),
        ('handlers = ["sums:triple", "broken:handle"]', "broken:handle: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_followed_is_refused_as_a_whole(
    configured: Configured, tmp_path: Path, text: str, complaint: str
) -> None:
    cluster, before = configured.cluster, configured.pids()
    (tmp_path / "broken.py").write_text("1 / 0")
    configured.hang_up("queue_limit = 7\n" + text)
    line = cluster.wait_for_log("reload refused, the old configuration stays: ")
    assert complaint in line
    with asker(cluster.address) as client:
        assert who_answers_what(client, 4) == {("sum-1", 2), ("sum-2", 2)}
    assert cluster.look()["queue"]["limit"] == 1024
    assert configured.pids() == before
    assert "replaced" not in cluster.log()


def test_the_address_cannot_change(tmp_path: Path) -> None:
    """It is read from the same places again, the command line first: only a file can change it."""
    file = tmp_path / "cluster.toml"
    file.write_text("")
    with Cluster("tests.cluster.jobs:work", "-w", "1", "--config", str(file)) as cluster:
        file.write_text(f'bind = "{free_address()}"\nname = "another"\n')
        os.kill(cluster.launcher.pid, signal.SIGHUP)
        cluster.wait_for_log("reloaded: 1 workers")
        assert cluster.look()["cluster"]["bind"] == cluster.address


def test_a_new_pool_that_cannot_start_is_told_of_and_tried_again(
    configured: Configured, tmp_path: Path
) -> None:
    """An import that succeeds says nothing of the setup."""
    cluster = configured.cluster
    (tmp_path / "late.py").write_text(LATE.format(0))
    new = DOUBLE + '[[pool]]\nname = "late"\nhandler = "late:Late"\nworkers = 1\n'
    configured.hang_up(new)
    line = cluster.wait_for_log("reload stopped at late-1")
    assert "ZeroDivisionError" in line
    with asker(cluster.address) as client:
        assert who_answers_what(client, 4) == {("sum-1", 2), ("sum-2", 2)}
    assert cluster.worker("late-1")["state"] == "failed"
    # Of another length: within the same second Python takes its cached bytecode for up to date.
    (tmp_path / "late.py").write_text(LATE.format(1000))
    configured.hang_up(new)
    cluster.wait_for_log("reloaded: 3 workers")
    cluster.wait_for_workers(3)
