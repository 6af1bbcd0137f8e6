"""The board: what the watcher hears goes into memory and on to all who look."""

import asyncio
import time
from dataclasses import asdict
from typing import Any

from balancer.control import Message
from balancer.dashboard.cluster import Watcher
from balancer.dashboard.memory import FEED_MAX, Memory
from balancer.dashboard.stream import Viewer, Viewers, encode

GATHER_S = 0.05
"""Events that come so close together are sent together: a burst is one message, not hundreds."""


class Board:
    def __init__(self, cluster: str, *, is_admin: bool) -> None:
        """``is_admin`` tells the page whether it may offer actions."""
        loop = asyncio.get_running_loop()
        self.memory = Memory(loop.time, time.time)
        self.viewers = Viewers()
        self.watcher = Watcher(
            cluster,
            on_status=self._note_status,
            on_event=self._note_event,
            on_replay=self.memory.note_replay,
            on_silence=self._note_silence,
        )
        self._cluster = cluster
        self._is_admin = is_admin
        self._loop = loop
        self._events: list[Message] = []

    def join(self) -> Viewer:
        """A new viewer, who sees the last minutes first. TooMany if there is no place."""
        self._send_events()  # to those who are here; the newcomer has them in its past
        past = {"points": self.memory.points, "events": list(self.memory.feed)}
        return self.viewers.join([encode("past", past), self._state(None)])

    def _note_status(self, status: Message) -> None:
        point = self.memory.note_status(status)
        self.viewers.publish([self._state(asdict(point) if point else None)])

    def _note_silence(self) -> None:
        self.memory.note_silence()
        self.viewers.publish([self._state(None)])

    def _note_event(self, record: Message) -> None:
        event = self.memory.note_event(record)
        if event is None:
            return
        if not self._events:
            self._loop.call_later(GATHER_S, self._send_events)
        self._events.append(event)

    def _send_events(self) -> None:
        if self._events:
            # Whoever looks sees no more than the feed holds.
            self.viewers.publish(encode("event", event) for event in self._events[-FEED_MAX:])
            self._events.clear()

    def _state(self, point: dict[str, Any] | None) -> bytes:
        state = {
            "name": self._cluster,
            "answers": self.memory.answers,
            "admin": self._is_admin,
            "now": time.time(),
            "status": self.memory.last_known,
            "point": point,
        }
        return encode("state", state)
