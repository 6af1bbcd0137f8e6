"""Limits of each connection: nobody keeps others out by being many, slow to ask or slow to read."""

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS_MAX = 200
ASK_TIMEOUT_S = 5.0
"""From the connection, or the first byte of a later request, to its last byte."""
READ_TIMEOUT_S = 5.0
"""How long a reader may not read at all while something waits for it."""
UNDISTURBED_S = 0.5
"""Whoever has just come is not sent away for somebody newer."""
SEND_BUFFER_BYTES = 256 * 1024


class LimitedProtocol(H11Protocol):
    """When all places are taken, the newcomer gets the place of whoever has asked for nothing yet
    for the longest time: a browser asks at once, and is left alone while it is answered."""

    _ask_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waits_since: float | None = self.loop.time()
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if len(self.connections) > CONNECTIONS_MAX:
            self._make_room()
        self._limit_asking()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._limit_asking()
        else:
            self._has_asked()

    def on_response_complete(self) -> None:
        self._waits_since = self.loop.time()
        super().on_response_complete()
        if self.conn.their_state is h11.DONE:
            self._has_asked()  # the next request had come already

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_timer = self.loop.call_later(READ_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._read_timer is not None:
            self._read_timer.cancel()

    def _limit_asking(self) -> None:
        """Drop by drop is no faster: the time runs on until the request is complete."""
        if self._ask_timer is None and not self.transport.is_closing():
            self._ask_timer = self.loop.call_later(ASK_TIMEOUT_S, self.transport.abort)

    def _has_asked(self) -> None:
        if self._ask_timer is not None:
            self._ask_timer.cancel()
            self._ask_timer = None
        if self.conn.our_state is not h11.DONE:
            self._waits_since = None

    def _make_room(self) -> None:
        now = self.loop.time()
        waiting: list[Any] = [one for one in self.connections if one._waits_since is not None]  # type: ignore[union-attr]
        oldest = min(waiting, key=lambda one: one._waits_since)
        leaves = oldest if now - oldest._waits_since >= UNDISTURBED_S else self
        self.connections.discard(leaves)
        leaves.transport.abort()

    def _stop_timers(self) -> None:
        for timer in (self._ask_timer, self._read_timer):
            if timer is not None:
                timer.cancel()
