"""Whatever a client sends, it alone gets the answer to it; others are served as fast as before."""

import random
import socket
import statistics
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from tests.cluster.running import Cluster, PlainClient, plain_client

MEMORY_MARGIN_BYTES = 64 << 20
"""A leak of one large payload per message would be several times as much."""
GOOD = msgpack.packb("good")
LARGE = b"\xc6" + struct.pack(">I", 20_000_000) + bytes(20_000_000)
OVER_THE_HARD_LIMIT = b"\xc6" + struct.pack(">I", 40_000_000) + bytes(40_000_000)


def header(**fields: Any) -> list[bytes]:
    return [b"", msgpack.packb(fields), GOOD]


MALFORMED: dict[str, Sequence[bytes]] = {
    "nothing": [b""],
    "an empty payload": [b"", b""],
    "an empty payload after a header": [b"", msgpack.packb({}), b""],
    "no delimiter": [GOOD],
    "20 MB before the delimiter": [LARGE[:10_000_000], LARGE[:10_000_000], b"", GOOD],
    "10,000 frames and no delimiter": [b"x"] * 10_000,
    "10,000 body frames": [b"", *[b"x"] * 10_000],
    "10,000 empty frames": [b""] * 10_000,
    "three body frames": [b"", GOOD, GOOD, GOOD],
    "eight frames before the delimiter": [*[b"x"] * 8, b"", GOOD],
    "50 frames of 1 MB": [b"", *[bytes(1_000_000)] * 50],
    "a payload that is no msgpack": [b"", b"\xc1"],
    "half a payload": [b"", msgpack.packb("a text")[:-1]],
    "two payloads in one": [b"", GOOD + GOOD],
    "a payload that claims 4 G elements": [b"", b"\xdd\xff\xff\xff\xff"],
    "a payload that claims 4 GiB": [b"", b"\xc6\xff\xff\xff\xff"],
    "a payload of 100,000 nested lists": [b"", b"\x91" * 100_000 + b"\xc0"],
    "a payload of 100,000 nested maps": [b"", b"\x81\xc0" * 100_000 + b"\xc0"],
    "a payload with a list as a key": [b"", b"\x81\x90\xc0"],
    "a header that is no msgpack": [b"", b"\xc1", GOOD],
    "a header that is no map": [b"", msgpack.packb([1]), GOOD],
    "a header of nested lists": [b"", b"\x91" * 4000 + b"\xc0", GOOD],
    "a header that claims 4 G pairs": [b"", b"\xdf\xff\xff\xff\xff", GOOD],
    "a header above its limit": header(key="x" * 5000),
    "an unknown version": header(v=2),
    "a version that is no number": header(v="1"),
    "a timeout that is a text": header(timeout_ms="soon"),
    "a timeout below 0": header(timeout_ms=-1),
    "a timeout that is no number": header(timeout_ms=float("nan")),
    "a timeout without end": header(timeout_ms=float("inf")),
    "a try timeout that is a list": header(try_timeout_ms=[1]),
    "once as a number": header(once=1),
    "a route that is no text": header(route=b"bytes"),
    "a key that is a number": header(key=1),
    "an unknown priority": header(priority=3),
    "a priority that is a truth value": header(priority=True),
    "an id that is a number": header(id=7),
}
TOO_LARGE: dict[str, Sequence[bytes]] = {
    "a payload of 20 MB": [b"", LARGE],
    "a header and a payload of 20 MB": [b"", msgpack.packb({"id": "big"}), LARGE],
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster("workers.demo:echo", "-w", "2") as cluster:
        cluster.wait_for_workers(2)
        yield cluster


@pytest.fixture(scope="module")
def other(cluster: Cluster) -> Iterator[PlainClient]:
    with plain_client(cluster.address) as client:
        client.ask("connected")
        yield client


@pytest.fixture(autouse=True)
def everybody_else_is_served_as_before(cluster: Cluster, other: PlainClient) -> Iterator[None]:
    """Around every test: same process, no slower than before, hardly more memory."""
    pid = cluster.look()["cluster"]["balancer_pid"]
    memory_bytes, pace_s = resident_bytes(pid), typical_s(other)
    yield
    started_at = time.monotonic()
    assert other.ask("good")["body"] == "good"
    assert time.monotonic() - started_at < 0.5
    assert typical_s(other) < 4 * pace_s + 0.05
    assert cluster.look()["cluster"]["balancer_pid"] == pid
    assert resident_bytes(pid) < memory_bytes + MEMORY_MARGIN_BYTES


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def typical_s(client: PlainClient) -> float:
    durations_s = []
    for number in range(15):
        started_at = time.monotonic()
        assert client.ask(number)["body"] == number
        durations_s.append(time.monotonic() - started_at)
    return statistics.median(durations_s)


@contextmanager
def dealer(cluster: Cluster) -> Iterator[zmq.Socket[bytes]]:
    with plain_client(cluster.address, zmq.DEALER) as client:
        yield client.socket


def envelope_of(frames: Sequence[bytes]) -> Sequence[bytes]:
    """What goes ahead of the answer: nothing that is cargo."""
    envelope = frames[: frames.index(b"") + 1] if b"" in frames else []
    return envelope if sum(map(len, envelope)) < 1_000_000 else []


@pytest.mark.parametrize("name", MALFORMED)
def test_what_cannot_be_read_is_answered_400(cluster: Cluster, name: str) -> None:
    frames = MALFORMED[name]
    times = 3 if len(frames) > 1000 or sum(map(len, frames)) > 1_000_000 else 50
    with dealer(cluster) as client:
        for _ in range(times):
            client.send_multipart(frames)
        for _ in range(times):
            *envelope, body = client.recv_multipart()
            reply = msgpack.unpackb(body)
            assert envelope == envelope_of(frames)
            assert (reply["status"], reply["reason"]) == (400, "malformed")
            assert reply["error"]


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_is_above_the_limit_is_answered_413(cluster: Cluster, name: str) -> None:
    frames = TOO_LARGE[name]
    with dealer(cluster) as client:
        for _ in range(10):
            client.send_multipart(frames)
            *envelope, body = client.recv_multipart()
            reply = msgpack.unpackb(body)
            assert envelope == envelope_of(frames)
            assert (reply["status"], reply["reason"]) == (413, "too_large")


def test_a_payload_above_the_hard_limit_ends_its_connection_alone(cluster: Cluster) -> None:
    for _ in range(5):
        with dealer(cluster) as client:
            monitor = client.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            client.send_multipart([b"", OVER_THE_HARD_LIMIT])
            assert monitor.poll(5000), "the connection is still open"
            assert not client.poll(0)
            client.disable_monitor()
            monitor.close(0)


def test_a_client_that_was_cut_off_is_served_when_it_is_back(cluster: Cluster) -> None:
    with dealer(cluster) as client:
        client.send_multipart([b"", OVER_THE_HARD_LIMIT])
        client.send_multipart([b"", GOOD])
        assert msgpack.unpackb(client.recv_multipart()[-1])["body"] == "good"


def test_random_bytes_on_the_port_end_their_connection(cluster: Cluster) -> None:
    """Some of them happen to be an old version of the protocol, and are answered in it."""
    for seed in range(20):
        with connection(cluster) as raw:
            try:
                raw.sendall(random.Random(seed).randbytes(1_000_000))
                while raw.recv(1 << 16):
                    pass
            except ConnectionError:
                pass  # closed with some of it unread


def test_a_client_that_speaks_an_old_version_is_answered(cluster: Cluster) -> None:
    """Version 1 of ZMTP is so simple that it can be written by hand: length, flags, bytes."""
    with connection(cluster) as raw:
        raw.sendall(b"\x01\x00" + b"\x01\x01" + bytes([len(GOOD) + 1, 0]) + GOOD)
        received = b""
        while b"good" not in received:
            received += raw.recv(1 << 16)
    assert msgpack.packb({"status": 200})[1:] in received


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
        b"POST /hello HTTP/1.1\r\nContent-Length: 300\r\n\r\n" + b"x" * 300,
        bytes.fromhex("16030100c8010000c40303") + bytes(189),
        b"\xff" + bytes(8) + b"\x7f\x03",
        b"",
    ],
    ids=["http", "http post", "tls", "half a greeting", "silence"],
)
def test_who_takes_the_port_for_something_else_is_in_nobodys_way(
    cluster: Cluster, words: bytes
) -> None:
    """What it hears is no HTTP: a client of that kind complains and leaves."""
    for _ in range(30):
        with connection(cluster) as raw:
            raw.sendall(words)
            assert raw.recv(1) == b"\xff"


@contextmanager
def connection(cluster: Cluster) -> Iterator[socket.socket]:
    host, _, port = cluster.address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        yield raw
