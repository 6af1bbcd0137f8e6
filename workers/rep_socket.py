"""The REP socket of a worker: whoever speaks ZeroMQ can ask it."""

import os
from collections.abc import Callable

import zmq

from balancer.wire.values import LARGE_BYTES, Blob, worker_frame_bytes_max

LINGER_MS = 1000
HANDSHAKE_IVL_MS = 1000

# As plain numbers: arithmetic with pyzmq's flags costs more than the call that they are for.
_NOBLOCK, _SNDMORE = int(zmq.NOBLOCK), int(zmq.SNDMORE)


class RepSocket:
    """Its descriptor tells of changes, not of a state (zmq_getsockopt(3), ZMQ_FD): after each news,
    and after each ``send``, receive until there is nothing."""

    def __init__(self, context: zmq.SyncContext, address: str, max_body_bytes: int) -> None:
        """ZMQError if the address cannot be had."""
        self._socket = context.socket(zmq.REP)
        # The last reply must still leave when the process ends right after it.
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        self._socket.setsockopt(zmq.MAXMSGSIZE, worker_frame_bytes_max(max_body_bytes))
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_IVL_MS)
        # A mode that is set after the bind comes too late for an ipc path: somebody may be in.
        umask = os.umask(0o177)
        try:
            self._socket.bind(address)
        except zmq.ZMQError:
            self._socket.close()
            raise
        finally:
            os.umask(umask)
        # Without the wrapper around it, which serves kinds of sockets that are only drafts.
        self._send: Callable[..., object] = super(zmq.Socket, self._socket).send

    @property
    def endpoint(self) -> str:
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def fileno(self) -> int:
        return int(self._socket.fileno())

    def receive(self) -> list[Blob] | None:
        """The next message, or None if there is none."""
        try:
            frames: list[Blob] = [self._socket.recv(_NOBLOCK)]
        except zmq.Again:
            return None
        self._receive_rest(frames)
        return frames

    def _receive_rest(self, frames: list[Blob]) -> None:
        """Whatever belongs to the same message. To ask for the option RCVMORE costs more than a
        frame: the frames tell, and almost always there is a second one."""
        more = True
        while more:
            try:
                frame = self._socket.recv(_NOBLOCK, copy=False)
            except zmq.ZMQError as error:
                if error.errno != zmq.EFSM:
                    raise
                break  # there was one alone: a reply is due before anything else can be received
            frames.append(frame.bytes if len(frame) < LARGE_BYTES else frame)
            more = frame.more

    def send(self, reply: list[bytes]) -> None:
        """To whoever sent the last message."""
        *before, last = reply
        for frame in before:
            self._send(frame, _SNDMORE)
        self._send(last)

    def close(self) -> None:
        self._socket.close()
