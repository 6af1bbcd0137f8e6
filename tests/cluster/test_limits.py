"""Every limit that can be set reaches the balancer, and has its answer when it is reached."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.cluster.asking import Asker, asker
from tests.cluster.running import Cluster, plain_client, wait_until
from tests.shell.dealer import GREETING, READY

SLOW = ("workers.demo:slow", "-w", "1")
BUSY_S = 0.4


@pytest.fixture(scope="module")
def small() -> Iterator[Cluster]:
    limits = ("--client-limit", "3", "--queue-limit", "4", "--queue-limit-bytes", "2000")
    with Cluster(*SLOW, *limits, "--max-body", "1000") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def short() -> Iterator[Cluster]:
    times = ("--try-timeout", "500ms", "--deadline", "600ms", "--deadline-max", "900ms")
    with Cluster(*SLOW, *times, "--hang-kill-after", "60s") as cluster:
        yield cluster


@pytest.fixture
def clients(request: pytest.FixtureRequest) -> Iterator[list[Asker]]:
    """Three clients of the test's cluster, whose only worker is idle."""
    (name,) = {"small", "short", "impatient"} & set(request.fixturenames)
    cluster: Cluster = request.getfixturevalue(name)
    wait_until(lambda: cluster.look()["workers"][0]["state"] == "idle")
    with ExitStack() as stack:
        yield [stack.enter_context(asker(cluster.address)) for _ in range(3)]


def hold(cluster: Cluster, client: Asker, sleep_s: float = BUSY_S) -> int:
    """Keep the only worker busy."""
    number = client.send(sleep_s)
    cluster.wait_for_holder()
    return number


def test_clients_leave_descriptors_for_workers_that_come_back() -> None:
    """Of 256 clients have half, however many come: with more none would be left for a new link."""
    limited = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster("workers.demo:echo", "-w", "1", prefix=limited))
        client = stack.enter_context(asker(cluster.address))
        assert client.ask("before").status == 200
        host, _, port = cluster.address.removeprefix("tcp://").rpartition(":")
        for _ in range(400):
            other = stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
            other.sendall(GREETING + READY)
        cluster.wait_for_log("128 clients are connected")
        os.kill(cluster.look()["workers"][0]["pid"], signal.SIGKILL)
        assert client.ask("after").status == 200
        cluster.wait_for_log("back after")


# --- numbers and sizes ----------------------------------------------------------------------------


def test_client_limit(small: Cluster, clients: list[Asker]) -> None:
    accepted = [hold(small, clients[0]), clients[0].send(0), clients[0].send(0)]
    refused = clients[0].ask(0)
    assert (refused.status, refused.reason) == (429, "client_limit")
    other = clients[1].send(0)
    assert [clients[0].reply(number).status for number in accepted] == [200] * 3
    assert clients[1].reply(other).status == 200
    assert clients[0].ask(0).status == 200


def test_queue_limit(small: Cluster, clients: list[Asker]) -> None:
    accepted = [(clients[0], hold(small, clients[0]))]
    accepted += [(client, client.send(0)) for client in clients[:2] * 2]
    wait_until(lambda: small.look()["queue"]["length"] == 4)
    refused = clients[2].ask(0)
    assert (refused.status, refused.reason) == (503, "queue_full")
    assert refused.fields["may_have_run"] is False
    assert [client.reply(number).status for client, number in accepted] == [200] * 5


def test_queue_limit_bytes(small: Cluster, clients: list[Asker]) -> None:
    first = hold(small, clients[0])
    large = {"sleep_s": 0, "ballast": bytes(850)}
    queued = [clients[1].send(large), clients[1].send(large)]
    wait_until(lambda: small.look()["queue"]["length"] == 2)
    refused = clients[2].ask(large)
    assert (refused.status, refused.reason) == (503, "queue_full")
    assert clients[2].ask({"sleep_s": 0}).status == 200
    assert [clients[1].reply(number).status for number in queued] == [200] * 2
    assert clients[0].reply(first).status == 200


def test_max_body(small: Cluster, clients: list[Asker]) -> None:
    refused = clients[0].ask({"sleep_s": 0, "ballast": bytes(1000)})
    assert (refused.status, refused.reason) == (413, "too_large")
    assert clients[0].ask({"sleep_s": 0, "ballast": bytes(900)}).status == 200


