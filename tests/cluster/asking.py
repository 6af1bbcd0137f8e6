"""Any number of requests in flight over one plain DEALER, and what the handler wrote down."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import msgpack
import zmq

from tests.cluster.running import wait_until


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply and the instant of its arrival."""

    fields: dict[str, Any]
    at: float

    @property
    def status(self) -> int:
        return int(self.fields["status"])

    @property
    def reason(self) -> str:
        return str(self.fields.get("reason", ""))

    @property
    def body(self) -> Any:
        return self.fields["body"]

    @property
    def worker(self) -> str:
        return str(self.fields["worker"])

    @property
    def tried(self) -> list[tuple[str, str]]:
        """Who was asked in vain, and why it was in vain."""
        return [(t["worker"], t["why"]) for t in self.fields.get("tried", [])]


class Asker:
    """Sends without waiting; a second reply to the same request is an error at once."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._owed: set[int] = set()
        self._replies: dict[int, Reply] = {}

    @property
    def owed(self) -> int:
        """How many replies have not come yet."""
        return len(self._owed)

    def send(self, payload: Any, **header: Any) -> int:
        number = next(self._numbers)
        self._owed.add(number)
        frames = [number.to_bytes(8, "big"), b"", msgpack.packb(header), msgpack.packb(payload)]
        self._socket.send_multipart(frames)
        return number

    def receive(self, timeout_s: float) -> int | None:
        """The number of the next request to be answered; None if none is in time."""
        if not self._socket.poll(int(max(0.0, timeout_s) * 1000)):
            return None
        identity, _, body = self._socket.recv_multipart()
        number = int.from_bytes(identity, "big")
        assert number not in self._replies, f"request {number} was answered twice"
        self._owed.remove(number)
        self._replies[number] = Reply(msgpack.unpackb(body), time.monotonic())
        return number

    def reply(self, number: int, timeout_s: float = 20.0) -> Reply:
        """Wait for the reply to this request."""
        deadline = time.monotonic() + timeout_s
        while number not in self._replies:
            left_s = deadline - time.monotonic()
            assert self.receive(left_s) or left_s > 0, f"no reply within {timeout_s} s"
        return self._replies[number]

    def ask(self, payload: Any, **header: Any) -> Reply:
        return self.reply(self.send(payload, **header))

    def ask_at_once(self, number: int, payload: Any, **header: Any) -> list[Reply]:
        """Ask it so many times without waiting in between: what is sent one after another all goes
        to the one worker that has replied last. In the order of sending."""
        numbers = [self.send(payload, **header) for _ in range(number)]
        return [self.reply(number) for number in numbers]


@contextmanager
def asker(address: str) -> Iterator[Asker]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(address)
    try:
        yield Asker(socket)
    finally:
        socket.close()
        context.term()


class Record:
    """The file in which the handler writes down its runs."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        path.touch()

    def runs(self, name: str = "") -> list[dict[str, Any]]:
        """Every run of the requests of that name so far, in order of time."""
        return [run for run in self.every_run() if run["name"] == name]

    def every_run(self) -> list[dict[str, Any]]:
        """Every run so far, whatever the request's name."""
        return [json.loads(line) for line in Path(self.path).read_text().splitlines()]

    def wait_for_runs(self, number: int, timeout_s: float = 10.0) -> None:
        """Wait until requests without a name have run so many times."""
        wait_until(lambda: len(self.runs()) >= number, timeout_s, f"{number} runs")
