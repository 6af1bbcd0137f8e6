"""The load of all that speak ZeroMQ: one raw DEALER. ``dealer_load ENDPOINTS`` (a JSON list)."""

import json
import os
import select
import sys
import time
from typing import Any

import msgpack
import zmq

from tests.benchmarks.load import ANSWER_TIMEOUT_S, Tally, serve_plans
from tests.benchmarks.plans import Plan
from tests.benchmarks.processes import die_with

BODY_AT = 6
"""Where the value begins in our balancer's answer: after the map's first byte and ``body``."""

_LAST = 0
_MORE = int(zmq.SNDMORE)
_READABLE = int(zmq.POLLIN)


class DealerLoad:
    """Each request goes out as its number, an empty frame and the payload, and so it comes back."""

    def __init__(self, endpoints: list[str]) -> None:
        self._context = zmq.Context()
        self._context.max_sockets = 1024
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.rcvtimeo = int(ANSWER_TIMEOUT_S * 1000)
        self._socket.sndtimeo = int(ANSWER_TIMEOUT_S * 1000)
        for endpoint in endpoints:
            self._socket.connect(endpoint)
        self._numbers = 0
        self._open: dict[int, tuple[int, bytes, float]] = {}
        """Kind, payload and time of each request that is not answered."""

    def play(self, plan: Plan, tally: Tally) -> None:
        payloads = [(kind, msgpack.packb(request)) for kind, request in plan.requests()]
        tally.started_at = time.perf_counter()
        try:
            if plan.rate_per_s is None:
                self._play_closed(plan, tally, payloads)
            else:
                self._play_open(plan, tally, payloads, plan.rate_per_s)
        except zmq.Again:
            tally.unanswered = len(self._open)
            self._open.clear()

    def _play_closed(self, plan: Plan, tally: Tally, payloads: list[tuple[int, bytes]]) -> None:
        """As soon as one is answered, the next is sent, so long as there is time."""
        ends_at = tally.started_at + plan.seconds
        variants = len(payloads)
        sent = min(plan.outstanding, plan.requests_max)
        for number in range(sent):
            self._send(*payloads[number % variants], time.perf_counter())
        while self._open:
            now = self._receive(tally)
            if now < ends_at and sent < plan.requests_max:
                self._send(*payloads[sent % variants], now)
                sent += 1

    def _play_open(
        self, plan: Plan, tally: Tally, payloads: list[tuple[int, bytes]], rate_per_s: float
    ) -> None:
        """Each is sent at its time, answered or not those before; its latency counts from then."""
        count = min(int(plan.seconds * rate_per_s), plan.requests_max)
        sent = 0
        last_news_at = tally.started_at
        while sent < count or self._open:
            now = time.perf_counter()
            while sent < count and (due_at := tally.started_at + sent / rate_per_s) <= now:
                self._send(*payloads[sent % len(payloads)], due_at)
                sent += 1
            # Sending and receiving swallow the descriptor's news: look before every sleep.
            if int(self._socket.getsockopt(zmq.EVENTS)) & _READABLE:
                last_news_at = self._receive(tally)
            elif now > max(last_news_at, due_at) + ANSWER_TIMEOUT_S:
                raise zmq.Again
            else:
                until = tally.started_at + sent / rate_per_s if sent < count else now + 0.1
                select.select([self._socket.fileno()], [], [], max(0.0, until - now))

    def _send(self, kind: int, payload: bytes, at: float) -> None:
        number = self._numbers = self._numbers + 1
        self._open[number] = kind, payload, at
        self._socket.send(number.to_bytes(4, "big"), _MORE)
        self._socket.send(b"", _MORE)
        self._socket.send(payload, _LAST)

    def _receive(self, tally: Tally) -> float:
        """Take one answer; an answer to nothing that is open is a wrong one. Returns the time."""
        number, _, reply = self._socket.recv_multipart()
        kind, payload, sent_at = self._open.pop(int.from_bytes(number, "big"), (0, b"", 0.0))
        return tally.note(kind, sent_at, is_echo(reply, payload))


def is_echo(reply: bytes, payload: bytes) -> bool:
    """Whether a reply is, or is our balancer's answer that carries, the payload as it was sent."""
    if reply == payload or (payload and reply.startswith(payload, BODY_AT)):
        return True
    answer: Any = msgpack.unpackb(reply)
    is_ours = isinstance(answer, dict) and answer.get("status") == 200
    return is_ours and bool(payload) and msgpack.packb(answer.get("body")) == payload


if __name__ == "__main__":
    die_with(os.getppid())
    serve_plans(DealerLoad(json.loads(sys.argv[1])).play, list)
