"""Clients that know nothing but ZeroMQ and msgpack: REQ, DEALER, and either behind a proxy."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgpack
import pytest
import zmq

from tests.cluster.running import Cluster, free_address, plain_client

IN_FLIGHT = 500
TIMEOUT_MS = 20_000
Connect = Callable[[str], zmq.Socket[bytes]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster("workers.demo:echo", "-w", "2") as cluster:
        cluster.wait_for_workers(2)
        yield cluster


@pytest.fixture
def dealer() -> Iterator[Connect]:
    """Makes DEALERs that are connected, and closes them in the end."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = []

    def connect(address: str) -> zmq.Socket[bytes]:
        sockets.append(socket := context.socket(zmq.DEALER))
        socket.rcvtimeo = TIMEOUT_MS
        socket.connect(address)
        return socket

    yield connect
    for socket in sockets:
        socket.close(0)
    context.term()


def send_many(socket: zmq.Socket[bytes], client: int, number: int) -> None:
    """Send so many requests, each with a payload and an id frame of its own."""
    for n in range(number):
        socket.send_multipart([f"{client}/{n}".encode(), b"", msgpack.packb([client, n])])


def receive_many(socket: zmq.Socket[bytes], client: int, number: int, left_over: int = 0) -> None:
    """Receive the replies, in whatever order, and check that each is its request's own."""
    owed = {f"{client}/{n}".encode(): [client, n] for n in range(number)}
    while len(owed) > left_over:
        name, empty, body = socket.recv_multipart()
        reply = msgpack.unpackb(body)
        assert (empty, reply["status"], reply["body"]) == (b"", 200, owed.pop(name))


@contextmanager
def proxy(backend_address: str) -> Iterator[str]:
    """The address of a zmq.proxy that passes everything on to the cluster."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    address = free_address()
    front.bind(address)
    back.connect(backend_address)

    def run() -> None:
        try:
            zmq.proxy(front, back)
        except zmq.ContextTerminated:
            front.close(0)
            back.close(0)

    thread = threading.Thread(target=run)
    thread.start()
    yield address
    context.term()
    thread.join()


def test_a_plain_req_gets_its_answers(cluster: Cluster) -> None:
    with plain_client(cluster.address) as client:
        for value in ["text", 1, 2.5, True, b"\x00\xff", [1, [2]], {"a": {"b": 1}}]:
            reply = client.ask(value)
            assert (reply["status"], reply["body"], reply["attempts"]) == (200, value, 1)


def test_a_req_that_correlates_gets_its_answers(cluster: Cluster) -> None:
    """Such a REQ puts a number of its own in front of the empty frame and wants it back."""
    with plain_client(cluster.address) as client:
        client.socket.setsockopt(zmq.REQ_CORRELATE, 1)
        assert [client.ask(n)["body"] for n in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("id_frames", [[], [b"a"], [b"a", b"b", b"c", b"d", b"e", b"f", b"g"]])
def test_the_frames_before_the_empty_one_come_back_unchanged(
    cluster: Cluster, dealer: Connect, id_frames: list[bytes]
) -> None:
    socket = dealer(cluster.address)
    socket.send_multipart([*id_frames, b"", msgpack.packb("hello")])
    *envelope, body = socket.recv_multipart()
    assert envelope == [*id_frames, b""]
    assert msgpack.unpackb(body)["body"] == "hello"


@pytest.mark.parametrize("id", ["a text", b"\x00bytes"])
def test_the_id_in_a_header_comes_back_unchanged(cluster: Cluster, id: str | bytes) -> None:
    with plain_client(cluster.address) as client:
        assert client.ask("hello", id=id)["id"] == id


def test_500_requests_in_flight_on_one_dealer_get_their_own_answers(
    cluster: Cluster, dealer: Connect
) -> None:
    socket = dealer(cluster.address)
    send_many(socket, 0, IN_FLIGHT)
    receive_many(socket, 0, IN_FLIGHT)


def test_clients_through_a_proxy_get_their_own_answers(cluster: Cluster, dealer: Connect) -> None:
    with proxy(cluster.address) as address:
        sockets = [dealer(address) for _ in range(3)]
        for client, socket in enumerate(sockets):
            send_many(socket, client, 100)
        with plain_client(address) as one:
            assert [one.ask(n)["body"] for n in range(10)] == list(range(10))
        for client, socket in enumerate(sockets):
            receive_many(socket, client, 100)


def test_many_clients_at_once_get_their_own_answers(cluster: Cluster, dealer: Connect) -> None:
    """They come and go at the same time, and some send the same id frames."""
    sockets = [dealer(cluster.address) for _ in range(10)]
    for number, socket in enumerate(sockets):
        send_many(socket, number, 50)
    for number, socket in enumerate(sockets[:5]):
        receive_many(socket, number, 50, left_over=25)
    for socket in sockets[:5]:
        socket.close(0)
    for number, socket in enumerate(sockets[5:], start=5):
        receive_many(socket, number, 50)
    with plain_client(cluster.address) as client:
        assert client.ask("after all")["body"] == "after all"
