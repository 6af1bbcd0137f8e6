"""A client process: asks all the time and writes down every operation, until SIGTERM.

``python -m tests.chaos.client SHELL ADDRESS HISTORY NAME SEED [proxy]`` where SHELL is one of sync
and async (our own clients), req and dealer (pyzmq alone). It finishes what is in flight and ends
with code 0; it ends, too, with whoever started it.
"""

import asyncio
import itertools
import math
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgpack
import zmq

from balancer.client import AsyncClient, Client
from balancer.wire.reply import Reply, Try
from tests.chaos import wishes
from tests.chaos.history import Journal, Operation, Outcome, digest
from tests.chaos.wishes import Wish

THREADS = 2
TASKS = 4
WINDOW = 3
THINK_S = (0.002, 0.03)
GIVE_UP_AFTER_S = 0.5
"""How long past its deadline a client that was written by hand waits for a reply."""
LAST_REPLY_TIMEOUT_S = 3.0
"""How long such a client waits at the end, when nothing is broken any more."""
STOP_CHECK_MS = 100
BACK_OFF_S = (0.05, 0.1)
"""How long to wait where the next request would fare no better."""


class Recorder:
    """One client's part of the history."""

    def __init__(self, path: str, name: str, shell: str, *, via_proxy: bool) -> None:
        self._journal = Journal(path)
        self._name = name
        self._shell = shell
        self._via_proxy = via_proxy
        self._numbers = itertools.count(1)

    def invoke(self, wish: Wish) -> tuple[str, dict[str, Any]]:
        """Write down that the wish is being sent; the name of the operation, and its payload."""
        op = f"{self._name}-{next(self._numbers)}"
        self._journal.invoke(
            Operation(
                op=op,
                client=self._name,
                shell=self._shell,
                via_proxy=self._via_proxy,
                kind=wish.kind,
                once=wish.once,
                timeout_s=wish.timeout_s,
                invoked_at=time.monotonic(),
            )
        )
        return op, wish.payload(op)

    def complete(self, op: str, reply: Reply) -> None:
        at = time.monotonic()
        body = digest(reply.body) if reply.status == 200 else None
        tried = tuple((attempt.worker, attempt.why) for attempt in reply.tried)
        self._journal.complete(
            Outcome(
                op, at, reply.status, reply.reason, reply.attempts, reply.may_have_run, body, tried
            )
        )

    def complete_raw(self, op: str, frame: bytes) -> Reply:
        """The same, of a reply as it came."""
        fields = msgpack.unpackb(frame)
        names = ("status", "reason", "attempts", "may_have_run", "body")
        tried = tuple(Try(**attempt) for attempt in fields.get("tried", ()))
        reply = Reply(**{name: fields[name] for name in names if name in fields}, tried=tried)
        self.complete(op, reply)
        return reply

    def give_up(self, op: str) -> None:
        self._journal.complete(Outcome(op, time.monotonic(), None))