def test_a_tiny_max_body_leaves_room_for_handshakes_and_headers() -> None:
    with (
        Cluster("workers.demo:echo", "-w", "1", "--max-body", "16") as cluster,
        plain_client(cluster.address) as client,
    ):
        assert client.ask("hello")["body"] == "hello"
        assert client.ask("hello " * 3)["reason"] == "too_large"


# --- times ----------------------------------------------------------------------------------------


def test_deadline_of_a_request_that_waits(short: Cluster, clients: list[Asker]) -> None:
    """It is never executed: the worker, free again, has served the first one alone."""
    served = short.look()["workers"][0]["served"]
    first = hold(short, clients[0], 1.0)
    sent_at = time.monotonic()
    refused = clients[1].ask(0)
    assert (refused.status, refused.reason) == (504, "deadline")
    assert (refused.fields["attempts"], refused.fields["may_have_run"]) == (0, False)
    assert 0.55 < refused.at - sent_at < 1.5  # 0.6
    assert clients[0].reply(first).status == 503
    wait_until(lambda: short.look()["workers"][0]["state"] == "idle")
    assert short.look()["workers"][0]["served"] == served


def test_try_timeout(short: Cluster, clients: list[Asker]) -> None:
    sent_at = time.monotonic()
    refused = clients[0].ask(0.8)
    assert (refused.status, refused.reason) == (503, "exhausted")
    assert refused.tried == [("slow-1", "timeout")]
    assert refused.fields["may_have_run"] is True
    assert 0.45 < refused.at - sent_at < 1.5  # 0.5


def test_a_client_may_ask_for_less_time(short: Cluster, clients: list[Asker]) -> None:
    sent_at = time.monotonic()
    refused = clients[0].ask(0.4, timeout_ms=150)
    assert (refused.status, refused.reason) == (504, "deadline")
    assert refused.fields["may_have_run"] is True
    assert 0.1 < refused.at - sent_at < 0.4  # 0.15


def test_deadline_max(short: Cluster, clients: list[Asker]) -> None:
    hold(short, clients[0], 1.3)
    sent_at = time.monotonic()
    refused = clients[1].ask(0, timeout_ms=60_000)
    assert (refused.status, refused.reason) == (504, "deadline")
    assert 0.85 < refused.at - sent_at < 1.8  # 0.9


@pytest.fixture(scope="module")
def impatient() -> Iterator[Cluster]:
    with Cluster(*SLOW, "--queue-timeout", "200ms", "--try-timeout", "5s") as cluster:
        yield cluster


def test_queue_timeout(impatient: Cluster, clients: list[Asker]) -> None:
    first = hold(impatient, clients[0], 0.8)
    sent_at = time.monotonic()
    refused = clients[1].ask(0)
    assert (refused.status, refused.reason) == (503, "queue_timeout")
    assert refused.fields["may_have_run"] is False
    assert 0.15 < refused.at - sent_at < 0.8  # 0.2
    assert clients[0].reply(first).status == 200


# --- who is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_empty", "tries_of_world", "tries_of_nonsense"),
    [("next_worker", 3, 4), ("next_pool", 2, 2)],
)
def test_on_empty(on_empty: str, tries_of_world: int, tries_of_nonsense: int) -> None:
    servers = ("workers.demo:server1", "workers.demo:server2", "-w", "2")
    with Cluster(*servers, "--on-empty", on_empty) as cluster:
        cluster.wait_for_workers(4)
        with asker(cluster.address) as client:
            assert client.ask("world").fields["attempts"] == tries_of_world
            refused = client.ask("nonsense")
    assert (refused.reason, len(refused.tried)) == ("exhausted", tries_of_nonsense)
    pools = [worker.partition("-")[0] for worker, _ in refused.tried]
    assert pools == sorted(pools)


def test_strikes() -> None:
    with Cluster("workers.demo:crash", "-w", "3", "--strikes", "1") as cluster:
        cluster.wait_for_workers(3)
        with asker(cluster.address) as client:
            refused = client.ask("SIGKILL")
            assert (refused.status, refused.reason) == (500, "poisoned")
            assert [why for _, why in refused.tried] == ["died"]


def test_retry_budget() -> None:
    """One try is free, two are for each worker: the fourth crash finds no budget left."""
    options = ("--retry-budget", "0%", "--strikes", "9", "--revive-grace", "5s")
    with (
        Cluster("workers.demo:crash", "-w", "1", *options) as cluster,
        asker(cluster.address) as client,
    ):
        refused = client.ask("SIGKILL")
    assert (refused.status, refused.reason) == (503, "retry_budget")
    assert len(refused.tried) == 4
