"""One strict REQ socket to one worker incarnation, with the monitor that sees it die.

Every choice here has a measured reason. IMMEDIATE=0: with 1, libzmq throws away replies that have
arrived but were not read yet when the worker dies. RECONNECT_IVL of an hour: what lies in the pipe
must not reach a successor. No REQ_RELAXED: a late reply would be taken for the next request's.
Heartbeats find frozen processes and vanished hosts; only a timeout finds a busy loop.
"""

from collections.abc import Iterator

import zmq

from balancer.core.events import (
    Event,
    ReplyArrived,
    WorkerConnected,
    WorkerId,
    WorkerLost,
    WorkerReady,
)
from balancer.monitor import NOBLOCK, NOBLOCK_SNDMORE, Monitor, has_message
from balancer.wire import tasks, values
from balancer.wire.worker_replies import decode_worker_reply

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


class Link:
    """A link is disposable: once it has said WorkerLost, close it and open another."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        worker: WorkerId,
        endpoint: str,
        *,
        is_ours: bool,
        must_ping: bool,
        beside_older: bool = False,
        max_body_bytes: int,
    ) -> None:
        """ZMQError if there are no descriptors left for its sockets."""
        self.worker = worker
        self.address = endpoint
        self.is_ours = is_ours
        """It runs our runtime on this machine: it shares our clock and packs its replies."""
        self._must_ping = must_ping
        self._beside_older = beside_older
        self._max_body_bytes = max_body_bytes
        self._is_pinging = False
        self._lost: WorkerLost | None = None
        self._socket = context.socket(zmq.REQ)
        self._configure()
        try:
            self._monitor = Monitor(context, self._socket, _EVENTS)
        except zmq.ZMQError:
            self._socket.close(0)
            raise
        self._socket.connect(endpoint)

    def _configure(self) -> None:
        request = self._socket
        request.linger = 0
        request.immediate = 0
        request.reconnect_ivl = _NEVER_RECONNECT_MS
        request.handshake_ivl = HANDSHAKE_IVL_MS
        request.heartbeat_ivl = HEARTBEAT_IVL_MS
        request.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
        request.maxmsgsize = values.worker_frame_bytes_max(self._max_body_bytes)

    def filenos(self) -> tuple[int, int]:
        return int(self._socket.fileno()), self._monitor.fileno()

    def send(self, frames: list[bytes]) -> bool:
        """Hand a task over; False if it certainly was not delivered. Then call ``read`` soon:
        sending may have swallowed the wake-up of something that arrived (zmq_getsockopt(3),
        ZMQ_FD)."""
        self._watch()
        return self._lost is None and self._send(frames)

    def read(self) -> Iterator[Event]:
        """Everything that has happened. The replies come before and after the monitor's news,
        for a worker's last reply arrives just ahead of the news of its death."""
        yield from self._replies()
        if self._watch():
            yield WorkerConnected(self.worker, self._beside_older)
            if not self._must_ping:
                yield WorkerReady(self.worker)
            else:
                self._is_pinging = self._send(tasks.PING)
        if self._lost is not None:
            yield from self._replies()
            yield self._lost

    def close(self) -> None:
        self._monitor.close()
        self._socket.close(0)

    def _send(self, frames: list[bytes]) -> bool:
        last = len(frames) - 1
        try:
            for number, frame in enumerate(frames):
                self._socket.send(frame, NOBLOCK_SNDMORE if number < last else NOBLOCK)
        except zmq.ZMQError:
            return False  # EAGAIN: no pipe; EFSM: a reply is still owed
        return True

    def _replies(self) -> Iterator[Event]:
        while has_message(self._socket):
            try:
                frames = self._socket.recv_multipart(NOBLOCK)
            except zmq.Again:
                return  # POLLIN may come without a message: zeromq/libzmq issue 4527
            if self._is_pinging:
                self._is_pinging = False
                if frames[-1]:
                    yield WorkerReady(self.worker)
                else:
                    self._lost = WorkerLost(self.worker, "it answered the ping with nothing")
            else:
                reply = decode_worker_reply(frames, self._max_body_bytes, self.is_ours)
                yield ReplyArrived(self.worker, reply)

    def _watch(self) -> bool:
        """Read the monitor; True if the handshake has succeeded just now."""
        has_connected = False
        for event, _ in self._monitor.read():
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                has_connected = True
            elif self._lost is None:
                self._lost = WorkerLost(self.worker, _LOST.get(event, "its link broke"))
        return has_connected
