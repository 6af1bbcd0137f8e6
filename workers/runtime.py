"""The REP loop of a worker: one message after another until SIGTERM."""

import contextlib
import os
import signal
from types import FrameType

import zmq

from balancer.wire import values
from balancer.wire.values import LARGE_BYTES, Blob
from workers.answering import answer, pong
from workers.handler import Handler
from workers.wear import Wear

LINGER_MS = 1000
HANDSHAKE_IVL_MS = 1000
LOOK_UP_EVERY_MS = 1000
"""A signal that comes in the very moment before the wait for a message wakes nobody."""
_BELL = "inproc://stop"

# As plain numbers: arithmetic with pyzmq's flags costs more than the call that they are for.
_NOBLOCK, _SNDMORE = int(zmq.NOBLOCK), int(zmq.SNDMORE)


class StopSignal:
    """SIGTERM as a message to ourselves: it never breaks into user code, and wakes an idle worker.

    What has not been received when the loop sees it is left to the balancer, which asks another
    worker. Taking one more would promise nothing: the next could always come right after it.
    """

    def __init__(self, context: zmq.SyncContext, socket: zmq.SyncSocket) -> None:
        self.is_given = False
        self._pid = os.getpid()
        # A message and no descriptor: to wait for both costs half as much again as the whole wait.
        socket.bind(_BELL)
        self._bell = context.socket(zmq.REQ)
        self._bell.setsockopt(zmq.LINGER, 0)
        self._bell.connect(_BELL)
        signal.signal(signal.SIGTERM, self._give)
        # Calls of user code that the signal interrupts are to go on as if nothing had happened.
        signal.siginterrupt(signal.SIGTERM, False)

    def _give(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A child that the handler forked: it is to die of this. The sockets are not its own.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        elif not self.is_given:
            self.is_given = True
            with contextlib.suppress(zmq.ZMQError):  # the socket may be closed by now
                self._bell.send(b"", _NOBLOCK)

    def close(self) -> None:
        self._bell.close()


def bind(context: zmq.SyncContext, address: str, max_body_bytes: int) -> zmq.SyncSocket:
    """The REP socket at ``address``; ZMQError if it cannot be had."""
    socket = context.socket(zmq.REP)
    # The last reply must still leave when the process ends right after it.
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, values.worker_frame_bytes_max(max_body_bytes))
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_IVL_MS)
    socket.setsockopt(zmq.RCVTIMEO, LOOK_UP_EVERY_MS)
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
    socket: zmq.SyncSocket,
    handler: Handler,
    max_body_bytes: int,
    stop: StopSignal,
    wear: Wear | None,
) -> None:
    """Answer requests until SIGTERM; the message that is being handled is finished and answered."""
    pid, ping_reply = os.getpid(), pong(handler)
    # Without the wrapper around it, which serves kinds of sockets that are only drafts.
    send = super(zmq.Socket, socket).send
    while (frames := receive(socket, stop)) is not None:
        reply = answer(frames, handler, max_body_bytes)
        if os.getpid() != pid:
            os._exit(0)  # a child that the handler forked came back here: the socket is not its own
        *before, last = reply
        for frame in before:
            send(frame, _SNDMORE)
        send(last)
        if wear is not None and reply is not ping_reply:
            wear.note_requests(max(1, len(frames) - 1))


def receive(socket: zmq.SyncSocket, stop: StopSignal) -> list[Blob] | None:
    """Wait for a message or for SIGTERM, whatever comes first: the message, or None."""
    while not stop.is_given:
        try:
            frames: list[Blob] = [socket.recv()]
        except zmq.Again:
            continue
        _receive_rest(socket, frames)
        if stop.is_given and frames == [b""]:
            break
        return frames
    return None


def _receive_rest(socket: zmq.SyncSocket, frames: list[Blob]) -> None:
    """Whatever belongs to the same message. To ask for the option RCVMORE costs more than a frame:
    the frames tell, and almost always there is a second one."""
    more = True
    while more:
        try:
            frame = socket.recv(_NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            if error.errno != zmq.EFSM:
                raise
            break  # there was one alone: a reply is due before anything else can be received
        frames.append(frame.bytes if len(frame) < LARGE_BYTES else frame)
        more = frame.more
