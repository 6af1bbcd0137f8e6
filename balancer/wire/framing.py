"""Messages on a plain stream of bytes: how many frames, how long each of them is, then the frames.

For two ends on one machine that take turns: after a whole message nothing may follow until it is
answered. All numbers are 8 bytes, little-endian.
"""

from collections.abc import Sequence
from functools import cache
from struct import Struct

from balancer.wire.values import BATCH_MAX, WireError

FRAMES_MAX = BATCH_MAX + 1
_NUMBER = Struct("<Q")


@cache
def _head(count: int) -> Struct:
    """The number of the frames, and their lengths."""
    return Struct(f"<{1 + count}Q")


def encode_head(frames: Sequence[bytes]) -> bytes:
    """What goes ahead of the frames."""
    count = len(frames)
    return _head(count).pack(count, *map(len, frames))


class Assembler:
    """Makes a message of the pieces in which it comes; almost always there is only one."""

    __slots__ = ("_frame_bytes_max", "_missing_bytes", "_pieces")

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._pieces: list[bytes] = []
        self._missing_bytes = 0
        """Of the message that has begun; 0 where that is not known yet."""

    def take(self, piece: bytes) -> list[bytes] | None:
        """The frames, if this was the last piece. WireError if it can be no message, or if a
        frame is too long; then the stream is of no further use."""
        if self._pieces:
            self._pieces.append(piece)
            self._missing_bytes -= len(piece)
            if self._missing_bytes > 0:
                return None
            piece = b"".join(self._pieces)
            self._pieces.clear()
        return self._split(piece)

    def _split(self, data: bytes) -> list[bytes] | None:
        lengths = _read_head(data)
        frames, start = [], _head(len(lengths)).size
        for length in lengths:
            frames.append(data[start : start + length])
            start += length
        if lengths and start == len(data):
            return frames
        if lengths and (start < len(data) or max(lengths) > self._frame_bytes_max):
            raise WireError("more follows than one message, or a frame is too long")
        self._pieces.append(data)
        self._missing_bytes = start - len(data) if lengths else 0
        return None


def _read_head(data: bytes) -> Sequence[int]:
    """The lengths of the frames; none if the head is not all there yet."""
    if len(data) < _NUMBER.size:
        return ()
    (count,) = _NUMBER.unpack_from(data)
    if not 1 <= count <= FRAMES_MAX:
        raise WireError(f"a message of {count} frames")
    head = _head(count)
    return head.unpack_from(data)[1:] if len(data) >= head.size else ()
