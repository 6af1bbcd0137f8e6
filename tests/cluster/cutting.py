"""A handler that breaks the connection of its own process to the balancer, as a network would."""

import contextlib
import os
import socket
import stat
import threading
import time
from typing import Any

from tests.cluster.running import wait_until


def work(request: Any) -> int:
    """Take ``sleep_s``, or as long as there is no file ``until``; before it ``cut`` the
    connection, now or for as long as we live."""
    if request.get("cut") == "now":
        connections = cut()
        assert connections == 2, connections  # what goes by ZeroMQ, and the stream beside it
    elif request.get("cut") == "always":
        threading.Thread(target=cut_always, daemon=True).start()
    time.sleep(request.get("sleep_s", 0.0))
    if "until" in request:
        wait_until(lambda: os.path.exists(request["until"]), 20, request["until"])
    return os.getpid()


def cut() -> int:
    """How many connections to our own socket files were shut down. All are found before the first
    ends: that is the end of the others, too, as soon as the balancer sees it."""
    ours = [one for one in map(int, os.listdir("/proc/self/fd")) if _is_ours(one)]
    copies: list[socket.socket] = []
    for descriptor in ours:
        with contextlib.suppress(OSError):  # closed meanwhile
            copies.append(socket.socket(fileno=os.dup(descriptor)))
    return sum(map(_shut_down, copies))


def _shut_down(connection: socket.socket) -> bool:
    with connection, contextlib.suppress(OSError):  # not connected any more
        connection.shutdown(socket.SHUT_RDWR)
        return True
    return False


def _is_ours(descriptor: int) -> bool:
    with contextlib.suppress(OSError):  # closed meanwhile
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            is_ours = copy.family == socket.AF_UNIX and "/failover-cluster-" in copy.getsockname()
            return is_ours and not copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return False


def cut_always() -> None:
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        cut()
        time.sleep(0.001)
