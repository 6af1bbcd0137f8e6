"""A balancer that does what a test tells it: a ROUTER in a thread that speaks the wire format."""

import heapq
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

import zmq

from balancer.core.events import FailedTry, Outcome, Reason, Refuse, RequestId, WorkerReply
from balancer.wire import replies, requests, tasks, values

PATIENCE_S = 10.0
HARD_LIMIT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Asked:
    payload: Any
    header: requests.Header
    at: float


@dataclass(frozen=True)
class Later:
    after_s: float
    frame: bytes


Answer = bytes | Later | None
"""A reply's frame, at once or later, or silence."""


def answered(body: Any, tried: Sequence[FailedTry] = ()) -> bytes:
    reply = WorkerReply(Outcome.ANSWER, value=tasks.encode_value(body)[0])
    return replies.encode_answer(reply, "server1-1", 1 + len(tried), tried, None)


def failed(error: str) -> bytes:
    reply = WorkerReply(Outcome.ANSWER, status=500, error=error)
    return replies.encode_answer(reply, "server1-1", 1, (), None)


def refused(
    reason: Reason, *, retry_after_s: float | None = None, may_have_run: bool = False
) -> bytes:
    refuse = Refuse(RequestId(0), reason, retry_after_s=retry_after_s, may_have_run=may_have_run)
    return replies.encode_refusal(refuse, None)


def echo(asked: Asked) -> Answer:
    return answered(asked.payload)


def silence(asked: Asked) -> Answer:
    return None


class FakeBalancer:
    """Listens from its construction until ``stop``; ``asked`` is all that came so far."""

    def __init__(
        self,
        answer: Callable[[Asked], Answer] = echo,
        port: int = 0,
        life: str | None = None,
        hello: bool = True,
    ) -> None:
        """A life of its own unless one is given; it notes no hello, and may answer none."""
        self._answers_hello = hello
        self.life = os.urandom(8).hex() if life is None else life
        self.asked: list[Asked] = []
        self.most_open = 0
        """The most answers that were to come later at one time."""
        self._answer = answer
        self._later: list[tuple[float, int, list[bytes]]] = []
        self._order = itertools.count()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.linger = 0
        self._router.maxmsgsize = HARD_LIMIT_BYTES
        self._router.rcvhwm = self._router.sndhwm = 10_000
        if port:
            self._router.bind(f"tcp://127.0.0.1:{port}")
        self.port = port or self._router.bind_to_random_port("tcp://127.0.0.1")
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Its connections end, as they do when a balancer dies."""
        if self._thread.is_alive():
            os.write(self._stop_writer, b"\0")
            self._thread.join(PATIENCE_S)
            os.close(self._stop_reader)
            os.close(self._stop_writer)

    def wait_for(self, count: int) -> None:
        """Until so many requests have come."""
        wait_until(lambda: len(self.asked) >= count)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._stop_reader, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(self._pause_ms()))
            if self._stop_reader in ready:
                break
            if self._router in ready:
                self._take(self._router.recv_multipart())
            while self._later and self._later[0][0] <= monotonic():
                self._router.send_multipart(heapq.heappop(self._later)[2])
        self._router.close(0)
        self._context.term()

    def _pause_ms(self) -> int | None:
        if not self._later:
            return None
        return math.ceil(max(0.0, self._later[0][0] - monotonic()) * 1000)

    def _take(self, frames: list[bytes]) -> None:
        envelope = frames[: frames.index(b"", 1) + 1]
        found = requests.decode_request(frames[1:])
        assert not isinstance(found, requests.Unreadable), found
        header, payload = found
        if header.hello:
            welcome = replies.encode_welcome(self.life, None)
            if self._answers_hello:
                self._router.send_multipart([*envelope, welcome])
            return
        asked = Asked(values.decode_payload(payload), header, monotonic())
        self.asked.append(asked)
        answer = self._answer(asked)
        if isinstance(answer, Later):
            entry = (
                asked.at + answer.after_s,
                next(self._order),
                [*envelope, answer.frame],
            )
            heapq.heappush(self._later, entry)
            self.most_open = max(self.most_open, len(self._later))
        elif answer is not None:
            self._router.send_multipart([*envelope, answer])


@contextmanager
def balancing(
    answer: Callable[[Asked], Answer] = echo,
    port: int = 0,
    life: str | None = None,
    hello: bool = True,
) -> Iterator[FakeBalancer]:
    balancer = FakeBalancer(answer, port, life, hello)
    try:
        yield balancer
    finally:
        balancer.stop()


def wait_until(is_true: Callable[[], bool]) -> None:
    give_up_at = monotonic() + PATIENCE_S
    while not is_true():
        assert monotonic() < give_up_at, "it did not happen"
        sleep(0.001)


def free_port() -> int:
    """A port on which nobody listens, for now."""
    with balancing() as balancer:
        return balancer.port
