"""The REP loop of a worker: decode, handle, encode, one request at a time until SIGTERM."""

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import zmq

from balancer.wire import tasks, values
from workers.handler import Current, Decline, Handler, describe, format_traceback
from workers.wear import Wear

LINGER_MS = 1000
HANDSHAKE_IVL_MS = 1000


class StopSignal:
    """SIGTERM as something to poll: it never breaks into user code, and it wakes an idle worker.

    What has not been received when the loop sees it is left to the balancer, which asks another
    worker. Taking one more would promise nothing: the next could always come right after it.
    """

    def __init__(self) -> None:
        self.is_given = False
        self.fd, write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(write_fd, False)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._give)
        # Calls of user code that the signal interrupts are to go on as if nothing had happened.
        signal.siginterrupt(signal.SIGTERM, False)

    def _give(self, signum: int, frame: FrameType | None) -> None:
        self.is_given = True

    def hear(self) -> None:
        """Empty the readable ``fd``. It tells of signals that user code handles, too."""
        # Before Python comes to call _give, the number of the signal can be read here.
        self.is_given |= signal.SIGTERM in os.read(self.fd, 4096)


def bind(context: zmq.SyncContext, address: str, max_body_bytes: int) -> zmq.SyncSocket:
    """The REP socket at ``address``; ZMQError if it cannot be had."""
    socket = context.socket(zmq.REP)
    # The last reply must still leave when the process ends right after it.
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, values.worker_frame_bytes_max(max_body_bytes))
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_IVL_MS)
    # A mode that is set after the bind comes too late for an ipc path: somebody may be in by then.
    umask = os.umask(0o177)
    try:
        socket.bind(address)
    except zmq.ZMQError:
        socket.close()
        raise
    finally:
        os.umask(umask)
    return socket


def serve(
    socket: zmq.SyncSocket, handler: Handler, max_body_bytes: int, stop: StopSignal, wear: Wear
) -> None:
    """Answer requests until SIGTERM; the one that is being handled is finished and answered."""
    pid = os.getpid()
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(stop.fd, zmq.POLLIN)
    while not stop.is_given:
        if any(ready == stop.fd for ready, _ in poller.poll()):
            stop.hear()
            continue
        try:
            frames = [socket.recv(zmq.NOBLOCK)]
        except zmq.Again:
            continue  # A REP may report a message and then have none.
        while socket.getsockopt(zmq.RCVMORE):
            frames.append(socket.recv())
        reply = answer(frames, handler, max_body_bytes)
        if os.getpid() != pid:
            os._exit(0)  # a child that the handler forked came back here: the socket is not its own
        for frame in reply[:-1]:
            socket.send(frame, zmq.SNDMORE)
        socket.send(reply[-1])
        if reply is not tasks.PONG_EACH:
            wear.note_request()


def answer(frames: Sequence[bytes], handler: Handler, max_body_bytes: int) -> list[bytes]:
    """The reply to one message. Only what ends the process is raised."""
    try:
        task = tasks.decode_task(frames)
        if task.is_ping:
            return tasks.PONG_EACH
        request = values.decode_payload(task.payload)
    except values.WireError as error:
        return tasks.encode_error(400, str(error))
    now = time.monotonic()
    if task.expires_at is not None and now >= task.expires_at:
        return tasks.encode_error(504, "expired before it began")
    remaining_s = math.inf if task.remaining_s is None else task.remaining_s
    try:
        result = handler.handle(request, Current(task.id, task.attempt, now + remaining_s))
    except Decline:
        return tasks.EMPTY_REPLY
    except SystemExit:
        raise
    # Whatever else user code raises is its answer: a CancelledError that got away, too.
    except BaseException as error:
        _log(task, format_traceback(error))
        return tasks.encode_error(500, describe(error))
    return _encode_result(task, result, max_body_bytes)


def _encode_result(task: tasks.Task, result: Any, max_body_bytes: int) -> list[bytes]:
    if result is None or (isinstance(result, str | bytes) and not result):
        return tasks.EMPTY_REPLY
    try:
        reply = tasks.encode_value(result)
    # msgpack names three kinds, but packing runs user code too: the items() of a kind of dict.
    except Exception as error:
        trouble = f"the result cannot be packed as msgpack: {describe(error)}"
    else:
        size_bytes = len(reply[0])
        if size_bytes <= max_body_bytes:
            return reply
        trouble = f"result of {size_bytes} bytes is above max_body ({max_body_bytes})"
    _log(task, trouble)
    return tasks.encode_error(500, trouble)


def _log(task: tasks.Task, trouble: str) -> None:
    # User code may have closed what is not its own, and the answer is due all the same.
    with contextlib.suppress(OSError, ValueError):
        print(f"request {task.id!r} failed (try {task.attempt}): {trouble}", file=sys.stderr)
