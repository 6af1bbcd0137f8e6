"""Where a worker's messages come from: its REP socket, for everybody, and a plain stream beside it
for the balancer of our own launcher.
"""

import _socket
import os
import time
from collections.abc import Callable, Sequence
from errno import EMFILE, ENFILE
from select import POLLHUP, POLLIN, poll

from balancer.stream import Stream
from balancer.wire.values import Blob
from workers.rep_socket import RepSocket
from workers.stop_signal import StopSignal

LOOK_UP_EVERY_MS = 1000
"""User code may have taken for its own the descriptor by which a signal wakes us."""
NO_DESCRIPTORS_PAUSE_S = 0.1
_BACKLOG = 16
_NOBODY = -1


class Mailbox:
    """One message at a time: ``send`` the reply to it before the next is received."""

    def __init__(
        self, rep: RepSocket, stream_path: str | None, max_body_bytes: int, stop: StopSignal
    ) -> None:
        """OSError if the path cannot be had."""
        self._rep = rep
        self._stop = stop
        self._max_body_bytes = max_body_bytes
        self._must_look = True
        """A message may be at the REP socket without any news of its descriptor."""
        self._listener = _listen(stream_path) if stream_path is not None else None
        self._stream: Stream | None = None
        self.send: Callable[[list[bytes]], None] = rep.send
        """Send the reply to whoever sent the last message; if that is gone, nobody misses it."""
        self.send_message: Callable[[bytes], None] = lambda message: None
        """As ``send``, if it is whole as it goes by the stream, by which the last one came."""
        self._rep_fd, self._stream_fd = rep.fileno(), _NOBODY
        self._usual: list[tuple[int, int]] | None = None
        """What is almost always the news: there is something by the stream, and nothing else."""
        self._poll = poll()
        for source in (stop, rep, self._listener):
            if source is not None:
                self._poll.register(source, POLLIN)

    def receive(self) -> bytes | Sequence[Blob] | None:
        """Wait for a message or for SIGTERM, whatever comes first: the message, or None. Bytes are
        the beginning of what has come by the stream, almost always all of it: ``assemble`` makes
        frames of it."""
        if self._stream is not None and self._stream.has_ended:
            # Half of a reply may have left: the balancer is to know at once that this is all.
            self._close_stream()
        while not self._stop.is_given:
            events = self._poll.poll(0 if self._must_look else LOOK_UP_EVERY_MS)
            stream, is_usual = self._stream, events == self._usual and not self._must_look
            if is_usual and stream is not None and not stream.has_begun:
                piece = stream.receive_piece()
                if piece is not None:
                    self.send, self.send_message = stream.send, stream.send_message
                    return piece
            ready = dict(events)
            frames = self._take(ready)
            if frames is not None:
                return frames
            if self._stop.fileno() in ready:
                self._stop.clear()
            if self._listener is not None and self._listener.fileno() in ready:
                self._accept(self._listener)
        return None

    def assemble(self, piece: bytes) -> Sequence[Blob] | None:
        """The message, if it is all there: else ``receive`` goes on with it."""
        return self._stream.assemble(piece) if self._stream is not None else None

    def _take(self, ready: dict[int, int]) -> Sequence[Blob] | None:
        """The next message. Who was not served last comes first, so that none waits for long."""
        frames = None
        if self._rep_fd in ready and not self._must_look:
            frames = self._receive_by_rep()
        if frames is None and self._stream_fd in ready:
            frames = self._receive_by_stream(ready[self._stream_fd])
        if frames is None and self._must_look:
            frames = self._receive_by_rep()
        return frames

    def _receive_by_rep(self) -> Sequence[Blob] | None:
        frames = self._rep.receive()
        self._must_look = frames is not None
        self.send = self._rep.send
        return frames

    # --- the stream -------------------------------------------------------------------------------

    def _receive_by_stream(self, news: int) -> Sequence[Blob] | None:
        stream = self._stream
        assert stream is not None
        # Of a balancer that is gone nothing is taken: nobody would get the answer.
        frames = None if news & POLLHUP else stream.receive()
        if news & POLLHUP or stream.has_ended:
            self._close_stream()
        self.send = stream.send
        return frames

    def _accept(self, listener: _socket.socket) -> None:
        """The newest is the one to serve: it has taken over from the last. Nobody else comes: the
        path is in a directory of our user's alone."""
        self._close_stream()
        try:
            descriptor, _ = listener._accept()  # type: ignore[attr-defined]  # typeshed lacks it
        except OSError as error:
            if error.errno not in (EMFILE, ENFILE):
                raise
            # User code has all the descriptors there are; it may give some back.
            time.sleep(NO_DESCRIPTORS_PAUSE_S)
            return
        self._stream = Stream(_socket.socket(fileno=descriptor), self._max_body_bytes)
        self._stream_fd = self._stream.fileno()
        self._usual = [(self._stream_fd, POLLIN)]
        self._poll.register(self._stream_fd, POLLIN)

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._poll.unregister(self._stream_fd)
            self._stream.close()
            self._stream, self._stream_fd, self._usual = None, _NOBODY, None

    def close(self) -> None:
        """The balancer sees it, and asks nothing more. The REP socket is its owner's to close."""
        self._close_stream()
        if self._listener is not None:
            self._listener.close()


def _listen(path: str) -> _socket.socket:
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    listener.setblocking(False)
    umask = os.umask(0o177)
    try:
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(umask)
    return listener
