"""Limits: big requests, slow ones, and very many of them."""

import contextlib
import resource
import socket
import time
from collections.abc import Iterator

import pytest

from tests.cluster.running import wait_until
from tests.dashboard.conftest import TOKEN
from tests.dashboard.running import Dashboard
from tests.shell.fake_cluster import FakeCluster, event

SLOW_CONNECTIONS = 500


@pytest.fixture
def connections() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for connection in opened:
        connection.close()


def status_line(connection: socket.socket) -> bytes:
    return connection.recv(1000).partition(b"\r\n")[0]


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1 << 16) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_a_head_has_8_kib(dashboard: Dashboard) -> None:
    head = f"GET / HTTP/1.1\r\nHost: {dashboard.host}\r\nX: {'x' * 12_000}\r\n".encode()
    with dashboard.connect() as connection:
        connection.sendall(head + b"\r\n")
        assert status_line(connection)[9:12] in (b"400", b"431")
    with dashboard.connect() as connection:  # one that never ends is refused before its end
        connection.sendall(head)
        assert status_line(connection)[9:12] == b"400"
    fine = f"GET / HTTP/1.1\r\nHost: {dashboard.host}\r\nX: {'x' * 7_000}\r\n\r\n".encode()
    with dashboard.connect() as connection:
        connection.sendall(fine)
        assert status_line(connection).endswith(b"200 OK")


def test_slow_requests_are_cut_off(dashboard: Dashboard, connections: list[socket.socket]) -> None:
    """Nothing at all, a head drop by drop, a body drop by drop, a second head drop by drop."""
    whole = f"GET /healthz HTTP/1.1\r\nHost: {dashboard.host}\r\n\r\n".encode()
    head = f"POST /admin/drain HTTP/1.1\r\nHost: {dashboard.host}\r\nOrigin: {dashboard.url[:-1]}"
    head += f"\r\nSec-Fetch-Site: same-origin\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 999\r\n\r\n"
    beginnings = {"nothing": b"", "head": whole[:9], "body": head.encode(), "second": whole}
    started_at = time.monotonic()
    for beginning in beginnings.values():
        connections.append(dashboard.connect())
        connections[-1].sendall(beginning)
    assert status_line(connections[-1]).endswith(b"200 OK")
    connections[-1].sendall(whole[:9])
    closed_at: dict[str, float] = {}

    def all_closed() -> bool:
        for name, connection in zip(beginnings, connections, strict=True):
            if name not in closed_at and is_closed(connection):
                closed_at[name] = time.monotonic() - started_at
            elif name not in ("nothing", *closed_at):
                with contextlib.suppress(OSError):
                    connection.sendall(b"x")
        time.sleep(0.2)
        return closed_at.keys() == beginnings.keys()

    wait_until(all_closed, 9, "the end of all four")
    assert all(4 < at < 8 for at in closed_at.values()), closed_at


def test_500_slow_connections_keep_nobody_out(
    cluster: FakeCluster, dashboard: Dashboard, connections: list[socket.socket]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    started_at = time.monotonic()
    for _ in range(SLOW_CONNECTIONS):
        connections.append(dashboard.connect())
        connections[-1].sendall(b"GET / HT")

    def is_served() -> bool:
        with contextlib.suppress(OSError):
            return dashboard.get("/status.json").status == 200
        return False

    wait_until(is_served, 5, "a normal request served")
    assert time.monotonic() - started_at < 5
    open_ones = sum(not is_closed(connection) for connection in connections)
    assert open_ones <= 200
    asked = len(cluster.asked_for("status"))
    wait_until(lambda: len(cluster.asked_for("status")) > asked, 2, "the cluster still asked")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_does_not_read_is_dropped(
    cluster: FakeCluster, dashboard: Dashboard, connections: list[socket.socket]
) -> None:
    """And while it is not, nobody else waits for it."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", dashboard.port))
    connections.append(reader)
    reader.sendall(f"GET /stream HTTP/1.1\r\nHost: {dashboard.host}\r\n\r\n".encode())
    reader.recv(100)

    def flood_and_look() -> bool:
        for _ in range(20):
            cluster.emit(event("x" * 10_000))
        assert dashboard.get("/healthz").status == 200
        with contextlib.suppress(OSError):
            reader.send(b"x")  # a reset is noticed when something is sent
            return False
        return True

    wait_until(flood_and_look, 12, "the end of a reader that does not read")
