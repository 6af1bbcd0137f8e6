"""``events`` and ``trace``: what happens, as it happens, and how a request went."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from balancer import Client
from balancer.control import ask, connect
from balancer.lines import LINES_BURST
from tests.cluster.running import Cluster, run_cluster_command, wait_until

SLOW = ("workers.demo:slow", "-w", "2", "--try-timeout", "500ms", "--deadline", "5s")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(*SLOW, "--hang-kill-after", "100ms") as cluster:
        cluster.wait_for_workers(2)
        yield cluster


class Watcher:
    """``events --json`` as a process that runs until it is closed."""

    def __init__(self, cluster: Cluster, *words: str) -> None:
        self.process = subprocess.Popen(
            run_cluster_command("events", "--json", "--name", cluster.name, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._output = b""

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=10)

    def events(self) -> list[dict[str, Any]]:
        assert self.process.stdout is not None
        self._output += self.process.stdout.read() or b""
        return [json.loads(line) for line in self._output.splitlines(keepends=False)]

    def wait_for(self, **fields: object) -> dict[str, Any]:
        """The first event with these fields."""

        def find() -> dict[str, Any] | None:
            return next(
                (e for e in self.events() if all(e.get(k) == v for k, v in fields.items())), None
            )

        found = wait_until(find, what=f"{fields} in {self.events()}")
        assert found is not None
        return found


def command(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        run_cluster_command(*words, "--name", cluster.name),
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_a_death_is_told_by_the_try_the_worker_and_the_answer(cluster: Cluster) -> None:
    with Watcher(cluster) as watcher, Client(cluster.address) as client:
        watcher.wait_for(event="ready", worker="slow-2")  # of those that were before
        results: list[Any] = []
        asker = threading.Thread(target=lambda: results.append(client.send(0.4)))
        asker.start()
        name = cluster.wait_for_holder()["name"]
        pid = cluster.kill(name)
        asker.join()
        tried = watcher.wait_for(event="try_failed", why="died")
        died = watcher.wait_for(event="died", worker=name)
        answered = watcher.wait_for(event="failed_over")
    assert results[0].attempts == 2
    assert tried["worker"] == name
    assert (died["pid"], died["request"]) == (pid, tried["request"])
    assert (answered["request"], answered["status"]) == (tried["request"], 200)


def test_what_is_too_ordinary_for_the_log_is_told_to_who_watches() -> None:
    handlers = ("workers.demo:server1", "workers.demo:server2")
    with Cluster(*handlers) as cluster, Client(cluster.address) as client:
        cluster.wait_for_workers(2)
        assert client.call("world").startswith("World")
        with Watcher(cluster, "--last", "0") as watcher:
            wait_until(lambda: client.call("world") and "try_failed" in str(watcher.events()))
            empty = watcher.wait_for(event="try_failed", why="empty", worker="server1-1")
        assert empty["level"] == "info"
        assert "got an empty reply" not in cluster.log()


def test_in_a_storm_who_watches_is_told_how_much_was_left_out() -> None:
    handlers = ("workers.demo:server1", "workers.demo:server2")
    with Cluster(*handlers) as cluster, Client(cluster.address) as client:
        cluster.wait_for_workers(2)
        with Watcher(cluster, "--last", "0") as watcher:
            wait_until(lambda: client.call("world") and watcher.events())
            answers = list(client.map(["world"] * 2 * LINES_BURST))
            assert len(answers) == 2 * LINES_BURST
            wait_until(lambda: client.call("world") and "left_out" in str(watcher.events()))
            told = watcher.wait_for(event="left_out")
        assert told["text"].endswith("lines about requests left out")
        assert cluster.launcher.poll() is None, cluster.log()


def test_a_hang_brings_the_stack_and_the_status_shows_it(cluster: Cluster) -> None:
    with Watcher(cluster) as watcher, Client(cluster.address) as client:
        reply = client.send(60, timeout=1.4)
        assert reply.status != 200
        hung = watcher.wait_for(event="hung")
        stack = watcher.wait_for(event="stack", worker=hung["worker"])
    assert stack["request"] == hung["request"]
    assert "in slow" in stack["text"]


def test_text_for_people_and_the_last_ones_only(cluster: Cluster) -> None:
    done = command(cluster, "events", "--no-follow", "--last", "2")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("ready after" in line for line in lines)


def test_the_stream_ends_with_the_cluster(cluster: Cluster) -> None:
    with Watcher(cluster) as watcher:
        watcher.wait_for(event="ready")
        cluster.launcher.send_signal(signal.SIGTERM)
        assert watcher.process.wait(10) == 0
        assert watcher.wait_for(text="stopped")


def test_a_reader_that_never_reads_costs_no_request(cluster: Cluster) -> None:
    """Nor does it cost the launcher memory: what it does not take is dropped and counted."""
    stuck = connect(cluster.name)
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.sendall(b'{"op": "events", "follow": true}\n')
    with Client(cluster.address) as client:
        began_at = time.monotonic()
        while time.monotonic() - began_at < 1.5:
            assert client.send({"no": "sleep"}).status == 500
            cluster.look()
    assert command(cluster, "status").returncode == 0
    stuck.close()


def test_who_asks_without_reading_is_cut_off_and_nobody_else_notices(cluster: Cluster) -> None:
    balancer_pid = cluster.look()["cluster"]["balancer_pid"]
    with Client(cluster.address) as client:
        for question in (b'{"op":"status"}\n', b'{"op":"trace","last":1000}\n', b"x" * 100_000):
            greedy = connect(cluster.name)
            with contextlib.suppress(OSError):  # cut off before it has said it all
                greedy.sendall(question * 20_000)
            began_at = time.monotonic()
            assert client.send({"no": "sleep"}).status == 500
            assert time.monotonic() - began_at < 0.5
            greedy.close()
    assert cluster.look()["cluster"]["balancer_pid"] == balancer_pid


def test_questions_sent_at_one_go_are_answered_in_their_order(cluster: Cluster) -> None:
    with connect(cluster.name) as connection:
        ops = ["status", "drain", "trace", "events", "status"] * 5
        connection.sendall(b"".join(json.dumps({"op": op}).encode() + b"\n" for op in ops))
        with connection.makefile("rb") as stream:
            told: list[str] = []
            while len(told) < len(ops):
                op = json.loads(stream.readline())["op"]
                told += [op] if op != "event" else []
    assert told == ops


def test_who_asks_to_follow_twice_hears_everything_once(cluster: Cluster) -> None:
    with connect(cluster.name) as connection, connection.makefile("rb") as stream:
        for _ in range(2):
            connection.sendall(b'{"op": "events", "last": 0, "follow": true}\n')
        cluster.look()  # asked after it, answered after it
        connection.sendall(b'{"op": "kill", "worker": "slow-1"}\n')
        heard = []
        while "kill" not in (told := json.loads(stream.readline()))["op"]:
            heard.append(told["text"])
    assert len([text for text in heard if text.startswith("kill: slow-1")]) == 1


def test_idle_connections_keep_nobody_out(cluster: Cluster) -> None:
    """The one that has asked the longest ago makes room, unless it follows the events."""
    with Watcher(cluster) as watcher:
        watcher.wait_for(event="ready", worker="slow-2")
        idle = [connect(cluster.name) for _ in range(100)]
        assert command(cluster, "kill", "slow-1").returncode == 0
        idle[0].settimeout(10)
        assert idle[0].recv(1) == b""
        watcher.wait_for(event="died", worker="slow-1")
    for connection in idle:
        connection.close()


def test_what_an_asker_says_after_its_end_is_not_heard(cluster: Cluster) -> None:
    """It is cut off for a line above the limit: it must not become a follower all the same."""
    rude = connect(cluster.name)
    long = json.dumps({"op": "x" * 100_000}).encode()
    with contextlib.suppress(OSError):
        rude.sendall(long + b'\n{"op": "events", "follow": true}\n')
        assert rude.recv(1) == b""
    rude.close()
    with Watcher(cluster) as watcher:
        watcher.wait_for(event="ready")
    assert ask(cluster.name, "kill", worker="slow-1", by="\n" + "z" * 10_000)["changed"]
    assert r"(by \nzzz" in cluster.wait_for_log("kill: slow-1")
    record = ask(cluster.name, "events", last=1000)
    assert len(json.dumps(record)) < 2000


# --- trace ----------------------------------------------------------------------------------------


def test_a_trace_tells_the_whole_story(cluster: Cluster) -> None:
    with Client(cluster.address) as client:
        client.call(0.01)
        assert client.send(60, timeout=1.4).status != 200
        stories = json.loads(command(cluster, "trace", "--json").stdout)
        good, bad = stories
        assert (good["status"], len(good["tries"])) == (200, 1)
        assert bad["tries"][0]["ended"] == "timeout"
        assert bad["tries"][0]["took_ms"] == pytest.approx(500, abs=150)
        shown = command(cluster, "trace", bad["request"]).stdout
        assert f"request {bad['request']}" in shown
        assert "attempt 1: slow-" in shown
        assert "let its time pass" in shown
        failed = json.loads(command(cluster, "trace", "--failed", "--json").stdout)
        assert [story["request"] for story in failed] == [bad["request"]]
        assert json.loads(command(cluster, "trace", "--last", "1", "--json").stdout) == [bad]


def test_a_request_that_nobody_knows_is_said_so(cluster: Cluster) -> None:
    done = command(cluster, "trace", "nobody-1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "run_cluster.py: error: no request 'nobody-1' among the latest: see 'trace'\n"
    )


# --- the access log -------------------------------------------------------------------------------


def test_the_access_log_has_one_line_for_each_request() -> None:
    arguments = ("workers.demo:slow", "-w", "1", "--access-log", "--log-format", "json")
    with Cluster(*arguments) as cluster, Client(cluster.address) as client:
        for _ in range(3):
            client.call(0.001)
        client.send("nonsense")

        def lines() -> list[dict[str, Any]]:
            records = [json.loads(line) for line in cluster.log().splitlines()]
            return [record for record in records if "attempts" in record]

        wait_until(lambda: len(lines()) == 4)
        assert [line["status"] for line in lines()] == [200, 200, 200, 500]
        assert {line["worker"] for line in lines()} == {"slow-1"}
        assert all(line["tried"] == [] and line["ms"] > 0 for line in lines())
