"""Watching a ZeroMQ socket: whether a message has come, and what became of its connections."""

import struct
from collections.abc import Iterator
from itertools import count

import zmq

_numbers = count(1)

# As plain numbers: arithmetic with pyzmq's flags costs more than the call that they are for.
NOBLOCK = int(zmq.NOBLOCK)
NOBLOCK_SNDMORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_POLLIN = int(zmq.POLLIN)


def has_message(socket: zmq.Socket[bytes]) -> bool:
    """Ask this after every send and receive, before sleeping on the socket's descriptor: either
    may have swallowed the descriptor's news (zmq_getsockopt(3), ZMQ_FD)."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & _POLLIN)


class Monitor:
    """The events of one socket. Read them all: unread ones block libzmq's I/O thread in the end
    (https://github.com/zeromq/libzmq/issues/3575)."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], watched: zmq.Socket[bytes], events: int
    ) -> None:
        # A name of our own: pyzmq's default is made of a descriptor's number, which comes back
        # while the name may still be taken (https://github.com/zeromq/libzmq/issues/1315).
        address = f"inproc://monitor-{next(_numbers)}"
        self._watched = watched
        self._pair = context.socket(zmq.PAIR)
        self._pair.linger = 0
        watched.monitor(address, events)
        self._pair.connect(address)

    def fileno(self) -> int:
        return int(self._pair.fileno())

    def read(self) -> Iterator[tuple[int, int]]:
        """The events that have come, each with its value: a descriptor or an error number."""
        while has_message(self._pair):
            event, value = struct.unpack("=hi", self._pair.recv_multipart(NOBLOCK)[0])
            yield event, value

    def close(self) -> None:
        """Call it before the watched socket's own ``close``: in another order the I/O thread of
        the whole context may block (https://github.com/zeromq/libzmq/issues/2829)."""
        self._watched.disable_monitor()
        self._pair.close(0)
