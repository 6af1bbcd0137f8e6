"""The REP loop of a worker: one message after another until SIGTERM."""

import os
import signal
from types import FrameType

import zmq

from balancer.wire import values
from workers.answering import answer, pong
from workers.handler import Handler
from workers.wear import Wear

LINGER_MS = 1000
HANDSHAKE_IVL_MS = 1000

# As plain numbers: arithmetic with pyzmq's flags costs more than the call that they are for.
_NOBLOCK, _SNDMORE, _POLLIN = int(zmq.NOBLOCK), int(zmq.SNDMORE), int(zmq.POLLIN)


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
    """Answer requests until SIGTERM; the message that is being handled is finished and answered."""
    pid, ping_reply = os.getpid(), pong(handler)
    # Without the wrapper around it, which serves kinds of sockets that are only drafts.
    send = super(zmq.Socket, socket).send
    while (frames := receive(socket, stop)) is not None:
        reply = answer(frames, handler, max_body_bytes)
        if os.getpid() != pid:
            os._exit(0)  # a child that the handler forked came back here: the socket is not its own
        for frame in reply[:-1]:
            send(frame, _SNDMORE)
        send(reply[-1])
        if reply is not ping_reply:
            wear.note_requests(max(1, len(frames) - 1))


def receive(socket: zmq.SyncSocket, stop: StopSignal) -> list[bytes] | None:
    """Wait for a message or for SIGTERM, whatever comes first: the message, or None."""
    while True:
        # One call into C for all that there is to wait for. Each option that is asked for by
        # itself, EVENTS or RCVMORE, costs more than to receive a frame.
        for ready, _ in zmq.zmq_poll([(socket, _POLLIN), (stop.fd, _POLLIN)]):
            if ready == stop.fd:
                stop.hear()
        if stop.is_given:
            return None
        try:
            frame = socket.recv(_NOBLOCK, copy=False)
        except zmq.Again:
            continue  # A signal that is not ours; or there was news of something else.
        frames = [frame.bytes]
        while frame.more:
            frame = socket.recv(_NOBLOCK, copy=False)
            frames.append(frame.bytes)
        return frames
