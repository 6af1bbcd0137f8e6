"""The launcher's answers to ``status`` and ``stop``, asked over the control socket."""

import os
import socket
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from balancer.control import Channel, Message, listen
from workers.balancer_process import BalancerProcess
from workers.loop import Loop, Timer
from workers.slot import WorkerSlot
from workers.surroundings import Surroundings

CONNECTIONS_MAX = 64
SNAPSHOT_TIMEOUT_S = 1.0
_FIGURES = ("served", "empty", "timeout", "died", "garbled", "undelivered")


class Commands:
    """Listens on the control socket. An asker that is slow or gone is nobody's trouble but its."""

    def __init__(
        self,
        loop: Loop,
        around: Surroundings,
        crew: Iterable[WorkerSlot],
        balancer: BalancerProcess,
        on_stop: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._around = around
        self._crew = crew
        self._balancer = balancer
        self._on_stop = on_stop
        self._started_at = datetime.now(UTC)
        self._asked: dict[int, tuple[Callable[[Message], None], Timer]] = {}
        self._number = 0
        self._connections = 0
        self._listener = listen(around.config.name)
        loop.selector.register(self._listener, 1, self._accept)

    def close(self) -> None:
        self._loop.selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # out of descriptors, or the asker has left already
        if self._connections >= CONNECTIONS_MAX:
            connection.close()
            return
        self._connections += 1
        self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        def on_message(message: Message) -> None:
            match message["op"]:
                case "status":
                    self.status(channel.send)
                case "stop":
                    channel.send(
                        {"op": "stop", "drain_timeout_s": self._around.config.drain_timeout_s}
                    )
                    self._on_stop()
                case op:
                    channel.send({"op": op, "error": f"this cluster does not know '{op}'"})

        def on_close() -> None:
            self._connections -= 1

        channel = Channel(connection, self._loop.selector, on_message, on_close)

    def status(self, reply: Callable[[Message], None]) -> None:
        """Reply with the state of everything, the balancer's part missing if it is not there."""
        self._number += 1
        number = self._number
        timer = self._loop.after(SNAPSHOT_TIMEOUT_S, lambda: self.note_snapshot(number, {}))
        self._asked[number] = (reply, timer)
        if self._balancer.process is None:
            self.note_snapshot(number, {})
        else:
            self._balancer.send({"op": "status", "id": number})

    def note_snapshot(self, number: int, snapshot: dict[str, Any]) -> None:
        """The balancer has answered, or has not: an empty snapshot."""
        if number in self._asked:
            reply, timer = self._asked.pop(number)
            timer.cancel()
            reply({"op": "status", **self._report(snapshot)})

    def _report(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        config = self._around.config
        workers = snapshot.get("workers", {})
        queue = snapshot.get("queue", {"length": 0, "bytes": 0})
        return {
            "cluster": {
                "name": config.name,
                "bind": config.bind,
                "launcher_pid": os.getpid(),
                "balancer_pid": self._balancer.pid,
                "balancer_restarts": self._balancer.restarts,
                "started_at": self._started_at.isoformat(timespec="milliseconds"),
                "uptime_s": round((datetime.now(UTC) - self._started_at).total_seconds(), 1),
                "draining": snapshot.get("draining", False),
            },
            "workers": [self._of_slot(slot, workers.get(slot.name, {})) for slot in self._crew]
            + self._of_static(workers),
            "queue": {
                **queue,
                "limit": config.limits.queue_limit,
                "limit_bytes": config.limits.queue_limit_bytes,
            },
            "totals": snapshot.get("totals", {}),
        }

    def _of_slot(self, slot: WorkerSlot, figures: dict[str, Any]) -> dict[str, Any]:
        process = slot.present or slot.succession.process
        state = figures.get("state", "down")
        if state == "down" and slot.is_alive:
            state = "starting"
        return {
            "name": slot.name,
            "pool": slot.pool,
            "pid": process.pid if process is not None else None,
            "incarnation": process.incarnation if process is not None else slot.incarnation,
            "state": "failed" if slot.has_failed else state,
            "why": slot.why,
            "endpoint": process.endpoint if process is not None else "",
            "restarts": slot.restarts,
            **_figures(figures),
        }

    def _of_static(self, workers: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "name": slot,
                "pool": pool.name,
                "pid": None,
                "incarnation": 0,
                "state": (figures := workers.get(slot, {})).get("state", "down"),
                "why": "",
                "endpoint": endpoint,
                "restarts": 0,
                **_figures(figures),
            }
            for pool in self._around.config.pools
            for slot, endpoint in zip(pool.slots, pool.endpoints, strict=False)
        ]


def _figures(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: figures.get(name, 0) for name in (*_FIGURES, "busy_ms")}
