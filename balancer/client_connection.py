"""One client's connection: what is read from it becomes messages, what is said to it bytes.

Neither way waits, and neither is without bound: what a client sends faster than it is served stays
with the kernel, and so with the client; of what it does not read so much is kept and no more.
"""

import contextlib
import socket
import time

from balancer.core.events import ClientId
from balancer.wire.greeting import Peer
from balancer.wire.values import LARGE_BYTES, WireError
from balancer.wire.zmtp import SMALL_BYTES, Message

READ_BYTES = 64 * 1024
READ_LARGE_BYTES = 1024 * 1024
"""So much at once, and so much of a frame that is large."""
PIECES_AT_ONCE = 64
UNREAD_BYTES_MAX = 128 * 1024 * 1024
"""Of a client that does not read no more is kept, however few answers that are."""
READING_BYTES_MAX = 1024 * 1024 * 1024
"""And so much of one that reads, but slower than it is answered: 64 of the largest answers."""
READS_WITHIN_S = 2.0
"""Who takes nothing for so long does not read; a pause of our own is seldom longer."""
_NOSIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)

Pieces = list[bytes | memoryview]


class ClientConnection:
    """Close it when it ``has_ended``."""

    __slots__ = (
        "_peer",
        "_read_at",
        "_receive",
        "_send",
        "_socket",
        "_unread_max",
        "_unsent",
        "_unsent_bytes",
        "has_asked",
        "has_ended",
        "id",
        "is_stuck",
        "read_bytes",
    )

    def __init__(self, accepted: socket.socket, id: ClientId, peer: Peer, unread_max: int) -> None:
        """``accepted`` does not block. Of a client that does not read its answers no more than
        ``unread_max`` are kept."""
        self.id = id
        self.has_asked = False
        """For its owner to note: somebody was told of this client."""
        self.has_ended = False
        """The client is gone, or what it sends makes no sense."""
        self.is_stuck = False
        """It does not read what it was told: ``flush`` again when there is room."""
        self.read_bytes = 0
        """How much the last ``receive`` has read."""
        self._socket = accepted
        self._receive, self._send = accepted.recv, accepted.send
        self._peer = peer
        self._unread_max = unread_max
        self._unsent: Pieces = []
        self._unsent_bytes = 0
        self._read_at = 0.0
        """When it took a part of what is left, or all that was said before that."""
        self._say_beside()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def is_greeted(self) -> bool:
        """The client has told that it is one."""
        return self._peer.is_ready

    @property
    def is_beginning(self) -> bool:
        """It has not greeted yet, or is in the middle of a large request."""
        return not self.is_greeted or self._peer.missing_bytes > 0

    @property
    def has_more(self) -> bool:
        """There is more to ``receive`` of what was read already."""
        return self._peer.has_more

    # --- the way in -----------------------------------------------------------------------------

    def receive(self, most: int) -> list[Message]:
        """The next messages that are here, at most so many."""
        peer = self._peer
        self.read_bytes = 0
        try:
            if not peer.has_more:
                data = self._read(min(peer.missing_bytes, READ_LARGE_BYTES) or READ_BYTES)
                if data is None:
                    return []
                self.read_bytes = len(data)
                peer.feed(data)
            messages = peer.take(most)
        except WireError:
            self.has_ended = True
            return []
        if peer.to_send:
            self._say_beside()
        return messages

    def _read(self, most_bytes: int) -> bytes | None:
        """None if there is nothing, for now or for ever."""
        try:
            data = self._receive(most_bytes)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self.has_ended = True
        return data or None

    # --- the way out ----------------------------------------------------------------------------

    def say(self, envelope: bytes, body: bytes) -> bool:
        """Answer a message; ``flush`` sends it. False if nobody would get it."""
        if self.has_ended or (self.is_stuck and self._is_full()):
            return False
        size_bytes, framing = len(body), self._peer.framing
        if size_bytes < SMALL_BYTES:
            piece = envelope + framing.last_heads[size_bytes] + body
        elif size_bytes < LARGE_BYTES:
            piece = b"".join((envelope, framing.write(0, size_bytes), body))
        else:
            self._append(envelope + framing.write(0, size_bytes))
            piece = body
        self._unsent.append(piece)
        self._unsent_bytes += len(piece)
        return True

    def _is_full(self) -> bool:
        size_bytes = self._unsent_bytes
        if len(self._unsent) >= self._unread_max or size_bytes >= READING_BYTES_MAX:
            return True
        return size_bytes >= UNREAD_BYTES_MAX and self._read_at + READS_WITHIN_S < time.monotonic()

    def _say_beside(self) -> None:
        """What the protocol wants said; only who reads is told."""
        if not self.is_stuck:
            self._append(self._peer.to_send)
            self.flush()
        self._peer.to_send = b""

    def _append(self, piece: bytes) -> None:
        self._unsent.append(piece)
        self._unsent_bytes += len(piece)

    def flush(self) -> None:
        """Send what was said. What is left is sent by another ``flush``, when there is room."""
        pieces, size_bytes = self._unsent, self._unsent_bytes
        if len(pieces) > 1 and self._unsent_bytes < LARGE_BYTES:
            pieces = [b"".join(pieces)]
        try:
            while pieces:
                if len(pieces) == 1:
                    sent_bytes = self._send(pieces[0], _NOSIGNAL)
                else:
                    sent_bytes = self._socket.sendmsg(pieces[:PIECES_AT_ONCE], (), _NOSIGNAL)
                self._unsent_bytes -= sent_bytes
                is_all = len(pieces) == 1 and sent_bytes == len(pieces[0])
                pieces = [] if is_all else _left(pieces, sent_bytes)
        except BlockingIOError:
            pass
        except OSError:
            self.has_ended, pieces, self._unsent_bytes = True, [], 0
        if pieces and (not self.is_stuck or self._unsent_bytes < size_bytes):
            self._read_at = time.monotonic()
        self._unsent, self.is_stuck = pieces, bool(pieces)

    # --- the end --------------------------------------------------------------------------------

    def finish(self) -> None:
        """Tell the client that nothing will follow."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def discard(self) -> None:
        """Read a piece of what has come, for nobody."""
        self._read(READ_BYTES)

    def close(self) -> None:
        self._socket.close()


def _left(pieces: Pieces, sent_bytes: int) -> Pieces:
    """What has not been sent."""
    for number, piece in enumerate(pieces):
        if sent_bytes < len(piece):
            return [memoryview(piece)[sent_bytes:], *pieces[number + 1 :]]
        sent_bytes -= len(piece)
    return []
