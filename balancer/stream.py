"""One end of the plain Unix stream between the balancer and a worker of ours: tasks, and replies.

ZeroMQ wakes two threads on each side for every message; here a message wakes nobody but its
receiver. What ZeroMQ does beside that, to greet, to notice a peer that is frozen and to carry
what is large, its own connection to the same worker goes on doing.

The module below ``socket`` is all that is needed: it saves each worker a third of a megabyte, and
user code that puts its own kind of sockets in place of Python's leaves it alone.
"""

import _socket
import sys
from collections.abc import Sequence

from balancer.wire.framing import Assembler, encode, encode_head
from balancer.wire.values import LARGE_BYTES, WireError, worker_frame_bytes_max

BUFFER_BYTES = 4 * LARGE_BYTES
"""So that the kernel takes any task whole that goes by a stream."""
_PIECE_BYTES = LARGE_BYTES + 8192
_PIECES_MAX = 16
"""More than the kernel keeps of what a dead peer has sent, and little enough for one turn."""
_RESET_TELLS = sys.platform == "linux"
"""Whose connection is reset had not read all of what came by it (unix_release_sock, af_unix.c)."""
_DONTWAIT: int = _socket.MSG_DONTWAIT
# User code may have made a broken pipe deadly again. Where the flag is missing it would be so.
_NOSIGNAL: int = getattr(_socket, "MSG_NOSIGNAL", 0)


class Stream:
    """Both sides take turns: whoever has sent reads the reply before it sends again."""

    def __init__(self, connection: _socket.socket, max_body_bytes: int) -> None:
        connection.setblocking(True)  # whatever user code has made the default
        for side in (_socket.SO_SNDBUF, _socket.SO_RCVBUF):
            connection.setsockopt(_socket.SOL_SOCKET, side, BUFFER_BYTES)
        self.has_ended = False
        """The peer is gone, or sends what makes no sense: close it."""
        self.has_begun = False
        """Of a message some has come and not all: a piece is to be taken for nothing but more."""
        self.was_unread = False
        """It certainly went before it had read what was sent last."""
        self._connection = connection
        self._receive = connection.recv
        self._send, self._send_all = connection.send, connection.sendall
        self._take = Assembler(worker_frame_bytes_max(max_body_bytes)).take

    def fileno(self) -> int:
        return self._connection.fileno()

    def receive(self) -> list[bytes] | None:
        """The next message, if all of it is here. None, too, if there will be no other."""
        piece = self.receive_piece()
        return self.assemble(piece) if piece is not None else None

    def receive_piece(self) -> bytes | None:
        """What has come: to be passed to ``assemble``, unless no message ``has_begun`` before and
        this is known to be one. None if there is nothing, or will be nothing more."""
        if self.has_ended:
            return None
        try:
            piece = self._receive(_PIECE_BYTES, _DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            self.was_unread = _RESET_TELLS and isinstance(error, ConnectionResetError)
            piece = b""
        self.has_ended = not piece
        return piece or None

    def assemble(self, piece: bytes) -> list[bytes] | None:
        """The message that this piece completes, or others do that have come by now."""
        frames: list[bytes] | None = None
        try:
            frames = self._take(piece)
            for _ in range(_PIECES_MAX):  # if there is more, its descriptor says so
                next_piece = self.receive_piece() if frames is None else None
                if next_piece is None:
                    break
                frames = self._take(next_piece)
        except WireError:
            self.has_ended = True
        self.has_begun = frames is None
        return frames

    def offer(self, frames: Sequence[bytes]) -> bool:
        """Send a message of at most LARGE_BYTES without waiting; False if the peer, which is gone,
        certainly did not get it."""
        return self.offer_message(encode(frames))

    def offer_message(self, message: bytes) -> bool:
        """As ``offer``, a message that is whole."""
        try:
            is_sent = self._send(message, _DONTWAIT | _NOSIGNAL) == len(message)
        except OSError:
            is_sent = False
        self.has_ended |= not is_sent
        return is_sent

    def send_message(self, message: bytes) -> None:
        """As ``send``, a message that is whole."""
        try:
            self._send_all(message, _NOSIGNAL)
        except OSError:
            self.has_ended = True

    def send(self, frames: Sequence[bytes]) -> None:
        """Send a message, however long that takes. If the peer is gone, nobody misses it."""
        try:
            if sum(map(len, frames)) < LARGE_BYTES:
                self._send_all(encode(frames), _NOSIGNAL)
            else:
                for part in (encode_head(frames), *frames):
                    self._send_all(part, _NOSIGNAL)
        except OSError:
            self.has_ended = True

    def close(self) -> None:
        self._connection.close()


def connect(path: str, max_body_bytes: int) -> Stream:
    """The balancer's end of a stream to the worker that listens at the path; OSError if it does
    not, or if there is no descriptor left."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        # Not to be kept waiting by a worker that hangs, or is frozen, with a full backlog.
        connection.setblocking(False)
        connection.connect(path)
        return Stream(connection, max_body_bytes)
    except BaseException:
        connection.close()
        raise
