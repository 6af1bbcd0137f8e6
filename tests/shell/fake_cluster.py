"""A cluster for top and the dashboard to look at: a real control socket, and scripted answers."""

import contextlib
import copy
import json
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Any

from balancer.control import Message, listen
from balancer.runtime_directory import RuntimeDirectory

PATIENCE_S = 5.0
_numbers = count(1)
_ORDERS = {
    "drain": ("takes nothing new", "drained", "drained by hand"),
    "ready": ("is in rotation again", "idle", ""),
    "restart": ("is replaced", "idle", ""),
    "kill": ("is killed", "down", ""),
}
"""What is said once an order is carried out, and the worker's state and why it is in it then."""


def worker(name: str, state: str = "idle", **fields: Any) -> Message:
    """A row of ``status``; its pool is named before the last dash."""
    row: Message = {
        "name": name,
        "pool": name.rpartition("-")[0],
        "pid": 4000 + sum(map(ord, name)),
        "incarnation": 1,
        "state": state,
        "why": "",
        "endpoint": f"ipc:///tmp/cluster/{name}",
        "restarts": 0,
        "served": 0,
        "empty": 0,
        "timeout": 0,
        "died": 0,
        "garbled": 0,
        "undelivered": 0,
        "busy_ms": 0.0,
        "request": None,
        "request_age_ms": None,
        "p50_ms": None,
        "p99_ms": None,
        "last_death": "",
        "last_death_age_s": None,
        "stack": "",
    }
    return row | fields


def pool(name: str, workers: int, **fields: Any) -> Message:
    """What has come of a pool's requests so far: nothing, unless it is given."""
    outcomes = ("answer", "empty", "timeout", "died", "garbled", "undelivered")
    nothing: Message = {"counts": {}, "sum_s": 0.0}
    row = {"name": name, "workers": workers, "latency": nothing, "queue_time": nothing}
    return {**row, "tries": dict.fromkeys(outcomes, 0), **fields}


def status(name: str, *workers: Message) -> Message:
    """What a quiet cluster says of itself."""
    pools = Counter(one["pool"] for one in workers)
    causes = ("signal", "exit", "hung", "unresponsive", "startup", "by_hand", "recycled")
    return {
        "op": "status",
        "cluster": {
            "name": name,
            "bind": "tcp://127.0.0.1:5555",
            "launcher_pid": 4711,
            "balancer_pid": 4712,
            "balancer_restarts": 0,
            "started_at": "2026-01-02T03:04:05.678+00:00",
            "uptime_s": 8075.0,
            "draining": False,
            "dashboard": None,
            "balancer_pulse_ms": 0.3,
        },
        "workers": list(workers),
        "pools": [pool(one, number) for one, number in pools.items()],
        "queue": {"length": 0, "bytes": 0, "limit": 1024, "limit_bytes": 64 << 20},
        "totals": {
            "requests": 0,
            "tries": 0,
            "failovers": 0,
            "batches": 0,
            "batched": 0,
            "late_replies": 0,
            "ejections": 0,
            "clients_gone": 0,
            "replies_undelivered": 0,
            "open": 0,
            "answered": 0,
            "by_status": {},
            "by_reason": {},
            "retry_budget": {"spent": 0, "allowed": 8},
        },
        "restarts": {**dict.fromkeys(causes, 0), "balancer": 0},
    }


def event(text: str, source: str = "slow-1", level: str = "info", **fields: Any) -> Message:
    """A record as it follows on ``events``, of this moment: whoever has seen it knows it again."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"op": "event", "time": time, "level": level, "source": source, "text": text, **fields}


class FakeCluster:
    """Use it as a context manager; ``stop`` and ``start`` have it go and come back."""

    def __init__(self, *workers: Message) -> None:
        self.name = f"test-fake-{os.getpid()}-{next(_numbers)}"
        self.asked: list[Message] = []
        self.replies: dict[str, Message] = {}
        """What is answered to an order, by its ``op``; else it is carried out."""
        self.is_silent = False
        # Tests share their rows, and what becomes of one here is no other test's business.
        self._status = status(self.name, *copy.deepcopy(workers))
        self._lock = threading.Lock()
        self._events: list[Message] = []
        self._connections: list[socket.socket] = []
        self._followers: list[socket.socket] = []
        self._acceptor: threading.Thread | None = None

    def __enter__(self) -> "FakeCluster":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, is_accepting: bool = True) -> None:
        """If it is not accepting, whoever connects waits in line until ``accept``."""
        self._directory = RuntimeDirectory(self.name)
        self._listener = listen(self.name)
        self._listener.setblocking(True)
        if is_accepting:
            self.accept()

    def accept(self) -> None:
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Idempotent. Gone, as when the launcher ends; its events and its status are kept."""
        if self._listener.fileno() < 0:
            return
        _end(self._listener)
        if self._acceptor is not None:
            self._acceptor.join(PATIENCE_S)  # whom it lets in last is to be closed, too
        with self._lock:
            connections, self._connections, self._followers = self._connections, [], []
        for connection in connections:
            _end(connection)
        self._directory.close()

    @property
    def status(self) -> Message:
        """A copy: see ``change``."""
        with self._lock:
            return copy.deepcopy(self._status)

    def change(self, change: Callable[[Message], None]) -> None:
        """Have the status changed while nobody is told of it."""
        with self._lock:
            change(self._status)

    def set_worker(self, name: str, **fields: Any) -> None:
        self.change(lambda status: _rows(status)[name].update(fields))

    def emit(self, *records: Message) -> None:
        """Tell whoever follows, all at once, and whoever will ask for the past."""
        data = _lines(records)
        with self._lock:
            self._events += records
            for follower in self._followers:
                with contextlib.suppress(OSError):
                    follower.sendall(data)

    def asked_for(self, *ops: str) -> list[Message]:
        with self._lock:
            return [question for question in self.asked if question["op"] in ops]

    def orders(self) -> list[Message]:
        """All that were given, carried out or not."""
        return self.asked_for(*_ORDERS)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with self._lock:
                    self._connections.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection.makefile("rb") as lines:
            for line in lines:
                question = json.loads(line)
                with self._lock:
                    self.asked.append(question)
                    if not self.is_silent:
                        connection.sendall(_lines(self._answer(connection, question)))

    def _answer(self, connection: socket.socket, question: Message) -> list[Message]:
        match question:
            case {"op": "status"}:
                return [self._status]
            case {"op": "events", "last": last, "follow": True}:
                self._followers.append(connection)
                return self._events[-last:]
            case {"op": op, "worker": name, "by": _} if op in _ORDERS:
                return [{"op": op, **(self.replies.get(op) or self._carry_out(op, name))}]
        return [{"op": question["op"], "error": "unknown question"}]

    def _carry_out(self, op: str, name: str) -> Message:
        row = _rows(self._status).get(name)
        if row is None:
            return {"error": f"there is no worker {name}: see status"}
        did, state, why = _ORDERS[op]
        changed = row["state"] != state
        row.update(state=state, why=why)
        return {"did": f"{name} {did}", "changed": changed}


def _rows(status: Message) -> dict[str, Message]:
    return {row["name"]: row for row in status["workers"]}


def _lines(messages: Iterable[Message]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
