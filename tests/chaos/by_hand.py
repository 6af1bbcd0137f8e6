"""A hand-written worker: ``python -m tests.chaos.by_hand ADDRESS DEED`` with DEED garble or answer.

It knows only what asks for garbage, and says *not mine* to all else. It outlives launchers, and
ends with whoever started it.
"""

import itertools
import os
import sys
import time
from typing import Any

import msgpack
import zmq

from tests.chaos.history import Journal, digest
from tests.chaos.jobs import RUNS_VARIABLE

GARBAGE = [
    [b"\xc1"],
    [msgpack.packb(1) + msgpack.packb(2)],
    [b"a", b"b", b"c"],
    [b"", b""],
    [os.urandom(64)],
    [msgpack.packb(bytes(17 * 1024 * 1024))],
]
PARENT_CHECK_MS = 1000


def serve(address: str, deed: str) -> None:
    journal = Journal(os.environ[RUNS_VARIABLE])
    name = f"{os.getpid()}.{time.monotonic_ns()}"
    parent = os.getppid()
    socket = zmq.Context().socket(zmq.REP)
    socket.linger = 0
    socket.bind(address)
    garbage = itertools.cycle(GARBAGE)
    for number in itertools.count(1):
        while not socket.poll(PARENT_CHECK_MS):
            if os.getppid() != parent:
                return
        frames = socket.recv_multipart()
        run = f"{name}/{number}"
        if b"garbage" not in frames[-1]:
            socket.send(b"")
            continue
        request = msgpack.unpackb(frames[-1])
        attempt = msgpack.unpackb(frames[0])["attempt"]
        begun = {"run": run, "op": request["op"], "worker": name, "attempt": attempt}
        journal.append("start", **begun, started_at=time.monotonic())
        body: Any = {"op": request["op"], "run": run} if deed == "answer" else None
        end = {"digest": body and digest(body), "is_empty": False}
        journal.append("end", run=run, at=time.monotonic(), **end)
        socket.send_multipart([msgpack.packb(body)] if body else next(garbage))


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
