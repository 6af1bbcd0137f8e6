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


_OF_ONE, _OF_TWO = _head(1), _head(2)
_ONE_AT, _TWO_AT = _OF_ONE.size, _OF_TWO.size
pack_one, _unpack_one = _OF_ONE.pack, _OF_ONE.unpack_from
"""What goes ahead of a frame that is all of a message, as almost all replies are: 1, its length."""
_pack_two, _unpack_two = _OF_TWO.pack, _OF_TWO.unpack_from


def encode_head(frames: Sequence[bytes]) -> bytes:
    """What goes ahead of the frames."""
    count = len(frames)
    return _head(count).pack(count, *map(len, frames))


def encode(frames: Sequence[bytes]) -> bytes:
    """A message whose frames are small enough to be copied."""
    if len(frames) == 2:  # almost all tasks: it takes half of the time to know
        first, second = frames
        return b"".join((_pack_two(2, len(first), len(second)), first, second))
    return b"".join((encode_head(frames), *frames))


def frame_of(message: bytes) -> bytes | None:
    """The frame of a whole message that has only one; None if this is anything else."""
    if len(message) < _ONE_AT:
        return None
    count, frame_bytes = _unpack_one(message)
    return message[_ONE_AT:] if count == 1 and _ONE_AT + frame_bytes == len(message) else None


class Assembler:
    """Makes a message of the pieces in which it comes; almost always there is only one."""

    __slots__ = ("_frame_bytes_max", "_lengths", "_missing_bytes", "_pieces")

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._lengths: Sequence[int] = ()
        """Of the frames of the message that has begun, once its head is all there."""
        self._pieces: list[bytes] = []
        """What has come of its frames; before that, of its head."""
        self._missing_bytes = 0

    def take(self, piece: bytes) -> list[bytes] | None:
        """The frames, if this was the last piece. WireError if it can be no message, or if a
        frame is too long; then the stream is of no further use."""
        if not self._pieces:
            size_bytes = len(piece)
            if size_bytes >= _TWO_AT:
                # What comes all the time, a reply or a task: it takes a third so.
                count, first_bytes, second_bytes = _unpack_two(piece)
                end = _TWO_AT + first_bytes
                if count == 2 and end + second_bytes == size_bytes:
                    return [piece[_TWO_AT:end], piece[end:]]
                if count == 1 and _ONE_AT + first_bytes == size_bytes:
                    return [piece[_ONE_AT:]]
            frames = _read_whole(piece)
            if frames is not None:
                return frames
        self._pieces.append(piece)
        if self._lengths:
            self._missing_bytes -= len(piece)
        elif not self._begin():
            return None
        if self._missing_bytes > 0:
            return None
        if self._missing_bytes < 0:
            raise WireError("more follows than one message")
        lengths, self._lengths = self._lengths, ()
        data = self._take_all()
        return [data] if len(lengths) == 1 else _split(data, 0, lengths)

    def _begin(self) -> bool:
        """Read the head, and cut it off; False if it is not all there."""
        data = self._take_all()
        self._lengths = lengths = _read_head(data)
        start = _head(len(lengths)).size if lengths else 0
        self._pieces.append(data[start:])
        if lengths and max(lengths) > self._frame_bytes_max:
            raise WireError(f"a frame of {max(lengths)} bytes")
        self._missing_bytes = start + sum(lengths) - len(data)
        return bool(lengths)

    def _take_all(self) -> bytes:
        # Joined once: a large answer is too dear to be copied twice.
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        return data


def _read_whole(data: bytes) -> list[bytes] | None:
    """The frames, if this is just one message."""
    lengths = _read_head(data)
    start = _head(len(lengths)).size
    return _split(data, start, lengths) if lengths and start + sum(lengths) == len(data) else None


def _read_head(data: bytes) -> Sequence[int]:
    """The lengths of the frames; none if the head is not all there yet."""
    if len(data) < _NUMBER.size:
        return ()
    (count,) = _NUMBER.unpack_from(data)
    if not 1 <= count <= FRAMES_MAX:
        raise WireError(f"a message of {count} frames")
    head = _head(count)
    return head.unpack_from(data)[1:] if len(data) >= head.size else ()


def _split(data: bytes, start: int, lengths: Sequence[int]) -> list[bytes]:
    frames = []
    for length in lengths:
        frames.append(data[start : start + length])
        start += length
    return frames
