"""One socket, read and written message by message, at the price of the C calls alone.

pyzmq's own ``send`` and ``recv`` go through Python once more: a frame costs twice as much by them,
``send_multipart`` and ``recv_multipart`` three times. Received without a copy, a frame tells by
itself whether others follow, and a large one is never copied on its way through.
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import MethodType
from typing import Any

import zmq
from zmq.backend import Socket

from balancer.monitor import NOBLOCK, NOBLOCK_SNDMORE
from balancer.wire.values import LARGE_BYTES

Part = bytes | zmq.Frame


class Port:
    """Whoever used it asks ``has_message`` of its socket before it sleeps on the descriptor, or
    receives until there is nothing (zmq_getsockopt(3), ZMQ_FD)."""

    __slots__ = ("_send", "receive_bytes", "receive_frame")

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.receive_frame: Callable[[int], zmq.Frame] = partial(
            MethodType(Socket.recv, socket), copy=False
        )
        """The next frame alone, by the flags; with NOBLOCK zmq.Again if there is none."""
        self.receive_bytes: Callable[[int], bytes] = MethodType(Socket.recv, socket)
        """The same as bytes, at half of the price, where something certainly follows it."""
        self._send: Callable[[Any, int], None] = MethodType(Socket.send, socket)

    def receive(self, frames_max: int) -> list[Part] | None:
        """The next message, or None if there is none; of one with too many frames the first."""
        try:
            frame = self.receive_frame(NOBLOCK)
        except zmq.Again:
            return None
        if not frame.more and len(frame) < LARGE_BYTES:
            return [frame.bytes]
        return self.receive_rest([], frame, frames_max)

    def receive_rest(self, parts: list[Part], frame: zmq.Frame, frames_max: int) -> list[Part]:
        """``parts``, this frame and all that belong to the same message."""
        parts.append(frame.bytes if len(frame) < LARGE_BYTES else frame)
        receive = self.receive_frame
        while frame.more:
            frame = receive(NOBLOCK)
            if len(parts) < frames_max:
                parts.append(frame.bytes if len(frame) < LARGE_BYTES else frame)
        return parts

    def send(self, parts: Sequence[Any], last: Any) -> None:
        """Hand a message over, made of bytes and of frames as they were received; ZMQError, and
        nothing has been sent, if that is not possible."""
        send = self._send
        for part in parts:
            send(part, NOBLOCK_SNDMORE)
        send(last, NOBLOCK)
