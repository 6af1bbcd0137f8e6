"""One strict REQ socket to one worker incarnation, with the monitor that sees it die; and beside it
a plain stream, if the worker is one of ours, for all tasks but large ones.

Every choice here has a measured reason. IMMEDIATE=0: with 1, libzmq throws away replies that have
arrived but were not read yet when the worker dies. RECONNECT_IVL of an hour: what lies in the pipe
must not reach a successor. No REQ_RELAXED: a late reply would be taken for the next request's.
Heartbeats find frozen processes and vanished hosts; only a timeout finds a busy loop.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import zmq

from balancer.core.events import (
    BatchReplied,
    Event,
    Outcome,
    ReplyArrived,
    WorkerConnected,
    WorkerId,
    WorkerLost,
    WorkerReady,
    WorkerReply,
)
from balancer.monitor import Monitor, has_message
from balancer.port import Part, Port
from balancer.stream import Stream, connect
from balancer.wire import tasks, values
from balancer.wire.framing import frame_of
from balancer.wire.values import LARGE_BYTES
from balancer.wire.worker_replies import (
    decode_batch_reply,
    decode_pong,
    decode_took_s,
    decode_worker_reply,
)

HEARTBEAT_IVL_MS = 500
HEARTBEAT_TIMEOUT_MS = 1500
HANDSHAKE_IVL_MS = 1000
_NEVER_RECONNECT_MS = 3_600_000

_HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_LOST: dict[int, str] = {
    zmq.EVENT_DISCONNECTED: "its connection closed",
    zmq.EVENT_CONNECT_RETRIED: "nobody listens at its address",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "the handshake failed",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "it does not speak ZMTP",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "it refused us",
}
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | _HANDSHAKE_FAILED
)

_FRAMES_BESIDE = 2
"""A header, and one more that tells that there are too many."""


class Link:
    """A link is disposable: once it has said WorkerLost, close it and open another."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        worker: WorkerId,
        endpoint: str,
        *,
        stream_path: str = "",
        is_ours: bool,
        must_ping: bool,
        beside_older: bool = False,
        max_body_bytes: int,
    ) -> None:
        """ZMQError if there are no descriptors left for its sockets. ``stream_path`` is where the
        worker is to be had by a plain stream, too, if it is."""
        self.worker = worker
        self.address = endpoint
        self.is_ours = is_ours
        """It runs our runtime on this machine: it shares our clock and packs its replies."""
        self._must_ping = must_ping
        self._beside_older = beside_older
        self._max_body_bytes = max_body_bytes
        self._is_new = False
        """The handshake has succeeded, and nobody was told."""
        self._is_pinging = False
        self._owed = 0
        """Replies that it has not sent yet: to one request, or to those of a batch."""
        self._lost: str | None = None
        """Why it is of no further use, if so."""
        self._stream: Stream | None = None
        self.has_stream = False
        """It takes tasks that are small and whole, as they go by its stream."""
        self._is_streaming = False
        """What it owes a reply to went by the stream, and so will the reply."""
        self._is_spent = False
        """Its stream has ended: what it owes is the last that it gives."""
        self._has_refused = False
        """The last task was certainly not delivered."""
        self._exit_cause: str | None = None
        """How its process has ended, if the launcher says so."""
        self._socket = context.socket(zmq.REQ)
        self._port = Port(self._socket)
        self._configure()
        try:
            self._monitor = Monitor(context, self._socket, _EVENTS)
        except zmq.ZMQError:
            self._socket.close(0)
            raise
        self._socket.connect(endpoint)
        if stream_path:
            # Without a stream all goes by ZeroMQ, which will tell what has become of the worker.
            with contextlib.suppress(OSError):
                self._stream = connect(stream_path, max_body_bytes)
                self.has_stream = True

    def _configure(self) -> None:
        request = self._socket
        request.linger = 0
        request.immediate = 0
        request.reconnect_ivl = _NEVER_RECONNECT_MS
        request.handshake_ivl = HANDSHAKE_IVL_MS
        request.heartbeat_ivl = HEARTBEAT_IVL_MS
        request.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
        request.maxmsgsize = values.worker_frame_bytes_max(self._max_body_bytes)

    def filenos(self) -> list[int]:
        """The first tells what becomes of it, the others of replies."""
        descriptors = [self._monitor.fileno(), int(self._socket.fileno())]
        return descriptors if self._stream is None else [*descriptors, self._stream.fileno()]

    def send(self, message: bytes | list[Any], requests: int = 1) -> bool:
        """Hand a task, or a batch of several, over: its frames, or all of it as it goes by the
        stream that the link has. False if it certainly was not delivered. Of a death that nobody
        has looked for since the last ``watch`` only ``read`` will tell.

        The wake-up of its reply is not swallowed: libzmq looks for news when a send begins, and
        the reply cannot come before the last frame has left.
        """
        if self._owed:
            return False
        if self._lost is not None or self._is_spent:
            self._has_refused = True
            return False
        stream = self._stream
        if isinstance(message, bytes):
            self._is_streaming = True
            is_sent = stream is not None and stream.offer_message(message)
        else:
            self._is_streaming = stream is not None and sum(map(len, message)) < LARGE_BYTES
            if stream is not None and self._is_streaming:
                is_sent = stream.offer(message)
            else:
                is_sent = self._send(message)
        if is_sent:
            self._owed = requests
        self._has_refused = not is_sent
        return is_sent

    def _send(self, frames: Sequence[Any]) -> bool:
        try:
            self._port.send(frames[:-1], frames[-1])
        except zmq.ZMQError:
            return False  # EAGAIN: no pipe
        return True

    def read_reply(self) -> Event | None:
        """The reply that has arrived; after None, ``read`` tells what else has happened. To a
        request there is one reply, so there are no more."""
        owed, stream = self._owed, self._stream
        frames: Sequence[Part] | None = None
        if owed and stream is not None and self._is_streaming:
            piece = stream.receive_piece()
            value = None
            if piece is not None and owed == 1 and not stream.has_begun:
                value = frame_of(piece)
            if value and len(value) <= self._max_body_bytes and not self._is_pinging:
                self._owed = 0  # almost always: the answer of a worker of ours, alone
                return ReplyArrived(self.worker, WorkerReply(Outcome.ANSWER, 200, value))
            frames = stream.assemble(piece) if piece is not None else None
        elif owed:
            frames = self._port.receive(owed + _FRAMES_BESIDE)
        if frames is None:
            self._look_at_others()
            return None
        if owed > 1 or self._is_pinging:
            return self._unusual_reply(frames)
        self._owed = 0
        reply = decode_worker_reply(frames, self._max_body_bytes, self.is_ours)
        if len(frames) == 1:
            return ReplyArrived(self.worker, reply)
        return ReplyArrived(self.worker, reply, decode_took_s(frames))

    def _look_at_others(self) -> None:
        """No reply has come: whatever else woke us is not to wake us again and again."""
        is_owed_by_socket = self._owed and not self._is_streaming
        if not is_owed_by_socket:
            has_message(self._socket)  # its descriptor is readable since the handshake, else
        stream = self._stream
        if stream is None:
            return
        is_owed_by_stream = self._owed and self._is_streaming
        if not is_owed_by_stream and stream.receive() is not None:
            self._lose("it spoke without being asked")
        elif stream.has_ended and not is_owed_by_socket:
            self._lose("its connection closed")

    def spent_stream(self) -> Stream | None:
        """A stream that has ended while a reply is on its way by the socket, which may be the last
        and come later: the caller's to unregister and close. Nothing else is sent after it."""
        stream = self._stream
        if stream is None or not stream.has_ended or self._lost is not None:
            return None
        self._stream, self._is_spent = None, True
        return stream

    def _lose(self, cause: str) -> None:
        self._lost = self._lost or cause

    def read(self) -> Iterator[Event]:
        """Everything that has happened. The replies come before and after the monitor's news,
        for a worker's last reply arrives just ahead of the news of its death."""
        yield from self._replies()
        self.watch()
        if self._is_spent and not self._owed:
            self._lose("its connection closed")
        if self._exit_cause is not None:
            self._lose(self._exit_cause)
        if self._is_new:
            self._is_new = False
            yield WorkerConnected(self.worker, self._beside_older)
            if not self._must_ping:
                yield WorkerReady(self.worker)
            else:
                self._is_pinging = self.send(tasks.PING)
                if not self._is_pinging:
                    self._lose("its connection closed")
        if self._lost is not None:
            yield from self._replies()
            # What it never read certainly did not reach it; only a stream tells.
            is_unread = self._stream is not None and self._stream.was_unread
            yield WorkerLost(self.worker, self._lost, undelivered=is_unread or self._has_refused)

    def watch(self) -> None:
        """Look what became of it, so that ``send`` knows of its death. ``read`` tells the rest."""
        for event, _ in self._monitor.read():
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._is_new = True
            else:
                self._lose(_LOST.get(event, "its link broke"))

    def note_exit(self, cause: str) -> None:
        """Its process has ended: what it has said by now is all; the next ``read`` tells of it."""
        self._exit_cause = cause

    def close(self) -> None:
        self._monitor.close()
        self._socket.close(0)
        if self._stream is not None:
            self._stream.close()

    def _replies(self) -> Iterator[Event]:
        # POLLIN may come without a message (zeromq/libzmq issue 4527): only a receive tells.
        while (event := self.read_reply()) is not None:
            yield event

    def _unusual_reply(self, frames: Sequence[Part]) -> Event | None:
        owed, self._owed = self._owed, 0
        if self._is_pinging:
            self._is_pinging = False
            if len(frames[-1]):
                return WorkerReady(self.worker, decode_pong(frames))
            self._lose("it answered the ping with nothing")
            return None
        replies, took_s = decode_batch_reply(frames, owed, self._max_body_bytes, self.is_ours)
        return BatchReplied(self.worker, replies, took_s)
