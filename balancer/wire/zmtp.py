"""ZMTP's messages on a stream of bytes: frames with their heads, whole messages out of pieces.

Version 3 (https://rfc.zeromq.org/spec/37/) and 2 have the same heads, version 1 another. Who speaks
which is found out in ``greeting``.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from balancer.wire.values import LARGE_BYTES, WireError

_SMALL_BYTES = 4096
_MORE, _LONG, _COMMAND = 1, 2, 4

Message = tuple[list[bytes], bytes]
"""The frames; and those up to the first empty one as they came, which go ahead of the answer."""


class Head(NamedTuple):
    """What is said of a frame ahead of it."""

    flags: int
    start: int
    size_bytes: int


class Framing(NamedTuple):
    """How heads are written, given flags and size, and how they are read: None if it is not all
    there, WireError if it can be none."""

    write: Callable[[int, int], bytes]
    read: Callable[[bytes, int], Head | None]
    has_short_heads: bool
    """A small frame begins with its flags and its size, a byte each."""
    last_heads: Sequence[bytes]
    """What ``write`` makes of the last frame of a message, by its size: of all that are small."""


def _write_head(flags: int, size_bytes: int) -> bytes:
    if size_bytes < 256:
        return bytes((flags, size_bytes))
    return bytes((flags | _LONG,)) + size_bytes.to_bytes(8, "big")


def _read_head(data: bytes, at: int) -> Head | None:
    flags = data[at]
    if flags > (_LONG | _COMMAND) or flags & (_MORE | _COMMAND) == (_MORE | _COMMAND):
        raise WireError(f"a frame cannot have the flags {flags}")
    start = at + (9 if flags & _LONG else 2)
    if len(data) < start:
        return None
    return Head(flags & ~_LONG, start, int.from_bytes(data[at + 1 : start], "big"))


def _write_old_head(flags: int, size_bytes: int) -> bytes:
    size_bytes += 1  # the flags are counted
    if size_bytes < 255:
        return bytes((size_bytes, flags))
    return b"\xff" + size_bytes.to_bytes(8, "big") + bytes((flags,))


def _read_old_head(data: bytes, at: int) -> Head | None:
    is_short = data[at] < 255
    start = at + (2 if is_short else 10)
    if len(data) < start:
        return None
    size_bytes = data[at] if is_short else int.from_bytes(data[at + 1 : at + 9], "big")
    if not size_bytes:
        raise WireError("a frame is at least its flags")
    return Head(data[start - 1] & _MORE, start, size_bytes - 1)


SMALL_BYTES = 256
_SIZES = range(SMALL_BYTES)
FRAMING = Framing(_write_head, _read_head, True, [_write_head(0, n) for n in _SIZES])
OLD_FRAMING = Framing(
    _write_old_head, _read_old_head, False, [_write_old_head(0, n) for n in _SIZES]
)


def encode_command(name: bytes, data: bytes = b"") -> bytes:
    body = bytes((len(name),)) + name + data
    return _write_head(_COMMAND, len(body)) + body


FRAMES_PER_MESSAGE = 16
"""Almost no message has more: who sends one without end is left for the next time after so many,
for each message that is wanted."""
_CARGO = bytes(256)
"""Stands for a large frame ahead of the first empty one, where nobody is to send any: it is not
kept, and such a message has no envelope."""


def _take_usual(data: bytes, at: int, most: int, messages: list[Message]) -> int:
    """Append those that come next, if they are of the usual form: a small frame, which is the
    client's own name for its request, an empty one and a small body; where the first begins that is
    not. As the decoder does with all of them, at half of the price."""
    end = len(data)
    for _ in range(most):
        if at + 1 >= end or data[at] != _MORE or not data[at + 1]:
            break
        empty_at = at + 2 + data[at + 1]
        start = empty_at + 4
        if start > end or data[empty_at : start - 1] != _EMPTY_AND_LAST:
            break
        stop = start + data[start - 1]
        if stop > end:
            break
        frames = [data[at + 2 : empty_at], b"", data[start:stop]]
        messages.append((frames, data[at : empty_at + 2]))
        at = stop
    return at


_EMPTY_AND_LAST = b"\x01\x00\x00"
"""The head of an empty frame, and of the last one all but its size."""


class Decoder:
    """``feed`` it what has come, and ``take`` what is whole. WireError from ``take`` if it makes no
    sense: all messages before that have been taken, and there will be no other."""

    __slots__ = (
        "_at",
        "_data",
        "_done",
        "_frame_bytes_max",
        "_frames",
        "_frames_max",
        "_is_kept",
        "_is_last",
        "_pieces",
        "commands",
        "framing",
        "has_more",
        "missing_bytes",
    )

    def __init__(self, framing: Framing, frame_bytes_max: int, frames_max: int) -> None:
        """Of a message with more frames than that, the first ones are kept."""
        self.framing = framing
        self.commands: list[bytes] = []
        """Those that were met between the messages, for the caller to take away."""
        self.missing_bytes = 0
        """So many are still to come of a large frame."""
        self.has_more = False
        """The last ``take`` got all that it wanted, and did not look further."""
        self._frame_bytes_max = frame_bytes_max
        self._frames_max = frames_max
        self._data, self._at = b"", 0
        """What has been fed, and up to where it is taken."""
        self._frames: list[bytes] = []
        """Of the message that has begun."""
        self._pieces: list[bytes] = []
        """Of the large frame that has begun."""
        self._is_last = self._is_kept = False
        """Whether that frame is its message's last, and whether it is of any use."""
        self._done: list[Message] = []
        """Messages that have ended with a large frame."""

    def feed(self, data: bytes) -> None:
        """To be done when there is nothing more to take: what is left is copied."""
        if self.missing_bytes:
            data = self._feed_large(data)
        left = self._data[self._at :]
        self._data, self._at = left + data if left else data, 0

    def take(self, most: int) -> list[Message]:
        """The next messages, so many at most; a command counts as one."""
        messages, self._done = self._done, []
        room, frames_room = most - len(messages), FRAMES_PER_MESSAGE * most
        data, at, frames = self._data, self._at, self._frames
        if self.framing.has_short_heads and not frames:
            at = _take_usual(data, at, room, messages)
            room = most - len(messages)
        end, has_short_heads = len(data), self.framing.has_short_heads
        begin = at
        is_all_here = not frames
        envelope = b""
        while at < end and room > 0 and frames_room > 0:
            flags = data[at]
            frames_room -= 1
            if flags <= _MORE and has_short_heads and at + 1 < end:
                start = at + 2
                stop = start + data[at + 1]
                if stop > end:
                    break
            else:
                try:
                    head = self._next_head(data, at)
                except WireError:
                    if not messages:
                        raise
                    room = 0  # so that it is met again
                    break
                if head is None:
                    break
                flags, start, size_bytes = head
                stop = start + size_bytes
                if stop > end:
                    if size_bytes >= LARGE_BYTES:
                        self._begin_large(data[start:], size_bytes, flags)
                        at = end
                    break
                if size_bytes >= LARGE_BYTES and self._is_cargo(flags):
                    self._append_cargo()
                    at, is_all_here = stop, False
                    continue
                if flags & _COMMAND:
                    self.commands.append(data[start:stop])
                    room -= 1
                    begin = at = stop
                    # Sent between a message's frames, as libzmq may, it is no part of the message.
                    is_all_here = not frames
                    continue
            at = stop
            if len(frames) < self._frames_max:
                frames.append(data[start:stop])
            if not flags:
                messages.append((frames, envelope or self._envelope(frames)))
                frames, envelope = [], b""
                begin, is_all_here = at, True
                room -= 1
            elif not (frames[-1] or envelope) and is_all_here:
                envelope = data[begin:at]
        self._at, self._frames, self.has_more = at, frames, room <= 0 or frames_room <= 0
        return messages

    def _next_head(self, data: bytes, at: int) -> Head | None:
        head = self.framing.read(data, at)
        if head is not None:
            if head.size_bytes > self._frame_bytes_max:
                raise WireError(f"a frame of {head.size_bytes} bytes")
            if head.flags & _COMMAND and head.size_bytes >= LARGE_BYTES:
                raise WireError(f"a command of {head.size_bytes} bytes")
        return head

    def _envelope(self, frames: list[bytes]) -> bytes:
        """Written again for a message that did not come in one piece, or has no body."""
        if b"" not in frames or any(frame is _CARGO for frame in frames):
            return b""
        write = self.framing.write
        end = frames.index(b"") + 1
        return b"".join(write(_MORE, len(frame)) + frame for frame in frames[:end])

    # --- frames that do not come in one piece, and are too large to be put together again and again

    def _begin_large(self, data: bytes, size_bytes: int, flags: int) -> None:
        self.missing_bytes = size_bytes - len(data)
        self._is_last = not flags
        self._is_kept = len(self._frames) < self._frames_max and not self._is_cargo(flags)
        if self._is_kept:
            self._pieces.append(data)

    def _is_cargo(self, flags: int) -> bool:
        return flags == _MORE and b"" not in self._frames

    def _append_cargo(self) -> None:
        if len(self._frames) < self._frames_max:
            self._frames.append(_CARGO)

    def _feed_large(self, data: bytes) -> bytes:
        """What is left of the data is no part of the large frame."""
        piece = data[: self.missing_bytes]
        self.missing_bytes -= len(piece)
        if self._is_kept and len(piece) < _SMALL_BYTES and len(self._pieces[-1]) < _SMALL_BYTES:
            # An object for each two bytes would cost 20 times what the frame may.
            self._pieces[-1] += piece
        elif self._is_kept:
            self._pieces.append(piece)
        if not self.missing_bytes:
            self._end_large()
        return data[len(piece) :]

    def _end_large(self) -> None:
        if self._is_kept:
            self._frames.append(b"".join(self._pieces))
            self._pieces.clear()
        elif not self._is_last:
            self._append_cargo()
        if self._is_last:
            self._done.append((self._frames, self._envelope(self._frames)))
            self._frames = []