class Stop:
    """Whether it is time to end."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._asked_at = math.inf
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        return self._asked_at < math.inf or os.getppid() != self._parent

    @property
    def gives_up_at(self) -> float:
        """By then a reply has come, or it was lost together with its balancer."""
        return self._asked_at + LAST_REPLY_TIMEOUT_S


def think_s(dice: random.Random, reply: Reply | None = None) -> float:
    """How long to wait before the next request."""
    return dice.uniform(*(BACK_OFF_S if reply is not None and is_hopeless(reply) else THINK_S))


def is_hopeless(reply: Reply) -> bool:
    return reply.reason in ("draining", "no_workers")


# --- our own clients ----------------------------------------------------------------------------


def ask_in_threads(address: str, recorder: Recorder, dice: random.Random, stop: Stop) -> None:
    with Client(address) as client:

        def ask(dice: random.Random) -> None:
            while not stop.is_due:
                wish = wishes.ordinary(dice)
                op, payload = recorder.invoke(wish)
                reply = client.send(payload, timeout=wish.timeout_s, once=wish.once)
                recorder.complete(op, reply)
                time.sleep(think_s(dice, reply))

        seeds = [random.Random(dice.random()) for _ in range(THREADS)]
        threads = [threading.Thread(target=ask, args=(seed,)) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


async def send(client: AsyncClient, recorder: Recorder, wish: Wish) -> Reply:
    """Carry out one wish, and write it down."""
    op, payload = recorder.invoke(wish)
    reply = await client.send(payload, timeout=wish.timeout_s, once=wish.once)
    recorder.complete(op, reply)
    return reply


async def ask_in_tasks(address: str, recorder: Recorder, dice: random.Random, stop: Stop) -> None:
    async with AsyncClient(address) as client:

        async def ask() -> None:
            while not stop.is_due:
                reply = await send(client, recorder, wishes.ordinary(dice))
                await asyncio.sleep(think_s(dice, reply))

        await asyncio.gather(*(ask() for _ in range(TASKS)))


# --- clients that were written with pyzmq alone -------------------------------------------------


def header_of(wish: Wish) -> bytes:
    header = {"timeout_ms": int(wish.timeout_s * 1000), "once": wish.once}
    return bytes(msgpack.packb(header))


def ask_by_req(address: str, recorder: Recorder, dice: random.Random, stop: Stop) -> None:
    """One at a time; what gets no reply costs the socket."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = _connect(context, zmq.REQ, address)
    while not stop.is_due:
        wish = wishes.ordinary(dice)
        op, payload = recorder.invoke(wish)
        socket.send_multipart([header_of(wish), msgpack.packb(payload)])
        until = time.monotonic() + wish.timeout_s + GIVE_UP_AFTER_S
        while not socket.poll(STOP_CHECK_MS):
            if time.monotonic() > min(until, stop.gives_up_at):
                break
        reply = None
        if socket.poll(0):
            reply = recorder.complete_raw(op, socket.recv())
        else:
            recorder.give_up(op)
            socket.close()
            socket = _connect(context, zmq.REQ, address)
        time.sleep(think_s(dice, reply))
    context.destroy()


def ask_by_dealer(address: str, recorder: Recorder, dice: random.Random, stop: Stop) -> None:
    """Several in flight; whatever arrives is written down, so that no second reply stays unseen."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = _connect(context, zmq.DEALER, address)
    open_until: dict[str, float] = {}
    asks_at = 0.0
    while open_until or not stop.is_due:
        if len(open_until) < WINDOW and not stop.is_due and time.monotonic() >= asks_at:
            wish = wishes.ordinary(dice)
            op, payload = recorder.invoke(wish)
            open_until[op] = time.monotonic() + wish.timeout_s + GIVE_UP_AFTER_S
            socket.send_multipart([op.encode(), b"", header_of(wish), msgpack.packb(payload)])
        if socket.poll(int(think_s(dice) * 1000)):
            id, _, frame = socket.recv_multipart()
            reply = recorder.complete_raw(id.decode(), frame)
            asks_at = time.monotonic() + (think_s(dice, reply) if is_hopeless(reply) else 0.0)
            open_until.pop(id.decode(), None)
        now = time.monotonic()
        for op in [op for op, until in open_until.items() if now > min(until, stop.gives_up_at)]:
            del open_until[op]
            recorder.give_up(op)
    context.destroy()


def _connect(context: zmq.Context[zmq.Socket[bytes]], kind: int, address: str) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.linger = 0
    socket.reconnect_ivl = 20
    socket.connect(address)
    return socket


SHELLS: dict[str, Callable[[str, Recorder, random.Random, Stop], None]] = {
    "sync": ask_in_threads,
    "async": lambda *arguments: asyncio.run(ask_in_tasks(*arguments)),
    "req": ask_by_req,
    "dealer": ask_by_dealer,
}


def main() -> int:
    shell, address, history, name, seed, *via = sys.argv[1:]
    recorder = Recorder(history, name, shell, via_proxy=bool(via))
    SHELLS[shell](address, recorder, random.Random(seed), Stop())
    return 0


if __name__ == "__main__":
    sys.exit(main())
