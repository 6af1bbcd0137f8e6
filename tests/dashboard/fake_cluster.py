"""A cluster for the dashboard to look at: a real control socket, and what it says is scripted."""

import contextlib
import copy
import json
import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

from balancer.control import Message, listen
from balancer.runtime_directory import RuntimeDirectory

_numbers = count(1)
_DID = {
    "drain": "takes nothing new",
    "ready": "is in rotation again",
    "restart": "is replaced",
    "kill": "is killed",
}


def worker(name: str, pool: str = "slow", state: str = "idle", **fields: Any) -> Message:
    """A row of ``status``."""
    row = {
        "name": name,
        "pool": pool,
        "pid": 4000 + sum(map(ord, name)),
        "incarnation": 1,
        "state": state,
        "why": "",
        "endpoint": f"ipc:///tmp/{name}",
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
    return {**row, **fields}


def pool(name: str, workers: int, **fields: Any) -> Message:
    outcomes = ("answer", "empty", "timeout", "died", "garbled", "undelivered")
    nothing: Message = {"counts": {}, "sum_s": 0.0}
    row = {"name": name, "workers": workers, "latency": nothing, "queue_time": nothing}
    return {**row, "tries": dict.fromkeys(outcomes, 0), **fields}


def status(name: str, workers: list[Message]) -> Message:
    """What a quiet cluster says of itself."""
    names = list(dict.fromkeys(one["pool"] for one in workers))
    causes = ("signal", "exit", "hung", "unresponsive", "startup", "by_hand", "recycled")
    return {
        "op": "status",
        "cluster": {
            "name": name,
            "bind": "tcp://127.0.0.1:5555",
            "launcher_pid": os.getpid(),
            "balancer_pid": os.getpid(),
            "balancer_restarts": 0,
            "started_at": "2026-01-02T03:04:05.678+00:00",
            "uptime_s": 75.0,
            "draining": False,
            "dashboard": None,
            "balancer_pulse_ms": 0.3,
        },
        "workers": workers,
        "pools": [pool(one, sum(w["pool"] == one for w in workers)) for one in names],
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
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"op": "event", "time": time, "level": level, "source": source, "text": text, **fields}


class FakeCluster:
    """Use it as a context manager. ``status`` may be changed under ``changing``."""

    def __init__(self, *workers: Message) -> None:
        self.name = f"test-dashboard-{os.getpid()}-{next(_numbers)}"
        self._status = status(self.name, list(workers))
        self.asked: list[Message] = []
        self.is_silent = False
        self.before_status: Callable[[Message], None] = lambda status: None
        self._lock = threading.Lock()
        self._events: list[Message] = []
        self._followers: list[socket.socket] = []
        self._connections: list[socket.socket] = []

    def __enter__(self) -> "FakeCluster":
        self._directory = RuntimeDirectory(self.name)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._directory.close()

    def start(self) -> None:
        self._listener = listen(self.name)
        self._listener.setblocking(True)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Gone, with its socket, as after a crash of the launcher."""
        _end(self._listener)
        with self._lock:
            connections, self._connections, self._followers = self._connections, [], []
        for connection in connections:
            _end(connection)
        (self._directory.path / "control.sock").unlink(missing_ok=True)

    @property
    def status(self) -> Message:
        with self._lock:
            return copy.deepcopy(self._status)

    def change(self, change: Callable[[Message], None]) -> None:
        with self._lock:
            change(self._status)

    def set_worker(self, name: str, **fields: Any) -> None:
        def change(status: Message) -> None:
            next(one for one in status["workers"] if one["name"] == name).update(fields)

        self.change(change)

    def emit(self, record: Message) -> None:
        line = json.dumps(record).encode() + b"\n"
        with self._lock:
            self._events.append(record)
            for follower in self._followers:
                with contextlib.suppress(OSError):
                    follower.sendall(line)

    def asked_for(self, op: str) -> list[Message]:
        with self._lock:
            return [message for message in self.asked if message["op"] == op]

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
                    self._answer(connection, question)

    def _answer(self, connection: socket.socket, question: Message) -> None:
        with self._lock:
            match question:
                case {"op": "status"}:
                    self.before_status(self._status)
                    replies = [self._status]
                case {"op": "events", "last": last, "follow": True}:
                    replies = self._events[-last:]
                    self._followers.append(connection)
                case {"op": "drain" | "ready" | "restart" | "kill" as op, "worker": name}:
                    replies = [self._steer(op, name)]
                case _:
                    replies = [{"op": question["op"], "error": "unknown question"}]
            connection.sendall(b"".join(json.dumps(reply).encode() + b"\n" for reply in replies))

    def _steer(self, op: str, name: str) -> Message:
        found = [one for one in self._status["workers"] if one["name"] == name]
        if not found:
            return {"op": op, "error": f"there is no worker {name}: see status"}
        state = {"drain": "drained", "kill": "down"}.get(op, "idle")
        changed = found[0]["state"] != state
        found[0].update(state=state, why="drained by dashboard" if op == "drain" else "")
        return {"op": op, "did": f"{name} {_DID[op]}", "changed": changed}


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
