"""Workers for tests of the balancer's side: REP sockets in this process, and real processes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import zmq

from balancer.stream import Stream

PATIENCE_S = 10.0
STREAM_BODY_BYTES_MAX = 1_000_000
_PROCESS = """
import sys, zmq
socket = zmq.Context().socket(zmq.REP)
socket.bind("tcp://127.0.0.1:*")
print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
while True:
    frames = socket.recv_multipart()
    socket.send(frames[-1] or b"pong")
"""


class Peer:
    """A REP socket with a context of its own: closing it ends its connections."""

    def __init__(self, address: str = "tcp://127.0.0.1:*") -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.rcvtimeo = int(PATIENCE_S * 1000)
        self._socket.bind(address)
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def receive(self) -> list[bytes]:
        """The next message; zmq.Again if none comes in time."""
        return self._socket.recv_multipart()

    def has_message(self, timeout_s: float = 0.0) -> bool:
        return bool(self._socket.poll(int(timeout_s * 1000)))

    def reply(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def close(self, linger_ms: int = 1000) -> None:
        """End the connections when all that was sent has left."""
        self._socket.close(linger_ms)
        self._context.term()


class StreamPeer:
    """Who listens for plain streams, as a worker of ours does beside its REP socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._listener.settimeout(PATIENCE_S)

    def accept(self) -> Stream:
        """The next that connects; it is the caller's to close."""
        return Stream(self._listener.accept()[0], STREAM_BODY_BYTES_MAX)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def peer(address: str = "tcp://127.0.0.1:*") -> Iterator[Peer]:
    one = Peer(address)
    try:
        yield one
    finally:
        one.close()


@dataclass
class PeerProcess:
    """A worker that echoes the last frame, or says pong where it is empty."""

    process: subprocess.Popen[bytes]
    address: str

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)


@contextmanager
def peer_process() -> Iterator[PeerProcess]:
    command = [sys.executable, "-c", _PROCESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield PeerProcess(process, process.stdout.readline().decode().strip())
        finally:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))
