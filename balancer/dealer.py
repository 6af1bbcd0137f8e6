"""One DEALER socket to a balancer, used for one connection only, with the monitor that sees it end.

Every choice here has a measured reason. IMMEDIATE=0 and a RECONNECT_IVL of an hour: with IMMEDIATE=1
or RECONNECT_IVL=-1 libzmq throws away replies that have arrived but were not read yet when the
connection ends. Nothing is sent before the handshake is done: what libzmq keeps for a balancer that
is not there might be delivered to the next one, long after its caller gave up. Heartbeats find a
frozen balancer.
"""

from collections.abc import Iterator, Sequence

import zmq

from balancer import wire

REPLY_BYTES_MAX = 65 * 1024 * 1024
_NEVER_RECONNECT_MS = 3_600_000
_MESSAGES_PER_TURN = 1000

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

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, *, number: int
    ) -> None:
        """Start to connect; ZMQError if the address is none. ``number`` is never used again."""
        self.is_ready = False
        self._is_lost = False
        # Set while a message is on its way frame by frame. A signal handler that raises, as that
        # of Ctrl-C does, leaves it set: the frames that follow would belong to another message.
        self._is_torn = False
        self._socket = context.socket(zmq.DEALER)
        self._monitor = context.socket(zmq.PAIR)
        try:
            self._open(address, f"inproc://dealer-{number}")
        except zmq.ZMQError:
            self.close()
            raise

    def _open(self, address: str, monitor_address: str) -> None:
        dealer = self._socket
        dealer.linger = self._monitor.linger = 0
        dealer.immediate = 0
        dealer.reconnect_ivl = _NEVER_RECONNECT_MS
        dealer.connect_timeout = 1000
        dealer.handshake_ivl = 1000
        dealer.heartbeat_ivl = 1000
        dealer.heartbeat_timeout = 3000
        dealer.maxmsgsize = REPLY_BYTES_MAX
        # Our own name: pyzmq's default one is made of a descriptor's number, which comes back.
        dealer.monitor(monitor_address, _EVENTS)
        self._monitor.connect(monitor_address)
        dealer.connect(address)

    @property
    def is_broken(self) -> bool:
        return self._is_lost or self._is_torn

    def filenos(self) -> tuple[int, int]:
        return self._socket.fileno(), self._monitor.fileno()

    def has_news(self, *, wants_to_send: bool) -> bool:
        """Whether the descriptors may stay silent although there is something to do.

        Sending and reading swallow wake-ups: ask this after either, before going to sleep.
        """
        wanted = zmq.POLLIN | zmq.POLLOUT if wants_to_send and self.is_ready else zmq.POLLIN
        return bool(self._socket.getsockopt(zmq.EVENTS) & wanted)

    def notice(self) -> None:
        """Read what became of the connection, into ``is_ready`` and ``is_broken``."""
        while self._monitor.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            event, _ = wire.decode_monitor_event(self._monitor.recv_multipart(zmq.NOBLOCK))
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.is_ready = True
            else:
                self._is_lost = True

    def send(self, frames: Sequence[bytes]) -> bool:
        """Hand a message over; False if there is no room for it and nothing was sent."""
        last = len(frames) - 1
        self._is_torn = True
        for number, frame in enumerate(frames):
            try:
                self._socket.send(frame, zmq.NOBLOCK | (zmq.SNDMORE if number < last else 0))
            except zmq.Again:
                # Later than at the first frame it means that the connection ended in between.
                self._is_torn = number > 0
                return False
        self._is_torn = False
        return True

    def messages(self) -> Iterator[Sequence[bytes]]:
        """What has arrived, within reason; ``has_news`` tells of the rest."""
        for _ in range(_MESSAGES_PER_TURN):
            if self._is_torn or not self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                return
            self._is_torn = True
            frames = self._socket.recv_multipart(zmq.NOBLOCK)
            self._is_torn = False
            yield frames

    def close(self) -> None:
        # In this order: a monitor that is closed first, or not at all, blocks the I/O thread of
        # the whole context.
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)
