"""A cluster for top to look at: a real control socket, and what it says is scripted."""

import contextlib
import json
import os
import socket
import threading
from collections import Counter
from itertools import count
from typing import Any

from balancer.control import Message, listen
from balancer.histogram import Histogram
from balancer.runtime_directory import RuntimeDirectory

_numbers = count(1)


def worker(name: str, state: str = "idle", **fields: Any) -> Message:
    """A row of ``status``."""
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


def status(name: str, *workers: Message) -> Message:
    """What a quiet cluster says of itself."""
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
        "pools": [],
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
    time = "2026-01-02T03:04:05.678+00:00"
    return {"op": "event", "time": time, "level": level, "source": source, "text": text, **fields}


def answer(status: Message, took: dict[float, int], code: str = "200") -> None:
    """Count so many requests as answered, by how many seconds each took."""
    counts: Counter[str] = Counter()
    for pool in status["pools"]:
        counts.update(pool["latency"]["counts"])
    for took_s, number in took.items():
        histogram = Histogram()
        histogram.note(took_s)
        counts.update({str(place): number for place in histogram.counts})
    status["pools"] = [{"name": "slow", "latency": {"counts": dict(counts), "sum_s": 0.0}}]
    number, totals = sum(took.values()), status["totals"]
    totals["requests"] += number
    totals["answered"] += number
    totals["by_status"] = dict(Counter(totals["by_status"]) + Counter({code: number}))


class FakeCluster:
    """Use it as a context manager; ``lock`` is to be held while ``status`` is changed."""

    def __init__(self, *workers: Message, name: str = "") -> None:
        self.name = name or f"test-top-{os.getpid()}-{next(_numbers)}"
        self.status = status(self.name, *workers)
        self.asked: list[Message] = []
        self.replies: dict[str, Message] = {}
        """What is answered to an order, by its ``op``; else that it was done."""
        self.is_silent = False
        self.lock = threading.RLock()
        self._events: list[Message] = []
        self._connections: list[socket.socket] = []
        self._followers: list[socket.socket] = []

    def __enter__(self) -> "FakeCluster":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, is_accepting: bool = True) -> None:
        self._directory = RuntimeDirectory(self.name)
        self._listener = listen(self.name)
        self._listener.setblocking(True)
        if is_accepting:
            self.accept()

    def accept(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Idempotent. Gone, as when the launcher ends."""
        if self._listener.fileno() < 0:
            return
        _end(self._listener)
        with self.lock:
            connections, self._connections, self._followers = self._connections, [], []
        for connection in connections:
            _end(connection)
        self._directory.close()

    def set_worker(self, name: str, **fields: Any) -> None:
        with self.lock:
            next(one for one in self.status["workers"] if one["name"] == name).update(fields)

    def emit(self, *records: Message) -> None:
        data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        with self.lock:
            self._events += records
            for follower in self._followers:
                with contextlib.suppress(OSError):
                    follower.sendall(data)

    def asked_for(self, *ops: str) -> list[Message]:
        with self.lock:
            return [question for question in self.asked if question["op"] in ops]

    def orders(self) -> list[tuple[str, str]]:
        asked = self.asked_for("drain", "ready", "restart", "kill")
        return [(question["op"], question["worker"]) for question in asked]

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with self.lock:
                    self._connections.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection.makefile("rb") as lines:
            for line in lines:
                question = json.loads(line)
                with self.lock:
                    self.asked.append(question)
                    if not self.is_silent:
                        replies = self._answer(connection, question)
                        data = [json.dumps(reply).encode() + b"\n" for reply in replies]
                        connection.sendall(b"".join(data))

    def _answer(self, connection: socket.socket, question: Message) -> list[Message]:
        match question:
            case {"op": "status"}:
                return [self.status]
            case {"op": "events", "last": last, "follow": True}:
                self._followers.append(connection)
                return self._events[-last:]
            case {"op": op, "worker": name, "by": "top"}:
                did = {"did": f"{name} is asked to {op}", "changed": True}
                return [{"op": op, **self.replies.get(op, did)}]
        return [{"op": question["op"], "error": "unknown question"}]


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
