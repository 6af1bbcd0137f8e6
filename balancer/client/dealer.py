"""One DEALER socket to a balancer, for one connection, with the monitor that sees it end.

Every choice here has a measured reason. IMMEDIATE=0 and a RECONNECT_IVL of an hour: with 1 and -1
libzmq throws away replies that have arrived but were not read yet when the connection ends. Nothing
is to be sent before the handshake is done: what libzmq keeps for a balancer that is not there may
be delivered to the next one, long after its caller gave up. Heartbeats find a frozen balancer.
"""

from collections.abc import Callable, Iterator, Sequence
from types import MethodType

import zmq
from zmq.backend import Socket

from balancer.monitor import Monitor

REPLY_BYTES_MAX = 1024 * 1024 * 1024
"""Far above any sensible max_body: what the balancer lets through must not break here."""
_NEVER_RECONNECT_MS = 3_600_000
_MESSAGES_PER_TURN = 1000

# Plain numbers, for the enumerations cost more than the calls that they are for.
_CAN_READ = int(zmq.POLLIN)
_CAN_READ_OR_SEND = int(zmq.POLLIN | zmq.POLLOUT)
_LAST_FRAME = int(zmq.NOBLOCK)
_OTHER_FRAME = int(zmq.NOBLOCK | zmq.SNDMORE)

_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class Dealer:
    """Disposable: once ``is_broken``, read what is left of it, close it and open another."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        """Start to connect; ZMQError if the address is none."""
        self.is_ready = False
        self._is_lost = False
        # Set while a message is sent or read frame by frame, and until its reader is done with it.
        # A signal handler that raises, as that of Ctrl-C does, leaves it set: the message is lost
        # or half sent, and nothing that follows can be trusted.
        self._is_torn = False
        self._socket = context.socket(zmq.DEALER)
        # Without the wrapper around it, which makes each frame twice as expensive.
        self._send: Callable[[bytes, int], None] = MethodType(Socket.send, self._socket)
        self._set_options(self._socket)
        self._monitor = Monitor(context, self._socket, _EVENTS)
        try:
            self._socket.connect(address)
        except zmq.ZMQError:
            self.close()
            raise
        # Connecting swallows wake-ups, too, those of the monitor among them.
        self.notice()

    def _set_options(self, dealer: zmq.Socket[bytes]) -> None:
        dealer.linger = 0
        dealer.immediate = 0
        dealer.reconnect_ivl = _NEVER_RECONNECT_MS
        dealer.connect_timeout = 1000
        dealer.handshake_ivl = 1000
        dealer.heartbeat_ivl = 1000
        dealer.heartbeat_timeout = 3000
        dealer.maxmsgsize = REPLY_BYTES_MAX

    @property
    def is_broken(self) -> bool:
        return self._is_lost or self._is_torn

    def filenos(self) -> tuple[int, int]:
        return self._socket.fileno(), self._monitor.fileno()

    def has_news(self, *, wants_to_send: bool) -> bool:
        """Whether the descriptors may stay silent although there is something to do.

        Sending and reading swallow wake-ups: ask this after either, before going to sleep.
        """
        if self.is_broken:
            return True
        wanted = _CAN_READ_OR_SEND if wants_to_send and self.is_ready else _CAN_READ
        return self._is(wanted)

    def _is(self, wanted: int) -> bool:
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & wanted)

    def notice(self) -> None:
        """Read what became of the connection, into ``is_ready`` and ``is_broken``."""
        if self._is_torn:
            return
        self._is_torn = True
        for event, _ in self._monitor.read():
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.is_ready = True
            else:
                self._is_lost = True
        self._is_torn = False

    def send(self, frames: Sequence[bytes]) -> bool:
        """Hand a message over; False if there is no room for it and nothing was sent."""
        last = len(frames) - 1
        self._is_torn = True
        for number, frame in enumerate(frames):
            try:
                self._send(frame, _OTHER_FRAME if number < last else _LAST_FRAME)
            except zmq.Again:
                # Later than at the first frame it means that the connection ended in between.
                self._is_torn = number > 0
                return False
        self._is_torn = False
        return True

    def messages(self) -> Iterator[Sequence[bytes]]:
        """What has arrived, within reason; ``has_news`` tells of the rest."""
        for _ in range(_MESSAGES_PER_TURN):
            if self._is_torn or not self._is(_CAN_READ):
                return
            self._is_torn = True
            yield self._socket.recv_multipart(_LAST_FRAME)
            self._is_torn = False

    def close(self) -> None:
        self._monitor.close()
        self._socket.close(0)
