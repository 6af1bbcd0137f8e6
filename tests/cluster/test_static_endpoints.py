"""Workers that nobody of ours started: ten lines of pyzmq, or our own runtime started by hand."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from balancer import Client
from balancer.runtime_directory import control_path
from tests.cluster.asking import asker
from tests.cluster.running import PROJECT, Cluster, free_address, plain_client, wait_until

Start = Callable[..., subprocess.Popen[bytes]]
STRANGER = Path(__file__).with_name("stranger.py")


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python programs and kills them in the end."""
    processes = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        processes.append(process := subprocess.Popen([sys.executable, *arguments], cwd=PROJECT))
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def stranger(start: Start) -> Callable[..., subprocess.Popen[bytes]]:
    return lambda address, deed="answer": start(str(STRANGER), address, deed)


def static_pool(*endpoints: str, probe: bool = False) -> str:
    return f"[[pool]]\nendpoints = {list(endpoints)}\nprobe = {str(probe).lower()}\n"


@pytest.fixture
def cluster_of(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Starts a cluster of these pools and waits for so many workers."""
    clusters = []

    def start(*pools: str, workers: int, grace: str = "300ms") -> Cluster:
        file = tmp_path / "cluster.toml"
        file.write_text("\n".join(pools))
        options = ("--config", str(file), "--max-body", "200000", "--revive-grace", grace)
        clusters.append(cluster := Cluster(*options))
        cluster.start()
        try:
            wait_until(control_path(cluster.name).exists)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{cluster.log()}") from None
        cluster.wait_for_workers(workers)
        return cluster

    yield start
    for cluster in clusters:
        cluster.close()


def state_of(cluster: Cluster, name: str) -> str:
    return str(cluster.worker(name)["state"])


@pytest.mark.parametrize("probe", [False, True])
def test_a_worker_written_by_hand_answers(
    stranger: Start, cluster_of: Callable[..., Cluster], probe: bool
) -> None:
    address = free_address()
    stranger(address)
    cluster = cluster_of(static_pool(address, probe=probe), workers=1)
    with plain_client(cluster.address) as client:
        reply = client.ask({"a": 1}, id="x")
        assert reply.pop("body") == ["stranger", {"a": 1}]
        assert reply == {"status": 200, "worker": "static-1", "attempts": 1, "id": "x"}
    worker = cluster.worker("static-1")
    assert (worker["pid"], worker["endpoint"], worker["served"]) == (None, address, 1)


def test_a_worker_written_by_hand_gets_batches_if_it_says_so(
    stranger: Start, cluster_of: Callable[..., Cluster]
) -> None:
    address = free_address()
    stranger(address, "together")
    cluster = cluster_of("batch_max = 8\n", static_pool(address, probe=True), workers=1)
    with Client(cluster.address) as client:
        sizes, requests = zip(*client.map(range(300)), strict=True)
    assert requests == tuple(range(300))
    assert 2 <= max(sizes) <= 8


@pytest.mark.parametrize(
    ("deed", "why"),
    [
        ("nothing", "empty"),
        ("no msgpack", "garbled"),
        ("two values", "garbled"),
        ("three frames", "garbled"),
        ("above the limit", "garbled"),
        ("an unknown status", "garbled"),
        ("above the hard limit", "died"),
    ],
)
def test_what_is_no_answer_goes_to_the_next_endpoint(
    stranger: Start, cluster_of: Callable[..., Cluster], deed: str, why: str
) -> None:
    """A reply above the hard limit ends the connection unread, which looks like a death."""
    first, second = free_address(), free_address()
    stranger(first, deed)
    stranger(second)
    cluster = cluster_of(static_pool(first), static_pool(second), workers=2)
    with plain_client(cluster.address) as client:
        reply = client.ask("x")
        assert (reply["status"], reply["body"]) == (200, ["stranger", "x"])
        assert [(t["worker"], t["why"]) for t in reply["tried"]] == [("static-1", why)]
        assert client.ask("y")["body"] == ["stranger", "y"]


def test_an_error_of_a_stranger_is_its_answer(
    stranger: Start, cluster_of: Callable[..., Cluster]
) -> None:
    address = free_address()
    stranger(address, "an error")
    cluster = cluster_of(static_pool(address), workers=1)
    with plain_client(cluster.address) as client:
        reply = client.ask("x")
    assert (reply["status"], reply["reason"]) == (500, "handler_error")
    assert reply["error"] == "ValueError: no good"


@pytest.mark.parametrize("probe", [False, True])
def test_an_endpoint_that_was_killed_is_dialed_again_when_it_is_back(
    stranger: Start, cluster_of: Callable[..., Cluster], probe: bool
) -> None:
    address = free_address()
    process = stranger(address)
    cluster = cluster_of(static_pool(address, probe=probe), workers=1)
    with plain_client(cluster.address) as client:
        for number in range(2):
            process.kill()
            cluster.wait_for_log("worker static-1 is lost")
            wait_until(lambda: state_of(cluster, "static-1") == "down")
            process = stranger(address)
            cluster.wait_for_workers(1)
            assert client.ask(number)["body"] == ["stranger", number]


def test_a_request_waits_for_an_endpoint_that_is_not_there_yet(
    stranger: Start, cluster_of: Callable[..., Cluster]
) -> None:
    address = free_address()
    cluster = cluster_of(static_pool(address), workers=0, grace="10s")
    with plain_client(cluster.address) as client:
        client.send("early")
        wait_until(lambda: cluster.look()["queue"].get("length"))
        stranger(address)
        assert client.receive()["body"] == ["stranger", "early"]


def test_nobody_at_the_endpoint_is_503_no_workers(cluster_of: Callable[..., Cluster]) -> None:
    cluster = cluster_of(static_pool(free_address()), workers=0)
    with plain_client(cluster.address) as client:
        reply = client.ask("x")
    assert (reply["status"], reply["reason"]) == (503, "no_workers")


def test_probe_keeps_out_who_does_not_answer_the_ping(
    stranger: Start, cluster_of: Callable[..., Cluster]
) -> None:
    silent, other = free_address(), free_address()
    stranger(silent, "nothing")
    stranger(other)
    cluster = cluster_of(static_pool(silent, other, probe=True), workers=1)
    with asker(cluster.address) as client:
        replies = client.ask_at_once(4, "x")
    assert [reply.worker for reply in replies] == ["static-2"] * 4
    assert state_of(cluster, "static-1") != "idle"


def test_our_own_runtime_started_by_hand_is_an_endpoint(
    start: Start, cluster_of: Callable[..., Cluster]
) -> None:
    address = free_address()
    worker = start("-m", "workers", "workers.demo:echo", "--bind", address)
    cluster = cluster_of(static_pool(address, probe=True), workers=1)
    with plain_client(cluster.address) as client:
        assert client.ask("by hand")["body"] == "by hand"
        assert client.ask(None)["reason"] == "exhausted"
        worker.terminate()
        assert worker.wait(5) == 0
        cluster.wait_for_log("worker static-1 is lost")


def test_workers_of_both_kinds_serve_side_by_side(
    stranger: Start, cluster_of: Callable[..., Cluster]
) -> None:
    address = free_address()
    process = stranger(address)
    ours = '[[pool]]\nhandler = "workers.demo:server1"\nworkers = 1\n'
    cluster = cluster_of(ours, static_pool(address), workers=2)
    with plain_client(cluster.address) as client:
        assert client.ask("hello")["worker"] == "server1-1"
        reply = client.ask("something else")
        assert (reply["worker"], reply["attempts"]) == ("static-1", 2)
        process.kill()
        cluster.wait_for_log("worker static-1 is lost")
        assert client.ask("hello")["worker"] == "server1-1"
        assert client.ask("something else")["reason"] == "exhausted"
    names = [worker["name"] for worker in cluster.look()["workers"]]
    assert names == ["server1-1", "static-1"]


def test_a_reload_that_moves_endpoints_loses_nothing(
    start: Start, cluster_of: Callable[..., Cluster], tmp_path: Path
) -> None:
    first, second = free_address(), free_address()
    for address in (first, second):
        start("-m", "workers", "tests.cluster.jobs:work", "--bind", address)
    cluster = cluster_of(static_pool(first), workers=1)
    with asker(cluster.address) as client:
        asked = [client.send({"sleep_s": 0.2}) for _ in range(8)]
        cluster.wait_for_holder()
        (tmp_path / "cluster.toml").write_text(f"max_body = 200000\n{static_pool(second, first)}")
        cluster.launcher.send_signal(signal.SIGHUP)
        replies = [client.reply(number) for number in asked]
        assert [(reply.status, reply.tried) for reply in replies] == [(200, [])] * 8
        cluster.wait_for_workers(2)
        replies = client.ask_at_once(4, {"sleep_s": 0.1})
        assert {reply.worker for reply in replies} == {"static-1", "static-2"}
